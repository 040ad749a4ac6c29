/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of WebSocket: what it writes, how it ends, and talking with our server. */
#include "unit/transport/ws_client_kit.h"

/* --- writing --- */

static void
a_write_is_frames_with_masks_of_their_own(void **state)
{
	static char big[40000];
	struct iovec parts[4] = {{big, 3}, {big, 0}, {big + 3, sizeof(big) - 4}};
	uint8_t masks[3][4];
	struct bytes rest;
	size_t done = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++) {
		big[i] = (char)(i * 31 + i / 256);
	}
	upgrade();
	assert_int_equal(put_literal("hello"), 5);
	expect_binary("hello");
	assert_int_equal(put_literal(""), 0);
	expect_nothing();
	parts[3] = (struct iovec){big + sizeof(big) - 1, 1};
	assert_int_equal(stream_write(client.stream, parts, 4), sizeof(big));
	rest = mem_pipe_output(client.far);
	for (size_t i = 0; i < 3; i++) {
		take_frame(&rest);
		assert_int_equal(frame.first, FIN | WS_BINARY);
		assert_int_equal(frame.len, i < 2 ? WS_CLIENT_FRAME : 40000 - 2 * WS_CLIENT_FRAME);
		assert_memory_equal(frame.payload, big + done, frame.len);
		memcpy(masks[i], frame.mask, 4);
		done += frame.len;
	}
	assert_int_equal(rest.len, 0);
	assert_memory_not_equal(masks[0], masks[1], 4);
	assert_memory_not_equal(masks[1], masks[2], 4);
	assert_memory_not_equal(masks[0], masks[2], 4);
}

static void
nothing_is_taken_where_there_is_no_room_and_no_more_than_a_frame_is_kept(void **state)
{
	static char big[50000];

	(void)state;
	upgrade();
	mem_pipe_set_room(client.far, 0);
	assert_int_equal(put(&client, big, sizeof(big)), 0);
	mem_pipe_set_room(client.far, 1);
	assert_int_equal(put(&client, big, sizeof(big)), WS_CLIENT_FRAME);
	assert_int_equal(put(&client, big, sizeof(big)), 0);
	client.seen = 0;
	/* What was taken goes out by itself, and the owner is not bothered. */
	mem_pipe_set_room(client.far, SIZE_MAX);
	settle();
	assert_int_equal(client.seen, 0);
	expect_frame(FIN | WS_BINARY, big, WS_CLIENT_FRAME);
	expect_nothing();
	mem_pipe_set_room(client.far, 1);
	assert_int_equal(put_literal("abc"), 3);
	stream_want(client.stream, STREAM_READ | STREAM_WRITE);
	settle();
	assert_int_equal(client.seen, 0);
	mem_pipe_set_room(client.far, SIZE_MAX);
	settle();
	assert_int_equal(client.seen & STREAM_WRITE, STREAM_WRITE);
	expect_binary("abc");
	stream_detach(client.stream);
	assert_int_equal(put_literal("abc"), 0);
	attach(&client, 1);
	assert_int_equal(put_literal("abc"), 3);
	expect_binary("abc");
}

/* A far end that takes `room` bytes at a time. */
static void
short_writes_are_exact_to_the_byte(void **state)
{
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = (char)('a' + i % 26);
	}
	for (size_t room = 1; room < 320; room++) {
		struct buf out, plain;
		struct bytes rest;
		size_t done = 0, offer = 1 + room % 37;

		upgrade();
		buf_init(&out, SIZE_MAX);
		buf_init(&plain, SIZE_MAX);
		mem_pipe_set_room(client.far, room);
		while (done < sizeof(text) || mem_pipe_output(client.far).len != 0) {
			size_t len = sizeof(text) - done < offer ? sizeof(text) - done : offer;
			struct iovec parts[2] = {{text + done, len / 2}};
			long n;

			parts[1] = (struct iovec){text + done + len / 2, len - len / 2};
			n = stream_write(client.stream, parts, 2);
			assert_true(n >= 0);
			done += (size_t)n;
			assert_true(mem_pipe_output(client.far).len <= room);
			buf_append_bytes(&out, mem_pipe_output(client.far));
			mem_pipe_take(client.far, SIZE_MAX);
			settle();
		}
		for (rest = buf_bytes(&out); rest.len != 0;) {
			take_frame(&rest);
			buf_append(&plain, frame.payload, frame.len);
		}
		assert_true(bytes_equal(buf_bytes(&plain), bytes_make(text, sizeof(text))));
		buf_fini(&plain);
		buf_fini(&out);
	}
}

