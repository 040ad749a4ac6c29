/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "transport/plain.h"
#include "unit/transport/script.h"

/* The stream's end and the test's end of one TCP connection. */
static struct stream *stream;
static int near_fd, far_fd;
static unsigned calls, seen; /* of ready: how many, which events */
static bool frees, reads;
static char received[64];
static size_t received_len;
static long last_read;
static char big[1 << 20];

static void
connect_pair(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct addr peer = {.len = sizeof(in)};
	socklen_t len = sizeof(in);
	int listening = socket(AF_INET, SOCK_STREAM, 0);

	far_fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(listening, 1), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(connect(far_fd, (struct sockaddr *)&in, sizeof(in)), 0);
	near_fd = accept4(listening, (struct sockaddr *)&peer.storage, &peer.len, SOCK_NONBLOCK);
	assert_true(near_fd >= 0);
	close(listening);
	stream = plain_new(near_fd, &peer);
}

static void
take_ready(struct stream *self, unsigned events, void *owner)
{
	assert_ptr_equal(owner, &calls);
	assert_ptr_equal(self, stream);
	calls++;
	seen |= events;
	if (frees) {
		stream_free(&stream);
	} else if (reads && (events & STREAM_READ) != 0) {
		last_read =
		    stream_read(self, received + received_len, sizeof(received) - received_len);
		if (last_read > 0) {
			received_len += (size_t)last_read;
		} else if (last_read != ERR_AGAIN) {
			stream_want(self, 0);
		}
	}
}

static bool
attaches(void)
{
	connect_pair();
	calls = seen = 0;
	frees = false;
	reads = true;
	received_len = 0;
	last_read = 1;
	stream_on_ready(stream, take_ready, &calls);
	assert_int_equal(stream_attach(stream, script_worker), 0);
	return true;
}

static bool
is_raised_once(void)
{
	if (calls == 0) {
		return false;
	}
	assert_int_equal(calls, 1);
	assert_int_equal(last_read, ERR_AGAIN);
	return true;
}

static bool
says_hello(void)
{
	assert_int_equal(write(far_fd, "hello", 5), 5);
	return true;
}

static bool
has_hello(void)
{
	return received_len == 5 && memcmp(received, "hello", 5) == 0;
}

static bool
closes_far(void)
{
	close(far_fd);
	return true;
}

static bool
has_end(void)
{
	return last_read == 0;
}

static bool
frees_stream(void)
{
	stream_free(&stream);
	assert_null(stream);
	return true;
}

static void
bytes_and_the_end_arrive(void **state)
{
	static script_step *const steps[] = {attaches, is_raised_once, says_hello, has_hello,
	    closes_far, has_end, frees_stream, NULL};

	(void)state;
	script_run(steps);
	assert_int_equal(calls, 3); /* no call but for the raise, the bytes and the end */
}

static bool
fills_the_socket(void)
{
	struct iovec parts[2] = {{received, 2}, {big, sizeof(big)}};
	long sent, total = 0;

	seen = 0;
	do {
		sent = stream_write(stream, parts, 2);
		assert_true(sent >= 0);
		total += sent;
	} while (sent == 2 + (long)sizeof(big));
	assert_true(total > 0);
	stream_want(stream, STREAM_READ | STREAM_WRITE);
	return true;
}

static unsigned ticks;

static bool
waits_a_little(void)
{
	return ++ticks % 20 == 0;
}

static bool
is_not_writable(void)
{
	assert_int_equal(seen & STREAM_WRITE, 0);
	return true;
}

static bool
drains_far(void)
{
	while (recv(far_fd, big, sizeof(big), MSG_DONTWAIT) > 0) {}
	return (seen & STREAM_WRITE) != 0;
}

static bool
writes_nothing(void)
{
	assert_int_equal(stream_write(stream, NULL, 0), 0);
	stream_want(stream, STREAM_READ);
	return true;
}

static void
a_short_write_is_followed_by_readiness(void **state)
{
	static script_step *const steps[] = {attaches, is_raised_once, fills_the_socket,
	    waits_a_little, is_not_writable, drains_far, writes_nothing, closes_far, has_end,
	    frees_stream, NULL};

	(void)state;
	script_run(steps);
}

static bool
pauses(void)
{
	stream_want(stream, 0);
	calls = 0;
	return true;
}

static uint64_t turns_before;

static bool
counts_turns(void)
{
	turns_before = worker_turns(script_worker);
	ticks = 0;
	return true;
}

/* 20 ticks of the script, each a turn or two; a busy loop would make thousands. */
static bool
did_not_spin(void)
{
	assert_true(worker_turns(script_worker) - turns_before < 200);
	return true;
}

static bool
was_not_called(void)
{
	assert_int_equal(calls, 0);
	return true;
}

static bool
resumes(void)
{
	stream_want(stream, STREAM_READ);
	return true;
}

static void
a_paused_stream_is_left_alone_and_does_not_spin(void **state)
{
	static script_step *const steps[] = {attaches, is_raised_once, pauses, says_hello,
	    counts_turns, waits_a_little, did_not_spin, was_not_called, resumes, has_hello,
	    closes_far, has_end, frees_stream, NULL};

	(void)state;
	script_run(steps);
}

static bool
notices(void)
{
	reads = false;
	return calls != 0;
}

static bool
was_called_once(void)
{
	assert_int_equal(calls, 1);
	assert_int_equal(seen, STREAM_READ);
	assert_int_equal(stream_read(stream, received, 1), 0);
	return true;
}

static void
a_paused_stream_notices_the_end_once(void **state)
{
	static script_step *const steps[] = {attaches, is_raised_once, pauses, closes_far, notices,
	    counts_turns, waits_a_little, did_not_spin, was_called_once, frees_stream, NULL};

	(void)state;
	script_run(steps);
}

