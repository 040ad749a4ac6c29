/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/transport/quiet.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"
#include "transport/proxy.h"
#include "transport/proxy_head.h"
#include "transport/ws.h"

#define V1 "PROXY TCP4 192.0.2.1 192.0.2.2 4711 1883\r\n"
/* Authority "sni", and a verified client "cn". */
#define V2                                   \
	"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1f" \
	"\xc0\0\2\1\xc0\0\2\2\x12\x67\x07\x5b\x02\0\3sni\x20\0\x0a\7\0\0\0\0\x22\0\2cn"
#define LOCAL "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"

static struct loop *loop;
static struct worker *worker;
static struct stream *stream;
static struct mem_pipe *far;
static struct buf received;
static size_t read_size;
static long last_read;
static bool moves;

static void
take_ready(struct stream *self, unsigned events, void *owner)
{
	char memory[6000];

	assert_ptr_equal(owner, &received);
	if ((events & STREAM_READ) == 0) {
		return;
	}
	last_read = stream_read(self, memory, read_size);
	if (last_read > 0) {
		buf_append(&received, memory, (size_t)last_read);
		if ((size_t)last_read == read_size) {
			stream_raise(self, STREAM_READ);
		}
	} else if (last_read != ERR_AGAIN) {
		stream_want(self, 0);
	}
}

static void
settle(void)
{
	assert_true(sim_settle(loop, 1000000));
}

static void
attach(void)
{
	sim_enter(worker);
	assert_int_equal(stream_attach(stream, worker), 0);
	sim_leave();
	settle();
}

static void
open_stream(void)
{
	stream = proxy_stream_new(mem_stream_new("10.0.0.1:5", SIZE_MAX, &far));
	stream_on_ready(stream, take_ready, &received);
	buf_clear(&received);
	read_size = 6000;
	last_read = 1;
	attach();
}

static void
close_stream(void)
{
	stream_free(&stream);
	mem_pipe_release(&far);
}

static int
begin(void **state)
{
	struct loop_options options = {.seed = 1};

	(void)state;
	loop = loop_new(&options);
	worker = loop_add_worker(loop, "main");
	assert_int_equal(loop_start(loop), 0);
	buf_init(&received, SIZE_MAX);
	moves = false;
	open_stream();
	return 0;
}

static int
end(void **state)
{
	(void)state;
	close_stream();
	settle();
	loop_join(loop);
	loop_free(&loop);
	buf_fini(&received);
	return 0;
}

static void
say(struct bytes bytes)
{
	mem_pipe_write(far, bytes);
	settle();
	if (moves) {
		stream_detach(stream);
		attach();
	}
}

static void
expect(const char *name, const char *cn, const char *authority)
{
	assert_bytes_text(buf_bytes(&received), "hello");
	assert_true(last_read > 0 || last_read == ERR_AGAIN);
	assert_bytes_text(stream_peer_name(stream), name);
	assert_bytes_text(proxy_stream_client_cn(stream), cn);
	assert_bytes_text(proxy_stream_authority(stream), authority);
	assert_int_equal(proxy_stream_is_tls(stream), cn[0] != '\0');
	assert_null(proxy_stream_error(stream));
}

/* The header and "hello", cut once at every byte, read in parts of every size, with moves. */
static void
check(struct bytes header, const char *name, const char *cn, const char *authority)
{
	struct buf all;

	buf_init(&all, SIZE_MAX);
	buf_append_bytes(&all, header);
	buf_append_text(&all, "hello");
	for (size_t first = 0; first <= all.len; first++) {
		moves = !moves;
		close_stream();
		open_stream();
		say(bytes_make(all.data, first));
		if (first < header.len) {
			assert_int_equal(last_read, ERR_AGAIN);
			assert_bytes_text(stream_peer_name(stream), "10.0.0.1:5");
		}
		say(bytes_skip(buf_bytes(&all), first));
		expect(name, cn, authority);
	}
	for (size_t size = 1; size <= all.len; size++) {
		close_stream();
		open_stream();
		read_size = size;
		say(buf_bytes(&all));
		expect(name, cn, authority);
		close_stream();
		open_stream();
		mem_pipe_set_read_size(far, size);
		say(buf_bytes(&all));
		expect(name, cn, authority);
	}
	buf_fini(&all);
}

static void
a_header_is_eaten_and_the_rest_delivered(void **state)
{
	(void)state;
	check(BYTES_LITERAL(V1), "192.0.2.1:4711", "", "");
	check(BYTES_LITERAL(V2), "192.0.2.1:4711", "cn", "sni");
	check(BYTES_LITERAL("PROXY UNKNOWN\r\n"), "10.0.0.1:5", "", "");
	check(BYTES_LITERAL(LOCAL), "10.0.0.1:5", "", "");
}

