/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <string.h>

#include "base/err.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"

static struct loop *loop;
static struct worker *worker;
static struct stream *stream;
static struct mem_pipe *far;
static unsigned calls, seen;
static bool frees, reads;
static char received[64];
static size_t received_len, read_size;
static long last_read;

static void
take_ready(struct stream *self, unsigned events, void *owner)
{
	assert_ptr_equal(owner, &calls);
	calls++;
	seen |= events;
	if (frees) {
		stream_free(&stream);
	} else if (reads && (events & STREAM_READ) != 0) {
		last_read = stream_read(self, received + received_len, read_size);
		if (last_read > 0) {
			received_len += (size_t)last_read;
		} else if (last_read != ERR_AGAIN) {
			stream_want(self, 0);
		}
	} else if ((events & STREAM_WRITE) != 0) {
		stream_want(self, STREAM_READ);
	}
}

static void
settle(void)
{
	assert_true(sim_settle(loop, 10000));
}

static int
begin(void **state)
{
	struct loop_options options = {.seed = 1};

	(void)state;
	loop = loop_new(&options);
	worker = loop_add_worker(loop, "main");
	assert_int_equal(loop_start(loop), 0);
	calls = seen = 0;
	frees = false;
	reads = true;
	received_len = 0;
	read_size = sizeof(received);
	last_read = 1;
	stream = mem_stream_new("mem:1", SIZE_MAX, &far);
	stream_on_ready(stream, take_ready, &calls);
	sim_enter(worker);
	assert_int_equal(stream_attach(stream, worker), 0);
	sim_leave();
	settle();
	assert_int_equal(calls, 1);
	assert_int_equal(last_read, ERR_AGAIN);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	if (stream != NULL) {
		stream_free(&stream);
	}
	mem_pipe_release(&far);
	assert_null(far);
	loop_join(loop);
	loop_free(&loop);
	return 0;
}

static long
put(const char *text)
{
	char copy[64];
	struct iovec part = {copy, strlen(text)};

	strcpy(copy, text);
	return stream_write(stream, &part, 1);
}

static void
bytes_and_the_end_arrive(void **state)
{
	(void)state;
	mem_pipe_write(far, bytes_of("hello"));
	settle();
	assert_int_equal(received_len, 5);
	assert_int_equal(calls, 2);
	mem_pipe_write(far, bytes_of("bye"));
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(received_len, 8);
	assert_int_equal(last_read, 0);
	assert_memory_equal(received, "hellobye", 8);
	assert_int_equal(put("still heard"), 11);
	assert_bytes_text(mem_pipe_output(far), "still heard");
	mem_pipe_write(far, bytes_of("after the end"));
	settle();
	assert_int_equal(received_len, 8);
}

static void
reads_may_be_cut_anywhere(void **state)
{
	(void)state;
	mem_pipe_set_read_size(far, 2);
	mem_pipe_write(far, bytes_of("hello"));
	settle();
	assert_int_equal(received_len, 5);
	assert_int_equal(calls, 4);
	mem_pipe_set_read_size(far, 0);
	read_size = 3;
	mem_pipe_write(far, bytes_of("hello"));
	settle();
	assert_int_equal(received_len, 10);
}

static void
a_full_far_end_makes_writes_short_until_it_takes(void **state)
{
	(void)state;
	mem_pipe_set_room(far, 4);
	assert_int_equal(put("hello"), 4);
	assert_int_equal(put("o"), 0);
	stream_want(stream, STREAM_READ | STREAM_WRITE);
	seen = 0;
	settle();
	assert_int_equal(seen, 0);
	assert_bytes_text(mem_pipe_output(far), "hell");
	mem_pipe_take(far, 1);
	settle();
	assert_int_equal(seen, STREAM_WRITE);
	assert_int_equal(put("o!"), 1);
	assert_bytes_text(mem_pipe_output(far), "ello");
	mem_pipe_take(far, 100);
	assert_int_equal(mem_pipe_output(far).len, 0);
}

static void
a_paused_stream_is_left_alone_but_notices_the_end(void **state)
{
	(void)state;
	stream_want(stream, 0);
	calls = 0;
	mem_pipe_write(far, bytes_of("hello"));
	settle();
	assert_int_equal(calls, 0);
	stream_want(stream, STREAM_READ);
	settle();
	assert_int_equal(received_len, 5);
	stream_want(stream, 0);
	calls = 0;
	reads = false;
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(calls, 1);
	assert_int_equal(stream_read(stream, received, 1), 0);
}

static void
a_broken_stream_gives_errors_at_once(void **state)
{
	(void)state;
	mem_pipe_write(far, bytes_of("lost"));
	mem_pipe_close(far, true);
	settle();
	assert_int_equal(last_read, ERR_IO);
	assert_int_equal(put("x"), ERR_IO);
}

static void
the_owner_may_free_it_in_ready(void **state)
{
	(void)state;
	frees = true;
	assert_false(mem_pipe_is_closed(far));
	mem_pipe_write(far, bytes_of("hello"));
	settle();
	assert_null(stream);
	assert_true(mem_pipe_is_closed(far));
	mem_pipe_write(far, bytes_of("nobody is there"));
	mem_pipe_take(far, 1);
	mem_pipe_close(far, true);
	settle();
}

static void
it_may_be_detached_and_attached_again(void **state)
{
	(void)state;
	calls = 0;
	mem_pipe_write(far, bytes_of("a"));
	stream_detach(stream);
	stream_detach(stream);
	mem_pipe_write(far, bytes_of("b"));
	settle();
	assert_int_equal(calls, 0);
	sim_enter(worker);
	assert_int_equal(stream_attach(stream, worker), 0);
	sim_leave();
	settle();
	assert_int_equal(received_len, 2);
	assert_bytes_text(stream_peer_name(stream), "mem:1");
}

static void
raising_works_while_paused_and_shutting_is_seen(void **state)
{
	(void)state;
	stream_want(stream, 0);
	calls = seen = 0;
	stream_raise(stream, STREAM_WRITE);
	settle();
	assert_int_equal(calls, 1);
	assert_int_equal(seen, STREAM_WRITE);
	stream_shut(stream);
	assert_true(mem_pipe_is_closed(far));
	assert_int_equal(put("x"), ERR_IO);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(bytes_and_the_end_arrive),
	    CASE(reads_may_be_cut_anywhere),
	    CASE(a_full_far_end_makes_writes_short_until_it_takes),
	    CASE(a_paused_stream_is_left_alone_but_notices_the_end),
	    CASE(a_broken_stream_gives_errors_at_once),
	    CASE(the_owner_may_free_it_in_ready),
	    CASE(it_may_be_detached_and_attached_again),
	    CASE(raising_works_while_paused_and_shutting_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
