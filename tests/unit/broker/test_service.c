/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/context.h"
#include "broker/service.h"
#include "loop/mailbox.h"
#include "loop/worker.h"
#include "transport/listener.h"

/* --- a service manager --- */

static char folder[] = "/tmp/avocet-service-XXXXXX";
static char path[64];
static int manager;

static int
set_up(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const struct timeval limit = {.tv_sec = 10};

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/notify", folder);
	strcpy(un.sun_path, path);
	manager = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&un, sizeof(un)), 0);
	(void)setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	close(manager);
	unlink(path);
	return rmdir(folder);
}

/* The next word, or "" when it does not come in time. */
static const char *
hear(int flags)
{
	static char text[1024];
	ssize_t len = recv(manager, text, sizeof(text) - 1, flags);

	text[len > 0 ? len : 0] = '\0';
	return text;
}

static void
set_number(const char *name, long number)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%ld", number);
	assert_int_equal(setenv(name, text, 1), 0);
}

/* --- words --- */

static void
without_a_manager_nothing_happens(void **state)
{
	struct broker_service service;
	struct context context = {0};
	struct listener *listener;
	char why[64];

	(void)state;
	context_current = &context;
	broker_service_init(&service);
	broker_service_ready(&service, "Ready");
	broker_service_reloading(&service);
	broker_service_stopping(&service, 1000);
	assert_false(
	    broker_service_adopt(&service, "a", "127.0.0.1:1", &listener, why, sizeof(why)));
	assert_int_equal(service.period_ms, 0);
	broker_service_fini(&service);
	context_current = NULL;
}

static void
the_manager_hears_each_state(void **state)
{
	struct broker_service service;
	struct context context = {.mono_ms = 41};

	(void)state;
	context_current = &context;
	setenv("NOTIFY_SOCKET", path, 1);
	broker_service_init(&service);
	assert_null(getenv("NOTIFY_SOCKET"));
	broker_service_ready(&service, "All\nis\twell");
	assert_string_equal(hear(0), "READY=1\nSTATUS=All is well");
	broker_service_reloading(&service);
	assert_string_equal(
	    hear(0), "RELOADING=1\nMONOTONIC_USEC=42000\nSTATUS=Reloading the configuration");
	broker_service_stopping(&service, 10000);
	assert_string_equal(hear(0), "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=Stopping");
	broker_service_fini(&service);
	context_current = NULL;
}

static void
a_status_that_is_too_long_is_cut(void **state)
{
	struct broker_service service;
	char status[2000];

	(void)state;
	memset(status, 'x', sizeof(status) - 1);
	status[sizeof(status) - 1] = '\0';
	setenv("NOTIFY_SOCKET", path, 1);
	broker_service_init(&service);
	broker_service_ready(&service, status);
	assert_int_equal(strncmp(hear(0), "READY=1\nSTATUS=xxx", 18), 0);
	broker_service_fini(&service);
}

static void
a_watchdog_is_ours_only_if_it_says_so(void **state)
{
	static const struct {
		const char *span;
		long pid; /* of us: 0; -1: nobody's */
		int64_t period_ms;
	} cases[] = {{"30000000", -1, 15000}, {"30000000", 0, 15000}, {"30000000", 1, 0},
	    {"1", 0, 1}, {"0", 0, 0}, {"-5", 0, 0}, {"soon", 0, 0}};
	struct broker_service service;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		setenv("NOTIFY_SOCKET", path, 1);
		setenv("WATCHDOG_USEC", cases[i].span, 1);
		if (cases[i].pid >= 0) {
			set_number("WATCHDOG_PID", cases[i].pid == 0 ? getpid() : cases[i].pid);
		}
		broker_service_init(&service);
		assert_int_equal(service.period_ms, cases[i].period_ms);
		assert_null(getenv("WATCHDOG_USEC"));
		assert_null(getenv("WATCHDOG_PID"));
		broker_service_fini(&service);
	}
}

/* --- the watchdog --- */

enum { SPAN_US = 200000, QUIET_MS = 600 };

static struct broker_service watched;
static struct loop *loop;
static struct mail blocking;
static atomic_bool is_blocked, may_go_on;

static void
pause_ms(long ms)
{
	const struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&span, NULL);
}

static void
block(struct worker *worker, struct mail *mail)
{
	(void)worker;
	(void)mail;
	atomic_store(&is_blocked, true);
	while (!atomic_load(&may_go_on)) {
		pause_ms(1);
	}
	atomic_store(&is_blocked, false);
}

