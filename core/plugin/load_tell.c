/* SPDX-License-Identifier: Apache-2.0 */
/* What a module is and offers, told to people. */
#include <avocet/avocet_link.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "plugin/config_int.h"
#include "plugin/load_int.h"

enum { MAX_WHY = 512 };

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
		const avocet_conf_item item =
		    plugin_config_item(plugin->conf, plugin->conf_item_size, i);

		put_line(out, "config", item.name);
	}
}

static void
put_json(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, "%s\"%s\":\"", out->data[out->len - 1] == '{' ? "" : ",", name);
	str_escape_json(out, bytes_of(text));
	buf_append_byte(out, '"');
}

static void
put_json_item(struct buf *out, bool is_first, const char *text)
{
	buf_append_text(out, is_first ? "\"" : ",\"");
	str_escape_json(out, bytes_of(text));
	buf_append_byte(out, '"');
}

void
plugin_module_describe_json(const struct plugin_module *module, struct buf *out)
{
	const avocet_plugin *plugin = module->descriptor;

	buf_append_byte(out, '{');
	put_json(out, "file", module->path);
	put_json(out, "name", plugin->name);
	put_json(out, "version", plugin->version);
	put_json(out, "summary", plugin->summary);
	put_json(out, "license", plugin->license);
	put_json(out, "url", plugin->url);
	buf_printf(out, ",\"abi\":[%u,%u],\"abi_needed\":[%u,%u],\"services\":[", plugin->abi_major,
	    plugin->abi_minor, plugin->abi_major, plugin->abi_minor_needed);
	for (size_t i = 0; plugin->services != NULL && plugin->services[i] != NULL; i++) {
		put_json_item(out, i == 0, plugin->services[i]->id);
	}
	buf_append_text(out, "],\"needs\":[");
	for (size_t i = 0; plugin->needs != NULL && plugin->needs[i] != NULL; i++) {
		put_json_item(out, i == 0, plugin->needs[i]);
	}
	buf_append_text(out, "],\"config\":[");
	for (size_t i = 0; i < plugin->n_conf; i++) {
		put_json_item(
		    out, i == 0, plugin_config_item(plugin->conf, plugin->conf_item_size, i).name);
	}
	buf_append_text(out, "]}");
}

static void
put_items(struct buf *out, const avocet_conf_item *items, size_t count, size_t size, int indent)
{
	static const char *const types[] = {"", "text", "number", "true or false", "duration",
	    "size", "word", "path", "secret", "mapping", "list", "anything", "path below data_dir"};

	for (size_t i = 0; i < count; i++) {
		const avocet_conf_item item = plugin_config_item(items, size, i);

		buf_printf(out, "%*s%s: %s", indent, "", item.name, types[item.type]);
		if (item.constraint != NULL) {
			buf_printf(out, ", %s", item.constraint);
		}
		if (item.def != NULL) {
			buf_printf(out, ", default %s", item.def[0] != '\0' ? item.def : "\"\"");
		}
		buf_printf(out, "%s%s\n",
		    (item.flags & AVOCET_CONF_REQUIRED) != 0 ? ", required" : "",
		    (item.flags & AVOCET_CONF_RELOADABLE) == 0 ? ", a change makes a new instance"
							       : "");
		if (item.help != NULL) {
			buf_printf(out, "%*s%s\n", indent + 8, "", item.help);
		}
		put_items(out, item.children, item.n_children, size, indent + 4);
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

/* What a library must define that the module does not name: it would work only as long as the
 * program happens to have it. */
static size_t
tell_undefined(
    const struct plugin_module *module, struct buf *names, struct buf *out, bool *has_sanitizer)
{
	size_t count = 0;

	for (size_t at = 0; at < names->len; at += strlen((const char *)names->data + at) + 1) {
		const char *name = (const char *)names->data + at;

		bool is_sanitizer = strncmp(name, "__", 2) == 0 && strstr(name, "san_") != NULL;

		*has_sanitizer |= is_sanitizer;
		if (!is_sanitizer && dlsym(module->handle, name) == NULL) {
			buf_printf(out,
			    "it uses \"%s\", which no library that it is linked with defines\n",
			    name);
			count++;
		}
	}
	return count;
}

size_t
plugin_module_check(const struct plugin_module *module, struct buf *out)
{
	const avocet_plugin *plugin = module->descriptor;
	struct plugin_exports exports;
	char why[MAX_WHY];
	bool has_sanitizer = false; /* which bring constructors of their own */
	size_t count = 0;

	if (!plugin_exports_of_file(module->path, &exports, why, sizeof(why))) {
		buf_printf(out, "%s\n", why);
		plugin_exports_fini(&exports);
		return 1;
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
	/* What has links acts by itself. */
	if ((plugin->services == NULL || plugin->services[0] == NULL) &&
	    !plugin_module_needs(module, AVOCET_HOST_LINK)) {
		buf_append_text(out, "it offers no service\n");
		count++;
	}
	count += tell_undefined(module, &exports.undefined, out, &has_sanitizer);
	if (exports.constructors > 1 && !has_sanitizer) { /* one is the C runtime's */
		buf_printf(out, "%u constructors run before the broker has judged it\n",
		    exports.constructors - 1);
		count++;
	}
	plugin_exports_fini(&exports);
	return count;
}