static void
pings_are_answered_behind_what_waits(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(client.far, 3);
	assert_int_equal(put_literal("hello"), 5);
	put_frame(&input, FIN | WS_PING, 0, bytes_of("?"));
	send_input();
	mem_pipe_set_room(client.far, SIZE_MAX);
	settle();
	expect_binary("hello");
	expect_frame(FIN | WS_PONG, "?", 1);
	expect_nothing();
}

static void
a_flood_of_pings_is_bounded(void **state)
{
	static char big[WS_CLIENT_FRAME];
	char name[12];

	(void)state;
	for (int with_frame = 0; with_frame < 2; with_frame++) {
		size_t pongs = 0;

		upgrade();
		mem_pipe_set_room(client.far, 5);
		if (with_frame != 0) {
			assert_int_equal(put(&client, big, sizeof(big)), sizeof(big));
		}
		for (int i = 0; i < 20000; i++) {
			snprintf(name, sizeof(name), "%05d", i);
			put_frame(&input, FIN | WS_PING, 0, bytes_of(name));
		}
		send_input();
		mem_pipe_set_room(client.far, SIZE_MAX);
		settle();
		if (with_frame != 0) {
			expect_frame(FIN | WS_BINARY, big, sizeof(big));
		}
		assert_true(mem_pipe_output(client.far).len <= WS_PONG_LIMIT + 16);
		for (struct bytes rest = mem_pipe_output(client.far); rest.len != 0; pongs++) {
			take_frame(&rest);
			assert_int_equal(frame.first, FIN | WS_PONG);
			assert_int_equal(frame.len, 5);
		}
		assert_true(pongs != 0);
		assert_memory_equal(frame.payload, "19999", 5);
		mem_pipe_take(client.far, SIZE_MAX);
		assert_int_equal(put_literal("a"), 1);
		expect_binary("a");
	}
}

static void
shutting_says_goodbye_and_then_shuts(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(client.far, 6);
	assert_int_equal(put_literal("bye"), 3);
	stream_shut(client.stream);
	assert_int_equal(put_literal("late"), ERR_IO);
	settle();
	assert_false(mem_pipe_is_closed(client.far));
	mem_pipe_set_room(client.far, SIZE_MAX);
	settle();
	assert_true(mem_pipe_is_closed(client.far));
	expect_binary("bye");
	expect_frame(FIN | WS_CLOSE, "\x03\xe8", 2);
	expect_nothing();
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("still under way"));
	put_frame(&input, FIN | WS_CLOSE, 0, BYTES_LITERAL("\x03\xe8"));
	send_input();
	assert_bytes_text(buf_bytes(&client.received), "still under way");
	assert_int_equal(client.last_read, 0);
	expect_nothing();
}

static void
a_broken_stream_is_told(void **state)
{
	(void)state;
	upgrade();
	mem_pipe_set_room(client.far, 1);
	assert_int_equal(put_literal("abc"), 3);
	mem_pipe_close(client.far, true);
	settle();
	assert_int_equal(client.last_read, ERR_IO);
	assert_int_equal(put_literal("x"), ERR_IO);
	stream_shut(client.stream);
}

/* --- both sides --- */

static void
accept_client(void)
{
	static const struct ws_options options = {.path = "/mqtt"};

	end_side(&server);
	begin_side(
	    &server, ws_stream_new(mem_stream_new("192.0.2.8:1", SIZE_MAX, &server.far), &options));
	attach(&server, 1);
}

