/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket as a stream. Owned by the layer above or by a connection; used on the thread of its
 * worker.
 *
 * Interest in reading is given up lazily. Who pauses (wants no READ) usually wants it again before
 * anything comes, and that must cost no system call; so the kernel goes on being asked. If it
 * then reports something while nobody wants to read, one peek tells a waiting end from waiting
 * bytes: an end is told to the owner once, and either way the kernel is asked no more until READ is
 * wanted again, so nothing spins. What was raised by hand is always passed on.
 */
#include "transport/plain.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/watch.h"
#include "loop/worker.h"

_Static_assert((int)STREAM_READ == (int)WATCH_READ && (int)STREAM_WRITE == (int)WATCH_WRITE,
    "events of streams are those of watches");

struct plain {
	struct stream stream;
	struct watch watch;
	int fd;
	uint8_t wanted; /* by the owner; the watch may know more, see above */
	uint8_t raised; /* by hand and not delivered yet */
	bool end_told;  /* the owner, though it does not read any more, knows of the end */
	uint8_t name_len;
	char name[];
};

static struct plain *
of(struct stream *stream)
{
	return list_item(stream, struct plain, stream);
}

static bool
is_attached(const struct plain *plain)
{
	return plain->watch.worker != NULL;
}

/* --- bytes --- */

static long
plain_read(struct stream *stream, void *memory, size_t size)
{
	struct plain *plain = of(stream);
	ssize_t got;

	do {
		got = recv(plain->fd, memory, size, 0);
	} while (got < 0 && errno == EINTR);
	if (got > 0) {
		return got;
	}
	if (got < 0 && errno == EAGAIN) {
		return ERR_AGAIN;
	}
	plain->end_told = true;
	return got == 0 ? 0 : ERR_IO;
}

static long
plain_write(struct stream *stream, const struct iovec *parts, int count)
{
	struct plain *plain = of(stream);
	struct msghdr head = {0};
	union {
		const struct iovec *given;
		struct iovec *asked; /* sendmsg does not write there */
	} vector = {.given = parts};
	ssize_t sent;

	if (count <= 0) {
		return 0;
	}
	head.msg_iov = vector.asked;
	head.msg_iovlen = (size_t)(count < IOV_MAX ? count : IOV_MAX);
	do {
		sent = sendmsg(plain->fd, &head, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0) {
		return sent;
	}
	return errno == EAGAIN ? 0 : ERR_IO;
}

/* --- readiness --- */

static void
plain_want(struct stream *stream, unsigned events)
{
	struct plain *plain = of(stream);

	plain->wanted = (uint8_t)events;
	if ((events & STREAM_READ) != 0) {
		plain->end_told = false;
	}
	if (is_attached(plain)) {
		watch_set(&plain->watch, events | (plain->watch.wanted & WATCH_READ));
	}
}

static void
plain_raise(struct stream *stream, unsigned events)
{
	struct plain *plain = of(stream);

	if (is_attached(plain)) {
		plain->raised |= (uint8_t)events;
		watch_raise(&plain->watch, events);
	}
}

static bool
is_at_end(const struct plain *plain)
{
	uint8_t byte;
	ssize_t got = recv(plain->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/*
 * Something came that nobody wants to read: is it the end? With READ still asked for, one peek
 * tells. Without, the loop has told of a hang-up by itself.
 */
static bool
notices_end(struct plain *plain)
{
	bool was_asked = (plain->watch.wanted & WATCH_READ) != 0;

	if (was_asked) {
		watch_set(&plain->watch, plain->wanted);
	}
	if (plain->end_told || (was_asked && !is_at_end(plain))) {
		return false;
	}
	plain->end_told = true;
	return true;
}

static void
take_events(struct watch *watch, unsigned events)
{
	struct plain *plain = list_item(watch, struct plain, watch);
	unsigned told = events & (plain->wanted | plain->raised);

	plain->raised &= (uint8_t)~events;
	if ((events & ~told & STREAM_READ) != 0 && notices_end(plain)) {
		told |= STREAM_READ;
	}
	if (told != 0 && plain->stream.ready != NULL) {
		plain->stream.ready(&plain->stream, told, plain->stream.owner);
	}
}

/* --- a place on a loop --- */

static int
plain_attach(struct stream *stream, struct worker *worker)
{
	struct plain *plain = of(stream);
	int error;

	if (err_impossible(is_attached(plain))) {
		return ERR_IO;
	}
	plain->wanted = STREAM_READ;
	plain->end_told = false;
	error = watch_attach(&plain->watch, worker, plain->fd, WATCH_READ);
	if (error == 0) {
		plain_raise(stream, STREAM_READ);
	}
	return error;
}

static void
plain_detach(struct stream *stream)
{
	struct plain *plain = of(stream);

	if (is_attached(plain)) {
		watch_detach(&plain->watch);
	}
	plain->raised = 0;
}

static void
plain_shut(struct stream *stream)
{
	(void)shutdown(of(stream)->fd, SHUT_WR);
}

static void
plain_free(struct stream *stream)
{
	struct plain *plain = of(stream);

	plain_detach(stream);
	(void)close(plain->fd);
	mem_free(&plain);
}

static struct bytes
plain_peer_name(const struct stream *stream)
{
	const struct plain *plain = (const void *)stream;

	return bytes_make(plain->name, plain->name_len);
}

static const struct stream_ops plain_ops = {.read = plain_read,
    .write = plain_write,
    .want = plain_want,
    .raise = plain_raise,
    .attach = plain_attach,
    .detach = plain_detach,
    .shut = plain_shut,
    .free = plain_free,
    .peer_name = plain_peer_name};

/* Who accepted it has made it so already, and then it costs one look. */
static void
set_options(int fd, const struct addr *peer)
{
	int flags = fcntl(fd, F_GETFL);
	int on = 1;

	if (flags >= 0 && (flags & O_NONBLOCK) == 0) {
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	}
	if (peer->storage.ss_family != AF_UNIX) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
}

struct stream *
plain_new(int fd, const struct addr *peer)
{
	char name[ADDR_TEXT_SIZE];
	size_t len = addr_format(peer, name);
	struct plain *plain = mem_zalloc(sizeof(*plain) + len);

	_Static_assert(ADDR_TEXT_SIZE <= UINT8_MAX, "name_len");
	plain->stream.ops = &plain_ops;
	plain->watch.fn = take_events;
	plain->watch.fd = -1;
	plain->fd = fd;
	plain->name_len = (uint8_t)len;
	memcpy(plain->name, name, len);
	set_options(fd, peer);
	return &plain->stream;
}
