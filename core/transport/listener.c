/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bound sockets. Owned by whoever bound it, used on main only.
 *
 * Running out of descriptors must neither spin (the kernel keeps saying "readable") nor leave
 * clients hanging. So one descriptor is kept in reserve: it is given up for the moment it takes to
 * accept and close the clients that wait, then opened again. If somebody else was faster and took
 * it, or the kernel has no memory, accepting rests for a moment by a timer.
 */
#include "transport/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "loop/worker.h"

enum {
	MAX_SOCKETS = 16,     /* addresses that one host name may have */
	BACKLOG = 4096,       /* the kernel may allow less */
	ACCEPT_PER_CALL = 64, /* then others have their turn */
	REST_MS = 100,        /* when even the reserve is gone */
	WARN_EVERY_MS = 60000,
	UNIX_MODE = 0660,
};

struct endpoint {
	struct watch watch;
	struct listener *listener;
	int fd;
	struct addr addr;
};

struct listener {
	struct worker *worker; /* NULL: not accepting */
	listener_accept_fn *fn;
	void *arg;
	struct timer rest;
	bool *freed;     /* where a running accept batch wants to be told */
	int64_t warn_at; /* not before this moment again */
	int reserve;     /* -1: gone */
	int count;
	char *path;        /* of a unix socket */
	dev_t path_device; /* the file that we made there */
	ino_t path_inode;
	struct endpoint endpoints[];
};

/* --- binding --- */

static void
say(char *why, size_t why_size, const char *what, const struct addr *addr, int error)
{
	char text[ADDR_TEXT_SIZE], reason[128];

	(void)addr_format(addr, text);
	(void)snprintf(why, why_size, "cannot %s %s: %s", what, text,
	    strerror_r(error, reason, sizeof(reason)));
}

/* A unix socket's file that nobody listens at any more; anything else stays where it is. */
static bool
is_stale(const struct addr *addr)
{
	const struct sockaddr_un *un = (const void *)&addr->storage;
	struct stat file;
	bool refused;
	int fd;

	if (addr->storage.ss_family != AF_UNIX || lstat(un->sun_path, &file) != 0 ||
	    !S_ISSOCK(file.st_mode)) {
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return false;
	}
	refused =
	    connect(fd, (const void *)&addr->storage, addr->len) != 0 && errno == ECONNREFUSED;
	(void)close(fd);
	return refused;
}

static int
bind_fd(int fd, const struct addr *addr)
{
	int error;

	if (bind(fd, (const void *)&addr->storage, addr->len) == 0) {
		return 0;
	}
	error = errno;
	if (error == EADDRINUSE && is_stale(addr)) {
		(void)unlink(((const struct sockaddr_un *)(const void *)&addr->storage)->sun_path);
		return bind(fd, (const void *)&addr->storage, addr->len) == 0 ? 0 : errno;
	}
	return error;
}

/* Nobody can connect before listen. */
static int
set_mode(const struct addr *addr)
{
	const struct sockaddr_un *un = (const void *)&addr->storage;

	return chmod(un->sun_path, UNIX_MODE) == 0 ? 0 : errno;
}

/* What it accepts inherits it, which is a system call less for each. Other sockets do not know it.
 */
