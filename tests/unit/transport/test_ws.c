/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/transport/quiet.h"
#include "unit/transport/ws_kit.h"

#include "base/err.h"
#include "base/mem.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"
#include "transport/ws.h"
#include "transport/ws_frame.h"

static const struct ws_options mqtt = {.path = "/mqtt"};

static struct loop *loop;
static struct worker *worker;
static struct stream *stream;
static struct mem_pipe *far;
static struct buf received, input;
static size_t read_size;
static unsigned calls, seen;
static bool pauses;
static long last_read;
static char memory[300000];

/* The owner: reads once each time it is told, as a peer does. */
static void
take_ready(struct stream *self, unsigned events, void *owner)
{
	(void)owner;
	calls++;
	seen |= events;
	if ((events & STREAM_WRITE) != 0) {
		stream_want(self, STREAM_READ);
	}
	if ((events & STREAM_READ) == 0 || pauses) {
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
}

static void
open_stream(const char *name, const struct ws_options *options)
{
	stream = ws_stream_new(mem_stream_new(name, SIZE_MAX, &far), options);
	stream_on_ready(stream, take_ready, NULL);
	buf_clear(&received);
	read_size = sizeof(memory);
	calls = seen = 0;
	pauses = false;
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
	buf_init(&input, SIZE_MAX);
	open_stream("192.0.2.7:1", &mqtt);
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
	buf_fini(&input);
	return 0;
}

static void
again(const struct ws_options *options)
{
	close_stream();
	open_stream("192.0.2.7:1", options);
}

static void
send_input(void)
{
	mem_pipe_write(far, buf_bytes(&input));
	settle();
}

static void
take_output(const char *text, size_t len)
{
	struct bytes have = mem_pipe_output(far);

	assert_int_equal(have.len, len);
	assert_memory_equal(have.data, text, len);
	mem_pipe_take(far, len);
}

#define assert_output(literal) take_output(literal, sizeof(literal) - 1)

static void
upgrade(void)
{
	mem_pipe_write(far, BYTES_LITERAL(REQUEST));
	settle();
	assert_output(UPGRADED);
}

static long
put(const char *text)
{
	return stream_write(stream, &(struct iovec){(void *)(uintptr_t)text, strlen(text)}, 1);
}

/* --- reading --- */

static void
bytes_come_after_the_upgrade(void **state)
{
	(void)state;
	assert_int_equal(put("too early"), 0);
	upgrade();
	assert_int_equal(last_read, ERR_AGAIN);
	put_text(&input, FIN | WS_BINARY, "hello");
	send_input();
	assert_bytes_text(buf_bytes(&received), "hello");
	assert_null(ws_stream_error(stream));
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(last_read, 0);
	assert_non_null(ws_stream_error(stream));
}

static void
fill_conversation(void)
{
	buf_clear(&input);
	buf_append_text(&input, REQUEST);
	put_text(&input, WS_BINARY, "one ");
	put_text(&input, FIN | WS_PING, "?");
	put_text(&input, WS_CONTINUATION, "two ");
	put_text(&input, FIN | WS_CONTINUATION, "three ");
	put_text(&input, FIN | WS_BINARY, "");
	put_text(&input, FIN | WS_BINARY, "four");
	put_frame(&input, FIN | WS_CLOSE, MASKED, BYTES_LITERAL("\x03\xe8"));
	buf_append_text(&input, "ignored");
}

static void
expect_conversation(void)
{
	assert_bytes_text(buf_bytes(&received), "one two three four");
	assert_int_equal(last_read, 0);
	assert_output(UPGRADED "\x8a\x01?\x88\x02\x03\xe8");
	assert_int_equal(put("late"), ERR_IO);
	assert_int_equal(put(""), ERR_IO);
}

static void
a_conversation_may_be_cut_anywhere(void **state)
{
	size_t len;

	(void)state;
	fill_conversation();
	len = input.len;
	for (size_t first = 1; first < len; first++) {
		again(&mqtt);
		mem_pipe_write(far, bytes_make(input.data, first));
		settle();
		mem_pipe_write(far, bytes_skip(buf_bytes(&input), first));
		settle();
		expect_conversation();
	}
}

static void
reads_of_any_size_give_the_same(void **state)
{
	(void)state;
	fill_conversation();
	for (size_t far_size = 0; far_size < 20; far_size++) {
		for (size_t size = 1; size < 20; size++) {
			again(&mqtt);
			mem_pipe_set_read_size(far, far_size);
			read_size = size;
			send_input();
			expect_conversation();
		}
	}
}

static void
a_stream_may_move_in_the_middle_of_anything(void **state)
{
	size_t len;

	(void)state;
	fill_conversation();
	len = input.len;
	for (size_t first = 1; first < len; first++) {
		again(&mqtt);
		mem_pipe_write(far, bytes_make(input.data, first));
		settle();
		stream_detach(stream);
		stream_detach(stream);
		mem_pipe_write(far, bytes_skip(buf_bytes(&input), first));
		settle();
		attach();
		settle();
		expect_conversation();
	}
}

static void
a_frame_may_be_larger_than_any_buffer(void **state)
{
	static uint8_t big[500000];

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++) {
		big[i] = (uint8_t)(i * 31);
	}
	buf_append_text(&input, REQUEST);
	put_frame(&input, FIN | WS_BINARY, MASKED, bytes_make(big, sizeof(big)));
	send_input();
	assert_true(bytes_equal(buf_bytes(&received), bytes_make(big, sizeof(big))));
	again(&mqtt);
	read_size = 1000;
	send_input();
	assert_true(bytes_equal(buf_bytes(&received), bytes_make(big, sizeof(big))));
}

