/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's main. For now it says its version; the room `broker` brings the rest.
 */
#include <stdio.h>
#include <string.h>

enum exit_status { EXIT_USAGE = 2 };

static const char usage[] = "usage: avocet -V | -h\n"
			    "  -V  print the version\n"
			    "  -h  print this\n";

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "-V") == 0) {
		puts("avocet " PACKAGE_VERSION);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "-h") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	fputs(usage, stderr);
	return EXIT_USAGE;
}
