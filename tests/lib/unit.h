/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test includes: cmocka with what it needs in front of it, and a few words of our
 * own.
 */
#ifndef LIB_UNIT_H
#define LIB_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/bytes.h"

/* The view equals the text, both shown when it does not. */
#define assert_bytes_text(view, text)                                                   \
	do {                                                                            \
		struct bytes unit_view = (view);                                        \
		struct bytes unit_text = bytes_of(text);                                \
                                                                                        \
		if (!bytes_equal(unit_view, unit_text)) {                               \
			print_error("have \"%.*s\"\nwant \"%s\"\n", (int)unit_view.len, \
			    (const char *)unit_view.data, text);                        \
			fail();                                                         \
		}                                                                       \
	} while (0)

#endif
