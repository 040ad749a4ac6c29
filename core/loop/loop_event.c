/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers as threads. Three things end the sleep of one: a file descriptor, the moment of the
 * wheel's next slot (or, while retired memory waits for other workers, of the next look at them),
 * and one eventfd that others write to. The eventfd is edge triggered: it is never read.
 *
 * Watches do not have a libevent event each: that is 128 bytes of `struct event`, its allocation
 * and an entry in libevent's map, together a quarter of what an idle connection may cost. They
 * stand in an epoll set of the worker's own. A batch is taken from it; a callback may detach or
 * free any watch, also one that stands later in the batch: detaching takes it out.
 *
 * Main sleeps in its libevent base, which brings it signals; the set is one event of the base, the
 * moment another. The other workers have nothing that libevent could bring them, and sleep in their
 * set itself: where nothing can be batched, a set below a base is a second system call and a second
 * wake-up inside the kernel for each message, 5 % of all that it costs (doc/performance.md).
 *
 * A watch that wants nothing still has to notice that the peer is gone, and must not spin
 * meanwhile: it is edge triggered, and reports WATCH_READ once; reading tells the owner what
 * happened.
 */
#include "loop/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "loop/worker_int.h"

enum { BATCH = 256, LATE_NS = 500000 };

struct native {
	int set_fd; /* epoll: the watches, and without a base wake_fd */
	int batch_count;
	unsigned late_first;
	struct epoll_event batch[BATCH]; /* data.ptr NULL: wake_fd, told, or detached meanwhile */
	int wake_fd;
	bool is_running; /* has a thread to be joined */
	pthread_t thread;

	/* Main only. */
	struct event_base *base; /* NULL: this is another */
	struct event *set_event;
	struct event *wake_event;
	struct event *due_event;
	int64_t armed_ms; /* when due_event fires; LOOP_NEVER: it is not set */
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

int64_t
loop_now_ns(const struct loop *loop)
{
	(void)loop;
	return clock_mono_ns();
}

int64_t
loop_coarse_ns(const struct loop *loop)
{
	(void)loop;
	return clock_coarse_ns();
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

static void on_set(evutil_socket_t fd, short events, void *arg);

static struct event_base *
new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config != NULL) {
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
		event_config_require_features(config, EV_FEATURE_ET);
		base = event_base_new_with_config(config);
		event_config_free(config);
	}
	return base;
}

static void
open_base(struct worker *worker)
{
	struct native *native = worker->native;

	native->armed_ms = LOOP_NEVER;
	native->base = new_base();
	if (native->base == NULL) {
		err_fatal("an event loop cannot be made (out of file descriptors?)");
	}
	native->wake_event =
	    event_new(native->base, native->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_wake, worker);
	native->due_event = event_new(native->base, -1, 0, on_due, worker);
	native->set_event =
	    event_new(native->base, native->set_fd, EV_READ | EV_PERSIST, on_set, worker);
	if (native->wake_event == NULL || native->due_event == NULL || native->set_event == NULL ||
	    event_add(native->wake_event, NULL) != 0 || event_add(native->set_event, NULL) != 0) {
		err_fatal("an event loop cannot be made");
	}
}

