/* SPDX-License-Identifier: Apache-2.0 */
/* A command for a running broker: the words go to its control socket, what comes back is printed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "cmd/avocetctl.h"

enum { HEAD = 5, MAX_FRAME = 1 << 26 };

static const char *const asked[] = {
    "status", "clients", "sessions", "kick", "plugins", "metrics", "commands", "reload", NULL};

bool
cmd_ask_knows(const char *word)
{
	for (size_t i = 0; asked[i] != NULL; i++) {
		if (strcmp(asked[i], word) == 0) {
			return true;
		}
	}
	return false;
}

static bool
write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len != 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
read_all(int fd, void *data, size_t len)
{
	char *at = data;

	while (len != 0) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static int
open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		fprintf(stderr, "avocetctl: %s: the path is too long for a socket\n", path);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		fprintf(stderr, "avocetctl: no broker answers at %s: %s\n", path, strerror(errno));
		if (fd >= 0) {
			(void)close(fd);
		}
		return -1;
	}
	return fd;
}

/* The exit status that came, or -1: the broker has gone. */
static int
print_answer(int fd)
{
	struct buf text;
	uint8_t head[HEAD];
	int status = -1;

	buf_init(&text, SIZE_MAX);
	while (status < 0 && read_all(fd, head, sizeof(head))) {
		size_t len = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 |
			     (size_t)head[4];

		buf_clear(&text);
		if (len > MAX_FRAME || !read_all(fd, buf_reserve(&text, len + 1), len)) {
			break;
		}
		if (head[0] == 'o') {
			(void)fwrite(text.data, 1, len, stdout);
		} else if (head[0] == 'e') {
			(void)fflush(stdout);
			fprintf(stderr, "avocetctl: %.*s\n", (int)len, (const char *)text.data);
		} else if (head[0] == 'x' && len == 1) {
			status = text.data[0];
		}
	}
	buf_fini(&text);
	return status;
}

bool
cmd_ask_has_broker(const struct cmd_line *line)
{
	return access(line->control, W_OK) == 0;
}

int
cmd_ask(const struct cmd_line *line)
{
	struct buf request;
	int fd = open_socket(line->control), status;

	if (fd < 0) {
		return CMD_NOT_STARTED;
	}
	buf_init(&request, SIZE_MAX);
	for (size_t i = 0; i < line->count; i++) {
		if (line->words[i][0] == '\0') {
			fputs("avocetctl: a word is empty\n", stderr);
			buf_fini(&request);
			(void)close(fd);
			return CMD_USAGE;
		}
		buf_append(&request, line->words[i], strlen(line->words[i]) + 1);
	}
	if (line->has_json) {
		buf_append(&request, "--json", sizeof("--json"));
	}
	buf_append_byte(&request, '\0');
	status = write_all(fd, request.data, request.len) ? print_answer(fd) : -1;
	buf_fini(&request);
	(void)close(fd);
	if (status < 0) {
		fputs("avocetctl: the broker has gone before it was through\n", stderr);
		return CMD_NOT_STARTED;
	}
	return fflush(stdout) == 0 ? status : CMD_NOT_STARTED;
}
