/* SPDX-License-Identifier: Apache-2.0 */
/* avocet.conf/0: a plugin reads its configuration, by paths. On main's thread. */
#include <stdlib.h>

#include "plugin/config_int.h"

enum { MS_NS = 1000000 };

/* Where a path has led: a member of a struct, or a node of free form. */
struct spot {
	const avocet_conf *conf;
	avocet_conf_item item; /* type 0: the whole, or an entry of a list */
	const struct plugin_shape *shape;
	const uint8_t *target; /* the struct (of shape), or the member */
	const struct conf_node *node;
	bool is_member;
	bool is_free;  /* below ANY: node is all there is */
	bool is_entry; /* the text `index` of a list */
	size_t index;
};

static bool
go_to_key(struct spot *spot, struct bytes key)
{
	const struct conf_pair *pair = NULL;
	char name[128];

	if (key.len == 0 || key.len >= sizeof(name)) {
		return false;
	}
	memcpy(name, key.data, key.len);
	name[key.len] = '\0';
	if (spot->node != NULL && spot->node->kind == CONF_MAPPING) {
		pair = conf_node_find(spot->node, name);
	}
	spot->node = pair != NULL ? pair->value : NULL;
	if (spot->is_free || spot->shape == NULL) {
		return spot->is_free && spot->node != NULL;
	}
	for (size_t i = 0; i < spot->shape->schema.count; i++) {
		const struct conf_option *option = &spot->shape->schema.options[i];

		if (strcmp(option->name, name) == 0) {
			spot->item =
			    plugin_config_item(spot->shape->items, spot->shape->item_size, i);
			spot->target += option->offset;
			spot->shape = spot->shape->children[i];
			spot->is_member = true;
			if (option->type == CONF_NODE) {
				memcpy(&spot->node, spot->target, sizeof(spot->node));
				spot->is_free = spot->node != NULL;
			}
			return true;
		}
	}
	return false;
}

static bool
go_to_index(struct spot *spot, size_t index)
{
	const struct conf_node *node = spot->node;
	struct conf_list list;

	if (!spot->is_free && spot->item.type == AVOCET_CONF_LIST && spot->shape != NULL) {
		memcpy(&list, spot->target, sizeof(list));
		if (index >= list.count) {
			return false;
		}
		spot->target = (const uint8_t *)list.items + index * spot->shape->schema.size;
		spot->node = node != NULL && node->kind == CONF_SEQUENCE && index < node->count
				 ? node->items[index]
				 : NULL;
		spot->item = (avocet_conf_item){0};
		spot->is_member = false;
		return true;
	}
	if (!spot->is_free && spot->item.type == AVOCET_CONF_LIST) {
		struct conf_strings strings;

		memcpy(&strings, spot->target, sizeof(strings));
		spot->index = index;
		spot->is_entry = index < strings.count;
		return spot->is_entry;
	}
	if (!spot->is_free || node == NULL || node->kind != CONF_SEQUENCE || index >= node->count) {
		return false;
	}
	spot->node = node->items[index];
	return true;
}

/* "rules[3].topic" */
static bool
find(const avocet_conf *conf, const char *path, struct spot *spot)
{
	*spot = (struct spot){
	    .conf = conf, .shape = conf->shape, .target = conf->target, .node = conf->node};
	while (*path != '\0') {
		size_t len = strcspn(path, ".[");

		if (*path == '[') {
			char *end;
			unsigned long index = strtoul(path + 1, &end, 10);

			if (end == path + 1 || *end != ']' || !go_to_index(spot, index)) {
				return false;
			}
			path = end + 1;
		} else if (!go_to_key(spot, bytes_make(path, len))) {
			return false;
		} else {
			path += len;
		}
		path += *path == '.';
	}
	return true;
}

static const char *
absolute(const struct spot *spot, const char *text)
{
	struct arena *arena = (struct arena *)(uintptr_t)&spot->conf->arena;
	struct buf joined;
	const char *result;

	if (text[0] == '/' || text[0] == '\0' ||
	    (spot->item.type != AVOCET_CONF_PATH && spot->item.type != AVOCET_CONF_DATA_PATH)) {
		return text;
	}
	if (spot->item.type == AVOCET_CONF_PATH) {
		return spot->node != NULL && spot->node->place.file != NULL
			   ? conf_path_beside(arena, spot->node->place.file, text)
			   : text;
	}
	buf_init(&joined, SIZE_MAX);
	buf_printf(&joined, "%s/%s", spot->conf->data_dir, text);
	result = arena_text(arena, buf_bytes(&joined));
	buf_fini(&joined);
	return result;
}