static void
begin(struct worker *main, void *arg)
{
	(void)main;
	(void)arg;
	broker_service_start(&watched, loop);
}

/* What the manager sees, on a thread of its own. NULL: all was as it should be. */
static void *
watch(void *arg)
{
	static char wrong[128];
	const char *word = "";

	(void)arg;
	for (int i = 0; i < 3 && wrong[0] == '\0'; i++) {
		word = hear(0);
		if (strcmp(word, "WATCHDOG=1") != 0) {
			(void)snprintf(wrong, sizeof(wrong), "asleep: \"%.60s\"", word);
		}
	}
	mail_post(loop_worker(loop, 1), &blocking);
	while (!atomic_load(&is_blocked)) {
		pause_ms(1);
	}
	pause_ms(SPAN_US / 1000); /* the turn's number has moved once more */
	while (*hear(MSG_DONTWAIT) != '\0') {}
	pause_ms(QUIET_MS);
	word = hear(MSG_DONTWAIT);
	if (*word != '\0') {
		(void)snprintf(wrong, sizeof(wrong), "while a worker hangs: \"%.60s\"", word);
	}
	atomic_store(&may_go_on, true);
	word = hear(0);
	if (wrong[0] == '\0' && strcmp(word, "WATCHDOG=1") != 0) {
		(void)snprintf(wrong, sizeof(wrong), "afterwards: \"%.60s\"", word);
	}
	loop_stop(loop);
	return wrong[0] != '\0' ? wrong : NULL;
}

/* The lines of main's log that hold the text. */
static int
count_lines(const char *text)
{
	struct log_record record;
	int count = 0;

	while (log_ring_take(worker_log(loop_worker(loop, 0)), &record)) {
		char *line = mem_text(record.text);

		count += strstr(line, text) != NULL;
		mem_free(&line);
	}
	return count;
}

static void
the_watchdog_is_told_only_while_all_workers_move_or_sleep(void **state)
{
	pthread_t thread;
	void *wrong;

	(void)state;
	setenv("NOTIFY_SOCKET", path, 1);
	set_number("WATCHDOG_USEC", SPAN_US);
	broker_service_init(&watched);
	blocking.run = block;
	loop = loop_new(&(struct loop_options){.log_level = LOG_LEVEL_WARNING});
	worker_on_start(loop_add_worker(loop, "main"), begin, NULL);
	loop_add_worker(loop, "client 1");
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(pthread_create(&thread, NULL, watch, NULL), 0);
	loop_run(loop);
	loop_join(loop);
	assert_int_equal(pthread_join(thread, &wrong), 0);
	if (wrong != NULL) {
		fail_msg("%s", (const char *)wrong);
	}
	assert_int_equal(count_lines("the worker client 1 has been busy"), 1);
	loop_free(&loop);
	broker_service_fini(&watched);
}

/* --- sockets --- */

enum { FIRST = 3, HANDED = 3 };

static int kept[HANDED]; /* what this process had there */
static char addresses[HANDED][32];

static int
open_listening(int at, bool listens)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_true(!listens || listen(fd, 5) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	(void)snprintf(
	    addresses[at], sizeof(addresses[at]), "127.0.0.1:%u", (unsigned)ntohs(in.sin_port));
	return fd;
}

/* Three sockets from descriptor 3 on, the last of which does not listen. */
static void
hand_over(long pid, const char *names)
{
	int fds[HANDED];

	for (int i = 0; i < HANDED; i++) {
		kept[i] = fcntl(FIRST + i, F_DUPFD_CLOEXEC, 20);
	}
	for (int i = 0; i < HANDED; i++) {
		int fd = open_listening(i, i < 2);

		fds[i] = fcntl(fd, F_DUPFD, 20);
		close(fd);
	}
	for (int i = 0; i < HANDED; i++) {
		assert_int_equal(dup2(fds[i], FIRST + i), FIRST + i);
		close(fds[i]);
	}
	set_number("LISTEN_PID", pid);
	set_number("LISTEN_FDS", HANDED);
	if (names != NULL) {
		setenv("LISTEN_FDNAMES", names, 1);
	}
}

static void
take_back(void)
{
	for (int i = 0; i < HANDED; i++) {
		close(FIRST + i);
		if (kept[i] >= 0) {
			dup2(kept[i], FIRST + i);
			close(kept[i]);
		}
	}
}