static void
violations_are_answered_and_end_it(void **state)
{
	(void)state;
	upgrade();
	put_text(&input, FIN | WS_BINARY, "good");
	put_text(&input, FIN | WS_TEXT, "text");
	put_text(&input, FIN | WS_BINARY, "not read");
	send_input();
	assert_bytes_text(buf_bytes(&received), "good");
	assert_int_equal(last_read, ERR_IO);
	assert_output("\x88\x02\x03\xeb");
	assert_non_null(ws_stream_error(stream));
	assert_int_equal(put("late"), ERR_IO);
	again(&mqtt);
	upgrade();
	buf_clear(&input);
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("bare"));
	send_input();
	assert_int_equal(last_read, ERR_IO);
	assert_int_equal(received.len, 0);
	assert_output("\x88\x02\x03\xea");
	assert_string_equal(ws_stream_error(stream), "a frame is not masked");
	stream_shut(stream);
	assert_true(mem_pipe_is_closed(far));
	assert_output("");
}

static void
close_frames_are_answered_with_their_code(void **state)
{
	(void)state;
	upgrade();
	put_text(&input, FIN | WS_CLOSE, "");
	send_input();
	assert_output("\x88\x00");
	assert_int_equal(last_read, 0);
	again(&mqtt);
	upgrade();
	buf_clear(&input);
	put_text(&input, FIN | WS_CLOSE, "\x0f\xa0 bye");
	send_input();
	assert_output("\x88\x02\x0f\xa0");
	again(&mqtt);
	upgrade();
	buf_clear(&input);
	put_text(&input, FIN | WS_CLOSE, "\x03");
	send_input();
	assert_output("\x88\x02\x03\xea");
	assert_int_equal(last_read, ERR_IO);
}

static void
a_stream_below_that_tells_once_is_read_to_its_end(void **state)
{
	(void)state;
	fill_conversation();
	for (size_t size = 1; size < input.len + 2; size++) {
		close_stream();
		stream = ws_stream_new(quiet_stream(buf_bytes(&input)), &mqtt);
		stream_on_ready(stream, take_ready, NULL);
		buf_clear(&received);
		read_size = size;
		quiet_run();
		assert_bytes_text(buf_bytes(&received), "one two three four");
		assert_int_equal(last_read, 0);
	}
}

