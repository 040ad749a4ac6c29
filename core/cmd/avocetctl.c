/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator asks. This version can check a configuration, which it leaves to the broker
 * beside it: there is one checker only. Commands that plugins bring, and those that ask a running
 * broker, come with loaded plugins and the control socket.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BROKER "avocet"

enum { DONE = 0, USAGE = 2, NOT_STARTED = 3 };

static const char usage[] =
    "usage: avocetctl COMMAND [ARGUMENT ...]\n"
    "       avocetctl -h | --help | -V | --version\n"
    "  config check FILE  check a configuration and say what would run, as avocet -t -c FILE\n"
    "Commands that plugins bring and those that ask a running broker are not in this version.\n";

static int
fail_usage(void)
{
	fputs(usage, stderr);
	return USAGE;
}

static int
print(const char *text)
{
	return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? DONE : NOT_STARTED;
}

/* The program of that name in the folder of our own; false: nobody says where we are. */
static bool
find_beside(char path[PATH_MAX], const char *name)
{
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	size_t size = strlen(name) + 1;
	char *slash;

	if (len <= 0 || len >= PATH_MAX) {
		return false;
	}
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (slash == NULL || (size_t)(slash + 1 - path) + size > PATH_MAX) {
		return false;
	}
	memcpy(slash + 1, name, size);
	return access(path, X_OK) == 0;
}

/* Becomes the broker; returns only when it could not. */
static int
check_config(char *file)
{
	char name[] = BROKER, check[] = "-t", config[] = "-c";
	char *argv[] = {name, check, config, file, NULL};
	char path[PATH_MAX];

	if (find_beside(path, BROKER)) {
		(void)execv(path, argv);
	} else {
		(void)execvp(BROKER, argv);
	}
	fprintf(stderr, "avocetctl: cannot run %s: %s\n", BROKER, strerror(errno));
	return NOT_STARTED;
}

int
main(int argc, char **argv)
{
	const char *first = argc > 1 ? argv[1] : "";

	if (argc == 2 && (strcmp(first, "-h") == 0 || strcmp(first, "--help") == 0)) {
		return print(usage);
	}
	if (argc == 2 && (strcmp(first, "-V") == 0 || strcmp(first, "--version") == 0)) {
		return print("avocetctl " PACKAGE_VERSION "\n");
	}
	if (argc == 4 && strcmp(first, "config") == 0 && strcmp(argv[2], "check") == 0) {
		return check_config(argv[3]);
	}
	if (first[0] != '\0' && first[0] != '-' && strcmp(first, "config") != 0) {
		fprintf(stderr, "avocetctl: there is no command %s\n", first);
	}
	return fail_usage();
}
