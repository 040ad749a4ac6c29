/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of WebSocket: its handshake, and what it reads. */
#include "unit/transport/quiet.h"
#include "unit/transport/ws_client_kit.h"

/* --- the handshake --- */

static void
the_request_is_sent_as_soon_as_there_is_room(void **state)
{
	char host[] = "example.com", path[] = "/a?b", protocol[] = "mqttv3.1";
	struct ws_connect_options options = {host, path, protocol};
	static const char lines[] = "GET /a?b HTTP/1.1\r\nHost: example.com\r\n";
	static const char last[] = "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n";
	struct bytes rest;

	(void)state;
	make_client(&options);
	memset(host, 'x', sizeof(host));
	memset(path, 'x', sizeof(path));
	memset(protocol, 'x', sizeof(protocol));
	assert_int_equal(put_literal("early"), 0);
	assert_int_equal(stream_read(client.stream, host, 1), ERR_AGAIN);
	mem_pipe_set_room(client.far, 0);
	attach(&client, 0);
	settle();
	expect_nothing();
	assert_int_equal(put_literal("early"), 0);
	mem_pipe_set_room(client.far, 10);
	settle();
	assert_int_equal(mem_pipe_output(client.far).len, 10);
	mem_pipe_set_room(client.far, SIZE_MAX);
	settle();
	assert_true(bytes_starts_with(mem_pipe_output(client.far), BYTES_LITERAL(lines)));
	rest = mem_pipe_output(client.far);
	rest = bytes_skip(rest, rest.len - (sizeof(last) - 1));
	assert_bytes_text(rest, last);
	assert_int_equal(put_literal("early"), 0);
	assert_bytes_text(stream_peer_name(client.stream), "192.0.2.7:8080");
}

static void
each_connection_has_a_key_of_its_own(void **state)
{
	struct buf first;

	(void)state;
	buf_init(&first, SIZE_MAX);
	dial();
	buf_append_bytes(&first, mem_pipe_output(client.far));
	dial();
	assert_int_equal(mem_pipe_output(client.far).len, first.len);
	assert_false(bytes_equal(mem_pipe_output(client.far), buf_bytes(&first)));
	/* The answer to one is none to the other. */
	answer_request(buf_bytes(&first), &input);
	send_input();
	assert_int_equal(client.last_read, ERR_IO);
	assert_string_equal(
	    ws_stream_error(client.stream), "the server's Sec-WebSocket-Accept is not right");
	buf_fini(&first);
}

static void
expect_failure(const char *why)
{
	client.seen = 0;
	send_input();
	assert_int_equal(client.seen, STREAM_READ);
	assert_int_equal(client.last_read, ERR_IO);
	assert_string_equal(ws_stream_error(client.stream), why);
	assert_int_equal(put_literal("late"), ERR_IO);
	assert_int_equal(put_literal(""), ERR_IO);
	assert_false(mem_pipe_is_closed(client.far));
	stream_shut(client.stream);
	assert_true(mem_pipe_is_closed(client.far));
}

static void
answers_that_are_no_upgrade_fail_it(void **state)
{
	(void)state;
	dial();
	buf_append_text(&input, "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n");
	expect_failure("the server answered 404, Not Found: is the path right?");
	dial();
	buf_append_text(&input, UPGRADED);
	expect_failure("the server's Sec-WebSocket-Accept is not right");
	dial();
	buf_append(&input, "\x20\x02\x00\x00", 4); /* MQTT without WebSocket */
	expect_failure("the server's answer is malformed");
	dial();
	put_answer();
	input.len -= 8;
	buf_append_text(&input, "t3.1\r\n\r\n");
	expect_failure("the server did not choose the sub-protocol");
	/* Whatever the owner wants, it is told. */
	dial();
	stream_want(client.stream, 0);
	buf_append_text(&input, "HTTP/1.1 503 x\r\n\r\n");
	expect_failure("the server answered 503, Service Unavailable");
}

static void
what_cannot_be_asked_fails_at_once(void **state)
{
	static const struct ws_connect_options evil = {.host = "a\r\nX: y"};

	(void)state;
	make_client(&evil);
	assert_string_equal(ws_stream_error(client.stream), "the host's name cannot be used");
	attach(&client, 0);
	expect_failure("the host's name cannot be used");
	expect_nothing();
}

static void
a_large_head_fails_however_it_comes(void **state)
{
	static const size_t sizes[] = {1, 100, 1023, 1024, 1025, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		dial();
		buf_append_text(&input, "HTTP/1.1 101 x\r\nX: ");
		while (input.len < 20000) {
			buf_append_byte(&input, 'x');
		}
		mem_pipe_set_read_size(client.far, sizes[i]);
		expect_failure("the head of the server's answer is too large");
	}
	for (size_t more = 0; more < 2; more++) {
		dial();
		put_answer();
		input.len -= 2;
		buf_append_text(&input, "X: ");
		while (input.len < WS_MAX_HEAD_SIZE - 4 + more) {
			buf_append_byte(&input, 'x');
		}
		buf_append_text(&input, "\r\n\r\n");
		send_input();
		assert_int_equal(client.last_read, more != 0 ? ERR_IO : ERR_AGAIN);
	}
}