/* --- the handshake --- */

static void
expect_refusal(const char *request, const char *status)
{
	again(&mqtt);
	mem_pipe_write(far, bytes_of(request));
	settle();
	assert_int_equal(last_read, ERR_IO);
	assert_true(bytes_starts_with(mem_pipe_output(far), bytes_of(status)));
	assert_non_null(ws_stream_error(stream));
	assert_int_equal(put("late"), ERR_IO);
	assert_false(mem_pipe_is_closed(far));
	stream_shut(stream);
	assert_true(mem_pipe_is_closed(far));
}

static void
requests_that_are_no_upgrade_are_answered(void **state)
{
	(void)state;
	expect_refusal("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ");
	expect_refusal("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ");
	expect_refusal("PUT / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ");
	expect_refusal("\x10\x0c", "HTTP/1.1 400 ");
	expect_refusal("GET / HTTP/1.1\n", "HTTP/1.1 400 ");
}

static void
an_answer_waits_for_room(void **state)
{
	(void)state;
	mem_pipe_set_room(far, 9);
	mem_pipe_write(far, bytes_of("PUT / HTTP/1.1\r\nHost: x\r\n\r\n"));
	settle();
	assert_int_equal(last_read, ERR_IO);
	stream_shut(stream);
	assert_false(mem_pipe_is_closed(far));
	take_output("HTTP/1.1 ", 9);
	settle();
	mem_pipe_set_room(far, SIZE_MAX);
	settle();
	assert_true(mem_pipe_is_closed(far));
	assert_true(bytes_starts_with(mem_pipe_output(far), BYTES_LITERAL("405 ")));
}

static void
a_large_head_is_refused_however_it_comes(void **state)
{
	static const size_t sizes[] = {1, 100, 8191, 8192, 8193, 100000};

	(void)state;
	buf_append_text(&input, REQUEST_LINE "X: ");
	while (input.len < 200000) {
		buf_append_byte(&input, 'x');
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		again(&mqtt);
		mem_pipe_set_read_size(far, sizes[i]);
		send_input();
		assert_int_equal(last_read, ERR_IO);
		assert_true(
		    bytes_starts_with(mem_pipe_output(far), BYTES_LITERAL("HTTP/1.1 431 ")));
	}
}

static void
a_head_of_just_the_limit_is_taken(void **state)
{
	struct ws_options options = {.max_head_size = sizeof(REQUEST) - 1};

	(void)state;
	again(&options);
	buf_append_text(&input, REQUEST);
	put_text(&input, FIN | WS_BINARY, "hello");
	send_input();
	assert_bytes_text(buf_bytes(&received), "hello");
	options.max_head_size--;
	again(&options);
	send_input();
	assert_int_equal(last_read, ERR_IO);
	assert_true(bytes_starts_with(mem_pipe_output(far), BYTES_LITERAL("HTTP/1.1 431 ")));
}