static void
assert_is_at(const struct listener *listener, const char *address)
{
	char text[ADDR_TEXT_SIZE];

	assert_non_null(listener);
	addr_format(listener_addr(listener), text);
	assert_string_equal(text, address);
}

static void
a_listener_gets_the_socket_of_its_name_or_else_of_its_address(void **state)
{
	struct broker_service service;
	struct listener *listener = NULL, *again = NULL;
	char why[128] = "";

	(void)state;
	hand_over(getpid(), "one:two:three");
	broker_service_init(&service);
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_FDNAMES"));
	assert_int_equal(service.sockets.count, HANDED);
	assert_true(fcntl(FIRST, F_GETFD) & FD_CLOEXEC);

	assert_true(
	    broker_service_adopt(&service, "two", addresses[0], &listener, why, sizeof(why)));
	assert_is_at(listener, addresses[1]);
	listener_free(&listener);
	assert_true(
	    broker_service_adopt(&service, "mqtt", addresses[0], &listener, why, sizeof(why)));
	assert_is_at(listener, addresses[0]);
	assert_false(
	    broker_service_adopt(&service, "mqtt", "127.0.0.1:1", &again, why, sizeof(why)));
	assert_false(
	    broker_service_adopt(&service, "mqtt", "unix:/tmp/x", &again, why, sizeof(why)));

	/* It comes back after it was closed. */
	listener_free(&listener);
	assert_true(
	    broker_service_adopt(&service, "mqtt", addresses[0], &listener, why, sizeof(why)));
	assert_is_at(listener, addresses[0]);
	listener_free(&listener);
	broker_service_fini(&service);
	assert_int_equal(fcntl(FIRST, F_GETFD), -1);
	take_back();
}

static void
a_socket_that_does_not_listen_is_refused(void **state)
{
	struct broker_service service;
	struct listener *listener = NULL;
	char why[128] = "";

	(void)state;
	hand_over(getpid(), "one:two:three");
	broker_service_init(&service);
	assert_true(
	    broker_service_adopt(&service, "three", "127.0.0.1:1883", &listener, why, sizeof(why)));
	assert_null(listener);
	assert_string_equal(
	    why, "the listener three: what was handed over is not a stream socket that listens");
	broker_service_fini(&service);
	take_back();
}

static void
sockets_of_another_process_are_left_alone(void **state)
{
	struct broker_service service;

	(void)state;
	hand_over(1, "one:two:three");
	broker_service_init(&service);
	assert_int_equal(service.sockets.count, 0);
	assert_null(getenv("LISTEN_FDS"));
	broker_service_fini(&service);
	assert_true(fcntl(FIRST, F_GETFD) >= 0);
	take_back();
}

static void
sockets_need_no_names_and_share_one(void **state)
{
	struct broker_service service;
	struct listener *listener = NULL;
	char why[128] = "";

	(void)state;
	hand_over(getpid(), NULL);
	broker_service_init(&service);
	assert_string_equal(service.sockets.items[0].name, "unknown");
	assert_true(broker_service_adopt(&service, "x", addresses[1], &listener, why, sizeof(why)));
	assert_is_at(listener, addresses[1]);
	listener_free(&listener);
	broker_service_fini(&service);
	take_back();

	hand_over(getpid(), "m:m:");
	broker_service_init(&service);
	assert_string_equal(service.sockets.items[2].name, "unknown");
	assert_true(
	    broker_service_adopt(&service, "m", "127.0.0.1:1", &listener, why, sizeof(why)));
	assert_is_at(listener, addresses[0]);
	assert_true(service.sockets.items[0].is_used && service.sockets.items[1].is_used);
	assert_false(service.sockets.items[2].is_used);
	listener_free(&listener);
	broker_service_fini(&service);
	take_back();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_a_manager_nothing_happens),
	    cmocka_unit_test(the_manager_hears_each_state),
	    cmocka_unit_test(a_status_that_is_too_long_is_cut),
	    cmocka_unit_test(a_watchdog_is_ours_only_if_it_says_so),
	    cmocka_unit_test(the_watchdog_is_told_only_while_all_workers_move_or_sleep),
	    cmocka_unit_test(a_listener_gets_the_socket_of_its_name_or_else_of_its_address),
	    cmocka_unit_test(a_socket_that_does_not_listen_is_refused),
	    cmocka_unit_test(sockets_of_another_process_are_left_alone),
	    cmocka_unit_test(sockets_need_no_names_and_share_one),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
