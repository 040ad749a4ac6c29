/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a file that claims to be a shared object. It is judged without a read beyond its end, and
 * what is a module stays one when bytes follow that nothing points to.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plugin/load_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *
look(const uint8_t *data, size_t size, struct plugin_exports *exports)
{
	*exports = (struct plugin_exports){0};
	buf_init(&exports->undefined, SIZE_MAX);
	return plugin_exports_of_image(data, size, exports);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plugin_exports exports, longer;
	uint8_t *copy = mem_alloc(size + 64);

	memcpy(copy, data, size);
	memset(copy + size, 0, 64);
	if (look(copy, size, &exports) == NULL) {
		if (look(copy, size + 64, &longer) != NULL || longer.has_ours != exports.has_ours ||
		    longer.extra != exports.extra) {
			abort();
		}
		plugin_exports_fini(&longer);
	}
	plugin_exports_fini(&exports);
	mem_free(&copy);
	return 0;
}
