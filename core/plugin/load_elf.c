/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file looked at as ELF, before anything of it is mapped: a constructor in it would run with
 * dlopen. Every offset and size in it is hostile.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "plugin/load_int.h"

enum { MAX_FILE = 256 << 20, MAX_SYMBOLS = 1 << 20 };

struct file {
	uint8_t *data;
	size_t len;
};

/* --- the file --- */

static bool
read_file(const char *path, struct file *file, char *why, size_t why_size)
{
	struct stat status;
	size_t at = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*file = (struct file){0};
	if (fd < 0 || fstat(fd, &status) != 0) {
		(void)snprintf(why, why_size, "%s: %s", path, strerror(errno));
		if (fd >= 0) {
			(void)close(fd);
		}
		return false;
	}
	if (!S_ISREG(status.st_mode) || status.st_size > MAX_FILE) {
		(void)snprintf(why, why_size, "%s is not a shared object", path);
		(void)close(fd);
		return false;
	}
	file->len = (size_t)status.st_size;
	file->data = mem_alloc(file->len + 1);
	while (at < file->len) {
		ssize_t n = read(fd, file->data + at, file->len - at);

		if (n <= 0) {
			break;
		}
		at += (size_t)n;
	}
	file->len = at;
	(void)close(fd);
	return true;
}

/* `count` items of `size` bytes at an offset; NULL: the file ends before, or they are not aligned
 * as a linker aligns them. */
static const void *
part(const struct file *file, uint64_t offset, uint64_t count, uint64_t size)
{
	if (offset > file->len || (size != 1 && offset % alignof(ElfW(Off)) != 0) ||
	    (count != 0 && size > (file->len - offset) / count)) {
		return NULL;
	}
	return file->data + offset;
}

static const char *
text_at(const struct file *file, const ElfW(Shdr) * strings, uint64_t at)
{
	const char *text;

	if (at >= strings->sh_size || part(file, strings->sh_offset, strings->sh_size, 1) == NULL) {
		return NULL;
	}
	text = (const char *)file->data + strings->sh_offset + at;
	return memchr(text, '\0', strings->sh_size - at) != NULL ? text : NULL;
}

/* A name that the compiler, the linker or a sanitizer puts there. */
static bool
is_tool_name(const char *name)
{
	return strncmp(name, "__", 2) == 0 || strcmp(name, "_init") == 0 ||
	       strcmp(name, "_fini") == 0 || strcmp(name, "_edata") == 0 ||
	       strcmp(name, "_end") == 0;
}

static void
note_symbol(const ElfW(Sym) * symbol, const char *name, struct plugin_exports *exports)
{
	unsigned bind = symbol->st_info >> 4;

	if (symbol->st_shndx == SHN_UNDEF && bind == STB_GLOBAL) {
		buf_append(&exports->undefined, name, strlen(name) + 1);
	}
	if (symbol->st_shndx == SHN_UNDEF ||
	    (bind != STB_GLOBAL && bind != STB_WEAK && bind != STB_GNU_UNIQUE) ||
	    is_tool_name(name)) {
		return;
	}
	if (strcmp(name, AVOCET_PLUGIN_SYMBOL) == 0) {
		exports->has_ours = true;
	} else if (strncmp(name, PLUGIN_SYMBOL_STEM, strlen(PLUGIN_SYMBOL_STEM)) == 0) {
		if (exports->others++ == 0) {
			(void)snprintf(exports->other_major, sizeof(exports->other_major), "%s",
			    name + strlen(PLUGIN_SYMBOL_STEM));
		}
	} else if (exports->extra++ == 0) {
		(void)snprintf(exports->extra_name, sizeof(exports->extra_name), "%s", name);
	}
}

