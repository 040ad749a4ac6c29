/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of real files for each test: made empty before it, gone after it. main.yaml in it is
 * what is loaded.
 */
#ifndef UNIT_CONF_FOLDER_H
#define UNIT_CONF_FOLDER_H

#include "unit/conf/conf_unit.h"

#include <ftw.h>
#include <sys/stat.h>

#include "unit/conf/sample.h"

struct folder {
	char path[64];  /* ends with a slash */
	char base[128]; /* of the paths that are made: path, or deeper */
};

static inline int
make_folder(void **state)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	if (folder == NULL) {
		return -1;
	}
	(void)strcpy(folder->path, "/tmp/avocet-include-XXXXXX");
	if (mkdtemp(folder->path) == NULL) {
		free(folder);
		return -1;
	}
	(void)strcat(folder->path, "/");
	(void)strcpy(folder->base, folder->path);
	*state = folder;
	return 0;
}

static inline int
remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static inline int
remove_folder(void **state)
{
	struct folder *folder = *state;
	int result = nftw(folder->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);

	free(folder);
	return result;
}

static inline const char *
path_in(const struct folder *folder, const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s%s", folder->base, name);
	return path;
}

static inline void
put(const struct folder *folder, const char *name, const char *text)
{
	FILE *file = fopen(path_in(folder, name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static inline void
put_folder(const struct folder *folder, const char *name)
{
	assert_int_equal(mkdir(path_in(folder, name), 0755), 0);
}

static inline struct conf *
load(const struct folder *folder, const char *text)
{
	put(folder, "main.yaml", text);
	return conf_load(path_in(folder, "main.yaml"), NULL);
}

static inline const struct sample *
bound(const struct folder *folder, struct conf **conf, const char *text)
{
	*conf = load(folder, text);
	const struct sample *sample = conf_bind(*conf, &sample_schema);

	assert_said_in(*conf, folder->base, NULL, 0);
	assert_non_null(sample);
	return sample;
}

/* The errors of what is loaded and bound. */
static inline void
assert_load_said(
    const struct folder *folder, const char *text, const struct said *want, size_t count)
{
	struct conf *conf = load(folder, text);

	assert_null(conf_bind(conf, &sample_schema));
	assert_said_in(conf, folder->base, want, count);
	conf_unref(&conf);
}

#define assert_load_said_once(folder, text, ...) \
	assert_load_said(folder, text, &(struct said){__VA_ARGS__}, 1)

/* The names of all plugins, each with a blank behind it. */
static inline const char *
plugin_names(const struct sample *sample)
{
	static char names[256];

	names[0] = '\0';
	for (size_t i = 0; i < sample->plugins.count; i++) {
		(void)strcat(names, ((const struct sample_plugin *)sample->plugins.items)[i].name);
		(void)strcat(names, " ");
	}
	return names;
}

#define folder_test(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

#endif