static int32_t
get_str(const avocet_conf *conf, const char *path, avocet_str *out)
{
	struct spot spot;
	const char *text = NULL;
	int64_t index;

	if (!find(conf, path, &spot)) {
		return AVOCET_E_NOTFOUND;
	}
	if (spot.is_entry) {
		struct conf_strings strings;

		memcpy(&strings, spot.target, sizeof(strings));
		text = strings.items[spot.index];
	} else if (spot.is_free) {
		if (spot.node == NULL || spot.node->kind != CONF_SCALAR) {
			return AVOCET_E_INVAL;
		}
		*out = (avocet_str){(const char *)spot.node->text.data, spot.node->text.len};
		return AVOCET_OK;
	} else if (!spot.is_member) {
		return AVOCET_E_INVAL;
	} else if (spot.item.type == AVOCET_CONF_ENUM) {
		const struct conf_word *words;
		struct arena *arena = (struct arena *)(uintptr_t)&conf->arena;

		memcpy(&index, spot.target, sizeof(index));
		words = plugin_config_words(arena, spot.item.constraint);
		text = words[index].word;
	} else if (spot.item.type == AVOCET_CONF_STR || spot.item.type == AVOCET_CONF_SECRET ||
		   spot.item.type == AVOCET_CONF_PATH || spot.item.type == AVOCET_CONF_DATA_PATH) {
		memcpy(&text, spot.target, sizeof(text));
		text = text != NULL ? absolute(&spot, text) : NULL;
	} else {
		return AVOCET_E_INVAL;
	}
	if (text == NULL) {
		return AVOCET_E_NOTFOUND;
	}
	*out = avocet_str_of(text);
	return AVOCET_OK;
}

static int32_t
get_num(const avocet_conf *conf, const char *path, int64_t *out)
{
	struct spot spot;

	if (!find(conf, path, &spot)) {
		return AVOCET_E_NOTFOUND;
	}
	if (!spot.is_member || spot.is_free) {
		return AVOCET_E_INVAL;
	}
	if (spot.item.def == NULL && (spot.node == NULL || conf_node_is_null(spot.node))) {
		return AVOCET_E_NOTFOUND;
	}
	switch (spot.item.type) {
	case AVOCET_CONF_BOOL:
		*out = *(const bool *)spot.target;
		return AVOCET_OK;
	case AVOCET_CONF_INT:
	case AVOCET_CONF_SIZE:
	case AVOCET_CONF_ENUM:
		memcpy(out, spot.target, sizeof(*out));
		return AVOCET_OK;
	case AVOCET_CONF_DURATION:
		memcpy(out, spot.target, sizeof(*out));
		*out = *out > INT64_MAX / MS_NS ? INT64_MAX : *out * MS_NS;
		return AVOCET_OK;
	default:
		return AVOCET_E_INVAL;
	}
}

static int32_t
get_count(const avocet_conf *conf, const char *path, size_t *out)
{
	struct spot spot;
	struct conf_list list;

	if (!find(conf, path, &spot)) {
		return AVOCET_E_NOTFOUND;
	}
	if (spot.is_free) {
		if (spot.node->kind == CONF_SCALAR) {
			return AVOCET_E_INVAL;
		}
		*out = spot.node->count;
		return AVOCET_OK;
	}
	if (spot.item.type == AVOCET_CONF_LIST && spot.is_member) {
		/* Both kinds of lists begin alike. */
		_Static_assert(
		    offsetof(struct conf_list, count) == offsetof(struct conf_strings, count),
		    "lists");
		memcpy(&list, spot.target, sizeof(list));
		*out = list.count;
		return AVOCET_OK;
	}
	return spot.item.type == AVOCET_CONF_ANY ? AVOCET_E_NOTFOUND : AVOCET_E_INVAL;
}

static int32_t
get_key(const avocet_conf *conf, const char *path, size_t i, avocet_str *out)
{
	struct spot spot;

	if (!find(conf, path, &spot)) {
		return AVOCET_E_NOTFOUND;
	}
	if (spot.node == NULL || spot.node->kind != CONF_MAPPING || i >= spot.node->count) {
		return AVOCET_E_NOTFOUND;
	}
	*out = avocet_str_of(spot.node->pairs[i].key);
	return AVOCET_OK;
}

static int32_t
get_where(const avocet_conf *conf, const char *path, avocet_str *out)
{
	struct spot spot;

	if (!find(conf, path, &spot)) {
		return AVOCET_E_NOTFOUND;
	}
	*out = avocet_str_of(
	    spot.node != NULL
		? plugin_config_place((struct arena *)(uintptr_t)&conf->arena, &spot.node->place)
		: conf->place);
	return AVOCET_OK;
}

const avocet_conf_api plugin_conf_api = {
    .struct_size = sizeof(plugin_conf_api),
    .str = get_str,
    .num = get_num,
    .count = get_count,
    .key = get_key,
    .where = get_where,
};