static bool
carry(struct mem_pipe *from, struct mem_pipe *to, size_t cut)
{
	struct bytes output = mem_pipe_output(from);
	size_t len = cut != 0 && cut < output.len ? cut : output.len;

	mem_pipe_write(to, bytes_make(output.data, len));
	mem_pipe_take(from, len);
	return len != 0;
}

/* Until nothing moves; `cut` bytes at a time. */
static void
join(size_t cut)
{
	bool moved;

	do {
		settle();
		moved = carry(client.far, server.far, cut);
		moved |= carry(server.far, client.far, cut);
	} while (moved);
}

static void
both_sides_talk_however_it_is_cut(void **state)
{
	(void)state;
	for (size_t cut = 1; cut < 350; cut++) {
		make_client(&usual);
		attach(&client, 0);
		accept_client();
		client.read_size = server.read_size = 1 + cut % 23;
		stream_want(client.stream, STREAM_READ | STREAM_WRITE);
		join(cut);
		assert_true((client.seen & STREAM_WRITE) != 0);
		assert_int_equal(put_literal("up and "), 7);
		assert_int_equal(put(&server, "down and ", 9), 9);
		join(cut);
		assert_int_equal(put_literal("up"), 2);
		assert_int_equal(put(&server, "down", 4), 4);
		join(cut);
		assert_bytes_text(buf_bytes(&server.received), "up and up");
		assert_bytes_text(buf_bytes(&client.received), "down and down");
		if (cut % 2 == 0) {
			stream_shut(client.stream);
			join(cut);
			assert_int_equal(server.last_read, 0);
			assert_int_equal(client.last_read, 0);
			assert_string_equal(
			    ws_stream_error(server.stream), "the client closed the WebSocket");
		} else {
			stream_shut(server.stream);
			join(cut);
			assert_int_equal(client.last_read, 0);
			assert_int_equal(server.last_read, 0);
		}
	}
}

/* What is not taken is offered again. */
static void
push(struct side *side, struct bytes *rest)
{
	if (rest->len != 0) {
		long n = put(side, rest->data, rest->len);

		assert_true(n >= 0);
		*rest = bytes_skip(*rest, (size_t)n);
	}
}

static void
large_writes_go_both_ways(void **state)
{
	static uint8_t big[1 << 20];
	static const size_t rooms[] = {SIZE_MAX, 1000, 16391, 16398, 16399, 70000};

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++) {
		big[i] = (uint8_t)(i * 31 + i / 251);
	}
	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		struct bytes up = bytes_make(big, sizeof(big)), down = up;
		unsigned rounds = 0;

		make_client(&usual);
		attach(&client, 0);
		accept_client();
		join(0);
		mem_pipe_set_room(client.far, rooms[i]);
		mem_pipe_set_room(server.far, rooms[i]);
		while (up.len != 0 || down.len != 0) {
			assert_true(rounds++ < 10000);
			push(&client, &up);
			push(&server, &down);
			settle();
			(void)carry(client.far, server.far, 0);
			(void)carry(server.far, client.far, 0);
		}
		join(0);
		assert_true(bytes_equal(buf_bytes(&server.received), bytes_make(big, sizeof(big))));
		assert_true(bytes_equal(buf_bytes(&client.received), bytes_make(big, sizeof(big))));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_write_is_frames_with_masks_of_their_own),
	    CASE(nothing_is_taken_where_there_is_no_room_and_no_more_than_a_frame_is_kept),
	    CASE(short_writes_are_exact_to_the_byte),
	    CASE(pings_are_answered_behind_what_waits),
	    CASE(a_flood_of_pings_is_bounded),
	    CASE(shutting_says_goodbye_and_then_shuts),
	    CASE(a_broken_stream_is_told),
	    CASE(both_sides_talk_however_it_is_cut),
	    CASE(large_writes_go_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
