/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocetctl user add|passwd|del|list FILE [NAME]. The file is locked while it is changed, written
 * beside and renamed, so that a reader sees the old one or the new one; lines of others, comments
 * and the file's mode and owner stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../users/users.h"
#include "auth_file.h"

enum { DONE = 0, REFUSED = 1, USAGE = 2, MAX_PATH = 4096, MAX_LINE = 2048, MAX_PASSWORD = 1024 };

/* A command's file, locked. */
struct work {
	const avocet_tool_in *in;
	char path[MAX_PATH];
	int lock_fd;
	char *text; /* the file, with a NUL */
	size_t len;
	struct stat status;
	bool is_new;
};

static void __attribute__((format(printf, 2, 3)))
complain(const avocet_tool_in *in, const char *format, ...)
{
	char text[MAX_PATH + 256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	in->err(in->arg, text, n > 0 && (size_t)n < sizeof(text) ? (size_t)n : strlen(text));
}

static bool
copy_arg(const avocet_tool_in *in, size_t i, char *out, size_t size)
{
	if (in->args[i].n >= size) {
		complain(in, "the argument is too long");
		return false;
	}
	memcpy(out, in->args[i].p, in->args[i].n);
	out[in->args[i].n] = '\0';
	return true;
}

/* --- the file --- */

static bool
read_all(struct work *work, int fd)
{
	ssize_t n;

	work->text = malloc((size_t)work->status.st_size + 1);
	if (work->text == NULL) {
		return false;
	}
	while (
	    work->len < (size_t)work->status.st_size &&
	    (n = read(fd, work->text + work->len, (size_t)work->status.st_size - work->len)) > 0) {
		work->len += (size_t)n;
	}
	work->text[work->len] = '\0';
	return true;
}

/* The lock is on a file beside it: the file itself is replaced. */
static int
open_work(struct work *work, const avocet_tool_in *in, bool may_make)
{
	char lock_path[MAX_PATH + 8];
	int fd;

	*work = (struct work){.in = in, .lock_fd = -1};
	if (!copy_arg(in, 0, work->path, sizeof(work->path))) {
		return USAGE;
	}
	(void)snprintf(lock_path, sizeof(lock_path), "%s.lock", work->path);
	work->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (work->lock_fd < 0 || flock(work->lock_fd, LOCK_EX) != 0) {
		complain(in, "%s: %s", lock_path, strerror(errno));
		return REFUSED;
	}
	fd = open(work->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && may_make) {
		work->is_new = true;
		work->text = calloc(1, 1);
		return DONE;
	}
	if (fd < 0 || fstat(fd, &work->status) != 0 || !read_all(work, fd)) {
		complain(in, "%s: %s", work->path, strerror(errno));
		if (fd >= 0) {
			(void)close(fd);
		}
		return REFUSED;
	}
	(void)close(fd);
	return DONE;
}

static void
close_work(struct work *work)
{
	char lock_path[MAX_PATH + 8];

	if (work->text != NULL) {
		OPENSSL_cleanse(work->text, work->len);
		free(work->text);
	}
	if (work->lock_fd >= 0) {
		(void)snprintf(lock_path, sizeof(lock_path), "%s.lock", work->path);
		(void)unlink(lock_path);
		(void)close(work->lock_fd);
	}
}

static bool
write_all(int fd, const char *text, size_t len)
{
	while (len != 0) {
		ssize_t n = write(fd, text, len);

		if (n <= 0) {
			return false;
		}
		text += n;
		len -= (size_t)n;
	}
	return true;
}

static int
replace_file(struct work *work, const char *text, size_t len)
{
	char path[MAX_PATH + 8];
	mode_t mode = work->is_new ? 0600 : work->status.st_mode & 07777;
	int fd;
	bool good;

	(void)snprintf(path, sizeof(path), "%s.new", work->path);
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		complain(work->in, "%s: %s", path, strerror(errno));
		return REFUSED;
	}
	good = write_all(fd, text, len);
	if (good && !work->is_new) {
		/* Who may not give it away keeps it. */
		if (fchown(fd, work->status.st_uid, work->status.st_gid) != 0 && errno != EPERM) {
			good = false;
		}
	}
	good = good && fchmod(fd, mode) == 0 && fsync(fd) == 0;
	good = close(fd) == 0 && good;
	if (!good || rename(path, work->path) != 0) {
		complain(work->in, "%s: %s", path, strerror(errno));
		(void)unlink(path);
		return REFUSED;
	}
	return DONE;
}

