/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a file to a module. The file is looked at as ELF first, since a constructor in it would run
 * with dlopen: is it a shared object of this machine, whole, and does it export what a plugin does?
 * Then it is opened where it lies, and its descriptor is judged; nothing of the plugin is called.
 */
#include "plugin/load.h"

#include <avocet/avocet_plugin.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "plugin/plugin_int.h"

enum { MAX_FILE = 256 << 20, MAX_SYMBOLS = 1 << 20, MAX_NAME = 32, MAX_WHY = 512 };

#define SYMBOL_STEM "avocet_plugin_v"

struct file {
	uint8_t *data;
	size_t len;
};

/* What the file exports. */
struct exports {
	bool has_ours;
	unsigned others; /* plugin symbols of other majors, and the first one's */
	char other_major[8];
	unsigned extra; /* symbols that no plugin should export, and the first one */
	char extra_name[64];
	unsigned constructors;
	bool has_text_relocations;
	bool has_executable_stack;
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

/* `count` items of `size` bytes at an offset; NULL: the file ends before. */
static const void *
part(const struct file *file, uint64_t offset, uint64_t count, uint64_t size)
{
	if (offset > file->len || (count != 0 && size > (file->len - offset) / count)) {
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
note_symbol(const ElfW(Sym) * symbol, const char *name, struct exports *exports)
{
	unsigned bind = symbol->st_info >> 4;

	if (symbol->st_shndx == SHN_UNDEF ||
	    (bind != STB_GLOBAL && bind != STB_WEAK && bind != STB_GNU_UNIQUE) || name == NULL ||
	    is_tool_name(name)) {
		return;
	}
	if (strcmp(name, AVOCET_PLUGIN_SYMBOL) == 0) {
		exports->has_ours = true;
	} else if (strncmp(name, SYMBOL_STEM, strlen(SYMBOL_STEM)) == 0) {
		if (exports->others++ == 0) {
			(void)snprintf(exports->other_major, sizeof(exports->other_major), "%s",
			    name + strlen(SYMBOL_STEM));
		}
	} else if (exports->extra++ == 0) {
		(void)snprintf(exports->extra_name, sizeof(exports->extra_name), "%s", name);
	}
}

static bool
scan_symbols(const struct file *file, const ElfW(Ehdr) * header, struct exports *exports)
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
			note_symbol(&symbols[k],
			    text_at(file, &sections[section->sh_link], symbols[k].st_name),
			    exports);
		}
		found = true;
	}
	return found;
}

static bool
scan_segments(const struct file *file, const ElfW(Ehdr) * header, struct exports *exports)
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
			const ElfW(Dyn) *dynamic =
			    (const ElfW(Dyn) *)(const void *)(file->data + segment->p_offset);

			for (size_t k = 0; k < segment->p_filesz / sizeof(*dynamic); k++) {
				exports->has_text_relocations |= dynamic[k].d_tag == DT_TEXTREL;
			}
		}
	}
	return segments != NULL;
}

