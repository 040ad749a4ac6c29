/* SPDX-License-Identifier: Apache-2.0 */
/* What the process is allowed, and who it is. At start, before there are threads. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "broker/broker_int.h"

void
broker_process_prepare(void)
{
	struct rlimit limit;

	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int
fail(const char *user, char *why, size_t why_size)
{
	char reason[128];

	(void)snprintf(why, why_size, "cannot become the user %s: %s", user,
	    strerror_r(errno, reason, sizeof(reason)));
	return ERR_IO;
}

int
broker_process_drop(const char *user, int log_fd, char *why, size_t why_size)
{
	const struct passwd *entry;

	if (user[0] == '\0' || geteuid() != 0) {
		return 0;
	}
	errno = 0;
	entry = getpwnam(user);
	if (entry == NULL) {
		if (errno != 0) {
			return fail(user, why, why_size);
		}
		(void)snprintf(why, why_size, "there is no user %s (broker.user)", user);
		return ERR_INVALID;
	}
	if (log_fd >= 0 && fchown(log_fd, entry->pw_uid, entry->pw_gid) != 0) {
		return fail(user, why, why_size);
	}
	if (initgroups(user, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
	    setuid(entry->pw_uid) != 0) {
		return fail(user, why, why_size);
	}
	return 0;
}
