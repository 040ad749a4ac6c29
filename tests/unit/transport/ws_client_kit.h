/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of WebSocket's client side share: a client in the simulator, and the far end that
 * the test plays.
 */
#ifndef UNIT_TRANSPORT_WS_CLIENT_KIT_H
#define UNIT_TRANSPORT_WS_CLIENT_KIT_H

#include "unit/transport/ws_kit.h"

#include "base/err.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"
#include "transport/ws.h"
#include "transport/ws_frame.h"

static const struct ws_connect_options usual = {.host = "broker:8080"};

/* One end of a connection and what its owner has seen. */
struct side {
	struct stream *stream;
	struct mem_pipe *far;
	struct buf received;
	unsigned seen;
	size_t read_size;
	long last_read;
	bool pauses;
};

static struct loop *loop;
static struct worker *workers[2];
static struct side client, server;
static struct buf input; /* for the client */

/* The owner: reads once each time it is told, as a peer does. */
static void
take_ready(struct stream *self, unsigned events, void *owner)
{
	static uint8_t memory[100000];
	struct side *side = owner;

	side->seen |= events;
	if ((events & STREAM_WRITE) != 0) {
		stream_want(self, STREAM_READ);
	}
	if ((events & STREAM_READ) == 0 || side->pauses) {
		return;
	}
	side->last_read = stream_read(self, memory, side->read_size);
	if (side->last_read > 0) {
		buf_append(&side->received, memory, (size_t)side->last_read);
		if ((size_t)side->last_read == side->read_size) {
			stream_raise(self, STREAM_READ);
		}
	} else if (side->last_read != ERR_AGAIN) {
		stream_want(self, 0);
	}
}

static void
settle(void)
{
	assert_true(sim_settle(loop, 1000000));
}

static void
attach(struct side *side, unsigned worker)
{
	sim_enter(workers[worker]);
	assert_int_equal(stream_attach(side->stream, workers[worker]), 0);
	sim_leave();
}

static void
begin_side(struct side *side, struct stream *stream)
{
	side->stream = stream;
	side->seen = 0;
	side->read_size = 65536;
	side->last_read = 1;
	side->pauses = false;
	buf_init(&side->received, SIZE_MAX);
	stream_on_ready(stream, take_ready, side);
}

static void
end_side(struct side *side)
{
	if (side->stream != NULL) {
		stream_free(&side->stream);
		buf_fini(&side->received);
	}
	mem_pipe_release(&side->far);
}

/* Detached. */
static void
make_client(const struct ws_connect_options *options)
{
	end_side(&client);
	begin_side(&client, ws_stream_connect_new(
				mem_stream_new("192.0.2.7:8080", SIZE_MAX, &client.far), options));
}

static void
dial(void)
{
	make_client(&usual);
	attach(&client, 0);
	settle();
}

static int
begin(void **state)
{
	struct loop_options options = {.seed = 1};

	(void)state;
	loop = loop_new(&options);
	workers[0] = loop_add_worker(loop, "one");
	workers[1] = loop_add_worker(loop, "two");
	assert_int_equal(loop_start(loop), 0);
	buf_init(&input, SIZE_MAX);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	end_side(&client);
	end_side(&server);
	settle();
	loop_join(loop);
	loop_free(&loop);
	buf_fini(&input);
	return 0;
}

/* --- the far end --- */

static void
answer_request(struct bytes request, struct buf *out)
{
	static const struct ws_options options = {.path = "/mqtt"};
	struct ws_answer answer;

	ws_handshake(request, &options, &answer);
	assert_int_equal(answer.status, 101);
	ws_handshake_write(out, &answer);
}

/* The right answer to what the client has asked, at the end of the input. */
static void
put_answer(void)
{
	answer_request(mem_pipe_output(client.far), &input);
	mem_pipe_take(client.far, SIZE_MAX);
}

static void
send_input(void)
{
	mem_pipe_write(client.far, buf_bytes(&input));
	buf_clear(&input);
	settle();
}

static void
upgrade(void)
{
	dial();
	put_answer();
	send_input();
	assert_int_equal(client.last_read, ERR_AGAIN);
	assert_null(ws_stream_error(client.stream));
}

static long
put(struct side *side, const void *data, size_t len)
{
	return stream_write(side->stream, &(struct iovec){(void *)(uintptr_t)data, len}, 1);
}

static long
put_literal(const char *text)
{
	return put(&client, text, strlen(text));
}

/* A frame of the client's at the beginning of `rest`, taken off, with its mask off too. */
struct frame {
	unsigned first;
	uint8_t mask[4];
	uint8_t payload[WS_CLIENT_FRAME];
	size_t len;
};

static struct frame frame;

static void
take_frame(struct bytes *rest)
{
	size_t head = 2;

	assert_true(rest->len >= 6);
	frame.first = rest->data[0];
	assert_int_equal(rest->data[1] & MASKED, MASKED);
	frame.len = rest->data[1] & 127U;
	assert_true(frame.len != 127);
	if (frame.len == 126) {
		frame.len = (size_t)rest->data[2] << 8 | rest->data[3];
		assert_true(frame.len >= 126);
		head = 4;
	}
	memcpy(frame.mask, rest->data + head, 4);
	head += 4;
	assert_true(frame.len <= sizeof(frame.payload) && rest->len >= head + frame.len);
	for (size_t i = 0; i < frame.len; i++) {
		frame.payload[i] = rest->data[head + i] ^ frame.mask[i & 3];
	}
	*rest = bytes_skip(*rest, head + frame.len);
}

/* The next frame that the client has sent is this, whole. */
static void
expect_frame(unsigned first, const char *payload, size_t len)
{
	struct bytes rest = mem_pipe_output(client.far);
	size_t before = rest.len;

	take_frame(&rest);
	assert_int_equal(frame.first, first);
	assert_int_equal(frame.len, len);
	assert_memory_equal(frame.payload, payload, len);
	mem_pipe_take(client.far, before - rest.len);
}

#define expect_binary(text) expect_frame(FIN | WS_BINARY, text, sizeof(text) - 1)

static void
expect_nothing(void)
{
	assert_int_equal(mem_pipe_output(client.far).len, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

#endif
