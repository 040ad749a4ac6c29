/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a file of a plugin's values. The first byte says what follows: 0, the file itself; else
 * changes, each of a letter for the key and a byte for the length of its value, after which the
 * file is cut off so many bytes from its end and read again. It is never refused then, what it
 * holds had been put, and what is put next is found again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "plugin/kv_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/avocet-fuzz-kv.XXXXXX";
static char path[64];

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static void
begin(void)
{
	if (path[0] == '\0') {
		require(mkdtemp(folder) != NULL);
		(void)snprintf(path, sizeof(path), "%s/f.kv", folder);
	}
	(void)unlink(path);
}

static struct bytes
value_of(uint8_t letter, uint8_t len)
{
	static uint8_t text[256];

	memset(text, letter, sizeof(text));
	return bytes_make(text, len);
}

/* Every value is as it was put: its key again and again. */
static void
check(const struct kv_file *file)
{
	struct kv_item *item;

	map_each (item, &file->items) {
		require(item->key_len == 1);
		for (size_t i = 0; i < item->value_len; i++) {
			require(kv_value(item).data[i] == kv_key(item).data[0]);
		}
	}
}

static void
write_raw(const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, S_IRUSR | S_IWUSR);

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)close(fd);
}

static void
change(const uint8_t *data, size_t size)
{
	struct kv_file *file = plugin_kv_file_new(folder, "f");

	require(plugin_kv_file_open(file) == 0);
	for (size_t i = 0; i + 1 < size; i += 2) {
		struct bytes key = bytes_make(data + i, 1);

		if (data[i + 1] == 255) {
			(void)plugin_kv_file_del(file, key);
		} else {
			plugin_kv_file_put(file, key, value_of(data[i], data[i + 1]));
		}
		require(data[i + 1] % 3 != 0 || plugin_kv_file_sync(file) == 0);
	}
	require(plugin_kv_file_sync(file) == 0);
	check(file);
	plugin_kv_file_free(&file);
}

static void
cut(uint8_t bytes)
{
	struct stat status;
	off_t head = (off_t)strlen("avocet kv 1\n");

	require(stat(path, &status) == 0);
	require(truncate(path, status.st_size - bytes > head ? status.st_size - bytes : head) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kv_file *file;
	uint8_t kind = size != 0 ? data[0] : 0;

	begin();
	if (kind == 0) {
		write_raw(data, size);
		if (size > 1) {
			write_raw(data + 1, size - 1);
		}
	} else {
		change(data + 1, size - 1);
		cut(kind);
	}
	file = plugin_kv_file_new(folder, "f");
	if (plugin_kv_file_open(file) == 0) {
		if (kind != 0) {
			check(file);
		}
		plugin_kv_file_put(file, bytes_make("k", 1), value_of('k', 7));
		require(plugin_kv_file_sync(file) == 0);
		plugin_kv_file_free(&file);
		file = plugin_kv_file_new(folder, "f");
		require(plugin_kv_file_open(file) == 0 &&
			map_find(&file->items, bytes_make("k", 1)) != NULL);
	} else {
		require(kind == 0);
	}
	plugin_kv_file_free(&file);
	return 0;
}
