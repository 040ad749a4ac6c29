/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of TLS, against the server's: two streams whose pipes the test joins. */
#include "unit/transport/tls_house.h"

#include "transport/ws.h"

static struct stream *dialler;
static struct mem_pipe *dialler_far;
static struct buf dialler_got;
static long dialler_read;
static unsigned dialler_seen;

static void
take_dialler(struct stream *self, unsigned events, void *owner)
{
	static uint8_t memory[65536];

	(void)owner;
	dialler_seen |= events;
	if ((events & STREAM_WRITE) != 0) {
		stream_want(self, STREAM_READ);
	}
	if ((events & STREAM_READ) != 0) {
		dialler_read = stream_read(self, memory, sizeof(memory));
		if (dialler_read > 0) {
			buf_append(&dialler_got, memory, (size_t)dialler_read);
		} else if (dialler_read != ERR_AGAIN) {
			stream_want(self, 0);
		}
	}
}

static bool
carry(struct mem_pipe *from, struct mem_pipe *to)
{
	struct bytes output = mem_pipe_output(from);
	size_t len = output.len;

	mem_pipe_write(to, output);
	mem_pipe_take(from, len);
	return len != 0;
}

static void
join(void)
{
	bool moved;

	do {
		settle();
		moved = carry(dialler_far, far);
		moved |= carry(far, dialler_far);
	} while (moved);
}

static struct stream *
new_dialler(struct tls_options options, const char *host)
{
	char why[256];
	struct tls_ctx *ctx = tls_ctx_new_client(&options, why, sizeof(why));
	struct stream *made;

	assert_non_null(ctx);
	made = tls_stream_connect_new(mem_stream_new("mem:2", SIZE_MAX, &dialler_far), ctx, host);
	tls_ctx_unref(&ctx);
	return made;
}

static void
start_dialler(struct stream *made)
{
	dialler = made;
	buf_init(&dialler_got, SIZE_MAX);
	dialler_read = 1;
	dialler_seen = 0;
	stream_on_ready(dialler, take_dialler, NULL);
	sim_enter(workers[1]);
	assert_int_equal(stream_attach(dialler, workers[1]), 0);
	stream_want(dialler, STREAM_READ | STREAM_WRITE);
	sim_leave();
	join();
}

static void
dial(struct tls_options options, struct tls_options server_options, const char *host)
{
	accept_stream(NULL, server_options);
	start_dialler(new_dialler(options, host));
}

static void
hang_up_both(void)
{
	stream_free(&dialler);
	mem_pipe_release(&dialler_far);
	buf_fini(&dialler_got);
	hang_up();
}

static struct tls_options
dial_options(void)
{
	return (struct tls_options){.cafile = house_path("ca.pem")};
}

static void
assert_both_talk(void)
{
	assert_null(tls_stream_error(stream));
	assert_null(tls_stream_error(dialler));
	assert_true((dialler_seen & STREAM_WRITE) != 0);
	assert_int_equal(stream_write(dialler, &(struct iovec){(char[]){'u', 'p'}, 2}, 1), 2);
	assert_int_equal(stream_write(stream, &(struct iovec){(char[]){'d'}, 1}, 1), 1);
	join();
	assert_bytes_text(buf_bytes(&received), "up");
	assert_bytes_text(buf_bytes(&dialler_got), "d");
	buf_clear(&received);
	stream_shut(dialler);
	join();
	assert_int_equal(last_read, 0);
}

static void
a_server_is_believed_for_its_name_and_address(void **state)
{
	(void)state;
	dial(dial_options(), usual_options(), "broker.example");
	assert_both_talk();
	assert_bytes_text(stream_identity(stream)->sni, "broker.example");
	hang_up_both();
	dial(dial_options(), usual_options(), "192.0.2.1");
	assert_both_talk();
	assert_int_equal(stream_identity(stream)->sni.len, 0);
	hang_up_both();
}

static void
assert_not_believed(struct tls_options options, const char *host, const char *text)
{
	dial(options, usual_options(), host);
	assert_int_equal(dialler_read, ERR_IO);
	assert_string_equal(tls_stream_error(dialler), text);
	hang_up_both();
}

static void
a_server_that_is_another_is_not_believed(void **state)
{
	struct tls_options options = dial_options();

	(void)state;
	assert_not_believed(
	    options, "other.example", "certificate verify failed: hostname mismatch");
	assert_not_believed(options, "192.0.2.2", "certificate verify failed: IP address mismatch");
	assert_not_believed(options, "", "the host's name cannot be used");
	save_certificate("stranger.pem", &stranger);
	options.cafile = house_path("stranger.pem");
	assert_not_believed(options, "broker.example",
	    "certificate verify failed: unable to get local issuer certificate");
	options.cafile = NULL; /* the system's */
	assert_not_believed(options, "broker.example",
	    "certificate verify failed: unable to get local issuer certificate");
}

static void
it_shows_its_certificate_and_offers_alpn(void **state)
{
	struct entity bridge =
	    issue((struct spec){.cn = BYTES_LITERAL("bridge"), .issuer = &authority});
	struct tls_options options = dial_options(), server_options = usual_options();

	(void)state;
	save_certificate("bridge.pem", &bridge);
	save_key("bridge.key", &bridge);
	options.certfile = house_path("bridge.pem");
	options.keyfile = house_path("bridge.key");
	options.alpn = "mqtt";
	server_options.cafile = house_path("ca.pem");
	server_options.require_certificate = true;
	server_options.username_from = TLS_USERNAME_CN;
	dial(options, server_options, "broker.example");
	assert_both_talk();
	assert_bytes_text(stream_identity(stream)->username, "bridge");
	hang_up_both();
	options.alpn = "other";
	dial(options, server_options, "broker.example");
	assert_string_equal(tls_stream_error(stream), "no application protocol");
	assert_string_equal(tls_stream_error(dialler), "tlsv1 alert no application protocol");
	hang_up_both();
	dismiss(&bridge);
}

static void
websocket_on_top_is_told_when_it_may_begin(void **state)
{
	static const struct ws_options options = {.path = "/mqtt"};
	static const struct ws_connect_options client_options = {.host = "broker.example"};

	(void)state;
	accept_stream(NULL, usual_options());
	stream_detach(stream);
	stream = ws_stream_new(stream, &options);
	stream_on_ready(stream, take_ready, &calls);
	attach(0);
	start_dialler(
	    ws_stream_connect_new(new_dialler(dial_options(), "broker.example"), &client_options));
	assert_null(ws_stream_error(dialler));
	assert_both_talk();
	assert_true(stream_identity(dialler)->is_encrypted);
	assert_string_equal(ws_stream_error(stream), "the client closed the WebSocket");
	hang_up_both();
	/* Nor is it told of another's failure as if it were its own. */
	accept_stream(NULL, usual_options());
	start_dialler(
	    ws_stream_connect_new(new_dialler(dial_options(), "other.example"), &client_options));
	assert_int_equal(dialler_read, ERR_IO);
	assert_null(ws_stream_error(dialler));
	assert_non_null(tls_stream_error(dialler));
	hang_up_both();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_server_is_believed_for_its_name_and_address),
	    CASE(a_server_that_is_another_is_not_believed),
	    CASE(it_shows_its_certificate_and_offers_alpn),
	    CASE(websocket_on_top_is_told_when_it_may_begin),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
