/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include <stdint.h>

#include "base/err.h"

enum { DOUBLES_BELOW = 256 };

size_t
vec_next_cap(size_t cap, size_t size)
{
	if (cap == 0) {
		return size <= 16 ? 8 : 4;
	}
	if (cap > SIZE_MAX / 2 / size) {
		err_fatal("a vector grew beyond the address space");
	}
	/* What is large shall not be half empty. */
	return cap < DOUBLES_BELOW ? cap * 2 : cap + cap / 2;
}
