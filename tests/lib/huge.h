/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that ask for too much memory: it shall come back as NULL from a sanitizer's allocator,
 * too. Included once in a program. */
#ifndef TESTS_LIB_HUGE_H
#define TESTS_LIB_HUGE_H

const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *
__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

#endif