/* A sentence's end, or NULL: it can be opened. */
static const char *
look_at_elf(const struct file *file, struct exports *exports)
{
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

static bool
look_at_file(const char *path, struct exports *exports, char *why, size_t why_size)
{
	struct file file;
	const char *wrong;

	*exports = (struct exports){0};
	if (!read_file(path, &file, why, why_size)) {
		return false;
	}
	wrong = look_at_elf(&file, exports);
	mem_free(&file.data);
	if (wrong != NULL) {
		(void)snprintf(why, why_size, "%s %s", path, wrong);
		return false;
	}
	return true;
}

static bool
judge_exports(const char *path, const struct exports *exports, char *why, size_t why_size)
{
	if (!exports->has_ours && exports->others != 0) {
		(void)snprintf(why, why_size,
		    "%s was made for major %s of the plugin ABI, this broker has major %u: %s",
		    path, exports->other_major, AVOCET_ABI_MAJOR,
		    strtoul(exports->other_major, NULL, 10) > AVOCET_ABI_MAJOR
			? "the plugin is newer"
			: "the plugin is older");
		return false;
	}
	if (!exports->has_ours) {
		(void)snprintf(why, why_size,
		    "%s is not a plugin of avocet: it does not export " AVOCET_PLUGIN_SYMBOL, path);
		return false;
	}
	if (exports->extra != 0) {
		(void)snprintf(why, why_size,
		    "%s exports %u symbols besides " AVOCET_PLUGIN_SYMBOL
		    ", the first is \"%s\"; a plugin exports one (compile with "
		    "-fvisibility=hidden)",
		    path, exports->extra, exports->extra_name);
		return false;
	}
	return true;
}

/* --- the descriptor --- */

static const char *const known_services[] = {AVOCET_SERVICE_AUTHENTICATOR,
    AVOCET_SERVICE_AUTHORIZER, AVOCET_SERVICE_INTERCEPTOR, AVOCET_SERVICE_TOOL, NULL};

static bool
is_known_service(const char *id)
{
	for (size_t i = 0; known_services[i] != NULL; i++) {
		if (strcmp(known_services[i], id) == 0) {
			return true;
		}
	}
	return false;
}

static bool
has_interface(const char *id)
{
	for (size_t i = 0; plugin_interfaces[i].id != NULL; i++) {
		if (strcmp(plugin_interfaces[i].id, id) == 0) {
			return true;
		}
	}
	return false;
}

static bool
is_name(const char *name)
{
	size_t len = name != NULL ? strlen(name) : 0;

	return len != 0 && len <= MAX_NAME &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static bool
judge_lifecycle(const avocet_lifecycle *lifecycle)
{
	return lifecycle != NULL && AVOCET_HAS(lifecycle, commit) && lifecycle->create != NULL &&
	       lifecycle->destroy != NULL && lifecycle->prepare != NULL;
}

/* The functions without which a service is none. */
static bool
judge_vtable(const avocet_service *service)
{
	const void *vtable = service->vtable;

	if (vtable == NULL) {
		return false;
	}
	if (strcmp(service->id, AVOCET_SERVICE_AUTHENTICATOR) == 0) {
		const avocet_authenticator *table = vtable;

		return AVOCET_HAS(table, authenticate) && table->exec <= AVOCET_EXEC_INLINE;
	}
	if (strcmp(service->id, AVOCET_SERVICE_AUTHORIZER) == 0) {
		const avocet_authorizer *table = vtable;

		return AVOCET_HAS(table, authorize) && table->exec <= AVOCET_EXEC_INLINE;
	}
	if (strcmp(service->id, AVOCET_SERVICE_INTERCEPTOR) == 0) {
		const avocet_interceptor *table = vtable;

		return AVOCET_HAS(table, publish) && table->exec <= AVOCET_EXEC_INLINE;
	}
	if (strcmp(service->id, AVOCET_SERVICE_TOOL) == 0) {
		const avocet_tool *table = vtable;

		return AVOCET_FITS(table, command_size) && table->commands != NULL;
	}
	return true;
}

static const char *
judge_services(const avocet_plugin *plugin, char *detail, size_t size)
{
	for (size_t i = 0; plugin->services != NULL && plugin->services[i] != NULL; i++) {
		const avocet_service *service = plugin->services[i];

		if (!AVOCET_FITS(service, vtable) || service->id == NULL) {
			return "has a service without a name";
		}
		(void)snprintf(detail, size, "%s", service->id);
		if (!is_known_service(service->id)) {
			if ((service->flags & AVOCET_SERVICE_OPTIONAL) == 0) {
				return "offers a service that this broker does not know";
			}
		} else if (!judge_vtable(service)) {
			return "offers a service with a table that is too short, or lacks what it "
			       "must have";
		}
	}
	for (size_t i = 0; plugin->needs != NULL && plugin->needs[i] != NULL; i++) {
		(void)snprintf(detail, size, "%s", plugin->needs[i]);
		if (!has_interface(plugin->needs[i])) {
			return "needs a host interface that this broker does not offer";
		}
	}
	detail[0] = '\0';
	return NULL;
}

static bool
judge_descriptor(const char *path, const avocet_plugin *plugin, char *why, size_t why_size)
{
	char detail[128] = "", schema[256];
	const char *wrong;

	if (plugin->magic != AVOCET_MAGIC) {
		(void)snprintf(why, why_size,
		    "%s is not a plugin of avocet: its descriptor begins with %#x and not with %#x",
		    path, plugin->magic, AVOCET_MAGIC);
		return false;
	}
	if (!AVOCET_FITS(plugin, abi_minor_needed) || plugin->abi_major != AVOCET_ABI_MAJOR) {
		(void)snprintf(why, why_size,
		    "%s was made for major %u of the plugin ABI, this broker has major %u", path,
		    AVOCET_FITS(plugin, abi_major) ? plugin->abi_major : 0, AVOCET_ABI_MAJOR);
		return false;
	}
	if (plugin->abi_minor_needed > AVOCET_ABI_MINOR) {
		(void)snprintf(why, why_size,
		    "%s needs the plugin ABI %u.%u, this broker has %u.%u: the broker is older",
		    path, plugin->abi_major, plugin->abi_minor_needed, AVOCET_ABI_MAJOR,
		    AVOCET_ABI_MINOR);
		return false;
	}
	if (!AVOCET_FITS(plugin, conf_item_size)) {
		(void)snprintf(why, why_size,
		    "%s has a descriptor of %u bytes, %zu are needed: it is cut off", path,
		    plugin->struct_size, sizeof(*plugin));
		return false;
	}
	if (!is_name(plugin->name) || plugin->version == NULL) {
		(void)snprintf(why, why_size,
		    "%s has no name (lower case, digits and dashes, at most 32 bytes) or no "
		    "version",
		    path);
		return false;
	}
	if (!judge_lifecycle(plugin->lifecycle)) {
		(void)snprintf(
		    why, why_size, "%s lacks one of create, destroy, prepare and commit", path);
		return false;
	}
	wrong = judge_services(plugin, detail, sizeof(detail));
	if (wrong != NULL) {
		(void)snprintf(why, why_size, "%s %s: \"%s\"; this broker has the plugin ABI %u.%u",
		    path, wrong, detail, AVOCET_ABI_MAJOR, AVOCET_ABI_MINOR);
		return false;
	}
	if (!plugin_config_check(plugin, schema, sizeof(schema))) {
		(void)snprintf(why, why_size, "%s: %s", path, schema);
		return false;
	}
	return true;
}

/* --- opening --- */

static char *
path_of(const char *folder, const char *name)
{
	struct buf path;
	char *text;

	buf_init(&path, SIZE_MAX);
	if (strchr(name, '/') != NULL) {
		buf_append_text(&path, name);
	} else {
		buf_printf(&path, "%s/%s.so", folder, name);
	}
	text = realpath(buf_text(&path), NULL);
	if (text == NULL) {
		text = mem_text(buf_bytes(&path));
	}
	buf_fini(&path);
	return text;
}

struct plugin_module *
plugin_module_open(const char *folder, const char *name, char *why, size_t why_size)
{
	struct plugin_module *module = mem_zalloc(sizeof(*module));
	struct exports exports;

	module->path = path_of(folder, name);
	if (!look_at_file(module->path, &exports, why, why_size) ||
	    !judge_exports(module->path, &exports, why, why_size)) {
		plugin_module_free(&module);
		return NULL;
	}
	module->handle = dlopen(module->path, RTLD_NOW | RTLD_LOCAL);
	if (module->handle == NULL) {
		(void)snprintf(why, why_size, "%s cannot be opened: %s", module->path, dlerror());
		plugin_module_free(&module);
		return NULL;
	}
	module->descriptor = dlsym(module->handle, AVOCET_PLUGIN_SYMBOL);
	if (module->descriptor == NULL) {
		(void)snprintf(why, why_size, "%s: %s", module->path, dlerror());
		plugin_module_free(&module);
		return NULL;
	}
	if (!judge_descriptor(module->path, module->descriptor, why, why_size)) {
		plugin_module_free(&module);
	}
	return module;
}

void
plugin_module_free(struct plugin_module **module)
{
	if (*module != NULL) {
		/* What was opened stays mapped; a second dlopen gives the same handle. */
		free((*module)->path);
	}
	mem_free(module);
}

const void *
plugin_module_service(const struct plugin_module *module, const char *id)
{
	const avocet_service *const *services = module->descriptor->services;

	for (size_t i = 0; services != NULL && services[i] != NULL; i++) {
		if (strcmp(services[i]->id, id) == 0) {
			return services[i]->vtable;
		}
	}
	return NULL;
}

/* --- for people --- */

static void
put_line(struct buf *out, const char *label, const char *text)
{
	if (text != NULL && text[0] != '\0') {
		buf_printf(out, "%-12s", label);
		str_escape(out, bytes_of(text), false);
		buf_append_byte(out, '\n');
	}
}

void
plugin_module_describe(const struct plugin_module *module, struct buf *out)
{
	const avocet_plugin *plugin = module->descriptor;

	put_line(out, "name", plugin->name);
	put_line(out, "version", plugin->version);
	put_line(out, "summary", plugin->summary);
	put_line(out, "license", plugin->license);
	put_line(out, "url", plugin->url);
	buf_printf(out, "%-12s%u.%u, needs %u.%u (this broker has %u.%u)\n", "ABI",
	    plugin->abi_major, plugin->abi_minor, plugin->abi_major, plugin->abi_minor_needed,
	    AVOCET_ABI_MAJOR, AVOCET_ABI_MINOR);
	for (size_t i = 0; plugin->services != NULL && plugin->services[i] != NULL; i++) {
		put_line(out, "service", plugin->services[i]->id);
	}
	for (size_t i = 0; plugin->needs != NULL && plugin->needs[i] != NULL; i++) {
		put_line(out, "needs", plugin->needs[i]);
	}
	for (size_t i = 0; i < plugin->n_conf; i++) {
		const avocet_conf_item *item =
		    (const void *)((const char *)plugin->conf + i * plugin->conf_item_size);

		put_line(out, "config", item->name);
	}
}

static void
put_items(struct buf *out, const avocet_conf_item *items, size_t count, size_t size, int indent)
{
	static const char *const types[] = {"", "text", "number", "true or false", "duration",
	    "size", "word", "path", "secret", "mapping", "list", "anything", "path below data_dir"};

	for (size_t i = 0; i < count; i++) {
		const avocet_conf_item *item = (const void *)((const char *)items + i * size);

		buf_printf(out, "%*s%s: %s", indent, "", item->name, types[item->type]);
		if (item->constraint != NULL) {
			buf_printf(out, ", %s", item->constraint);
		}
		if (item->def != NULL) {
			buf_printf(out, ", default %s", item->def[0] != '\0' ? item->def : "\"\"");
		}
		buf_printf(out, "%s%s\n",
		    (item->flags & AVOCET_CONF_REQUIRED) != 0 ? ", required" : "",
		    (item->flags & AVOCET_CONF_RELOADABLE) == 0 ? ", a change makes a new instance"
								: "");
		if (item->help != NULL) {
			buf_printf(out, "%*s%s\n", indent + 8, "", item->help);
		}
		put_items(out, item->children, item->n_children, size, indent + 4);
	}
}

void
plugin_module_manual(const struct plugin_module *module, struct buf *out)
{
	const avocet_plugin *plugin = module->descriptor;

	buf_printf(out, "%s - %s\n\n", plugin->name,
	    plugin->summary != NULL ? plugin->summary : "a plugin of avocet");
	if (plugin->n_conf == 0) {
		buf_append_text(out, "It has no configuration.\n");
	} else {
		buf_append_text(out, "Keys of `config`:\n\n");
		put_items(out, plugin->conf, plugin->n_conf, plugin->conf_item_size, 0);
	}
}

size_t
plugin_module_check(const struct plugin_module *module, struct buf *out)
{
	const avocet_plugin *plugin = module->descriptor;
	char why[MAX_WHY];
	struct exports exports;
	size_t count = 0;

	if (!look_at_file(module->path, &exports, why, sizeof(why))) {
		buf_printf(out, "%s\n", why);
		return 1;
	}
	if (exports.constructors > 1) { /* one is the C runtime's */
		buf_printf(out, "%u constructors run before the broker has judged it\n",
		    exports.constructors - 1);
		count++;
	}
	if (exports.has_text_relocations) {
		buf_append_text(out, "it has text relocations: compile with -fPIC\n");
		count++;
	}
	if (exports.has_executable_stack) {
		buf_append_text(out, "it wants an executable stack\n");
		count++;
	}
	if (plugin->summary == NULL || plugin->license == NULL) {
		buf_append_text(out, "it has no summary or no license\n");
		count++;
	}
	if (plugin->services == NULL || plugin->services[0] == NULL) {
		buf_append_text(out, "it offers no service\n");
		count++;
	}
	return count;
}