static void
set_nodelay(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* A bound, listening socket, or < 0 and an errno in *error_out. */
static int
open_socket(const struct addr *addr, int *error_out)
{
	int family = addr->storage.ss_family;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, off = 0;

	if (fd < 0) {
		*error_out = errno;
		return -1;
	}
	if (family != AF_UNIX) {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		set_nodelay(fd);
	}
	if (family == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	}
	*error_out = bind_fd(fd, addr);
	if (*error_out == 0 && family == AF_UNIX) {
		*error_out = set_mode(addr);
	}
	if (*error_out == 0 && listen(fd, BACKLOG) != 0) {
		*error_out = errno;
	}
	if (*error_out != 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* Port 0 became a port with the first address; the others are to have the same. */
static void
copy_port(struct addr *to, const struct addr *from)
{
	struct sockaddr_in *in = (void *)&to->storage;
	const struct sockaddr_in *from_in = (const void *)&from->storage;

	/* The port stands at the same place for both families. */
	_Static_assert(
	    offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
	    "the place of the port");
	if (in->sin_port == 0) {
		in->sin_port = from_in->sin_port;
	}
}

static void
remember_path(struct listener *listener, const struct addr *addr)
{
	const struct sockaddr_un *un = (const void *)&addr->storage;
	struct stat file;

	if (addr->storage.ss_family == AF_UNIX && lstat(un->sun_path, &file) == 0) {
		listener->path = mem_text(bytes_of(un->sun_path));
		listener->path_device = file.st_dev;
		listener->path_inode = file.st_ino;
	}
}

static void
add_endpoint(struct listener *listener, int fd, const struct addr *asked)
{
	struct endpoint *endpoint = &listener->endpoints[listener->count++];

	endpoint->listener = listener;
	endpoint->fd = fd;
	endpoint->watch.fd = -1;
	endpoint->addr.len = sizeof(endpoint->addr.storage);
	if (getsockname(fd, (void *)&endpoint->addr.storage, &endpoint->addr.len) != 0) {
		endpoint->addr = *asked;
	}
}

/* Of a name's addresses those that this machine does not have are left out, if others remain. */
static bool
bind_all(struct listener *listener, struct addr *addrs, int count, char *why, size_t why_size)
{
	for (int i = 0; i < count; i++) {
		int error, fd;

		if (listener->count != 0 && addrs[i].storage.ss_family != AF_UNIX) {
			copy_port(&addrs[i], &listener->endpoints[0].addr);
		}
		fd = open_socket(&addrs[i], &error);
		if (fd >= 0) {
			add_endpoint(listener, fd, &addrs[i]);
			remember_path(listener, &addrs[i]);
			continue;
		}
		say(why, why_size, "bind", &addrs[i], error);
		if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT) {
			return false;
		}
	}
	return listener->count != 0;
}

static int
open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static struct listener *
make(int count)
{
	struct listener *listener =
	    mem_zalloc(sizeof(*listener) + (size_t)count * sizeof(listener->endpoints[0]));

	listener->warn_at = INT64_MIN;
	listener->reserve = -1;
	return listener;
}

struct listener *
listener_bind(const char *text, char *why, size_t why_size)
{
	struct addr addrs[MAX_SOCKETS];
	const char *sentence = "";
	int count = addr_resolve(text, addrs, MAX_SOCKETS, &sentence);
	struct listener *listener;

	if (count <= 0) {
		(void)snprintf(why, why_size, "cannot bind %s: %s", text, sentence);
		return NULL;
	}
	listener = make(count);
	if (!bind_all(listener, addrs, count, why, why_size)) {
		listener_free(&listener);
	}
	return listener;
}

/* --- adopting --- */

/* A stream socket that accepts; what is handed over shares its flags with who hands it over. */
static bool
may_accept(int fd)
{
	int listens = 0, type = 0;
	socklen_t listens_len = sizeof(listens), type_len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_len) == 0 &&
	       listens != 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0 &&
	       fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

struct listener *
listener_adopt(const int *fds, int count, char *why, size_t why_size)
{
	static const struct addr nowhere;
	struct listener *listener = make(count);
	bool is_good = count > 0;

	for (int i = 0; i < count; i++) {
		is_good = may_accept(fds[i]) && is_good;
		set_nodelay(fds[i]);
		add_endpoint(listener, fds[i], &nowhere);
	}
	if (!is_good) {
		(void)snprintf(
		    why, why_size, "what was handed over is not a stream socket that listens");
		listener_free(&listener);
	}
	return listener;
}

static bool
is_same(const struct addr *a, const struct addr *b)
{
	const struct sockaddr_in *in = (const void *)&a->storage;
	const struct sockaddr_in *other_in = (const void *)&b->storage;
	const struct sockaddr_in6 *in6 = (const void *)&a->storage;
	const struct sockaddr_in6 *other_in6 = (const void *)&b->storage;

	if (a->storage.ss_family != b->storage.ss_family) {
		return false;
	}
	switch (a->storage.ss_family) {
	case AF_INET:
		return in->sin_port == other_in->sin_port &&
		       in->sin_addr.s_addr == other_in->sin_addr.s_addr;
	case AF_INET6:
		return in6->sin6_port == other_in6->sin6_port &&
		       in6->sin6_scope_id == other_in6->sin6_scope_id &&
		       memcmp(&in6->sin6_addr, &other_in6->sin6_addr, sizeof(in6->sin6_addr)) == 0;
	case AF_UNIX:
		return strncmp(((const struct sockaddr_un *)(const void *)in)->sun_path,
			   ((const struct sockaddr_un *)(const void *)other_in)->sun_path,
			   sizeof(((struct sockaddr_un *)NULL)->sun_path)) == 0;
	default:
		return false;
	}
}

bool
listener_is_at(int fd, const char *text)
{
	struct addr addrs[MAX_SOCKETS], own = {.len = sizeof(own.storage)};
	const char *sentence;
	int count = addr_resolve(text, addrs, MAX_SOCKETS, &sentence);

	if (getsockname(fd, (void *)&own.storage, &own.len) != 0) {
		return false;
	}
	for (int i = 0; i < count; i++) {
		if (is_same(&addrs[i], &own)) {
			return true;
		}
	}
	return false;
}

/* --- accepting --- */

static void
start_watches(struct listener *listener, unsigned wanted)
{
	for (int i = 0; i < listener->count; i++) {
		watch_set(&listener->endpoints[i].watch, wanted);
	}
}

static void
wake_up(struct worker *worker, struct timer *timer)
{
	(void)worker;
	start_watches(list_item(timer, struct listener, rest), WATCH_READ);
}

static void
rest(struct listener *listener)
{
	start_watches(listener, 0);
	timer_set(listener->worker, &listener->rest, context_current->mono_ms + REST_MS);
}

static void
warn(struct listener *listener, int error)
{
	int64_t now = context_current->mono_ms;
	char text[ADDR_TEXT_SIZE], reason[128];

	if (now < listener->warn_at) {
		return;
	}
	listener->warn_at = now + WARN_EVERY_MS;
	(void)addr_format(listener_addr(listener), text);
	log_warning("Connections to %s are closed or must wait: %s.", text,
	    strerror_r(error, reason, sizeof(reason)));
}

/* Sends away who waits, at most a batch of them: each leaves its descriptor to the next. That
 * nobody waits any more only shows here, since without descriptors the kernel does not look. False:
 * somebody else has got the reserve. */
static bool
use_reserve(struct listener *listener, int fd)
{
	int client, error, count = 0;

	if (listener->reserve < 0) {
		listener->reserve = open_reserve();
		if (listener->reserve < 0) {
			return false;
		}
	}
	(void)close(listener->reserve);
	do {
		client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		error = errno;
		if (client >= 0) {
			(void)close(client);
			counter_add(COUNTER_ACCEPT_EXCEEDED, 1);
		}
	} while (client >= 0 && ++count < ACCEPT_PER_CALL);
	listener->reserve = open_reserve();
	return client >= 0 || error == EAGAIN || error == EWOULDBLOCK;
}

/* Is there anything to hope for from another accept now? */
static bool
survives(struct listener *listener, int fd, int error)
{
	switch (error) {
	case EAGAIN:
#if EAGAIN != EWOULDBLOCK
	case EWOULDBLOCK:
#endif
		return false;
	case EMFILE:
	case ENFILE:
		warn(listener, error);
		if (!use_reserve(listener, fd)) {
			rest(listener);
		}
		return false;
	case ENOBUFS:
	case ENOMEM:
	case EBADF:
	case EINVAL:
	case ENOTSOCK:
		warn(listener, error);
		rest(listener);
		return false;
	default: /* the client's network failed before we took it: accept(2) */
		return true;
	}
}

static void
accept_batch(struct watch *watch, unsigned events)
{
	struct endpoint *endpoint = list_item(watch, struct endpoint, watch);
	struct listener *listener = endpoint->listener;
	int listening = endpoint->fd;
	bool freed = false;

	(void)events;
	listener->freed = &freed;
	for (int i = 0; i < ACCEPT_PER_CALL; i++) {
		struct addr peer = {.len = sizeof(peer.storage)};
		int fd = accept4(
		    listening, (void *)&peer.storage, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			listener->fn(listener, fd, &peer, listener->arg);
			if (freed) {
				return;
			}
			if (listener->worker == NULL) {
				break;
			}
		} else if (!survives(listener, listening, errno)) {
			break;
		}
	}
	listener->freed = NULL;
}

int
listener_start(struct listener *listener, struct worker *worker, listener_accept_fn *fn, void *arg)
{
	if (err_impossible(listener->worker != NULL)) {
		return ERR_INVALID;
	}
	listener->worker = worker;
	listener->fn = fn;
	listener->arg = arg;
	listener->rest.fn = wake_up;
	listener->reserve = open_reserve();
	for (int i = 0; i < listener->count; i++) {
		struct endpoint *endpoint = &listener->endpoints[i];
		int error;

		endpoint->watch.fn = accept_batch;
		error = watch_attach(&endpoint->watch, worker, endpoint->fd, WATCH_READ);
		if (error != 0) {
			listener_stop(listener);
			return error;
		}
	}
	return 0;
}

void
listener_stop(struct listener *listener)
{
	if (listener->worker == NULL) {
		return;
	}
	for (int i = 0; i < listener->count; i++) {
		if (listener->endpoints[i].watch.worker != NULL) {
			watch_detach(&listener->endpoints[i].watch);
		}
	}
	timer_clear(listener->worker, &listener->rest);
	if (listener->reserve >= 0) {
		(void)close(listener->reserve);
		listener->reserve = -1;
	}
	listener->worker = NULL;
}

/* Only our own file: somebody may have put another one there since. */
static void
remove_path(const struct listener *listener)
{
	struct stat file;

	if (listener->path != NULL && lstat(listener->path, &file) == 0 &&
	    file.st_dev == listener->path_device && file.st_ino == listener->path_inode) {
		(void)unlink(listener->path);
	}
}

bool
listener_give(const struct listener *listener, uid_t user, gid_t group)
{
	return listener->path == NULL || lchown(listener->path, user, group) == 0;
}

void
listener_free(struct listener **listener)
{
	struct listener *gone = *listener;

	*listener = NULL;
	if (gone == NULL) {
		return;
	}
	listener_stop(gone);
	if (gone->freed != NULL) {
		*gone->freed = true;
	}
	remove_path(gone);
	for (int i = 0; i < gone->count; i++) {
		(void)close(gone->endpoints[i].fd);
	}
	mem_free(&gone->path);
	mem_free(&gone);
}

/* --- asking --- */

const struct addr *
listener_addr(const struct listener *listener)
{
	return &listener->endpoints[0].addr;
}

bool
listener_is_local(const struct listener *listener)
{
	for (int i = 0; i < listener->count; i++) {
		if (!addr_is_local(&listener->endpoints[i].addr)) {
			return false;
		}
	}
	return true;
}
