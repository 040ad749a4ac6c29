/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a file to a module. The file is looked at as ELF first (load_elf.c): is it a shared object
 * of this machine, whole, and does it export what a plugin does? Then it is opened where it lies,
 * and its descriptor is judged; nothing of the plugin is called.
 */
#include "plugin/load.h"

#include <avocet/avocet_plugin.h>
#include <avocet/avocet_store.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "plugin/load_int.h"

enum { MAX_NAME = 32 };

static bool
judge_exports(const char *path, const struct plugin_exports *exports, char *why, size_t why_size)
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
    AVOCET_SERVICE_AUTHORIZER, AVOCET_SERVICE_INTERCEPTOR, AVOCET_SERVICE_OBSERVER,
    AVOCET_SERVICE_STORE, AVOCET_SERVICE_TOOL, NULL};

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

		return (AVOCET_HAS(table, publish) || AVOCET_HAS(table, publish_out) ||
			   AVOCET_HAS(table, subscribe)) &&
		       table->exec <= AVOCET_EXEC_INLINE;
	}
	if (strcmp(service->id, AVOCET_SERVICE_OBSERVER) == 0) {
		const avocet_observer *table = vtable;

		return AVOCET_HAS(table, event) && table->exec <= AVOCET_EXEC_INLINE;
	}
	if (strcmp(service->id, AVOCET_SERVICE_STORE) == 0) {
		const avocet_store *table = vtable;

		return AVOCET_HAS(table, close) && table->open != NULL && table->load != NULL &&
		       table->commit != NULL;
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
	struct plugin_exports exports;
	bool may_open;

	module->path = path_of(folder, name);
	may_open = plugin_exports_of_file(module->path, &exports, why, why_size) &&
		   judge_exports(module->path, &exports, why, why_size);
	plugin_exports_fini(&exports);
	if (!may_open) {
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

bool
plugin_module_needs(const struct plugin_module *module, const char *id)
{
	const char *const *needs = module->descriptor->needs;

	for (size_t i = 0; needs != NULL && needs[i] != NULL; i++) {
		if (strcmp(needs[i], id) == 0) {
			return true;
		}
	}
	return false;
}
