/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what is made from the option tables: `generate yaml` is etc/avocet.yaml, `generate man` is
 * doc/man/avocet.yaml.5. check_generated.sh compares; to renew a file, redirect this into it.
 */
#include <stdio.h>
#include <string.h>

#include "broker/options.h"

int
main(int argc, char **argv)
{
	struct buf text;

	buf_init(&text, SIZE_MAX);
	if (argc == 2 && strcmp(argv[1], "yaml") == 0) {
		broker_options_example(&text);
	} else if (argc == 2 && strcmp(argv[1], "man") == 0) {
		broker_options_manual(&text);
	} else {
		fputs("usage: generate yaml | man\n", stderr);
		return 2;
	}
	fwrite(text.data, 1, text.len, stdout);
	buf_fini(&text);
	return fflush(stdout) == 0 ? 0 : 1;
}