static void
many_fields_cost_no_more_than_their_bytes(void **state)
{
	static const struct ws_options large = {.path = "/mqtt", .max_head_size = 4000000};

	(void)state;
	again(&large);
	buf_append_text(&input, REQUEST_LINE REQUEST_FIELDS);
	for (int i = 0; i < 200000; i++) {
		buf_append_text(&input, "a:\r\n");
	}
	buf_append_text(&input, "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
	mem_pipe_set_read_size(far, 4096);
	/* mem_stream moves its input at each read, so it is fed in parts. */
	for (struct bytes rest = buf_bytes(&input); rest.len != 0;) {
		size_t len = rest.len < 4096 ? rest.len : 4096;

		mem_pipe_write(far, bytes_make(rest.data, len));
		settle();
		rest = bytes_skip(rest, len);
	}
	assert_output(UPGRADED);
}

static void
an_end_within_the_handshake_is_told(void **state)
{
	(void)state;
	mem_pipe_write(far, BYTES_LITERAL(REQUEST_LINE));
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(last_read, 0);
	assert_string_equal(ws_stream_error(stream), "the connection ended within the handshake");
}

static void
who_waits_to_write_is_told_of_the_upgrade(void **state)
{
	(void)state;
	stream_want(stream, STREAM_READ | STREAM_WRITE);
	settle();
	assert_int_equal(put("early"), 0);
	stream_want(stream, STREAM_READ | STREAM_WRITE);
	pauses = true;
	mem_pipe_set_room(far, 0);
	settle();
	seen = 0;
	mem_pipe_set_room(far, SIZE_MAX);
	pauses = false;
	mem_pipe_write(far, BYTES_LITERAL(REQUEST));
	settle();
	assert_int_equal(seen & STREAM_WRITE, STREAM_WRITE);
	assert_output(UPGRADED);
	assert_int_equal(put("now"), 3);
	assert_output("\x82\x03now");
}

static bool
trusts_all_but_192_0_2_1(void *arg, const struct addr *peer)
{
	char name[ADDR_TEXT_SIZE];

	(void)arg;
	(void)addr_format(peer, name);
	return strcmp(name, "192.0.2.1:0") != 0;
}

static void
the_name_is_the_clients_behind_a_trusted_proxy(void **state)
{
	static const struct ws_options options = {.trusts = trusts_all_but_192_0_2_1};

	(void)state;
	assert_bytes_text(stream_peer_name(stream), "192.0.2.7:1");
	upgrade();
	assert_bytes_text(stream_peer_name(stream), "192.0.2.7:1");
	again(&options);
	mem_pipe_write(far, BYTES_LITERAL(REQUEST_LINE REQUEST_FIELDS
				"X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.1\r\n"
				"Sec-WebSocket-Protocol: mqtt\r\n\r\n"));
	settle();
	assert_bytes_text(stream_peer_name(stream), "192.0.2.1:0");
}

/* --- writing --- */

static void
a_write_is_a_frame(void **state)
{
	static char big[70000], xyz[] = "xyz";
	struct iovec parts[3] = {{big, 3}, {big, 0}, {big, sizeof(big)}};
	struct iovec many[200];

	(void)state;
	upgrade();
	assert_int_equal(put("hello"), 5);
	assert_output("\x82\x05hello");
	assert_int_equal(put(""), 0);
	assert_output("");
	assert_int_equal(stream_write(stream, parts, 3), 70003);
	assert_int_equal(mem_pipe_output(far).len, 70013);
	assert_memory_equal(mem_pipe_output(far).data, "\x82\x7f\0\0\0\0\0\x01\x11\x73", 10);
	mem_pipe_take(far, 70013);
	for (int i = 0; i < 200; i++) {
		many[i] = (struct iovec){xyz, (size_t)i % 4};
	}
	assert_int_equal(stream_write(stream, many, 200), 300);
	assert_int_equal(mem_pipe_output(far).len, 304);
	assert_memory_equal(mem_pipe_output(far).data, "\x82\x7e\x01\x2cxxyxyzxxy", 13);
}

/* A far end that takes `room` bytes at a time: what comes out is one frame, whole. */
static void
short_writes_are_exact_to_the_byte(void **state)
{
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = (char)('a' + i % 26);
	}
	for (size_t room = 1; room < 310; room += room < 12 ? 1 : 29) {
		struct buf out;
		size_t done = 0;

		buf_init(&out, SIZE_MAX);
		again(&mqtt);
		upgrade();
		mem_pipe_set_room(far, room);
		while (done < sizeof(text) || mem_pipe_output(far).len != 0) {
			struct iovec parts[2] = {{text + done, (sizeof(text) - done) / 2}};
			long n;

			parts[1].iov_base = text + done + parts[0].iov_len;
			parts[1].iov_len = sizeof(text) - done - parts[0].iov_len;
			n = stream_write(stream, parts, 2);
			assert_true(n >= 0);
			done += (size_t)n;
			assert_true(mem_pipe_output(far).len <= room);
			buf_append_bytes(&out, mem_pipe_output(far));
			mem_pipe_take(far, SIZE_MAX);
		}
		assert_int_equal(out.len, sizeof(text) + 4);
		assert_memory_equal(out.data, "\x82\x7e\x01\x2c", 4);
		assert_memory_equal(out.data + 4, text, sizeof(text));
		buf_fini(&out);
	}
}