static bool
was_called_once_with_bytes(void)
{
	assert_int_equal(calls, 1);
	assert_int_equal(stream_read(stream, received, sizeof(received)), 5);
	assert_int_equal(stream_read(stream, received, sizeof(received)), 0);
	return true;
}

static void
a_paused_stream_notices_the_end_behind_bytes(void **state)
{
	static script_step *const steps[] = {attaches, is_raised_once, pauses, says_hello,
	    waits_a_little, was_not_called, closes_far, notices, counts_turns, waits_a_little,
	    did_not_spin, was_called_once_with_bytes, frees_stream, NULL};

	(void)state;
	script_run(steps);
}

static bool
frees_in_ready(void)
{
	frees = true;
	return true;
}

static bool
is_freed(void)
{
	return stream == NULL;
}

static void
the_owner_may_free_it_in_ready(void **state)
{
	static script_step *const steps[] = {
	    attaches, is_raised_once, frees_in_ready, says_hello, is_freed, NULL};

	(void)state;
	script_run(steps);
	close(far_fd);
}

static bool
raises(void)
{
	stream_raise(stream, STREAM_WRITE);
	return true;
}

static bool
is_raised(void)
{
	return calls == 1 && seen == (STREAM_READ | STREAM_WRITE);
}

static void
raising_works_while_paused(void **state)
{
	static script_step *const steps[] = {
	    attaches, is_raised_once, pauses, raises, is_raised, closes_far, frees_stream, NULL};

	(void)state;
	script_run(steps);
}

static bool
resets_far(void)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(far_fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(far_fd);
	return true;
}

static bool
has_error(void)
{
	if (last_read != ERR_IO) {
		return false;
	}
	assert_int_equal(stream_write(stream, &(struct iovec){received, 1}, 1), ERR_IO);
	return true;
}

static void
a_reset_is_an_error_and_kills_nobody(void **state)
{
	static script_step *const steps[] = {
	    attaches, is_raised_once, resets_far, has_error, frees_stream, NULL};

	(void)state;
	script_run(steps);
}

static bool
moves(void)
{
	stream_detach(stream);
	stream_detach(stream);
	calls = 0;
	assert_int_equal(write(far_fd, "hello", 5), 5);
	return true;
}

static bool
attaches_again(void)
{
	assert_int_equal(stream_attach(stream, script_worker), 0);
	return true;
}

static bool
shuts(void)
{
	char byte;

	stream_shut(stream);
	assert_int_equal(read(far_fd, &byte, 1), 0);
	return true;
}

static void
it_may_be_detached_and_attached_again(void **state)
{
	static script_step *const steps[] = {attaches, is_raised_once, moves, waits_a_little,
	    was_not_called, attaches_again, has_hello, shuts, closes_far, has_end, frees_stream,
	    NULL};

	(void)state;
	script_run(steps);
}

static void
its_name_is_the_peers(void **state)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	char name[64];

	(void)state;
	connect_pair();
	assert_int_equal(getsockname(far_fd, (struct sockaddr *)&in, &len), 0);
	snprintf(name, sizeof(name), "127.0.0.1:%u", (unsigned)ntohs(in.sin_port));
	assert_bytes_text(stream_peer_name(stream), name);
	assert_bytes_text(stream_peer_name(stream), name);
	stream_want(stream, STREAM_READ);
	assert_bytes_text(stream_peer_name(stream), name);
	assert_int_equal(stream_read(stream, name, 1), ERR_AGAIN);
	stream_free(&stream);
	assert_int_equal(read(far_fd, name, 1), 0);
	close(far_fd);
}

static void
assert_named(const void *address, size_t len, const char *name)
{
	struct addr peer = {.len = (socklen_t)len};
	int pair[2];

	memcpy(&peer.storage, address, len);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	stream = plain_new(pair[0], &peer);
	for (int i = 0; i < 3; i++) {
		assert_bytes_text(stream_peer_name(stream), name);
		stream_want(stream, STREAM_READ);
	}
	stream_free(&stream);
	close(pair[1]);
}

static void
a_peer_of_any_family_has_its_name(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4711)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(1883)};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/x"};

	(void)state;
	inet_pton(AF_INET, "192.0.2.1", &in.sin_addr);
	assert_named(&in, sizeof(in), "192.0.2.1:4711");
	inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
	assert_named(&in6, sizeof(in6), "[2001:db8::1]:1883");
	inet_pton(AF_INET6, "::ffff:192.0.2.9", &in6.sin6_addr);
	assert_named(&in6, sizeof(in6), "192.0.2.9:1883");
	assert_named(&un, offsetof(struct sockaddr_un, sun_path) + 7, "unix:/run/x");
	assert_named(&un, offsetof(struct sockaddr_un, sun_path), "unix:");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bytes_and_the_end_arrive),
	    cmocka_unit_test(a_short_write_is_followed_by_readiness),
	    cmocka_unit_test(a_paused_stream_is_left_alone_and_does_not_spin),
	    cmocka_unit_test(a_paused_stream_notices_the_end_once),
	    cmocka_unit_test(a_paused_stream_notices_the_end_behind_bytes),
	    cmocka_unit_test(the_owner_may_free_it_in_ready),
	    cmocka_unit_test(raising_works_while_paused),
	    cmocka_unit_test(a_reset_is_an_error_and_kills_nobody),
	    cmocka_unit_test(it_may_be_detached_and_attached_again),
	    cmocka_unit_test(its_name_is_the_peers),
	    cmocka_unit_test(a_peer_of_any_family_has_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
