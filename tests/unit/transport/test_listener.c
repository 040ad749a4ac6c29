/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "transport/listener.h"
#include "unit/transport/script.h"

enum { CLIENTS = 100 };

static struct listener *listener;
static char why[256];
static int accepted[CLIENTS], accepted_count;
static struct addr last_peer;
static bool frees, stops;
static int clients[CLIENTS], client_count;

static bool
is_quick(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0 && on != 0;
}

static void
take_fd(struct listener *self, int fd, const struct addr *peer, void *arg)
{
	assert_ptr_equal(self, listener);
	assert_ptr_equal(arg, clients);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	if (peer->storage.ss_family != AF_UNIX) {
		assert_true(is_quick(fd));
	}
	accepted[accepted_count++] = fd;
	last_peer = *peer;
	if (stops) {
		listener_stop(listener);
	}
	if (frees) {
		listener_free(&listener);
	}
}

static void
bind_to(const char *text)
{
	accepted_count = client_count = 0;
	frees = stops = false;
	why[0] = '\0';
	listener = listener_bind(text, why, sizeof(why));
}

static void
close_all(void)
{
	while (accepted_count != 0) {
		close(accepted[--accepted_count]);
	}
	while (client_count != 0) {
		close(clients[--client_count]);
	}
	if (listener != NULL) {
		listener_free(&listener);
	}
}

static bool
starts(void)
{
	assert_int_equal(listener_start(listener, script_worker, take_fd, clients), 0);
	return true;
}

static bool
stops_now(void)
{
	if (listener != NULL) {
		listener_stop(listener);
	}
	return true;
}

static void
connect_one(int family)
{
	struct addr to = *listener_addr(listener);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (family == AF_INET) {
		struct sockaddr_in in = {.sin_family = AF_INET,
		    .sin_port = ((struct sockaddr_in *)&to.storage)->sin_port,
		    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		memcpy(&to.storage, &in, sizeof(in));
		to.len = sizeof(in);
	}
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to.storage, to.len), 0);
	clients[client_count++] = fd;
}

static bool
connects_many(void)
{
	for (int i = 0; i < CLIENTS; i++) {
		connect_one(AF_INET);
	}
	return true;
}

static bool
connects_v4(void)
{
	connect_one(AF_INET);
	return true;
}

static bool
connects_unix(void)
{
	connect_one(AF_UNIX);
	return true;
}

static bool
has_all(void)
{
	return accepted_count == client_count;
}

static void
many_clients_are_accepted(void **state)
{
	static script_step *const steps[] = {starts, connects_many, has_all, stops_now, NULL};
	char name[ADDR_TEXT_SIZE];

	(void)state;
	bind_to("127.0.0.1:0");
	assert_non_null(listener);
	assert_true(listener_is_local(listener));
	addr_format(listener_addr(listener), name);
	assert_string_not_equal(name, "127.0.0.1:0");
	script_run(steps);
	addr_format(&last_peer, name);
	assert_int_equal(strncmp(name, "127.0.0.1:", 10), 0);
	close_all();
}

static void
a_port_alone_takes_both_families(void **state)
{
	static script_step *const steps[] = {starts, connects_v4, has_all, stops_now, NULL};

	(void)state;
	bind_to("0");
	assert_non_null(listener);
	assert_false(listener_is_local(listener));
	script_run(steps);
	assert_int_equal(addr_host(&last_peer).len, 4);
	assert_true(addr_is_local(&last_peer));
	close_all();
}

static void
a_port_in_use_is_refused_with_a_sentence(void **state)
{
	char name[ADDR_TEXT_SIZE], sentence[256];
	struct listener *other;

	(void)state;
	bind_to("127.0.0.1:0");
	addr_format(listener_addr(listener), name);
	other = listener_bind(name, why, sizeof(why));
	assert_null(other);
	snprintf(sentence, sizeof(sentence), "cannot bind %s: Address already in use", name);
	assert_string_equal(why, sentence);
	close_all();
	bind_to("[::1");
	assert_null(listener);
	assert_string_equal(why, "cannot bind [::1: a closing bracket is missing");
}