/* --- lines --- */

static bool
is_line_of(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncmp(line, name, len) == 0 && line[len] == ':';
}

static bool
has_user(const struct work *work, const char *name)
{
	for (const char *line = work->text; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');

		if (is_line_of(line, name)) {
			return true;
		}
		line = end != NULL ? end + 1 : NULL;
	}
	return false;
}

/* The file without the lines of a user, and with a line in the place of the first of them, or at
 * the end. */
static int
rewrite(struct work *work, const char *name, const char *new_line)
{
	size_t new_len = new_line != NULL ? strlen(new_line) : 0, at = 0;
	char *text = malloc(work->len + new_len + 2);
	bool placed = new_line == NULL;
	int result;

	if (text == NULL) {
		complain(work->in, "no memory");
		return REFUSED;
	}
	for (const char *line = work->text; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');
		size_t len = end != NULL ? (size_t)(end - line) + 1 : strlen(line);

		if (!is_line_of(line, name)) {
			memcpy(text + at, line, len);
			at += len;
			if (end == NULL) {
				text[at++] = '\n';
			}
		} else if (!placed) {
			memcpy(text + at, new_line, new_len);
			at += new_len;
			placed = true;
		}
		line = end != NULL ? end + 1 : NULL;
	}
	if (!placed) {
		memcpy(text + at, new_line, new_len);
		at += new_len;
	}
	result = replace_file(work, text, at);
	OPENSSL_cleanse(text, at);
	free(text);
	return result;
}

/* --- commands --- */

struct wish {
	char name[USERS_MAX_NAME + 1];
	enum users_kind kind;
	uint32_t iterations;
};

static bool
is_arg(const avocet_tool_in *in, size_t i, const char *word)
{
	return in->args[i].n == strlen(word) && memcmp(in->args[i].p, word, in->args[i].n) == 0;
}

/* NAME, and what may stand behind it. */
static int
read_wish(const avocet_tool_in *in, struct wish *wish)
{
	*wish = (struct wish){.kind = USERS_SCRAM_SHA_256, .iterations = USERS_ITERATIONS};
	if (in->n_args < 2 || !copy_arg(in, 1, wish->name, sizeof(wish->name))) {
		return USAGE;
	}
	if (!users_is_name(wish->name, strlen(wish->name))) {
		complain(in,
		    "that is no user name: it must not be empty, begin with # or contain a "
		    "colon or control characters");
		return REFUSED;
	}
	for (size_t i = 2; i < in->n_args; i++) {
		if (is_arg(in, i, "--sha-1")) {
			wish->kind = USERS_SCRAM_SHA_1;
		} else if (is_arg(in, i, "--sha-384")) {
			wish->kind = USERS_SCRAM_SHA_384;
		} else if (is_arg(in, i, "--sha-512")) {
			wish->kind = USERS_SCRAM_SHA_512;
		} else if (is_arg(in, i, "--iterations") && i + 1 < in->n_args) {
			char text[16];
			long value;

			if (!copy_arg(in, ++i, text, sizeof(text))) {
				return USAGE;
			}
			value = strtol(text, NULL, 10);
			if (value < 4096 || value > USERS_MAX_ITERATIONS) {
				complain(in, "--iterations takes a number from 4096 to %d",
				    USERS_MAX_ITERATIONS);
				return USAGE;
			}
			wish->iterations = (uint32_t)value;
		} else {
			return USAGE;
		}
	}
	return DONE;
}

static int
put_password(const avocet_tool_in *in, bool is_add)
{
	char password[MAX_PASSWORD], line[MAX_LINE];
	struct users_verifier verifier;
	struct work work;
	struct wish wish;
	int result = read_wish(in, &wish), len;

	if (result != DONE) {
		return result;
	}
	result = open_work(&work, in, is_add);
	if (result == DONE && is_add == has_user(&work, wish.name)) {
		complain(in,
		    is_add ? "user %s is there already; to change the password: user passwd"
			   : "there is no user %s",
		    wish.name);
		result = REFUSED;
	}
	if (result == DONE) {
		len = in->password(in->arg, "Password: ", 1, password, sizeof(password));
		if (len <= 0) {
			if (len == 0) {
				complain(in, "the password must not be empty");
			}
			result = REFUSED;
		} else if (!users_make(wish.kind, wish.iterations, (const uint8_t *)password,
			       (size_t)len, &verifier) ||
			   users_format(wish.name, &verifier, line, sizeof(line)) == 0) {
			complain(in, "the password cannot be hashed");
			result = REFUSED;
		} else {
			result = rewrite(&work, wish.name, line);
		}
		OPENSSL_cleanse(password, sizeof(password));
	}
	close_work(&work);
	return result;
}