void
loop_native_open(struct worker *worker)
{
	struct native *native = mem_zalloc(sizeof(*native));
	struct epoll_event wake = {.events = EPOLLIN | EPOLLET};

	worker->native = native;
	native->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	native->set_fd = epoll_create1(EPOLL_CLOEXEC);
	if (native->wake_fd < 0 || native->set_fd < 0) {
		err_fatal("an event loop cannot be made (out of file descriptors?)");
	}
	if (worker->index == 0) {
		open_base(worker);
	} else if (epoll_ctl(native->set_fd, EPOLL_CTL_ADD, native->wake_fd, &wake) != 0) {
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

	if (native->base != NULL) {
		free_signals(worker->loop);
		event_free(native->due_event);
		event_free(native->wake_event);
		event_free(native->set_event);
		event_base_free(native->base);
	}
	close(native->set_fd);
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

static uint32_t
flags_of(unsigned wanted)
{
	if (wanted == 0) {
		return EPOLLRDHUP | EPOLLET;
	}
	return ((wanted & WATCH_READ) != 0 ? EPOLLIN : 0U) |
	       ((wanted & WATCH_WRITE) != 0 ? EPOLLOUT : 0U);
}

static unsigned
ready_of(const struct watch *watch, uint32_t events)
{
	const uint32_t gone = EPOLLHUP | EPOLLERR;
	unsigned ready = 0;

	if (watch->armed == 0) {
		return WATCH_READ;
	}
	if ((events & (EPOLLIN | EPOLLRDHUP | gone)) != 0) {
		ready |= watch->armed & WATCH_READ;
	}
	if ((events & (EPOLLOUT | gone)) != 0) {
		ready |= watch->armed & WATCH_WRITE;
	}
	return ready;
}

static void
fire(struct watch *watch, uint32_t events)
{
	unsigned ready = ready_of(watch, events);

	if (ready != 0) {
		watch_fire(watch, ready);
	}
}

/* What is told once must be told now. */
static bool
is_late(const struct watch *watch)
{
	return watch->is_late && watch->armed != 0;
}

/* For as long as a turn has time for them, and one at least; the kernel shows the others again, in
 * the same order, so that each turn begins with another one. */
static void
fire_late(struct worker *worker)
{
	struct native *native = worker->native;
	int64_t end_ns = clock_mono_ns() + LATE_NS;
	unsigned count = (unsigned)native->batch_count, first = native->late_first++;

	for (unsigned i = 0; i < count; i++) {
		struct epoll_event *event = &native->batch[(first + i) % count];
		struct watch *watch = event->data.ptr;

		if (watch != NULL) {
			event->data.ptr = NULL;
			fire(watch, event->events);
			if (clock_mono_ns() > end_ns) {
				break;
			}
		}
	}
}

/* What is ready in the set, after so many milliseconds at most; < 0: for ever. Those that stay
 * ready beyond the batch are there in the next turn. */
static void
take_batch(struct worker *worker, int timeout_ms)
{
	struct native *native = worker->native;

	bool any_late = false;

	native->batch_count = epoll_wait(native->set_fd, native->batch, BATCH, timeout_ms);
	worker_begin_turn(worker);
	for (int i = 0; i < native->batch_count; i++) {
		const struct epoll_event *event = &native->batch[i];
		struct watch *watch = event->data.ptr;

		if (watch != NULL && is_late(watch)) {
			any_late = true;
		} else if (watch != NULL) {
			native->batch[i].data.ptr = NULL;
			fire(watch, event->events);
		}
	}
	if (any_late) {
		fire_late(worker);
	}
	native->batch_count = 0;
}

static void
on_set(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	take_batch(arg, 0);
}

int
loop_native_arm(struct watch *watch, unsigned wanted)
{
	const struct native *native = watch->worker->native;
	struct epoll_event event = {.events = flags_of(wanted), .data.ptr = watch};

	if (epoll_ctl(native->set_fd, watch->is_armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch->fd,
		&event) != 0) {
		return ERR_IO;
	}
	watch->armed = (uint8_t)wanted;
	watch->is_armed = true;
	return 0;
}

void
loop_native_disarm(struct watch *watch)
{
	struct native *native = watch->worker->native;

	(void)epoll_ctl(native->set_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = 0; i < native->batch_count; i++) {
		if (native->batch[i].data.ptr == watch) {
			native->batch[i].data.ptr = NULL;
		}
	}
	watch->is_armed = false;
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

	if (err_impossible(native->base == NULL)) {
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

/* INT_MAX: long enough, and then it looks again. */
static int
ms_until(int64_t moment_ms)
{
	int64_t delay = moment_ms - clock_mono_ms();

	return delay < 0 ? 0 : delay > INT_MAX ? INT_MAX : (int)delay;
}

static void
set_alarm(struct native *native, int64_t moment_ms)
{
	struct timeval span;
	int delay;

	if (moment_ms == native->armed_ms) {
		return;
	}
	native->armed_ms = moment_ms;
	if (moment_ms == LOOP_NEVER) {
		event_del(native->due_event);
		return;
	}
	delay = ms_until(moment_ms);
	span = (struct timeval){.tv_sec = delay / 1000, .tv_usec = delay % 1000 * 1000};
	if (event_add(native->due_event, &span) != 0) {
		err_fatal("out of memory");
	}
}

static void
wait_in_base(struct worker *worker)
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
}

static void
wait_in_set(struct worker *worker)
{
	int timeout_ms = 0;

	if (worker_try_sleep(worker)) {
		int64_t moment_ms = wake_at(worker);

		timeout_ms = moment_ms == LOOP_NEVER ? -1 : ms_until(moment_ms);
	}
	take_batch(worker, timeout_ms);
}

static void
run_turn(struct worker *worker)
{
	const struct native *native = worker->native;

	if (native->base != NULL) {
		wait_in_base(worker);
	} else {
		wait_in_set(worker);
	}
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
