/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/ref.h"
#include "conf/bind_int.h"

struct conf {
	struct ref ref;
	struct arena arena; /* holds all that follows */
	struct conf_errors errors;
	struct conf_bind bind;
	const struct conf_limits *limits;
	const char *name;
	const struct conf_node *root;
	const void *bound; /* by conf_bind */
	struct conf_ending *endings;
};

struct conf_ending {
	struct conf_ending *next;
	conf_free_fn *fn;
	void *arg;
};

static struct conf *
new_conf(const char *name, const struct conf_limits *limits)
{
	struct conf *conf = mem_zalloc(sizeof(*conf));

	ref_init(&conf->ref);
	arena_init(&conf->arena);
	conf->limits = limits != NULL ? limits : &conf_default_limits;
	conf_errors_init(&conf->errors, &conf->arena, conf->limits->max_errors);
	conf_bind_init(&conf->bind, &conf->arena, &conf->errors);
	conf->name = arena_text(&conf->arena, bytes_of(name));
	return conf;
}

struct conf *
conf_ref(struct conf *conf)
{
	ref_get(&conf->ref);
	return conf;
}

void
conf_unref(struct conf **conf)
{
	if (*conf != NULL && ref_put(&(*conf)->ref)) {
		for (struct conf_ending *ending = (*conf)->endings; ending != NULL;
		     ending = ending->next) {
			ending->fn(ending->arg);
		}
		conf_bind_fini(&(*conf)->bind);
		conf_errors_fini(&(*conf)->errors);
		arena_fini(&(*conf)->arena);
		mem_free(conf);
	}
	*conf = NULL;
}

static void __attribute__((format(printf, 3, 4)))
fail_file(struct conf *conf, const char *file, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	conf_errors_vadd(&conf->errors,
	    (struct conf_place){arena_text(&conf->arena, bytes_of(file)), 0, 0}, "", format, args);
	va_end(args);
}

/* --- reading --- */

static const char *
read_env(const char *name)
{
	return getenv(name);
}

/* What is left of an open file, as much as the buffer's limit takes; false and errno on an error.
 */
