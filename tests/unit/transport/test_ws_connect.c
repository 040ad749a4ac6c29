/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/transport/ws_kit.h"

#include "transport/ws_connect.h"

static const struct ws_connect_options usual = {.host = "broker"};
static const char right[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static const char *
judge(const char *head)
{
	return ws_connect_judge(bytes_of(head), &usual, right);
}

#define STATUS "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"
#define END "\r\n"

static void
write_request(struct buf *out, const struct ws_connect_options *options)
{
	char written[WS_ACCEPT_SIZE];

	buf_init(out, SIZE_MAX);
	/* The nonce of the standard's sample. */
	assert_true(ws_connect_write(out, options, (const uint8_t *)"the sample nonce", written));
	assert_string_equal(written, right);
}

static void
the_sample_of_the_standard_is_asked_for(void **state)
{
	static const struct ws_connect_options special = {
	    .host = "[2001:db8::1]:8080", .path = "/a?b=c", .protocol = "mqttv3.1"};
	struct buf out;

	(void)state;
	write_request(&out, &usual);
	assert_bytes_text(buf_bytes(&out), "GET /mqtt HTTP/1.1\r\n"
					   "Host: broker\r\n"
					   "Upgrade: websocket\r\n"
					   "Connection: Upgrade\r\n"
					   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
					   "Sec-WebSocket-Version: 13\r\n"
					   "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
	buf_fini(&out);
	write_request(&out, &special);
	assert_bytes_text(buf_bytes(&out), "GET /a?b=c HTTP/1.1\r\n"
					   "Host: [2001:db8::1]:8080\r\n"
					   "Upgrade: websocket\r\n"
					   "Connection: Upgrade\r\n"
					   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
					   "Sec-WebSocket-Version: 13\r\n"
					   "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n");
	buf_fini(&out);
}

static void
our_server_understands_the_request(void **state)
{
	static const struct ws_options options = {.path = "/mqtt"};
	struct ws_answer answer;
	struct buf request, out;

	(void)state;
	write_request(&request, &usual);
	ws_handshake(buf_bytes(&request), &options, &answer);
	assert_int_equal(answer.status, 101);
	buf_init(&out, SIZE_MAX);
	ws_handshake_write(&out, &answer);
	assert_null(ws_connect_judge(buf_bytes(&out), &usual, right));
	buf_fini(&out);
	buf_fini(&request);
}

static const char *
check(const char *host, const char *path, const char *protocol)
{
	return ws_connect_check(
	    &(struct ws_connect_options){.host = host, .path = path, .protocol = protocol});
}

static void
what_would_spoil_a_request_is_found(void **state)
{
	static const char *const hosts[] = {
	    NULL, "", "a b", "a\r\nb", "a\tb", "a/b", "a?b", "a#b", "u@h", "b\xc3\xbc", "a\x7f"};
	static const char *const paths[] = {"", "a", "/a b", "/\r\n", "/a#b", "/\xc3\xbc"};
	static const char *const protocols[] = {"", "a b", "a,b", "a\r\n", "\xc3\xbc"};

	(void)state;
	assert_null(check("example.com:8080", NULL, NULL));
	assert_null(check("[::1]", "/", "mqttv3.1"));
	assert_null(check("a_b-c.d", "/a/b?c=d&e=%20f", "x"));
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		assert_string_equal(check(hosts[i], NULL, NULL), "the host's name cannot be used");
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_string_equal(check("h", paths[i], NULL), "the path cannot be used");
	}
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		assert_string_equal(
		    check("h", NULL, protocols[i]), "the sub-protocol cannot be used");
	}
}

static void
right_answers_are_believed(void **state)
{
	(void)state;
	assert_null(judge(UPGRADED));
	assert_null(judge("HTTP/1.1 101\r\n" PROTOCOL ACCEPT CONNECTION UPGRADE END));
	assert_null(judge("HTTP/1.1 101 \r\nserver: x\r\nUPGRADE:WebSocket\r\n"
			  "connection:\t foo ,, uPGRADE \t\r\n"
			  "sec-websocket-ACCEPT:s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \r\n"
			  "Sec-WebSocket-Extensions:\r\n" PROTOCOL END));
	assert_null(judge(STATUS UPGRADE "Connection: keep-alive\r\n" CONNECTION ACCEPT PROTOCOL
					 "Content-Length: 0\r\n" END));
}

