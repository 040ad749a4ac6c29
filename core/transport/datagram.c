/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket is not connected: each datagram names its reader, so that one who was started anew is
 * found again. It is opened once, so that a process without free descriptors can still speak.
 */
#include "transport/datagram.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"

enum { WAIT_S = 1 };

int
transport_datagram_open(void)
{
	const struct timeval wait = {.tv_sec = WAIT_S};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return ERR_IO;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	return fd;
}

int
transport_datagram_send(int fd, const char *to, struct bytes text, bool may_wait)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const size_t path_at = offsetof(struct sockaddr_un, sun_path);
	size_t len = strlen(to);
	ssize_t sent;

	if ((to[0] != '/' && to[0] != '@') || len < 2 || len >= sizeof(un.sun_path)) {
		return ERR_INVALID;
	}
	memcpy(un.sun_path, to, len);
	if (to[0] == '@') {
		un.sun_path[0] = '\0';
	} else {
		len++; /* a path ends with a NUL, a name without a file by its length */
	}
	do {
		sent = sendto(fd, text.data, text.len, MSG_NOSIGNAL | (may_wait ? 0 : MSG_DONTWAIT),
		    (const void *)&un, (socklen_t)(path_at + len));
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0) {
		return 0;
	}
	return errno == EAGAIN || errno == ENOBUFS ? ERR_AGAIN : ERR_IO;
}