static void
an_end_within_the_handshake_is_told(void **state)
{
	(void)state;
	dial();
	mem_pipe_write(client.far, BYTES_LITERAL("HTTP/1.1 101"));
	mem_pipe_close(client.far, false);
	settle();
	assert_int_equal(client.last_read, 0);
	assert_string_equal(
	    ws_stream_error(client.stream), "the connection ended within the handshake");
	assert_int_equal(put_literal("late"), ERR_IO);
	dial();
	stream_want(client.stream, 0);
	mem_pipe_close(client.far, true);
	settle();
	assert_int_equal(client.last_read, ERR_IO);
	assert_null(ws_stream_error(client.stream)); /* the stream below knows */
	dial();
	mem_pipe_take(client.far, SIZE_MAX);
	stream_shut(client.stream);
	assert_true(mem_pipe_is_closed(client.far));
	expect_nothing();
	/* Half a request is not waited for. */
	make_client(&usual);
	mem_pipe_set_room(client.far, 3);
	attach(&client, 0);
	settle();
	stream_shut(client.stream);
	assert_true(mem_pipe_is_closed(client.far));
	assert_int_equal(put_literal("late"), ERR_IO);
}

static void
the_owner_is_told_what_it_waits_for(void **state)
{
	static const unsigned wants[] = {0, STREAM_READ, STREAM_WRITE, STREAM_READ | STREAM_WRITE};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		dial();
		client.pauses = true;
		stream_want(client.stream, wants[i]);
		settle();
		client.seen = 0;
		put_answer();
		mem_pipe_write(client.far, bytes_make(input.data, 20));
		settle();
		assert_int_equal(client.seen, 0);
		assert_int_equal(put_literal("early"), 0);
		mem_pipe_write(client.far, bytes_skip(buf_bytes(&input), 20));
		buf_clear(&input);
		settle();
		assert_int_equal(client.seen, wants[i]);
		assert_int_equal(put_literal("now"), 3);
		expect_binary("now");
	}
	/* Driven by the owner's own reading. */
	dial();
	stream_want(client.stream, STREAM_READ | STREAM_WRITE);
	settle();
	put_answer();
	mem_pipe_write(client.far, buf_bytes(&input));
	client.seen = 0;
	assert_int_equal(stream_read(client.stream, &(char){0}, 1), ERR_AGAIN);
	assert_int_equal(client.seen, 0);
	settle();
	assert_int_equal(client.seen & STREAM_WRITE, STREAM_WRITE);
}

static void
what_comes_with_the_answer_waits_for_the_owner(void **state)
{
	(void)state;
	dial();
	stream_want(client.stream, 0);
	put_answer();
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("hello"));
	put_frame(&input, FIN | WS_PING, 0, bytes_of("?"));
	send_input();
	assert_int_equal(client.received.len, 0);
	expect_nothing();
	stream_want(client.stream, STREAM_READ);
	settle();
	assert_bytes_text(buf_bytes(&client.received), "hello");
	expect_frame(FIN | WS_PONG, "?", 1);
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of(", world"));
	send_input();
	assert_bytes_text(buf_bytes(&client.received), "hello, world");
}

/* --- reading --- */

static void
fill_conversation(void)
{
	put_frame(&input, WS_BINARY, 0, bytes_of("one "));
	put_frame(&input, FIN | WS_PING, 0, bytes_of("?"));
	put_frame(&input, WS_CONTINUATION, 0, bytes_of("two "));
	put_frame(&input, FIN | WS_CONTINUATION, 0, bytes_of("three "));
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of(""));
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("four"));
	put_frame(&input, FIN | WS_CLOSE, 0, BYTES_LITERAL("\x03\xe8"));
	buf_append_text(&input, "ignored");
}

static void
expect_conversation(void)
{
	assert_bytes_text(buf_bytes(&client.received), "one two three four");
	assert_int_equal(client.last_read, 0);
	assert_string_equal(ws_stream_error(client.stream), "the server closed the WebSocket");
	expect_frame(FIN | WS_PONG, "?", 1);
	expect_frame(FIN | WS_CLOSE, "\x03\xe8", 2);
	expect_nothing();
	assert_int_equal(put_literal("late"), ERR_IO);
}

static void
write_cut(size_t first, bool moves)
{
	struct bytes all = buf_bytes(&input);

	mem_pipe_write(client.far, bytes_make(all.data, first));
	settle();
	if (moves) {
		stream_detach(client.stream);
		stream_detach(client.stream);
	}
	mem_pipe_write(client.far, bytes_skip(all, first));
	settle();
	if (moves) {
		attach(&client, 1);
		settle();
	}
	buf_clear(&input);
}

