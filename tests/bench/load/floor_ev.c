/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor_ev: forward.h over libevent, to see beside `floor` what the library costs.
 *
 *     floor_ev PORT event    two events for each socket, own buffers, as floor
 *     floor_ev PORT bev      a bufferevent for each socket, evbuffer_add() for each message
 */
#include "bench/load/forward.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

/* Either the events or the bufferevent. */
struct link {
	struct forward forward; /* first: one is the other */
	struct event *in, *out;
	struct bufferevent *buffers;
};

static struct event_base *base;

/* --- events --- */

static void
await_out(struct forward *forward, bool awaits)
{
	const struct link *link = (struct link *)forward;

	if (awaits) {
		event_add(link->out, NULL);
	} else {
		event_del(link->out);
	}
}

static void
end_events(struct forward *forward)
{
	const struct link *link = (struct link *)forward;

	event_free(link->in);
	event_free(link->out);
	close(forward->fd);
}

static void
readable(evutil_socket_t fd, short what, void *link)
{
	(void)fd;
	(void)what;
	forward_read(link);
}

static void
writable(evutil_socket_t fd, short what, void *link)
{
	(void)fd;
	(void)what;
	forward_flush(link);
}

static void
begin_events(struct link *link)
{
	link->in = event_new(base, link->forward.fd, EV_READ | EV_PERSIST, readable, link);
	link->out = event_new(base, link->forward.fd, EV_WRITE | EV_PERSIST, writable, link);
	event_add(link->in, NULL);
}

/* --- bufferevents --- */

static void
put(struct forward *forward, const void *bytes, uint32_t len)
{
	const struct link *link = (struct link *)forward;

	evbuffer_add(bufferevent_get_output(link->buffers), bytes, len);
}

static void
end_buffers(struct forward *forward)
{
	const struct link *link = (struct link *)forward;

	bufferevent_free(link->buffers); /* closes the socket */
}

static void
take_input(struct bufferevent *buffers, void *link)
{
	struct forward *forward = link;
	struct evbuffer *input = bufferevent_get_input(buffers);
	uint32_t len = (uint32_t)evbuffer_get_length(input);
	uint32_t taken = forward_take(forward, evbuffer_pullup(input, -1), len);

	if (forward->fd >= 0) {
		evbuffer_drain(input, taken);
	}
}

static void
take_end(struct bufferevent *buffers, short what, void *link)
{
	(void)buffers;
	(void)what;
	forward_end(link);
}

static void
begin_buffers(struct link *link)
{
	link->buffers = bufferevent_socket_new(base, link->forward.fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(link->buffers, take_input, NULL, take_end, link);
	bufferevent_set_max_single_read(link->buffers, FORWARD_READ);
	bufferevent_set_max_single_write(link->buffers, FORWARD_READ);
	bufferevent_enable(link->buffers, EV_READ | EV_WRITE);
}

/* --- the loop --- */

static void
acceptable(evutil_socket_t listener, short what, void *begin)
{
	void (*const *begin_link)(struct link * link) = begin;
	int fd;

	(void)what;
	while ((fd = forward_accept(listener)) >= 0) {
		struct link *link = forward_new(sizeof(*link));

		link->forward.fd = fd;
		(*begin_link)(link);
	}
}

int
main(int argc, char **argv)
{
	static const struct forward_loop of_events = {await_out, end_events, NULL};
	static const struct forward_loop of_buffers = {await_out, end_buffers, put};

	if (argc != 3 || (strcmp(argv[2], "event") != 0 && strcmp(argv[2], "bev") != 0)) {
		fputs("usage: floor_ev PORT event|bev\n", stderr);
		return 2;
	}
	bool has_buffers = strcmp(argv[2], "bev") == 0;
	void (*begin)(struct link * link) = has_buffers ? begin_buffers : begin_events;
	int listener = forward_listen(has_buffers ? &of_buffers : &of_events, argv[1]);

	base = event_base_new();
	struct event *accepting =
	    event_new(base, listener, EV_READ | EV_PERSIST, acceptable, &begin);

	event_add(accepting, NULL);
	while (event_base_loop(base, EVLOOP_ONCE) == 0) {
		forward_flush_all();
	}
	return 1;
}
