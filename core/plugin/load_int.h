/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that open modules share. */
#ifndef PLUGIN_LOAD_INT_H
#define PLUGIN_LOAD_INT_H

#include <stdint.h>

#include "plugin/plugin_int.h"

#define PLUGIN_SYMBOL_STEM "avocet_plugin_v"

/* What the file exports. */
struct plugin_exports {
	bool has_ours;
	unsigned others; /* plugin symbols of other majors, and the first one's */
	char other_major[8];
	unsigned extra; /* symbols that no plugin should export, and the first one */
	char extra_name[64];
	unsigned constructors;
	bool has_text_relocations;
	bool has_executable_stack;
	struct buf undefined; /* names that others must define, each with its NUL */
};

/* Reads the file and looks at it; false with a sentence: it is no shared object of this machine, or
 * not whole. exports is made, and ended by the caller, either way. */
bool plugin_exports_of_file(
    const char *path, struct plugin_exports *exports, char *why, size_t why_size);
/* The same of a file's bytes, aligned for any type. NULL, or how the sentence goes on behind the
 * file's name. */
const char *plugin_exports_of_image(
    const uint8_t *image, size_t len, struct plugin_exports *exports);

void plugin_exports_fini(struct plugin_exports *exports);

#endif