static void
what_is_added_to_half_a_frame_becomes_the_next(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(far, 4);
	assert_int_equal(put("hello"), 2);
	assert_int_equal(put("llo"), 0);
	mem_pipe_set_room(far, SIZE_MAX);
	assert_int_equal(put("l"), 1);
	assert_int_equal(put("lo, world"), 9);
	assert_output("\x82\x05hello\x82\x07, world");
	mem_pipe_set_room(far, 1);
	assert_int_equal(put("abc"), 0);
	mem_pipe_set_room(far, SIZE_MAX);
	assert_int_equal(put(""), 0);
	assert_int_equal(put("abcdef"), 6);
	assert_output("\x82\x03"
		      "abc\x82\x03"
		      "def");
}

static void
pings_are_answered_between_frames_only(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(far, 3);
	assert_int_equal(put("hello"), 1);
	put_text(&input, FIN | WS_PING, "?");
	send_input();
	assert_output("\x82\x05h");
	seen = 0;
	stream_want(stream, STREAM_READ | STREAM_WRITE);
	settle();
	assert_int_equal(seen, STREAM_WRITE);
	mem_pipe_set_room(far, 5);
	assert_int_equal(put("ello"), 4);
	assert_output("ello\x8a");
	seen = 0;
	settle(); /* the rest goes out by itself, and the owner is not bothered */
	assert_output("\x01?");
	settle();
	assert_int_equal(seen, 0);
}

static void
an_answer_that_waits_goes_out_before_the_next_frame(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(far, 1);
	put_text(&input, FIN | WS_PING, "?");
	send_input();
	assert_output("\x8a");
	mem_pipe_set_room(far, SIZE_MAX);
	assert_int_equal(put("a"), 1);
	assert_output("\x01?\x82\x01"
		      "a");
	mem_pipe_set_room(far, 1);
	send_input();
	assert_int_equal(put("a"), 0);
	assert_output("\x8a");
	mem_pipe_set_room(far, SIZE_MAX);
	stream_detach(stream);
	attach();
	settle();
	assert_output("\x01?");
}

static void
pongs_keep_their_order_and_a_flood_is_bounded(void **state)
{
	struct buf out;
	char name[12];

	(void)state;
	buf_init(&out, SIZE_MAX);
	upgrade();
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_text(&input, FIN | WS_PING, name);
	}
	send_input();
	assert_output("\x8a\x01"
		      "0\x8a\x01"
		      "1\x8a\x01"
		      "2\x8a\x01"
		      "3\x8a\x01"
		      "4\x8a\x01"
		      "5\x8a\x01"
		      "6\x8a\x01"
		      "7\x8a\x01"
		      "8\x8a\x01"
		      "9");
	buf_clear(&input);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "%05d", i);
		put_text(&input, FIN | WS_PING, name);
	}
	mem_pipe_set_room(far, 3);
	send_input();
	send_input();
	mem_pipe_set_room(far, 300);
	settle();
	send_input();
	/* Those that were answered, the last of all among them. */
	while (mem_pipe_output(far).len != 0) {
		buf_append_bytes(&out, mem_pipe_output(far));
		mem_pipe_take(far, SIZE_MAX);
		settle();
	}
	assert_true(out.len <= 2 * WS_PONG_LIMIT);
	assert_int_equal(out.len % 7, 0);
	for (size_t i = 0; i < out.len; i += 7) {
		assert_memory_equal(out.data + i, "\x8a\x05", 2);
	}
	assert_memory_equal(out.data + out.len - 5, "19999", 5);
	buf_fini(&out);
	mem_pipe_set_room(far, SIZE_MAX);
	mem_pipe_take(far, SIZE_MAX);
	assert_int_equal(put("a"), 1);
	assert_output("\x82\x01"
		      "a");
}

