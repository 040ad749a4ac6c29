/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers as threads, each with a libevent base of its own that no other thread touches. Three
 * things end the sleep of a base: a file descriptor, one libevent timer that is set to the moment
 * of the wheel's next slot (or, while retired memory waits for other workers, to the next look at
 * them), and one eventfd that others write to. The eventfd is edge triggered: it is never read.
 *
 * A watch has one libevent event. To change what it wants, the new event is added before the old
 * one is freed, so that the kernel is asked once, and only for the difference.
 *
 * A watch that wants nothing still has to notice that the peer is gone, and must not spin
 * meanwhile. EV_CLOSED alone would: libevent reports an error (a reset) as readable and writable,
 * which such an event does not match, and level-triggered epoll would report it for ever. So it is
 * edge triggered and asks for EV_WRITE too; when that comes, poll says whether the connection is
 * gone or merely has room. It then reports WATCH_READ once: reading tells the owner what happened.
 */
#include "loop/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "loop/worker_int.h"

struct native {
	struct event_base *base;
	struct event *wake_event;
	struct event *due_event;
	int wake_fd;
	bool is_running;  /* has a thread to be joined */
	int64_t armed_ms; /* when due_event fires; LOOP_NEVER: it is not set */
	pthread_t thread;
};

struct signal_watch {
	struct signal_watch *next;
	struct worker *worker;
	struct event *event;
	worker_signal_fn *fn;
	void *arg;
};

/* --- time and chance --- */

void
loop_native_init(struct loop *loop)
{
	loop->native = NULL; /* the list of signal watches */
}

void
loop_native_fini(struct loop *loop)
{
	(void)loop; /* loop_native_close of main has freed the list */
}

void
loop_native_time(const struct loop *loop, int64_t *mono_ms_out, int64_t *wall_ms_out)
{
	(void)loop;
	*mono_ms_out = clock_mono_ms();
	*wall_ms_out = clock_wall_ms();
}

uint64_t
loop_native_seed(struct worker *worker)
{
	uint64_t seed;

	loop_native_random(worker, &seed, sizeof(seed));
	return seed;
}

void
loop_native_random(struct worker *worker, void *memory, size_t size)
{
	(void)worker;
	rand_fill(memory, size);
}

/* --- the base --- */

static void
on_wake(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	worker_begin_turn(arg);
}

static void
on_due(evutil_socket_t fd, short events, void *arg)
{
	struct worker *worker = arg;
	struct native *native = worker->native;

	(void)fd;
	(void)events;
	native->armed_ms = LOOP_NEVER;
	worker_begin_turn(worker);
}

static struct event_base *
new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config != NULL) {
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
		event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
		base = event_base_new_with_config(config);
		event_config_free(config);
	}
	return base;
}

void
loop_native_open(struct worker *worker)
{
	struct native *native = mem_zalloc(sizeof(*native));

	worker->native = native;
	native->armed_ms = LOOP_NEVER;
	native->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	native->base = new_base();
	if (native->wake_fd < 0 || native->base == NULL) {
		err_fatal("an event loop cannot be made (out of file descriptors?)");
	}
	native->wake_event =
	    event_new(native->base, native->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_wake, worker);
	native->due_event = event_new(native->base, -1, 0, on_due, worker);
	if (native->wake_event == NULL || native->due_event == NULL ||
	    event_add(native->wake_event, NULL) != 0) {
		err_fatal("an event loop cannot be made");
	}
}

static void
free_signals(struct loop *loop)
{
	struct signal_watch *next;

	for (struct signal_watch *watch = loop->native; watch != NULL; watch = next) {
		next = watch->next;
		event_free(watch->event);
		mem_free(&watch);
	}
	loop->native = NULL;
}

void
loop_native_close(struct worker *worker)
{
	struct native *native = worker->native;

	if (worker->index == 0) {
		free_signals(worker->loop);
	}
	event_free(native->due_event);
	event_free(native->wake_event);
	event_base_free(native->base);
	close(native->wake_fd);
	mem_free(&native);
}

void
loop_native_wake(struct worker *worker)
{
	const struct native *native = worker->native;
	uint64_t one = 1;
	ssize_t written;

	do {
		written = write(native->wake_fd, &one, sizeof(one));
	} while (written < 0 && errno == EINTR);
}

/* --- watches --- */

static short
flags_of(unsigned wanted)
{
	if (wanted == 0) {
		return EV_CLOSED | EV_WRITE | EV_ET | EV_PERSIST;
	}
	return (short)(EV_PERSIST | ((wanted & WATCH_READ) != 0 ? EV_READ : 0) |
		       ((wanted & WATCH_WRITE) != 0 ? EV_WRITE : 0));
}

static bool
is_hung_up(int fd)
{
	struct pollfd watched = {.fd = fd, .events = POLLRDHUP};

	return poll(&watched, 1, 0) > 0;
}

static void
on_ready(evutil_socket_t fd, short events, void *arg)
{
	struct watch *watch = arg;
	unsigned ready = 0;

	worker_begin_turn(watch->worker);
	if (watch->armed == 0) {
		ready = (events & EV_CLOSED) != 0 || is_hung_up(fd) ? WATCH_READ : 0;
	} else {
		ready |= (events & EV_READ) != 0 ? WATCH_READ : 0U;
		ready |= (events & EV_WRITE) != 0 ? WATCH_WRITE : 0U;
	}
	if (ready != 0) {
		watch_fire(watch, ready);
	}
}