static void
the_largest_header_is_eaten(void **state)
{
	static const size_t sizes[] = {1, 100, 4111, 4112, 4113, 6000};
	struct buf all;

	(void)state;
	buf_init(&all, SIZE_MAX);
	buf_append(&all, "\r\n\r\n\0\r\nQUIT\n\x20\0\x10\0", 16);
	while (all.len < PROXY_HEAD_MAX_SIZE) {
		buf_append_byte(&all, 'x');
	}
	buf_append_text(&all, "hello");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		close_stream();
		open_stream();
		read_size = sizes[i];
		say(buf_bytes(&all));
		expect("10.0.0.1:5", "", "");
	}
	buf_fini(&all);
}

static void
only_one_header_is_eaten_and_then_all_passes(void **state)
{
	struct iovec part = {(char[]){"out"}, 3};

	(void)state;
	say(BYTES_LITERAL(V1 V1));
	assert_bytes_text(buf_bytes(&received), V1);
	say(BYTES_LITERAL("more"));
	assert_bytes_text(buf_bytes(&received), V1 "more");
	assert_int_equal(stream_write(stream, &part, 1), 3);
	assert_bytes_text(mem_pipe_output(far), "out");
	stream_shut(stream);
	assert_true(mem_pipe_is_closed(far));
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(last_read, 0);
}

static void
a_malformed_header_is_an_error_with_a_reason(void **state)
{
	static const char good[] = V1;
	struct iovec part = {(char[]){"out"}, 3};

	(void)state;
	say(BYTES_LITERAL("\x10\x0c"));
	assert_int_equal(last_read, ERR_IO);
	assert_string_equal(
	    proxy_stream_error(stream), "the connection does not begin with a PROXY header");
	assert_int_equal(stream_write(stream, &part, 1), ERR_IO);
	for (size_t at = 0; at < 11; at++) {
		close_stream();
		open_stream();
		say(bytes_make(good, at));
		say(BYTES_LITERAL("?"));
		say(BYTES_LITERAL("\r\nhello"));
		assert_int_equal(last_read, ERR_IO);
		assert_non_null(proxy_stream_error(stream));
		assert_int_equal(received.len, 0);
		assert_bytes_text(stream_peer_name(stream), "10.0.0.1:5");
	}
}

static void
an_end_before_the_header_is_told(void **state)
{
	(void)state;
	say(BYTES_LITERAL("PRO"));
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(last_read, 0);
	assert_string_equal(
	    proxy_stream_error(stream), "the connection ended before a PROXY header");
	close_stream();
	open_stream();
	mem_pipe_close(far, true);
	settle();
	assert_int_equal(last_read, ERR_IO);
}

static void
a_stream_below_that_tells_once_is_read_to_its_end(void **state)
{
	static const struct bytes all = {(const uint8_t *)V1 "hello", sizeof(V1) + 4};

	(void)state;
	for (size_t size = 1; size < all.len + 2; size++) {
		close_stream();
		stream = proxy_stream_new(quiet_stream(all));
		stream_on_ready(stream, take_ready, &received);
		buf_clear(&received);
		read_size = size;
		quiet_run();
		expect("192.0.2.1:4711", "", "");
	}
}

static void
it_is_found_below_other_layers(void **state)
{
	const struct ws_options options = {0};
	struct mem_pipe *pipe;
	struct stream *bare = mem_stream_new("mem", SIZE_MAX, &pipe), *top;

	(void)state;
	assert_null(proxy_stream_error(bare));
	assert_int_equal(proxy_stream_client_cn(bare).len, 0);
	assert_int_equal(proxy_stream_authority(NULL).len, 0);
	assert_false(proxy_stream_is_tls(bare));
	assert_null(ws_stream_error(bare));
	stream_free(&bare);
	mem_pipe_release(&pipe);
	say(BYTES_LITERAL(V2));
	top = ws_stream_new(stream, &options);
	stream = top;
	assert_bytes_text(proxy_stream_client_cn(top), "cn");
	assert_bytes_text(proxy_stream_authority(top), "sni");
	assert_bytes_text(stream_peer_name(top), "192.0.2.1:4711");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_header_is_eaten_and_the_rest_delivered),
	    CASE(the_largest_header_is_eaten),
	    CASE(only_one_header_is_eaten_and_then_all_passes),
	    CASE(a_malformed_header_is_an_error_with_a_reason),
	    CASE(an_end_before_the_header_is_told),
	    CASE(a_stream_below_that_tells_once_is_read_to_its_end),
	    CASE(it_is_found_below_other_layers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