/* --- closing --- */

static void
shutting_says_goodbye_and_then_shuts(void **state)
{
	(void)state;
	upgrade();
	assert_int_equal(put("bye"), 3);
	mem_pipe_set_room(far, 6);
	stream_shut(stream);
	assert_int_equal(put("late"), ERR_IO);
	assert_false(mem_pipe_is_closed(far));
	assert_output("\x82\x03"
		      "bye\x88");
	settle();
	assert_true(mem_pipe_is_closed(far));
	assert_output("\x02\x03\xe8");
	put_text(&input, FIN | WS_BINARY, "still under way");
	put_text(&input, FIN | WS_PING, "?");
	put_frame(&input, FIN | WS_CLOSE, MASKED, BYTES_LITERAL("\x03\xe8"));
	send_input();
	assert_bytes_text(buf_bytes(&received), "still under way");
	assert_int_equal(last_read, 0);
	assert_output("");
}

static void
half_a_frame_is_not_followed_by_a_close_frame(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(far, 4);
	assert_int_equal(put("hello"), 2);
	stream_shut(stream);
	assert_true(mem_pipe_is_closed(far));
	assert_output("\x82\x05he");
	again(&mqtt);
	stream_shut(stream);
	assert_true(mem_pipe_is_closed(far));
	assert_output("");
}

static void
a_broken_stream_is_told(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(far, 0);
	put_text(&input, FIN | WS_PING, "?");
	send_input();
	mem_pipe_close(far, true);
	settle();
	assert_int_equal(last_read, ERR_IO);
	assert_int_equal(put("x"), ERR_IO);
	stream_shut(stream);
}

static void
a_paused_owner_is_left_alone(void **state)
{
	(void)state;
	upgrade();
	stream_want(stream, 0);
	calls = 0;
	put_text(&input, FIN | WS_BINARY, "hello");
	send_input();
	assert_int_equal(calls, 0);
	stream_want(stream, STREAM_READ);
	settle();
	assert_bytes_text(buf_bytes(&received), "hello");
	seen = 0;
	pauses = true;
	stream_raise(stream, STREAM_WRITE);
	settle();
	assert_int_equal(seen, STREAM_WRITE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(bytes_come_after_the_upgrade),
	    CASE(a_conversation_may_be_cut_anywhere),
	    CASE(reads_of_any_size_give_the_same),
	    CASE(a_stream_may_move_in_the_middle_of_anything),
	    CASE(a_frame_may_be_larger_than_any_buffer),
	    CASE(a_stream_below_that_tells_once_is_read_to_its_end),
	    CASE(violations_are_answered_and_end_it),
	    CASE(close_frames_are_answered_with_their_code),
	    CASE(requests_that_are_no_upgrade_are_answered),
	    CASE(an_answer_waits_for_room),
	    CASE(a_large_head_is_refused_however_it_comes),
	    CASE(a_head_of_just_the_limit_is_taken),
	    CASE(many_fields_cost_no_more_than_their_bytes),
	    CASE(an_end_within_the_handshake_is_told),
	    CASE(who_waits_to_write_is_told_of_the_upgrade),
	    CASE(the_name_is_the_clients_behind_a_trusted_proxy),
	    CASE(a_write_is_a_frame),
	    CASE(short_writes_are_exact_to_the_byte),
	    CASE(what_is_added_to_half_a_frame_becomes_the_next),
	    CASE(pings_are_answered_between_frames_only),
	    CASE(an_answer_that_waits_goes_out_before_the_next_frame),
	    CASE(pongs_keep_their_order_and_a_flood_is_bounded),
	    CASE(shutting_says_goodbye_and_then_shuts),
	    CASE(half_a_frame_is_not_followed_by_a_close_frame),
	    CASE(a_broken_stream_is_told),
	    CASE(a_paused_owner_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
