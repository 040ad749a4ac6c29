/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stress/siege.h"

static bool
dial(int fd, int port, uint32_t address)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
	int yes = 1;

	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	return bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
	       (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS);
}

bool
link_open(struct link *link, int epoll_fd, int port, uint32_t address, SSL_CTX *tls)
{
	struct epoll_event event = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = link};

	*link = (struct link){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	if (link->fd < 0) {
		return false;
	}
	if (!dial(link->fd, port, address) ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, link->fd, &event) != 0) {
		link_close(link, true);
		return false;
	}
	if (tls != NULL) {
		link->ssl = SSL_new(tls);
		if (link->ssl == NULL || SSL_set_fd(link->ssl, link->fd) != 1) {
			link_close(link, true);
			return false;
		}
	}
	return true;
}

/* What a call of OpenSSL's means that has not done what it should. */
static long
judge(const struct link *link, int result)
{
	int error = SSL_get_error(link->ssl, result);

	ERR_clear_error();
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

bool
link_advance(struct link *link)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	int error = 0, result;
	socklen_t error_len = sizeof(error);

	if (link->is_up) {
		return true;
	}
	if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0 || error != 0) {
		return false;
	}
	if (getpeername(link->fd, (struct sockaddr *)&peer, &len) != 0) {
		return errno == ENOTCONN; /* not yet */
	}
	if (link->ssl == NULL) {
		link->is_up = true;
		return true;
	}
	ERR_clear_error();
	result = SSL_connect(link->ssl);
	link->is_up = result == 1;
	return result == 1 || judge(link, result) == 0;
}

long
link_read(struct link *link, void *memory, size_t size)
{
	long got;

	if (link->ssl != NULL) {
		int result;

		ERR_clear_error();
		result = SSL_read(link->ssl, memory, (int)size);
		return result > 0 ? result : judge(link, result);
	}
	got = recv(link->fd, memory, size, 0);
	if (got > 0) {
		return got;
	}
	return got < 0 && errno == EAGAIN ? 0 : -1;
}

long
link_write(struct link *link, const void *data, size_t len)
{
	long sent;

	if (link->ssl != NULL) {
		int result;

		ERR_clear_error();
		result = SSL_write(link->ssl, data, (int)len);
		return result > 0 ? result : judge(link, result);
	}
	sent = send(link->fd, data, len, MSG_NOSIGNAL);
	if (sent >= 0) {
		return sent;
	}
	return errno == EAGAIN ? 0 : -1;
}

void
link_close(struct link *link, bool is_hard)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (link->fd < 0) {
		return;
	}
	SSL_free(link->ssl);
	if (is_hard) {
		(void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
	(void)close(link->fd);
	*link = (struct link){.fd = -1};
}
