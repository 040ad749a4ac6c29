/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/transport/ws_kit.h"

#include "base/err.h"
#include "transport/ws_forwarded.h"
#include "transport/ws_handshake.h"

static const char *const origins[] = {"https://a.example", "http://b.example:8080", NULL};
static const char *const only_mqtt[] = {"mqtt", NULL};
static const struct ws_options any = {.path = "/mqtt"};

static struct ws_answer
ask(const char *text, const struct ws_options *options)
{
	struct ws_answer answer;

	ws_handshake(bytes_of(text), options, &answer);
	assert_true((answer.status == 101) == (answer.why == NULL));
	return answer;
}

static unsigned
status_of(const char *text)
{
	return ask(text, &any).status;
}

#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"
#define END "\r\n"
#define WITH(fields) REQUEST_LINE REQUEST_FIELDS PROTOCOL fields END

static void
the_sample_of_the_standard_is_answered(void **state)
{
	struct ws_answer answer = ask(REQUEST, &any);
	struct buf out;

	(void)state;
	assert_int_equal(answer.status, 101);
	assert_string_equal(answer.protocol, "mqtt");
	buf_init(&out, SIZE_MAX);
	ws_handshake_write(&out, &answer);
	assert_bytes_text(buf_bytes(&out), UPGRADED);
	buf_fini(&out);
}

static void
names_and_words_are_known_in_any_case(void **state)
{
	(void)state;
	assert_int_equal(status_of("GET /mqtt HTTP/1.1\r\nhOST:x\r\nUPGRADE:WebSocket\r\n"
				   "connection:\t foo ,, UPGRADE \t\r\n"
				   "sec-websocket-KEY:dGhlIHNhbXBsZSBub25jZQ== \r\n"
				   "Sec-Websocket-Version:13\r\n"
				   "SEC-WEBSOCKET-PROTOCOL: chat,mqtt\r\n\r\n"),
	    101);
}

static void
the_first_protocol_of_the_client_that_is_known_is_chosen(void **state)
{
	const struct ws_options narrow = {.path = "/mqtt", .protocols = only_mqtt};
	struct ws_answer answer;

	(void)state;
	answer = ask(REQUEST_LINE REQUEST_FIELDS "Sec-WebSocket-Protocol: chat\r\n"
						 "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n" END,
	    &any);
	assert_string_equal(answer.protocol, "mqttv3.1");
	answer = ask(
	    REQUEST_LINE REQUEST_FIELDS "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n" END, &narrow);
	assert_string_equal(answer.protocol, "mqtt");
	assert_int_equal(
	    ask(REQUEST_LINE REQUEST_FIELDS "Sec-WebSocket-Protocol: mqttv3.1\r\n" END, &narrow)
		.status,
	    400);
	assert_int_equal(
	    status_of(REQUEST_LINE REQUEST_FIELDS "Sec-WebSocket-Protocol: MQTT, chat\r\n" END),
	    400);
	assert_int_equal(status_of(REQUEST_LINE REQUEST_FIELDS END), 400);
}

static void
paths_are_compared_without_their_query(void **state)
{
	static const struct {
		const char *target;
		unsigned status;
	} rows[] = {{"/mqtt", 101}, {"/mqtt?token=x", 101}, {"http://host/mqtt", 101},
	    {"ws://host:80/mqtt?x", 101}, {"/mqtt/", 404}, {"/MQTT", 404}, {"/", 404},
	    {"http://host", 404}, {"http://host/", 404}, {"mqtt", 404}, {"*", 404}, {"?", 404},
	    {"://", 404}};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n%s%s\r\n", rows[i].target,
		    REQUEST_FIELDS, PROTOCOL);
		assert_int_equal(status_of(text), rows[i].status);
	}
	assert_int_equal(
	    ask("GET /other HTTP/1.1\r\n" REQUEST_FIELDS PROTOCOL END, &(struct ws_options){0})
		.status,
	    101);
}

static void
origins_are_checked_where_there_are_any(void **state)
{
	const struct ws_options options = {.path = "/mqtt", .origins = origins};
	const struct ws_options none = {.path = "/mqtt", .origins = origins + 2};

	(void)state;
	assert_int_equal(ask(WITH("Origin: https://a.example\r\n"), &options).status, 101);
	assert_int_equal(ask(WITH("Origin: HTTP://B.example:8080\r\n"), &options).status, 101);
	assert_int_equal(ask(WITH("Origin: https://a.example.evil\r\n"), &options).status, 403);
	assert_int_equal(ask(WITH("Origin: null\r\n"), &options).status, 403);
	assert_int_equal(ask(WITH("Origin:\r\n"), &options).status, 403);
	assert_int_equal(
	    ask(WITH("Origin: https://a.example\r\nOrigin: https://a.example\r\n"), &options)
		.status,
	    403);
	assert_int_equal(ask(WITH(""), &options).status, 101);
	assert_int_equal(ask(WITH("Origin: https://c.example\r\n"), &none).status, 101);
	assert_int_equal(ask(WITH("Origin: https://c.example\r\n"), &any).status, 101);
}

