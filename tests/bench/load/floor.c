/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor: forward.h over epoll. One read for each socket that is ready, and one write for each with
 * output per turn of the loop: how far is a broker from what the machine can do?
 *
 *     floor PORT
 */
#include "bench/load/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 256 };

static int events;

static void
await_out(struct forward *forward, bool awaits)
{
	struct epoll_event event = {
	    .events = EPOLLIN | (awaits ? EPOLLOUT : 0), .data.ptr = forward};

	(void)epoll_ctl(events, EPOLL_CTL_MOD, forward->fd, &event);
}

static void
end(struct forward *forward)
{
	close(forward->fd);
}

/* The listener is the one without a struct. */
static void
watch(int fd, struct forward *forward)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = forward};

	if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event) != 0) {
		perror("floor");
		exit(1);
	}
}

static void
accept_all(int listener)
{
	int fd;

	while ((fd = forward_accept(listener)) >= 0) {
		struct forward *forward = forward_new(sizeof(*forward));

		forward->fd = fd;
		watch(fd, forward);
	}
}

static void
serve(struct forward *forward, uint32_t ready)
{
	if (forward->fd >= 0 && (ready & EPOLLOUT) != 0) {
		forward_flush(forward);
	}
	if (forward->fd >= 0 && (ready & ~(uint32_t)EPOLLOUT) != 0) {
		forward_read(forward);
	}
}

int
main(int argc, char **argv)
{
	static const struct forward_loop loop = {await_out, end, NULL};
	struct epoll_event ready[EVENTS];

	if (argc != 2) {
		fputs("usage: floor PORT\n", stderr);
		return 2;
	}
	int listener = forward_listen(&loop, argv[1]);

	events = epoll_create1(0);
	watch(listener, NULL);
	for (;;) {
		int count = epoll_wait(events, ready, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (ready[i].data.ptr == NULL) {
				accept_all(listener);
			} else {
				serve(ready[i].data.ptr, ready[i].events);
			}
		}
		forward_flush_all();
	}
}
