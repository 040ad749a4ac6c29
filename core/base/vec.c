/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include <stdint.h>

#include "base/err.h"

size_t
vec_next_cap(size_t cap, size_t size)
{
	if (cap == 0) {
		return size <= 16 ? 8 : 4;
	}
	if (cap > SIZE_MAX / 2 / size) {
		err_fatal("a vector grew beyond the address space");
	}
	return cap * 2;
}