static void
each_demand_has_its_refusal(void **state)
{
	static const struct {
		const char *text;
		unsigned status;
	} rows[] = {
	    {"\r\n\r\n", 400},
	    {"GET /mqtt\r\n\r\n", 400},
	    {"GET  /mqtt HTTP/1.1\r\n\r\n", 400},
	    {"GET /mqtt HTTP/1.0\r\n" REQUEST_FIELDS PROTOCOL END, 400},
	    {"GET /mqtt HTTP/2.0\r\n" REQUEST_FIELDS PROTOCOL END, 400},
	    {"GET /mqtt HTTP/1.1 \r\n" REQUEST_FIELDS PROTOCOL END, 400},
	    {"G\"T /mqtt HTTP/1.1\r\n" REQUEST_FIELDS PROTOCOL END, 400},
	    {"POST /mqtt HTTP/1.1\r\n" REQUEST_FIELDS PROTOCOL END, 405},
	    {"HEAD /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404},
	    {"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	    {"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 400},
	    {WITH("Host: again\r\n"), 400},
	    {WITH("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
	    {WITH("Sec-WebSocket-Version: 13\r\n"), 426},
	    {WITH("Content-Length: 0\r\n"), 101},
	    {WITH("Content-Length: 5\r\n"), 400},
	    {WITH("Transfer-Encoding: chunked\r\n"), 400},
	    {WITH("no colon\r\n"), 400},
	    {WITH("A: folded\r\n line\r\n"), 400},
	    {WITH("Blank : x\r\n"), 400},
	    {WITH(": no name\r\n"), 400},
	    {WITH("X: \xc3\xa4\r\n"), 101},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (status_of(rows[i].text) != rows[i].status) {
			fail_msg("row %zu: %u", i, status_of(rows[i].text));
		}
	}
}

/* Each field of a good request is needed, and with its value. */
static void
a_request_needs_all_its_fields(void **state)
{
	static const struct {
		const char *field;
		const char *bad;
		unsigned status;
	} rows[] = {{"Host: broker\r\n", "", 400}, {"Upgrade: websocket\r\n", "", 400},
	    {"Upgrade: websocket\r\n", "Upgrade: websockets, h2c\r\n", 400},
	    {"Connection: keep-alive, Upgrade\r\n", "Connection: keep-alive\r\n", 400},
	    {"Sec-WebSocket-Version: 13\r\n", "", 426},
	    {"Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Version: 8\r\n", 426},
	    {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=", 400},
	    {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQQ=", 400},
	    {"dGhlIHNhbXBsZSBub25jZQ==", "dGhl_HNhbXBsZSBub25jZQ==", 400}};
	static const char request[] = REQUEST;
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *at = strstr(request, rows[i].field);

		assert_non_null(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - request), request, rows[i].bad,
		    at + strlen(rows[i].field));
		assert_int_equal(status_of(text), rows[i].status);
	}
}

static void
refusals_are_proper_answers(void **state)
{
	struct ws_answer answer;
	struct buf out;

	(void)state;
	buf_init(&out, SIZE_MAX);
	ws_handshake_refuse(&answer, 426, "no");
	ws_handshake_write(&out, &answer);
	assert_bytes_text(buf_bytes(&out), "HTTP/1.1 426 Upgrade Required\r\n"
					   "Upgrade: websocket\r\n"
					   "Sec-WebSocket-Version: 13\r\n"
					   "Connection: Upgrade, close\r\n"
					   "Content-Type: text/plain\r\n"
					   "Content-Length: 3\r\n\r\nno\n");
	buf_clear(&out);
	ws_handshake_refuse(&answer, 405, "no");
	ws_handshake_write(&out, &answer);
	assert_bytes_text(buf_bytes(&out), "HTTP/1.1 405 Method Not Allowed\r\n"
					   "Connection: close\r\n"
					   "Allow: GET\r\nContent-Length: 0\r\n\r\n");
	for (uint16_t status = 400; status <= 500; status++) {
		buf_clear(&out);
		ws_handshake_refuse(&answer, status, "no");
		ws_handshake_write(&out, &answer);
		assert_true(bytes_starts_with(buf_bytes(&out), BYTES_LITERAL("HTTP/1.1 ")));
	}
	buf_fini(&out);
}

static long
scan(const char *text, bool *done)
{
	uint8_t state = 0;

	return ws_head_scan(&state, bytes_of(text), done);
}

static void
the_end_of_a_head_is_found_wherever_it_is_cut(void **state)
{
	struct bytes text = BYTES_LITERAL(REQUEST "behind");
	size_t end = sizeof(REQUEST) - 1;

	(void)state;
	for (size_t first = 0; first <= text.len; first++) {
		uint8_t scanned = 0;
		bool done;
		long used = ws_head_scan(&scanned, bytes_make(text.data, first), &done);

		assert_int_equal(used, first < end ? first : end);
		assert_int_equal(done, first >= end);
		if (!done) {
			used = ws_head_scan(&scanned, bytes_skip(text, first), &done);
			assert_true(done);
			assert_int_equal(used, end - first);
		}
	}
}

static void
bytes_that_no_head_has_are_refused_at_once(void **state)
{
	bool done;

	(void)state;
	assert_int_equal(scan("GET / HTTP/1.1\n", &done), ERR_INVALID);
	assert_int_equal(scan("GET / HTTP/1.1\r\r\n", &done), ERR_INVALID);
	assert_int_equal(scan("GET / HTTP/1.1\rX", &done), ERR_INVALID);
	assert_int_equal(scan("\x10\x1a\x00\x04MQTT", &done), ERR_INVALID); /* CONNECT */
	assert_int_equal(scan("\x16\x03\x01", &done), ERR_INVALID);         /* TLS */
	assert_int_equal(scan("GET \x7f", &done), ERR_INVALID);
	assert_int_equal(scan("GET\t\xff", &done), 5);
	assert_false(done);
}

/* 10.0.0.0/8 and unix sockets. */
static bool
trusts(void *arg, const struct addr *peer)
{
	struct bytes host = addr_host(peer);

	assert_ptr_equal(arg, &any);
	return peer->storage.ss_family == AF_UNIX || (host.len == 4 && host.data[0] == 10);
}

static void
the_client_behind_trusted_proxies_is_known(void **state)
{
	static const struct ws_options options = {
	    .path = "/mqtt", .trusts = trusts, .arg = (void *)(uintptr_t)&any};
	static const struct {
		const char *peer;
		const char *fields;
		const char *name; /* NULL: the peer's */
	} rows[] = {
	    {"10.0.0.1:5", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1:0"},
	    {"10.0.0.1:5", "x-forwarded-for: 192.0.2.1:77\r\n", "192.0.2.1:77"},
	    {"[::ffff:10.0.0.1]:5", "X-Forwarded-For: 2001:db8::1\r\n", "[2001:db8::1]:0"},
	    {"unix:/x", "X-Forwarded-For: [2001:db8::1]:9\r\n", "[2001:db8::1]:9"},
	    {"10.0.0.1:5", "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.1.1.1,10.2.2.2\r\n",
		"192.0.2.1:0"},
	    {"10.0.0.1:5",
		"X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nA: b\r\nX-Forwarded-For: 10.1.1.1\r\n",
		"192.0.2.1:0"},
	    {"10.0.0.1:5", "X-Forwarded-For: 10.3.3.3, 10.4.4.4\r\n", "10.3.3.3:0"},
	    {"10.0.0.1:5", "X-Forwarded-For: 192.0.2.1, unknown\r\n", NULL},
	    {"10.0.0.1:5", "X-Forwarded-For: 192.0.2.1, unknown, 10.4.4.4\r\n", "10.4.4.4:0"},
	    {"10.0.0.1:5", "X-Forwarded-For: unix:/secret\r\n", NULL},
	    {"10.0.0.1:5", "X-Forwarded-For: 1.2.3\r\n", NULL},
	    {"10.0.0.1:5", "X-Forwarded-For:\r\n", NULL},
	    {"10.0.0.1:5", "", NULL},
	    {"192.0.2.9:5", "X-Forwarded-For: 192.0.2.1\r\n", NULL},
	    {"mem:1", "X-Forwarded-For: 192.0.2.1\r\n", NULL},
	};
	char text[1024], name[ADDR_TEXT_SIZE];
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool found;

		snprintf(text, sizeof(text), "%s%s\r\n", REQUEST_LINE, rows[i].fields);
		found = ws_forwarded(bytes_of(text), &options, bytes_of(rows[i].peer), &addr);
		if (found != (rows[i].name != NULL)) {
			fail_msg("row %zu", i);
		}
		if (found) {
			(void)addr_format(&addr, name);
			assert_string_equal(name, rows[i].name);
		}
		assert_false(ws_forwarded(bytes_of(text), &any, bytes_of(rows[i].peer), &addr));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_sample_of_the_standard_is_answered),
	    cmocka_unit_test(names_and_words_are_known_in_any_case),
	    cmocka_unit_test(the_first_protocol_of_the_client_that_is_known_is_chosen),
	    cmocka_unit_test(paths_are_compared_without_their_query),
	    cmocka_unit_test(origins_are_checked_where_there_are_any),
	    cmocka_unit_test(each_demand_has_its_refusal),
	    cmocka_unit_test(a_request_needs_all_its_fields),
	    cmocka_unit_test(refusals_are_proper_answers),
	    cmocka_unit_test(the_end_of_a_head_is_found_wherever_it_is_cut),
	    cmocka_unit_test(bytes_that_no_head_has_are_refused_at_once),
	    cmocka_unit_test(the_client_behind_trusted_proxies_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
