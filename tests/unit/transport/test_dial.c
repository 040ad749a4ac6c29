/* SPDX-License-Identifier: Apache-2.0 */
/* What getaddrinfo says is the test's: hosts with several addresses, and a look-up that hangs. */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/dial.h"
#include "unit/transport/script.h"

enum { TIMEOUT_MS = 1000, MOST_FILLERS = 8, CONNECT_MS = 50 };

/* 127.0.0.1 accepts nothing, 127.0.0.2 does, and at 127.0.0.3 there is nobody. */
static int deaf = -1, open_one = -1, fillers[MOST_FILLERS], filler_count;
static uint16_t port;
static struct dial_room room;
static struct dial *dial;
static const char *host;
static bool is_over;
static int found_fd;
static char found_peer[ADDR_TEXT_SIZE], why[256];
static int64_t began_ms, ended_ms;
static atomic_bool hangs;
static sem_t may_go;

/* --- instead of the system's --- */

/* The digits before the first dot are the last bytes of the addresses. */
int
getaddrinfo(
    const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	struct addrinfo *first = NULL, **end = &first;

	(void)hints;
	if (strcmp(name, "hangs") == 0) {
		atomic_store(&hangs, true);
		(void)sem_wait(&may_go);
		return EAI_AGAIN;
	}
	for (; *name >= '0' && *name <= '9'; name++) {
		struct sockaddr_in *in = calloc(1, sizeof(*in));
		struct addrinfo *info = calloc(1, sizeof(*info));

		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(service));
		in->sin_addr.s_addr = htonl(0x7f000000U + (uint32_t)(*name - '0'));
		info->ai_addr = (struct sockaddr *)in;
		info->ai_addrlen = sizeof(*in);
		*end = info;
		end = &info->ai_next;
	}
	*found = first;
	return first != NULL ? 0 : EAI_NONAME;
}

void
freeaddrinfo(struct addrinfo *info)
{
	while (info != NULL) {
		struct addrinfo *next = info->ai_next;

		free(info->ai_addr);
		free(info);
		info = next;
	}
}

/* The thread that is given up goes on at the worst moment, and ends. */
int
pthread_detach(pthread_t thread)
{
	(void)sem_post(&may_go);
	return pthread_join(thread, NULL);
}

/* --- remotes --- */

static int
bind_last(unsigned last, int backlog)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(0x7f000000U + last)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	port = ntohs(in.sin_port);
	return fd;
}

/* Once as many wait as may, nobody is answered any more. */
static bool
is_answered(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	fillers[filler_count++] = fd;
	return connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0 ||
	       poll(&ready, 1, CONNECT_MS) == 1;
}

static int
set_up(void **state)
{
	(void)state;
	(void)sem_init(&may_go, 0, 0);
	deaf = bind_last(1, 0);
	open_one = bind_last(2, 10);
	while (is_answered()) {
		assert_true(filler_count < MOST_FILLERS);
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	while (filler_count != 0) {
		close(fillers[--filler_count]);
	}
	close(deaf);
	close(open_one);
	return 0;
}

/* --- dialling --- */

static bool
is_quick(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0 && on != 0;
}

static void
on_over(void *arg, int fd, const struct addr *peer, const char *reason)
{
	assert_ptr_equal(arg, &room);
	assert_false(is_over);
	is_over = true;
	dial = NULL;
	found_fd = fd;
	assert_true(fd < 0 || is_quick(fd));
	ended_ms = context_current->mono_ms;
	if (fd >= 0) {
		(void)addr_format(peer, found_peer);
		close(fd);
	} else {
		(void)snprintf(why, sizeof(why), "%s", reason);
	}
}

static bool
begins(void)
{
	char text[64];

	dial_room_init(&room, script_worker);
	is_over = false;
	found_peer[0] = why[0] = '\0';
	began_ms = context_current->mono_ms;
	(void)snprintf(text, sizeof(text), "%s:%u", host, (unsigned)port);
	dial = dial_start(&room, text, TIMEOUT_MS, on_over, &room);
	return true;
}

static bool
is_told(void)
{
	return is_over;
}

static void
run_dial(const char *name)
{
	static script_step *const steps[] = {begins, is_told, NULL};

	host = name;
	script_run(steps);
	dial_room_fini(&room);
}

static void
assert_peer(const char *address)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%s:%u", address, (unsigned)port);
	assert_string_equal(found_peer, text);
}

static void
the_next_address_is_tried_where_one_refuses(void **state)
{
	(void)state;
	run_dial("332.example");
	assert_peer("127.0.0.2");
}

static void
an_address_that_does_not_answer_leaves_time_to_the_others(void **state)
{
	(void)state;
	run_dial("12.example");
	assert_peer("127.0.0.2");
	assert_true(ended_ms - began_ms >= TIMEOUT_MS / 2);
	run_dial("1312.example");
	assert_peer("127.0.0.2");
	assert_true(ended_ms - began_ms < TIMEOUT_MS);
}

static void
together_they_have_the_time_that_was_given(void **state)
{
	(void)state;
	run_dial("111.example");
	assert_int_equal(found_fd, -1);
	assert_non_null(strstr(why, "127.0.0.1:"));
	assert_non_null(strstr(why, ": no answer in time"));
	assert_true(ended_ms - began_ms >= TIMEOUT_MS);
	assert_true(ended_ms - began_ms < 2 * TIMEOUT_MS);
}

static void
a_name_that_there_is_not(void **state)
{
	(void)state;
	run_dial("nobody");
	assert_int_equal(found_fd, -1);
	assert_true(why[0] != '\0');
}

static bool
hangs_now(void)
{
	return atomic_load(&hangs);
}

static bool
fails_in_time(void)
{
	return is_over;
}

static bool
cancels(void)
{
	dial_cancel(&dial);
	return true;
}

/* What sanitizers there are do not count what a thread that hangs would have freed. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void
abandon(script_step *const *steps)
{
	atomic_store(&hangs, false);
	host = "hangs";
	if (__lsan_disable != NULL) {
		__lsan_disable();
	}
	script_run(steps);
	if (__lsan_enable != NULL) {
		__lsan_enable();
	}
	dial_room_fini(&room);
}

static void
a_look_up_that_hangs_is_left_to_itself(void **state)
{
	static script_step *const cancelled[] = {begins, hangs_now, cancels, NULL};
	static script_step *const late[] = {begins, hangs_now, fails_in_time, NULL};

	(void)state;
	abandon(cancelled);
	assert_false(is_over);
	abandon(late);
	assert_int_equal(found_fd, -1);
	assert_string_equal(why, "the host's name was not found in time");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_next_address_is_tried_where_one_refuses),
	    cmocka_unit_test(an_address_that_does_not_answer_leaves_time_to_the_others),
	    cmocka_unit_test(together_they_have_the_time_that_was_given),
	    cmocka_unit_test(a_name_that_there_is_not),
	    cmocka_unit_test(a_look_up_that_hangs_is_left_to_itself),
	};

	return cmocka_run_group_tests_name("dial", tests, set_up, tear_down);
}