int
loop_native_arm(struct watch *watch, unsigned wanted)
{
	const struct native *native = watch->worker->native;
	struct event *old = watch->event;
	struct event *event = event_new(native->base, watch->fd, flags_of(wanted), on_ready, watch);
	/* libevent has either edge or level triggered events for one descriptor. */
	bool old_goes_first = old != NULL && (wanted == 0) != (watch->armed == 0);

	if (event == NULL) {
		return ERR_IO;
	}
	if (old_goes_first) {
		event_del(old);
	}
	if (event_add(event, NULL) != 0) {
		event_free(event);
		if (old_goes_first) {
			event_add(old, NULL);
		}
		return ERR_IO;
	}
	if (old != NULL) {
		event_free(old);
	}
	watch->event = event;
	watch->armed = (uint8_t)wanted;
	return 0;
}

void
loop_native_disarm(struct watch *watch)
{
	event_free(watch->event);
	watch->event = NULL;
	watch->armed = 0;
}

/* --- signals --- */

static void
on_signal(evutil_socket_t number, short events, void *arg)
{
	struct signal_watch *watch = arg;

	(void)events;
	worker_begin_turn(watch->worker);
	watch->fn(watch->worker, (int)number, watch->arg);
}

int
worker_on_signal(struct worker *worker, int number, worker_signal_fn *fn, void *arg)
{
	struct native *native = worker->native;
	struct signal_watch *watch;

	if (err_impossible(worker->index != 0)) {
		return ERR_INVALID;
	}
	watch = mem_zalloc(sizeof(*watch));
	*watch = (struct signal_watch){.worker = worker, .fn = fn, .arg = arg};
	watch->event = evsignal_new(native->base, number, on_signal, watch);
	if (watch->event == NULL || event_add(watch->event, NULL) != 0) {
		if (watch->event != NULL) {
			event_free(watch->event);
		}
		mem_free(&watch);
		return ERR_IO;
	}
	watch->next = worker->loop->native;
	worker->loop->native = watch;
	return 0;
}

/* All but those that a fault of the thread itself raises. Returns what to set afterwards. */
static sigset_t
block_signals(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t blocked;
	sigset_t before;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		sigdelset(&blocked, faults[i]);
	}
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	return before;
}

/* --- turns --- */

/* When a sleeping worker must look again. */
static int64_t
wake_at(struct worker *worker)
{
	int64_t next = timer_wheel_next(worker->wheel);

	if (epoch_is_waiting(worker)) {
		int64_t look = clock_mono_ms() + worker->epoch.patience_ms;

		next = look < next ? look : next;
	}
	return next;
}

static void
set_alarm(struct native *native, int64_t moment_ms)
{
	int64_t delay;
	struct timeval span;

	if (moment_ms == native->armed_ms) {
		return;
	}
	native->armed_ms = moment_ms;
	if (moment_ms == LOOP_NEVER) {
		event_del(native->due_event);
		return;
	}
	delay = moment_ms - clock_mono_ms();
	delay = delay > 0 ? delay : 0;
	span = (struct timeval){.tv_sec = delay / 1000, .tv_usec = delay % 1000 * 1000};
	if (event_add(native->due_event, &span) != 0) {
		err_fatal("out of memory");
	}
}

static void
run_turn(struct worker *worker)
{
	struct native *native = worker->native;
	/* Without ONCE libevent would go on for as long as anything is ready. */
	int flags = EVLOOP_ONCE | EVLOOP_NONBLOCK;

	if (worker_try_sleep(worker)) {
		set_alarm(native, wake_at(worker));
		flags = EVLOOP_ONCE;
	}
	if (event_base_loop(native->base, flags) < 0) {
		err_fatal("an event loop has failed");
	}
	worker_begin_turn(worker);
	worker_finish_turn(worker, WORKER_MAIL_PER_TURN);
}

static void
run_until_stopped(struct worker *worker)
{
	while (!atomic_load(&worker->mailbox.is_stopping)) {
		run_turn(worker);
	}
}

static void *
run_thread(void *arg)
{
	struct worker *worker = arg;

	pthread_setname_np(pthread_self(), worker->name);
	worker_enter_thread(worker);
	run_until_stopped(worker);
	worker_leave_thread(worker);
	return NULL;
}

/* --- threads --- */

static void
join_threads(struct loop *loop)
{
	for (unsigned i = 1; i < loop->worker_count; i++) {
		mail_stop(loop->workers[i]);
	}
	for (unsigned i = 1; i < loop->worker_count; i++) {
		struct native *native = loop->workers[i]->native;

		if (native->is_running) {
			pthread_join(native->thread, NULL);
			native->is_running = false;
		}
	}
}

int
loop_start(struct loop *loop)
{
	sigset_t before;
	int error = 0;

	loop->is_started = true;
	/* Main may look at shared data until loop_run takes it into turns: it counts as awake. */
	epoch_wake(loop->workers[0]);
	loop->workers[0]->is_asleep = false;
	before = block_signals();
	for (unsigned i = 1; i < loop->worker_count && error == 0; i++) {
		struct native *native = loop->workers[i]->native;

		error = pthread_create(&native->thread, NULL, run_thread, loop->workers[i]);
		native->is_running = error == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		join_threads(loop);
		errno = error;
		return ERR_IO;
	}
	return 0;
}

void
loop_run(struct loop *loop)
{
	struct worker *main_worker = loop->workers[0];

	worker_enter_thread(main_worker);
	run_until_stopped(main_worker);
	context_current = NULL;
}

void
loop_join(struct loop *loop)
{
	if (!loop->is_started) {
		return;
	}
	join_threads(loop);
	worker_leave_thread(loop->workers[0]);
	for (unsigned i = 0; i < loop->worker_count; i++) {
		epoch_drain(loop->workers[i]);
	}
}
