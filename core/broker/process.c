/* SPDX-License-Identifier: Apache-2.0 */
/* What the process is allowed, and who it is. At start, before there are threads. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "broker/broker_int.h"

/* The limit alone does not hold where core files go to a program (core_pattern), the flag does. */
void
broker_keep_secrets(void)
{
	const struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
}

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

/* Who may connect is then the user's group. Where it cannot be done the owner stays. */
static void
give_sockets(const struct broker_doors *doors, const struct passwd *entry)
{
	struct broker_door *const *door;

	vec_each (door, &doors->open) {
		if (!listener_give((*door)->listener, entry->pw_uid, entry->pw_gid)) {
			log_warning("the owner of %s cannot be changed", (*door)->bind);
		}
	}
}

int
broker_process_drop(const char *user, int log_fd, const struct broker_doors *doors,
    const struct broker_control *control, char *why, size_t why_size)
{
	const struct passwd *entry;
	int dumpable;

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
	give_sockets(doors, entry);
	if (!broker_control_give(control, entry->pw_uid, entry->pw_gid)) {
		return fail("broker.control", why, why_size);
	}
	dumpable = prctl(PR_GET_DUMPABLE);
	if (initgroups(user, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
	    setuid(entry->pw_uid) != 0) {
		return fail(user, why, why_size);
	}
	/* The switch took it away; with --core-files it is wanted. */
	(void)prctl(PR_SET_DUMPABLE, dumpable == 1 ? 1 : 0);
	return 0;
}
