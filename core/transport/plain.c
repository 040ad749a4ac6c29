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
 *
 * There is one of these per connection, so it is small: the descriptor stands in its watch, and the
 * name of an IPv4 peer is made when somebody asks, out of the six bytes that it is, and forgotten
 * when the owner next says what it wants.
 */
#include "transport/plain.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/watch.h"
#include "loop/worker.h"

_Static_assert((int)STREAM_READ == (int)WATCH_READ && (int)STREAM_WRITE == (int)WATCH_WRITE,
    "events of streams are those of watches");

enum { V4_LEN = 6 };

/* The name of the peer, and what it was made of. */
struct plain_name {
	bool is_v4;
	uint8_t v4[V4_LEN];
	uint8_t len;
	char text[];
};

struct plain {
	struct stream stream;
	struct watch watch; /* its fd is the socket, also while it is detached */
	uint8_t wanted;     /* by the owner; the watch may know more, see above */
	uint8_t raised;     /* by hand and not delivered yet */
	bool end_told;      /* the owner, though it does not read any more, knows of the end */
	bool has_name;
	union {
		struct plain_name *name;
		uint8_t v4[V4_LEN]; /* address and port, as they travel */
	} peer;
};

_Static_assert(sizeof(struct plain) <= 88, "a piece of memory that malloc gives for 96 bytes");

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
		got = recv(plain->watch.fd, memory, size, 0);
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
	/* One part is the rule, and the kernel has less to do for `send`. */
	do {
		sent = count == 1
			   ? send(plain->watch.fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
			   : sendmsg(plain->watch.fd, &head, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0) {
		return sent;
	}
	return errno == EAGAIN ? 0 : ERR_IO;
}

/* --- the peer's name --- */

static void
set_name(struct plain *plain, const struct addr *peer, const uint8_t *v4)
{
	char text[ADDR_TEXT_SIZE];
	size_t len = addr_format(peer, text);
	struct plain_name *name = mem_alloc(sizeof(*name) + len);

	_Static_assert(ADDR_TEXT_SIZE <= UINT8_MAX, "len");
	name->is_v4 = v4 != NULL;
	if (v4 != NULL) {
		memcpy(name->v4, v4, V4_LEN);
	}
	name->len = (uint8_t)len;
	memcpy(name->text, text, len);
	plain->has_name = true;
	plain->peer.name = name;
}

/* What can be made again. */
static void
forget_name(struct plain *plain)
{
	struct plain_name *name = plain->peer.name;

	if (plain->has_name && name->is_v4) {
		plain->has_name = false;
		memcpy(plain->peer.v4, name->v4, V4_LEN);
		mem_free(&name);
	}
}

static void
make_name(struct plain *plain)
{
	struct addr peer = {.len = sizeof(struct sockaddr_in)};
	struct sockaddr_in *in = (void *)&peer.storage;
	uint8_t v4[V4_LEN];

	memcpy(v4, plain->peer.v4, V4_LEN);
	in->sin_family = AF_INET;
	memcpy(&in->sin_addr, v4, 4);
	memcpy(&in->sin_port, v4 + 4, 2);
	set_name(plain, &peer, v4);
}

/* An IPv4 address, mapped or not, is kept as it is; others at once as a name. */
static void
keep_peer(struct plain *plain, const struct addr *peer)
{
	const struct sockaddr_in *in = (const void *)&peer->storage;
	const struct sockaddr_in6 *in6 = (const void *)&peer->storage;

	if (peer->storage.ss_family == AF_INET) {
		memcpy(plain->peer.v4, &in->sin_addr, 4);
		memcpy(plain->peer.v4 + 4, &in->sin_port, 2);
	} else if (peer->storage.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		memcpy(plain->peer.v4, in6->sin6_addr.s6_addr + 12, 4);
		memcpy(plain->peer.v4 + 4, &in6->sin6_port, 2);
	} else {
		set_name(plain, peer, NULL);
	}
}

static struct bytes
plain_peer_name(const struct stream *stream)
{
	struct plain *plain = of((struct stream *)(uintptr_t)stream);

	if (!plain->has_name) {
		make_name(plain);
	}
	return bytes_make(plain->peer.name->text, plain->peer.name->len);
}

/* --- readiness --- */

static void
plain_want(struct stream *stream, unsigned events)
{
	struct plain *plain = of(stream);

	forget_name(plain);
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
	ssize_t got = recv(plain->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

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
	error = watch_attach(&plain->watch, worker, plain->watch.fd, WATCH_READ);
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
	(void)shutdown(of(stream)->watch.fd, SHUT_WR);
}

static void
plain_free(struct stream *stream)
{
	struct plain *plain = of(stream);

	plain_detach(stream);
	(void)close(plain->watch.fd);
	if (plain->has_name) {
		mem_free(&plain->peer.name);
	}
	mem_free(&plain);
}

static void
plain_set_late(struct stream *stream, bool is_late)
{
	of(stream)->watch.is_late = is_late;
}

static const struct stream_ops plain_ops = {.read = plain_read,
    .write = plain_write,
    .want = plain_want,
    .raise = plain_raise,
    .attach = plain_attach,
    .detach = plain_detach,
    .shut = plain_shut,
    .free = plain_free,
    .peer_name = plain_peer_name,
    .set_late = plain_set_late};

struct stream *
plain_new(int fd, const struct addr *peer)
{
	struct plain *plain = mem_zalloc(sizeof(*plain));

	plain->stream.ops = &plain_ops;
	plain->watch.fn = take_events;
	plain->watch.fd = fd;
	keep_peer(plain, peer);
	return &plain->stream;
}