static int32_t
user_add(const avocet_tool_in *in)
{
	return put_password(in, true);
}

static int32_t
user_passwd(const avocet_tool_in *in)
{
	return put_password(in, false);
}

static int32_t
user_del(const avocet_tool_in *in)
{
	char name[USERS_MAX_NAME + 1];
	struct work work;
	int result;

	if (in->n_args != 2 || !copy_arg(in, 1, name, sizeof(name))) {
		return USAGE;
	}
	result = open_work(&work, in, false);
	if (result == DONE && !has_user(&work, name)) {
		complain(in, "there is no user %s", name);
		result = REFUSED;
	}
	if (result == DONE) {
		result = rewrite(&work, name, NULL);
	}
	close_work(&work);
	return result;
}

static void
put_json(const avocet_tool_in *in, const char *name, size_t len, const char *scheme, bool is_first)
{
	char text[USERS_MAX_NAME * 6 + 128];
	size_t at = (size_t)snprintf(text, sizeof(text), "%s{\"name\":\"", is_first ? "[" : ",");

	for (size_t i = 0; i < len && at < sizeof(text) - 80; i++) {
		if (name[i] == '"' || name[i] == '\\') {
			text[at++] = '\\';
		}
		text[at++] = name[i];
	}
	at += (size_t)snprintf(text + at, sizeof(text) - at, "\",\"scheme\":\"%s\"}", scheme);
	in->out(in->arg, text, at);
}

static int32_t
user_list(const avocet_tool_in *in)
{
	bool json = (in->flags & AVOCET_TOOL_JSON) != 0, is_first = true;
	struct work work;
	int result;

	if (in->n_args != 1) {
		return USAGE;
	}
	result = open_work(&work, in, false);
	for (const char *line = result == DONE ? work.text : NULL; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n'), *colon = strchr(line, ':');

		if (*line != '#' && colon != NULL && (end == NULL || colon < end)) {
			size_t len = (size_t)(colon - line);
			const char *dollar = strchr(colon, '$');
			int kind = dollar != NULL
				       ? users_kind_of(colon + 1, (size_t)(dollar - colon - 1))
				       : -1;
			const char *scheme = kind >= 0 ? users_scheme((enum users_kind)kind)
					     : strncmp(colon, ":$6$", 4) == 0 ? "$6$"
					     : strncmp(colon, ":$7$", 4) == 0 ? "$7$"
									      : "unknown";

			if (json) {
				put_json(in, line, len, scheme, is_first);
			} else {
				char text[USERS_MAX_NAME + 64];
				int n = snprintf(
				    text, sizeof(text), "%.*s\t%s", (int)len, line, scheme);

				in->out(in->arg, text, (size_t)n);
			}
			is_first = false;
		}
		line = end != NULL ? end + 1 : NULL;
	}
	if (json && result == DONE) {
		in->out(in->arg, is_first ? "[]" : "]", is_first ? 2 : 1);
	}
	close_work(&work);
	return result;
}

static const avocet_tool_command commands[] = {
    {"user add", "FILE NAME [--sha-1|--sha-384|--sha-512] [--iterations N]",
	"add a user; the password is asked for, or comes by --stdin or --password-file", user_add},
    {"user passwd", "FILE NAME [--sha-1|--sha-384|--sha-512] [--iterations N]",
	"change a user's password", user_passwd},
    {"user del", "FILE NAME", "remove a user", user_del},
    {"user list", "FILE", "list the users, and how their passwords are hashed", user_list},
};

const avocet_tool auth_file_tool = {
    AVOCET_SIZED(avocet_tool),
    .n_commands = sizeof(commands) / sizeof(*commands),
    .commands = commands,
    .command_size = sizeof(*commands),
};