static bool
scan_symbols(const struct file *file, const ElfW(Ehdr) * header, struct plugin_exports *exports)
{
	const ElfW(Shdr) *sections =
	    part(file, header->e_shoff, header->e_shnum, sizeof(*sections));
	bool found = false;

	for (size_t i = 0; sections != NULL && i < header->e_shnum; i++) {
		const ElfW(Shdr) *section = &sections[i];
		const ElfW(Sym) * symbols;
		size_t count;

		if (section->sh_type == SHT_INIT_ARRAY) {
			exports->constructors += (unsigned)(section->sh_size / sizeof(void *));
		}
		if (section->sh_type != SHT_DYNSYM || section->sh_link >= header->e_shnum) {
			continue;
		}
		count = section->sh_size / sizeof(*symbols);
		symbols = part(file, section->sh_offset, count, sizeof(*symbols));
		if (symbols == NULL || count > MAX_SYMBOLS) {
			return false;
		}
		for (size_t k = 0; k < count; k++) {
			const char *name =
			    text_at(file, &sections[section->sh_link], symbols[k].st_name);

			if (name == NULL) {
				return false;
			}
			note_symbol(&symbols[k], name, exports);
		}
		found = true;
	}
	return found;
}

static bool
scan_segments(const struct file *file, const ElfW(Ehdr) * header, struct plugin_exports *exports)
{
	const ElfW(Phdr) *segments =
	    part(file, header->e_phoff, header->e_phnum, sizeof(*segments));

	for (size_t i = 0; segments != NULL && i < header->e_phnum; i++) {
		const ElfW(Phdr) *segment = &segments[i];

		if (part(file, segment->p_offset, segment->p_filesz, 1) == NULL &&
		    segment->p_type != PT_GNU_STACK) {
			return false;
		}
		if (segment->p_type == PT_GNU_STACK && (segment->p_flags & PF_X) != 0) {
			exports->has_executable_stack = true;
		}
		if (segment->p_type == PT_DYNAMIC) {
			size_t count = segment->p_filesz / sizeof(ElfW(Dyn));
			const ElfW(Dyn) *dynamic =
			    part(file, segment->p_offset, count, sizeof(*dynamic));

			if (dynamic == NULL) {
				return false;
			}
			for (size_t k = 0; k < count; k++) {
				exports->has_text_relocations |= dynamic[k].d_tag == DT_TEXTREL;
			}
		}
	}
	return segments != NULL;
}

const char *
plugin_exports_of_image(const uint8_t *image, size_t len, struct plugin_exports *exports)
{
	const struct file view = {(uint8_t *)(uintptr_t)image, len}, *file = &view;
	static const ElfW(Half) machine =
#if defined(__x86_64__)
	    EM_X86_64;
#elif defined(__aarch64__)
	    EM_AARCH64;
#elif defined(__arm__)
	    EM_ARM;
#elif defined(__i386__)
	    EM_386;
#elif defined(__riscv)
	    EM_RISCV;
#elif defined(__powerpc64__)
	    EM_PPC64;
#elif defined(__s390__)
	    EM_S390;
#else
	    EM_NONE;
#endif
	const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)(const void *)file->data;

	if (file->len < SELFMAG || memcmp(file->data, ELFMAG, SELFMAG) != 0) {
		return "is not a shared object";
	}
	if (file->len < sizeof(*header)) {
		return "is cut off: it is shorter than its headers say";
	}
	if (header->e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    (machine != EM_NONE && header->e_machine != machine)) {
		return "was built for another kind of machine";
	}
	if (header->e_type != ET_DYN) {
		return "is not a shared object";
	}
	if (!scan_segments(file, header, exports) || !scan_symbols(file, header, exports)) {
		return "is cut off: it is shorter than its headers say";
	}
	return NULL;
}

bool
plugin_exports_of_file(const char *path, struct plugin_exports *exports, char *why, size_t why_size)
{
	struct file file;
	const char *wrong;

	*exports = (struct plugin_exports){0};
	buf_init(&exports->undefined, SIZE_MAX);
	if (!read_file(path, &file, why, why_size)) {
		return false;
	}
	wrong = plugin_exports_of_image(file.data, file.len, exports);
	mem_free(&file.data);
	if (wrong != NULL) {
		(void)snprintf(why, why_size, "%s %s", path, wrong);
		return false;
	}
	return true;
}

void
plugin_exports_fini(struct plugin_exports *exports)
{
	buf_fini(&exports->undefined);
}