static bool
read_rest(int fd, struct buf *out)
{
	ssize_t n;

	do {
		size_t room = out->limit - out->len;
		uint8_t *at;

		room = room < 65536 ? room : 65536;
		room =
		    out->cap > out->len && room > out->cap - out->len ? out->cap - out->len : room;
		at = buf_reserve(out, room);
		n = at != NULL ? read(fd, at, room) : -1;
		out->len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	return n == 0;
}

/* The configuration itself may be a pipe. */
static bool
read_any(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && read_rest(fd, out);

	if (fd >= 0) {
		close(fd);
	}
	return good;
}

/* What a configuration names must be a file: nobody waits for who writes into a pipe. */
static bool
read_regular(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	bool good = false;

	if (fd < 0) {
		return false;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		/* All at once, since a buffer that grows leaves copies behind. */
		(void)buf_reserve(
		    out, (size_t)st.st_size < out->limit ? (size_t)st.st_size + 1 : 0);
		good = read_rest(fd, out);
	} else {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	}
	close(fd);
	return good;
}

/* The tree of one file, or NULL. */
static struct conf_node *
parse_file(struct conf *conf, struct conf_parse *parse, const char *path,
    bool (*read_file)(const char *path, struct buf *out))
{
	struct conf_node *root = NULL;
	struct buf text;

	/* One byte more than allowed, so that a file that is too large shows. */
	buf_init(
	    &text, conf->limits->max_bytes < SIZE_MAX ? conf->limits->max_bytes + 1 : SIZE_MAX);
	if (read_file(path, &text)) {
		root = conf_yaml_parse(parse, path, buf_bytes(&text));
	} else {
		fail_file(conf, path, "cannot be read: %s", strerror(errno));
	}
	buf_fini_wiped(&text);
	return root;
}

/* --- merging --- */

static struct conf_node *merge(struct conf *conf, struct conf_node *a, struct conf_node *b);

static void
weigh(struct conf_node *node)
{
	node->weight = 1;
	node->height = 1;
	for (size_t i = 0; i < node->count; i++) {
		const struct conf_node *child =
		    node->kind == CONF_SEQUENCE ? node->items[i] : node->pairs[i].value;

		node->weight += child->weight;
		node->height = child->height >= node->height ? child->height + 1 : node->height;
	}
}

static struct conf_node *
join_sequences(struct conf *conf, const struct conf_node *a, const struct conf_node *b)
{
	struct conf_node *joined = arena_alloc(&conf->arena, sizeof(*joined));

	*joined = *a;
	joined->count = a->count + b->count;
	joined->items = arena_alloc(&conf->arena, joined->count * sizeof(*joined->items));
	for (size_t i = 0; i < joined->count; i++) {
		joined->items[i] = i < a->count ? a->items[i] : b->items[i - a->count];
	}
	weigh(joined);
	return joined;
}

static struct bytes
key_of_pair(const void *pair)
{
	return bytes_of(((const struct conf_pair *)pair)->key);
}

/* Puts b's pairs into merged, which has room for them; known holds those that are there. */
static void
merge_pairs(
    struct conf *conf, struct conf_node *merged, const struct conf_node *b, struct map *known)
{
	for (size_t i = 0; i < b->count; i++) {
		const struct conf_pair *news = &b->pairs[i];
		struct conf_pair *pair = map_find(known, bytes_of(news->key));
		size_t before;

		if (pair == NULL) {
			pair = &merged->pairs[merged->count++];
			*pair = *news;
			map_put(known, pair);
			continue;
		}
		before = conf_path_enter(&conf->bind.path, news->key);
		pair->value = merge(conf, pair->value, news->value);
		conf_path_leave(&conf->bind.path, before);
	}
}

/* A new node: those of the files may stand in other places too, by aliases. */
static struct conf_node *
merge_mappings(struct conf *conf, const struct conf_node *a, const struct conf_node *b)
{
	struct conf_node *merged = arena_alloc(&conf->arena, sizeof(*merged));
	struct map known;

	*merged = *a;
	merged->pairs = arena_alloc(&conf->arena, (a->count + b->count) * sizeof(*merged->pairs));
	map_init(&known, key_of_pair, (struct hash_key){0, 0});
	for (size_t i = 0; i < a->count; i++) {
		merged->pairs[i] = a->pairs[i];
		map_put(&known, &merged->pairs[i]);
	}
	merge_pairs(conf, merged, b, &known);
	map_fini(&known);
	if (merged->count > conf->limits->max_keys) {
		conf_errors_add(
		    &conf->errors, b->place, conf->bind.path.text, "too many keys in one mapping");
		merged->count = a->count;
	}
	weigh(merged);
	return merged;
}

/* A key without a value says nothing; two values are one too many. */
static struct conf_node *
merge(struct conf *conf, struct conf_node *a, struct conf_node *b)
{
	if (conf_node_is_null(a)) {
		return b;
	}
	if (conf_node_is_null(b)) {
		return a;
	}
	if (a->kind == CONF_MAPPING && b->kind == CONF_MAPPING) {
		return merge_mappings(conf, a, b);
	}
	if (a->kind == CONF_SEQUENCE && b->kind == CONF_SEQUENCE) {
		return join_sequences(conf, a, b);
	}
	conf_errors_add(&conf->errors, b->place, conf->bind.path.text,
	    "is already set in %s, line %u", a->place.file, a->place.line);
	return a;
}

/* --- including --- */

/* A file that says nothing is an empty mapping; one that is no mapping is told and taken for empty.
 */
static struct conf_node *
as_mapping(struct conf *conf, struct conf_node *root)
{
	if (root->kind == CONF_MAPPING) {
		return root;
	}
	if (!conf_node_is_null(root) && !root->failed) {
		conf_errors_add(&conf->errors, root->place, "", "must be a mapping, not %s",
		    conf_kind_name(root->kind));
	}
	*root = (struct conf_node){
	    .kind = CONF_MAPPING, .place = root->place, .weight = 1, .height = 1};
	return root;
}

/* The tree without its key `include`, whose node goes to *include_out (NULL when there is none). */
static struct conf_node *
take_include(struct conf *conf, const struct conf_node *root, const struct conf_node **include_out)
{
	struct conf_node *rest = arena_alloc(&conf->arena, sizeof(*rest));

	*rest = *root;
	*include_out = NULL;
	rest->pairs = arena_alloc(&conf->arena, root->count * sizeof(*rest->pairs));
	rest->count = 0;
	for (size_t i = 0; i < root->count; i++) {
		if (strcmp(root->pairs[i].key, "include") == 0) {
			*include_out = root->pairs[i].value;
		} else {
			rest->pairs[rest->count++] = root->pairs[i];
		}
	}
	return rest;
}

static void
fail_include(struct conf *conf, const struct conf_node *node, const char *sentence)
{
	conf_errors_add(&conf->errors, node->place, "include", "%s", sentence);
}

static struct conf_node *
include_file(struct conf *conf, struct conf_parse *parse, struct conf_node *root, const char *path)
{
	struct conf_node *tree = parse_file(conf, parse, path, read_regular);
	const struct conf_node *include;

	if (tree == NULL) {
		return root;
	}
	tree = take_include(conf, as_mapping(conf, tree), &include);
	if (include != NULL) {
		fail_include(conf, include, "an included file cannot include others");
	}
	return merge_mappings(conf, root, tree);
}

/* The pattern from the folder of the configuration on: the folder's own name is no pattern. */
static const char *
pattern_beside(struct conf *conf, const char *pattern)
{
	const char *slash = strrchr(conf->name, '/');
	struct buf text;
	const char *result;

	buf_init(&text, SIZE_MAX);
	for (const char *at = conf->name; *pattern != '/' && slash != NULL && at <= slash; at++) {
		if (strchr("*?[\\", *at) != NULL) {
			buf_append_byte(&text, '\\');
		}
		buf_append_byte(&text, (uint8_t)*at);
	}
	buf_append_text(&text, pattern);
	result = arena_text(&conf->arena, buf_bytes(&text));
	buf_fini(&text);
	return result;
}

/* glob would walk through all that matches before anybody counted. */
static bool
has_wildcard_folder(const char *pattern)
{
	const char *last = strrchr(pattern, '/');
	const char *wildcard = strpbrk(pattern, "*?[");

	return last != NULL && wildcard != NULL && wildcard < last;
}

/* A folder that is not there matches nothing; one that cannot be read is an error. */
static int
is_glob_error(const char *path, int error)
{
	(void)path;
	return error != ENOENT && error != ENOTDIR;
}

/* One pattern; a path without wildcards must exist. */
static struct conf_node *
include_pattern(struct conf *conf, struct conf_parse *parse, struct conf_node *root,
    const struct conf_node *pattern, size_t *files)
{
	const char *text;
	glob_t found;
	int error;

	if (pattern->kind != CONF_SCALAR || pattern->text.len == 0 || pattern->reference != NULL) {
		fail_include(conf, pattern, "must be a path, or a sequence of paths, as they are");
		return root;
	}
	text = (const char *)pattern->text.data;
	if (has_wildcard_folder(text)) {
		fail_include(conf, pattern, "only the last part of a path may have wildcards");
		return root;
	}
	error = glob(pattern_beside(conf, text), 0, is_glob_error, &found);
	if (error != 0) {
		if (error != GLOB_NOMATCH || strpbrk(text, "*?[") == NULL) {
			conf_errors_add(&conf->errors, pattern->place, "include",
			    "%.256s does not exist or cannot be read",
			    conf_path_beside(&conf->arena, conf->name, text));
		}
		return root;
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		if (++*files > conf->limits->max_files) {
			fail_include(conf, pattern, "too many files");
			break;
		}
		root = include_file(conf, parse, root, found.gl_pathv[i]);
	}
	globfree(&found);
	return root;
}

static struct conf_node *
include_all(struct conf *conf, struct conf_parse *parse, struct conf_node *root,
    const struct conf_node *include)
{
	size_t files = 1;

	if (include->kind != CONF_SEQUENCE) {
		return include_pattern(conf, parse, root, include, &files);
	}
	for (size_t i = 0; i < include->count; i++) {
		root = include_pattern(conf, parse, root, include->items[i], &files);
	}
	return root;
}

struct conf *
conf_load(const char *path, const struct conf_limits *limits)
{
	static const struct conf_sources sources = {read_env, read_regular};
	struct conf *conf = new_conf(path, limits);
	struct conf_parse parse = {.arena = &conf->arena,
	    .errors = &conf->errors,
	    .limits = conf->limits,
	    .sources = &sources};
	struct conf_node *root = parse_file(conf, &parse, path, read_any);
	const struct conf_node *include;

	if (root != NULL) {
		root = take_include(conf, as_mapping(conf, root), &include);
		conf->root = include != NULL && !conf_node_is_null(include)
				 ? include_all(conf, &parse, root, include)
				 : root;
	}
	return conf;
}

struct conf *
conf_read(const char *name, struct bytes text, const struct conf_limits *limits,
    const struct conf_sources *sources)
{
	struct conf *conf = new_conf(name, limits);
	struct conf_parse parse = {.arena = &conf->arena,
	    .errors = &conf->errors,
	    .limits = conf->limits,
	    .sources = sources};
	struct conf_node *root;

	root = conf_yaml_parse(&parse, name, text);
	conf->root = root != NULL && conf_node_is_null(root) ? as_mapping(conf, root) : root;
	return conf;
}

struct conf_errors *
conf_errors_of(struct conf *conf)
{
	return &conf->errors;
}

void
conf_on_free(struct conf *conf, conf_free_fn *fn, void *arg)
{
	struct conf_ending *ending = arena_alloc(&conf->arena, sizeof(*ending));

	*ending = (struct conf_ending){conf->endings, fn, arg};
	conf->endings = ending;
}

/* --- binding --- */

static struct conf_place
place_of(const struct conf *conf, const struct conf_node *node)
{
	return node != NULL ? node->place : (struct conf_place){conf->name, 0, 0};
}

static void
set_path(struct conf *conf, const char *path)
{
	struct conf_path *at = &conf->bind.path;

	at->len = strnlen(path, sizeof(at->text) - 1);
	memcpy(at->text, path, at->len);
	at->text[at->len] = '\0';
}

const void *
conf_bind(struct conf *conf, const struct conf_schema *schema)
{
	const void *target = NULL;

	if (conf->root != NULL) {
		target = conf_bind_part(conf, schema, conf->root, "");
	}
	conf->bound = conf_has_errors(conf) ? NULL : target;
	return conf->bound;
}

const void *
conf_bound(const struct conf *conf)
{
	return conf->bound;
}

const void *
conf_bind_part(struct conf *conf, const struct conf_schema *schema, const struct conf_node *node,
    const char *path)
{
	void *target = arena_alloc(&conf->arena, schema->size);

	set_path(conf, path);
	return conf_bind_struct(&conf->bind, schema, node, place_of(conf, node), target) ? target
											 : NULL;
}

const void *
conf_bind_part_over(struct conf *conf, const struct conf_schema *schema,
    const struct conf_node *node, const char *path, const void *base)
{
	void *target = arena_alloc(&conf->arena, schema->size);

	memcpy(target, base, schema->size);
	set_path(conf, path);
	return conf_bind_over(&conf->bind, schema, node, place_of(conf, node), target) ? target
										       : NULL;
}

void
conf_fail(
    struct conf *conf, const struct conf_node *node, const char *path, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	conf_errors_vadd(&conf->errors, place_of(conf, node), path, format, args);
	va_end(args);
}

bool
conf_has_errors(const struct conf *conf)
{
	return conf->errors.list.count + conf->errors.more != 0;
}

void
conf_format_errors(struct conf *conf, struct buf *out)
{
	conf_errors_format(&conf->errors, out);
}

bool
conf_dump(const struct conf *conf, const struct conf_schema *schema, const void *target, bool help,
    struct buf *out)
{
	struct conf_dump dump = {out, help};

	conf_dump_struct(&dump, schema, target, conf->root, 0);
	return !out->failed;
}

const struct conf_node *
conf_root(const struct conf *conf)
{
	return conf->root;
}
