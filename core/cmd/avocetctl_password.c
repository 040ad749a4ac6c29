/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A password, from a terminal that does not show it, or the first line of a file or of standard
 * input. It is never an argument: everybody on the machine can read those.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <avocet/avocet_base.h>

#include "base/mem.h"
#include "cmd/avocetctl.h"

enum { CTRL_C = 3 };

/* A line, without its end, with a NUL; its length, -1: it ended before, or failed; -2: too long. */
static int32_t
read_line(int fd, char *buffer, size_t size)
{
	size_t len = 0;

	for (;;) {
		char byte;
		ssize_t n = read(fd, &byte, 1);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 || (n == 0 && len == 0) || byte == CTRL_C) {
			return -1;
		}
		if (n == 0 || byte == '\n') {
			break;
		}
		if (len + 1 == size) {
			return -2;
		}
		buffer[len++] = byte;
	}
	if (len != 0 && buffer[len - 1] == '\r') {
		len--;
	}
	buffer[len] = '\0';
	return (int32_t)len;
}

static int32_t
judge(int32_t len, const char *whence)
{
	if (len == -2) {
		fprintf(stderr, "avocetctl: %s: the password is too long\n", whence);
	} else if (len < 0) {
		fprintf(stderr, "avocetctl: %s: there is no password\n", whence);
	}
	return len < 0 ? AVOCET_E_INVAL : len;
}

static int32_t
read_file(const char *path, char *buffer, size_t size)
{
	struct stat status;
	int32_t len;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) != 0) {
		fprintf(stderr, "avocetctl: %s: %s\n", path, strerror(errno));
		if (fd >= 0) {
			(void)close(fd);
		}
		return AVOCET_E_IO;
	}
	if (S_ISREG(status.st_mode) && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		fprintf(stderr, "avocetctl: %s: warning: others may read this password\n", path);
	}
	len = judge(read_line(fd, buffer, size), path);
	(void)close(fd);
	return len;
}

/*
 * The terminal echoes nothing, and gives up on Ctrl-C by itself: as the end of a line and not as a
 * signal, which would leave it without an echo.
 */
static int32_t
ask_once(int fd, const char *prompt, char *buffer, size_t size)
{
	struct termios before, quiet;
	int32_t len;

	if (tcgetattr(fd, &before) != 0) {
		return -1;
	}
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	quiet.c_lflag |= ECHONL | ICANON;
	quiet.c_cc[VEOL] = CTRL_C;
	if (tcsetattr(fd, TCSAFLUSH, &quiet) != 0) {
		return -1;
	}
	(void)dprintf(fd, "%s", prompt);
	len = read_line(fd, buffer, size);
	(void)tcsetattr(fd, TCSAFLUSH, &before);
	return len;
}

static int32_t
ask(const char *prompt, uint32_t confirm, char *buffer, size_t size)
{
	char again[1024];
	int32_t len, len_again;
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		fputs("avocetctl: there is no terminal to ask for the password: give --stdin or "
		      "--password-file FILE\n",
		    stderr);
		return AVOCET_E_IO;
	}
	len = judge(ask_once(fd, prompt, buffer, size), "the terminal");
	if (len > 0 && confirm != 0) {
		len_again = ask_once(fd, "Again: ", again, sizeof(again));
		if (len_again != len || memcmp(buffer, again, (size_t)len) != 0) {
			fputs("avocetctl: these were two different passwords\n", stderr);
			mem_wipe(buffer, size);
			len = AVOCET_E_INVAL;
		}
		mem_wipe(again, sizeof(again));
	}
	(void)close(fd);
	return len;
}

int32_t
cmd_password(void *arg, const char *prompt, uint32_t confirm, char *buffer, size_t size)
{
	const struct cmd_line *line = arg;

	if (size < 2) {
		return AVOCET_E_INVAL;
	}
	if (line->password_file != NULL) {
		return read_file(line->password_file, buffer, size);
	}
	if (line->has_stdin) {
		return judge(read_line(STDIN_FILENO, buffer, size), "standard input");
	}
	return ask(prompt, confirm, buffer, size);
}