static char path[64];

static const char *
fresh_path(void)
{
	static char text[80];
	char folder[] = "/tmp/avocet-test-XXXXXX";

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(text, sizeof(text), "unix:%s", path);
	return text;
}

static void
remove_folder(void)
{
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
}

/* The client, and the look whether anybody listens. */
static bool
has_both(void)
{
	return accepted_count == 2;
}

static void
a_unix_socket_replaces_a_stale_file_only(void **state)
{
	static script_step *const steps[] = {starts, connects_unix, has_both, stops_now, NULL};
	const char *text = fresh_path();
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct listener *other;
	struct stat file;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	strcpy(un.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd); /* leaves its file */

	bind_to(text);
	assert_non_null(listener);
	assert_true(listener_is_local(listener));
	other = listener_bind(text, why, sizeof(why));
	assert_null(other);
	assert_non_null(strstr(why, "Address already in use"));
	script_run(steps);
	assert_int_equal(last_peer.storage.ss_family, AF_UNIX);
	close_all();
	assert_int_equal(stat(path, &file), -1);

	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	bind_to(text);
	assert_null(listener);
	assert_int_equal(unlink(path), 0);
	remove_folder();
}

/* What a service manager does: it binds, and keeps the file. */
static void
a_bound_socket_is_taken_over_and_its_file_left_alone(void **state)
{
	static script_step *const steps[] = {starts, connects_unix, has_all, stops_now, NULL};
	const char *text = fresh_path();
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat file;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	strcpy(un.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_true(listener_is_at(fd, text));
	assert_false(listener_is_at(fd, "unix:/tmp/other"));
	assert_false(listener_is_at(fd, "127.0.0.1:1883"));
	assert_int_equal(listen(fd, 5), 0);
	bind_to("unix:"); /* only to begin with nothing */
	listener = listener_adopt(&fd, 1, why, sizeof(why));
	assert_non_null(listener);
	assert_true(listener_is_local(listener));
	script_run(steps);
	close_all();
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(unlink(path), 0);
	remove_folder();
}

static void
a_socket_is_found_by_where_it_is_bound(void **state)
{
	char name[ADDR_TEXT_SIZE], any[32];
	unsigned port;
	int fd;

	(void)state;
	bind_to("0");
	assert_non_null(listener);
	port = ntohs(((const struct sockaddr_in6 *)(const void *)&listener_addr(listener)->storage)
			 ->sin6_port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_false(listener_is_at(fd, "1883"));
	close(fd);
	close_all();

	fd = socket(AF_INET6, SOCK_STREAM, 0);
	if (fd >= 0) {
		struct sockaddr_in6 in6 = {
		    .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};

		assert_int_equal(bind(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
		(void)snprintf(any, sizeof(any), "%u", port);
		assert_true(listener_is_at(fd, any));
		(void)snprintf(name, sizeof(name), "[::]:%u", port);
		assert_true(listener_is_at(fd, name));
		(void)snprintf(name, sizeof(name), "[::1]:%u", port);
		assert_false(listener_is_at(fd, name));
		(void)snprintf(name, sizeof(name), "127.0.0.1:%u", port);
		assert_false(listener_is_at(fd, name));
		close(fd);
	}
}

static void
what_does_not_listen_is_not_taken_over(void **state)
{
	int fds[] = {socket(AF_UNIX, SOCK_DGRAM, 0), socket(AF_INET, SOCK_STREAM, 0)};

	(void)state;
	assert_null(listener_adopt(fds, 2, why, sizeof(why)));
	assert_string_equal(why, "what was handed over is not a stream socket that listens");
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	assert_int_equal(fcntl(fds[1], F_GETFD), -1);
	assert_null(listener_adopt(fds, 0, why, sizeof(why)));
}

static bool
frees_at_first(void)
{
	frees = true;
	return true;
}

static bool
has_one(void)
{
	return accepted_count == 1;
}

static bool
stops_at_first(void)
{
	stops = true;
	return true;
}

static void
it_may_be_stopped_or_freed_while_it_accepts(void **state)
{
	static script_step *const freeing[] = {
	    connects_many, frees_at_first, starts, has_one, NULL};
	static script_step *const stopping[] = {
	    connects_many, stops_at_first, starts, has_one, NULL};

	(void)state;
	bind_to("127.0.0.1:0");
	script_run(freeing);
	assert_null(listener);
	close_all();
	bind_to("127.0.0.1:0");
	script_run(stopping);
	assert_int_equal(accepted_count, 1);
	close_all();
}

/* --- out of descriptors --- */

static struct rlimit before;
static uint64_t turns_before;
static int ticks;

/* The clients hang in the backlog; then the process may open no descriptor more. */
static bool
uses_descriptors_up(void)
{
	struct rlimit limit = before;
	int highest = dup(0);

	close(highest);
	limit.rlim_cur = (rlim_t)highest;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return true;
}

static bool
sends_all_away(void)
{
	char byte;

	for (int i = 0; i < client_count; i++) {
		if (recv(clients[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
			return false;
		}
	}
	return true;
}

static bool
counts_turns(void)
{
	turns_before = worker_turns(script_worker);
	ticks = 0;
	return true;
}

static bool
waits_a_little(void)
{
	return ++ticks == 20;
}

static bool
did_not_spin(void)
{
	const struct counter_set *set = worker_counters(script_worker);

	assert_true(worker_turns(script_worker) - turns_before < 200);
	assert_int_equal(counter_sum(&set, 1, COUNTER_ACCEPT_EXCEEDED), client_count);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	return true;
}

static int warnings;

static bool
warned_once(void)
{
	struct log_record record;

	warnings = 0;
	while (log_ring_take(worker_log(script_worker), &record)) {
		warnings += record.level == LOG_LEVEL_WARNING;
	}
	assert_int_equal(warnings, 1);
	return true;
}

static bool
connects_another(void)
{
	connect_one(AF_INET);
	return true;
}

static void
out_of_descriptors_clients_are_sent_away(void **state)
{
	static script_step *const steps[] = {connects_many, starts, uses_descriptors_up,
	    sends_all_away, counts_turns, waits_a_little, did_not_spin, warned_once, stops_now,
	    NULL};

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	bind_to("127.0.0.1:0");
	script_run(steps);
	assert_int_equal(accepted_count, 0);
	close_all();
}

/* Not even the reserve could be opened: nothing can be done but rest, and then go on. */
static bool
rested(void)
{
	assert_int_equal(accepted_count, 0);
	assert_true(worker_turns(script_worker) - turns_before < 200);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	return true;
}

static bool
uses_up_before_start(void)
{
	struct rlimit limit = before;

	limit.rlim_cur = 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	counts_turns();
	return true;
}

static void
without_a_reserve_it_rests_and_goes_on(void **state)
{
	static script_step *const steps[] = {connects_another, uses_up_before_start, starts,
	    waits_a_little, rested, has_all, stops_now, NULL};

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	bind_to("127.0.0.1:0");
	script_run(steps);
	assert_int_equal(accepted_count, 1);
	close_all();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_clients_are_accepted),
	    cmocka_unit_test(a_port_alone_takes_both_families),
	    cmocka_unit_test(a_port_in_use_is_refused_with_a_sentence),
	    cmocka_unit_test(a_unix_socket_replaces_a_stale_file_only),
	    cmocka_unit_test(a_bound_socket_is_taken_over_and_its_file_left_alone),
	    cmocka_unit_test(a_socket_is_found_by_where_it_is_bound),
	    cmocka_unit_test(what_does_not_listen_is_not_taken_over),
	    cmocka_unit_test(it_may_be_stopped_or_freed_while_it_accepts),
	    cmocka_unit_test(out_of_descriptors_clients_are_sent_away),
	    cmocka_unit_test(without_a_reserve_it_rests_and_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