static void
a_conversation_may_be_cut_anywhere(void **state)
{
	size_t len = SIZE_MAX;

	(void)state;
	for (size_t first = 1; first < len; first++) {
		dial();
		put_answer();
		fill_conversation();
		len = input.len;
		write_cut(first, false);
		expect_conversation();
	}
}

static void
a_stream_may_move_in_the_middle_of_anything(void **state)
{
	size_t len = SIZE_MAX;

	(void)state;
	for (size_t first = 1; first < len; first++) {
		dial();
		put_answer();
		fill_conversation();
		len = input.len;
		write_cut(first, true);
		expect_conversation();
	}
	/* And with half a request out. */
	for (size_t room = 1; room < 180; room += 7) {
		make_client(&usual);
		mem_pipe_set_room(client.far, room);
		attach(&client, 0);
		settle();
		stream_detach(client.stream);
		attach(&client, 1);
		mem_pipe_set_room(client.far, SIZE_MAX);
		settle();
		put_answer();
		fill_conversation();
		send_input();
		expect_conversation();
	}
}

static void
reads_of_any_size_give_the_same(void **state)
{
	(void)state;
	for (size_t far_size = 0; far_size < 20; far_size++) {
		for (size_t size = 1; size < 20; size++) {
			dial();
			put_answer();
			fill_conversation();
			mem_pipe_set_read_size(client.far, far_size);
			client.read_size = size;
			send_input();
			expect_conversation();
		}
	}
}

/* Whatever the answer's length is to what one read of the handshake takes. */
static void
a_stream_below_that_tells_once_is_read_to_its_end(void **state)
{
	(void)state;
	for (size_t size = 1; size < 1300; size += size < 40 ? 1 : 40) {
		for (size_t pad = 0; pad < 1300; pad += pad < 700 || pad > 900 ? 50 : 1) {
			if (size % 7 != 0 && pad % 50 != 0) {
				continue;
			}
			end_side(&client);
			begin_side(&client,
			    ws_stream_connect_new(quiet_stream(bytes_make(NULL, 0)), &usual));
			client.read_size = size;
			sim_enter(workers[0]);
			assert_int_equal(stream_attach(client.stream, workers[0]), 0);
			quiet_run();
			answer_request(bytes_make(quiet_output, quiet_output_len), &input);
			input.len -= 2;
			buf_append_text(&input, "X: ");
			for (size_t i = 0; i < pad; i++) {
				buf_append_byte(&input, 'x');
			}
			buf_append_text(&input, "\r\n\r\n");
			fill_conversation();
			quiet_input = buf_bytes(&input);
			quiet_raised = true;
			quiet_run();
			sim_leave();
			assert_bytes_text(buf_bytes(&client.received), "one two three four");
			assert_int_equal(client.last_read, 0);
			buf_clear(&input);
		}
	}
}

static void
violations_are_answered_and_end_it(void **state)
{
	(void)state;
	upgrade();
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("good"));
	put_text(&input, FIN | WS_BINARY, "masked");
	send_input();
	assert_bytes_text(buf_bytes(&client.received), "good");
	assert_int_equal(client.last_read, ERR_IO);
	assert_string_equal(ws_stream_error(client.stream), "a frame is masked");
	expect_frame(FIN | WS_CLOSE, "\x03\xea", 2);
	assert_int_equal(put_literal("late"), ERR_IO);
	upgrade();
	put_frame(&input, FIN | WS_TEXT, 0, bytes_of("text"));
	send_input();
	assert_int_equal(client.last_read, ERR_IO);
	expect_frame(FIN | WS_CLOSE, "\x03\xeb", 2);
	upgrade();
	put_frame(&input, FIN | WS_CLOSE, 0, bytes_of(""));
	send_input();
	assert_int_equal(client.last_read, 0);
	expect_frame(FIN | WS_CLOSE, "", 0);
	upgrade();
	mem_pipe_close(client.far, false);
	settle();
	assert_int_equal(client.last_read, 0);
	assert_string_equal(
	    ws_stream_error(client.stream), "the connection ended without a close frame");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(the_request_is_sent_as_soon_as_there_is_room),
	    CASE(each_connection_has_a_key_of_its_own),
	    CASE(answers_that_are_no_upgrade_fail_it),
	    CASE(what_cannot_be_asked_fails_at_once),
	    CASE(a_large_head_fails_however_it_comes),
	    CASE(an_end_within_the_handshake_is_told),
	    CASE(the_owner_is_told_what_it_waits_for),
	    CASE(what_comes_with_the_answer_waits_for_the_owner),
	    CASE(a_conversation_may_be_cut_anywhere),
	    CASE(a_stream_may_move_in_the_middle_of_anything),
	    CASE(reads_of_any_size_give_the_same),
	    CASE(a_stream_below_that_tells_once_is_read_to_its_end),
	    CASE(violations_are_answered_and_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
