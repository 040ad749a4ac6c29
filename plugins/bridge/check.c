/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the host will take what is configured. It says so itself only when a link is opened,
 * which at a reload is too late: the old one has gone by then. Any thread; the files are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge.h"

enum { PEM_WINDOW = 65536 };

/* --- topics --- */

bool
bridge_topic_is_good(const char *topic)
{
	size_t len = strlen(topic);

	return len != 0 && len <= BRIDGE_MAX_TOPIC && strpbrk(topic, "+#") == NULL;
}

static bool
has_good_wildcards(const char *filter)
{
	for (const char *at = filter; *at != '\0'; at++) {
		bool begins = at == filter || at[-1] == '/';

		if (*at == '#' && (!begins || at[1] != '\0')) {
			return false;
		}
		if (*at == '+' && (!begins || (at[1] != '\0' && at[1] != '/'))) {
			return false;
		}
	}
	return true;
}

/* $share/NAME/FILTER: the filter. NULL: it is not that. */
static const char *
shared_filter(const char *filter)
{
	const char *name = filter[0] != '\0' ? filter + 1 : filter;
	size_t len = strcspn(name, "/+#");

	return len != 0 && name[len] == '/' && name[len + 1] != '\0' ? name + len + 1 : NULL;
}

bool
bridge_filter_is_good(const char *filter)
{
	static const char share[] = "$share";
	size_t len = strlen(filter), share_len = sizeof(share) - 1;

	if (len == 0 || len > BRIDGE_MAX_TOPIC) {
		return false;
	}
	if (strncmp(filter, share, share_len) == 0 &&
	    (filter[share_len] == '\0' || filter[share_len] == '/')) {
		filter = shared_filter(filter + share_len);
	}
	return filter != NULL && has_good_wildcards(filter);
}

/* --- files --- */

static bool
has_label(int fd, const char *label)
{
	char text[PEM_WINDOW], line_end[32];
	ssize_t len = read(fd, text, sizeof(text));
	int end_len = snprintf(line_end, sizeof(line_end), "%s-----", label);
	bool has = len > 0 && memmem(text, (size_t)len, line_end, (size_t)end_len) != NULL;

	explicit_bzero(text, sizeof(text)); /* it may be a key */
	return has;
}

bool
bridge_file_state(const char *path, const char *label, FILE *state, char *why, size_t why_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat stat = {0};
	char reason[128];
	bool is_good = false;

	if (fd < 0 || fstat(fd, &stat) != 0) {
		(void)snprintf(why, why_size, "cannot read %.200s: %s", path,
		    strerror_r(errno, reason, sizeof(reason)));
	} else if (!S_ISREG(stat.st_mode)) {
		(void)snprintf(why, why_size, "%.200s is no file", path);
	} else if (!has_label(fd, label)) {
		(void)snprintf(why, why_size, "%.200s holds no %s in PEM form", path, label);
	} else {
		is_good = true;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	(void)fprintf(state, "%s: %ju %jd %jd.%09ld\n", path, (uintmax_t)stat.st_ino,
	    (intmax_t)stat.st_size, (intmax_t)stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
	return is_good;
}