static void
each_demand_has_its_sentence(void **state)
{
	static const char no_upgrade[] = "the server's answer is no upgrade to WebSocket";
	static const char wrong_accept[] = "the server's Sec-WebSocket-Accept is not right";
	static const char no_protocol[] = "the server did not choose the sub-protocol";

	(void)state;
	assert_string_equal(judge(STATUS CONNECTION ACCEPT PROTOCOL END), no_upgrade);
	assert_string_equal(judge(STATUS UPGRADE ACCEPT PROTOCOL END), no_upgrade);
	assert_string_equal(
	    judge(STATUS UPGRADE UPGRADE CONNECTION ACCEPT PROTOCOL END), no_upgrade);
	assert_string_equal(
	    judge(STATUS "Upgrade: h2c\r\n" CONNECTION ACCEPT PROTOCOL END), no_upgrade);
	assert_string_equal(
	    judge(STATUS UPGRADE "Connection: close\r\n" ACCEPT PROTOCOL END), no_upgrade);
	assert_string_equal(judge(STATUS UPGRADE CONNECTION PROTOCOL END), wrong_accept);
	assert_string_equal(
	    judge(STATUS UPGRADE CONNECTION ACCEPT ACCEPT PROTOCOL END), wrong_accept);
	assert_string_equal(judge(STATUS UPGRADE CONNECTION PROTOCOL
				"Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" END),
	    wrong_accept);
	assert_string_equal(judge(STATUS UPGRADE CONNECTION PROTOCOL
				"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n" END),
	    wrong_accept);
	assert_string_equal(judge(STATUS UPGRADE CONNECTION ACCEPT END), no_protocol);
	assert_string_equal(
	    judge(STATUS UPGRADE CONNECTION ACCEPT PROTOCOL PROTOCOL END), no_protocol);
	assert_string_equal(
	    judge(STATUS UPGRADE CONNECTION ACCEPT "Sec-WebSocket-Protocol: mqttv3.1\r\n" END),
	    no_protocol);
	assert_string_equal(
	    judge(STATUS UPGRADE CONNECTION ACCEPT "Sec-WebSocket-Protocol: MQTT\r\n" END),
	    no_protocol);
	assert_string_equal(judge(STATUS UPGRADE CONNECTION ACCEPT PROTOCOL
				"Sec-WebSocket-Extensions: permessage-deflate\r\n" END),
	    "the server chose an extension that was not offered");
}

static void
refusals_are_told_by_their_status(void **state)
{
	static const unsigned known[] = {400, 401, 403, 404, 426, 429, 500, 502, 503, 504};

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		char head[64], number[8];

		snprintf(number, sizeof(number), "%u", known[i]);
		snprintf(head, sizeof(head), "HTTP/1.%zu %s Text\r\n\r\n", i % 2, number);
		assert_non_null(strstr(judge(head), number));
	}
	assert_non_null(strstr(judge("HTTP/1.1 200 OK\r\n\r\n"), "page"));
	assert_non_null(strstr(judge("HTTP/1.1 302 x\r\nLocation: y\r\n\r\n"), "elsewhere"));
	assert_non_null(strstr(judge("HTTP/1.1 418 x\r\n\r\n"), "refused"));
	assert_non_null(strstr(judge("HTTP/1.1 599 x\r\n\r\n"), "failed"));
	assert_non_null(strstr(judge("HTTP/1.1 100 x\r\n\r\n"), "unknown"));
	assert_non_null(strstr(judge("HTTP/1.1 777 x\r\n\r\n"), "unknown"));
}

static void
what_is_no_answer_is_malformed(void **state)
{
	static const char *const lines[] = {"", "HTTP/1.1", "HTTP/1.1 10\r\n", "HTTP/1.1 1010\r\n",
	    "HTTP/1.1  101\r\n", "HTTP/1.1 1x1 a\r\n", "HTTP/2 101 a\r\n", "HTTP/2.0 101 a\r\n",
	    "HTTP/1.0 101 a\r\n", "http/1.1 101 a\r\n", "HTTP/1.x 101 a\r\n", "HTTP/1.1\t101 a\r\n",
	    "GET / HTTP/1.1\r\n", "HTTP/1.1 000 a\r\n"};
	char head[512];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(
		    head, sizeof(head), "%s%s", lines[i], UPGRADE CONNECTION ACCEPT PROTOCOL END);
		assert_string_equal(judge(head), "the server's answer is malformed");
	}
	assert_string_equal(judge(STATUS UPGRADE CONNECTION ACCEPT PROTOCOL "no colon\r\n" END),
	    "the server's answer is malformed");
	assert_string_equal(judge(STATUS UPGRADE CONNECTION ACCEPT PROTOCOL " a: folded\r\n" END),
	    "the server's answer is malformed");
	assert_string_equal(
	    judge("HTTP/1.1 404 x\r\nbad field\r\n" END), "the server's answer is malformed");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_sample_of_the_standard_is_asked_for),
	    cmocka_unit_test(our_server_understands_the_request),
	    cmocka_unit_test(what_would_spoil_a_request_is_found),
	    cmocka_unit_test(right_answers_are_believed),
	    cmocka_unit_test(each_demand_has_its_sentence),
	    cmocka_unit_test(refusals_are_told_by_their_status),
	    cmocka_unit_test(what_is_no_answer_is_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
