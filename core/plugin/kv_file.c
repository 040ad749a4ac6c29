/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/kv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

enum { HEAD = 16, SLACK = 64 * 1024, MAX_FILE = 256 * 1024 * 1024 };

static const char magic[] = "avocet kv 1\n";
static const struct hash_key check_key = {0x61766f636574206bU, 0x7620636865636b73U};

static struct bytes
key_of(const void *item)
{
	return kv_key(item);
}

struct kv_file *
plugin_kv_file_new(const char *folder, const char *name)
{
	struct kv_file *file = mem_zalloc(sizeof(*file));
	struct buf path;

	buf_init(&path, SIZE_MAX);
	buf_printf(&path, "%s/%s.kv", folder, name);
	file->path = mem_text(buf_bytes(&path));
	buf_fini(&path);
	file->fd = -1;
	map_init(&file->items, key_of, check_key);
	buf_init(&file->out, SIZE_MAX);
	return file;
}

static void
empty(struct kv_file *file)
{
	struct kv_item *item;

	map_each (item, &file->items) {
		mem_free(&item);
	}
	map_fini(&file->items);
	map_init(&file->items, key_of, check_key);
	buf_clear(&file->out);
	file->size = file->live = 0;
}

static void
shut(struct kv_file *file)
{
	if (file->fd >= 0) {
		(void)close(file->fd);
	}
	file->fd = -1;
}

void
plugin_kv_file_free(struct kv_file **file_at)
{
	struct kv_file *file = *file_at;

	if (file == NULL) {
		return;
	}
	shut(file);
	empty(file);
	map_fini(&file->items);
	buf_fini(&file->out);
	mem_free(&file->path);
	mem_free(file_at);
}

static int
fail(struct kv_file *file, const char *what)
{
	log_error("%s: %s: %s", file->path, what, strerror(errno));
	shut(file);
	empty(file);
	return ERR_IO;
}

/* --- records --- */

static void
put_u32(uint8_t *at, uint32_t number)
{
	for (int i = 0; i < 4; i++) {
		at[i] = (uint8_t)(number >> 8 * i);
	}
}

static uint32_t
get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static void
write_record(struct buf *out, struct bytes key, struct bytes value, bool is_deleted)
{
	size_t len = HEAD + key.len + value.len;
	uint8_t *at = buf_reserve(out, len);
	uint64_t check;

	put_u32(at + 8, (uint32_t)key.len);
	put_u32(at + 12, is_deleted ? UINT32_MAX : (uint32_t)value.len);
	memcpy(at + HEAD, key.data, key.len);
	if (value.len != 0) {
		memcpy(at + HEAD + key.len, value.data, value.len);
	}
	check = hash_bytes(&check_key, bytes_make(at + 8, len - 8));
	put_u32(at, (uint32_t)check);
	put_u32(at + 4, (uint32_t)(check >> 32));
	out->len += len;
}

/* The record at the beginning of `rest`; its length, or 0: there is no good one. */
static size_t
read_record(struct bytes rest, struct bytes *key, struct bytes *value, bool *is_deleted)
{
	uint64_t check, value_len;
	uint32_t key_len;
	size_t len;

	if (rest.len < HEAD) {
		return 0;
	}
	key_len = get_u32(rest.data + 8);
	value_len = get_u32(rest.data + 12);
	*is_deleted = value_len == UINT32_MAX;
	value_len = *is_deleted ? 0 : value_len;
	if (HEAD + key_len + value_len > rest.len || key_len == 0) {
		return 0;
	}
	len = (size_t)(HEAD + key_len + value_len);
	check = get_u32(rest.data) | (uint64_t)get_u32(rest.data + 4) << 32;
	if (check != hash_bytes(&check_key, bytes_make(rest.data + 8, len - 8))) {
		return 0;
	}
	*key = bytes_make(rest.data + HEAD, key_len);
	*value = bytes_make(rest.data + HEAD + key_len, (size_t)value_len);
	return len;
}

/* --- in memory --- */

static bool
forget(struct kv_file *file, struct bytes key)
{
	struct kv_item *item = map_take(&file->items, key);
	bool was_there = item != NULL;

	if (was_there) {
		file->live -= HEAD + item->key_len + item->value_len;
		mem_free(&item);
	}
	return was_there;
}

static void
remember(struct kv_file *file, struct bytes key, struct bytes value)
{
	struct kv_item *item = mem_alloc(sizeof(*item) + key.len + value.len);

	item->key_len = (uint32_t)key.len;
	item->value_len = (uint32_t)value.len;
	memcpy(item->data, key.data, key.len);
	if (value.len != 0) {
		memcpy(item->data + key.len, value.data, value.len);
	}
	(void)forget(file, key);
	(void)map_put(&file->items, item);
	file->live += HEAD + key.len + value.len;
}

void
plugin_kv_file_put(struct kv_file *file, struct bytes key, struct bytes value)
{
	remember(file, key, value);
	write_record(&file->out, key, value, false);
}

bool
plugin_kv_file_del(struct kv_file *file, struct bytes key)
{
	if (!forget(file, key)) {
		return false;
	}
	write_record(&file->out, key, (struct bytes){0}, true);
	return true;
}

/* --- on the disk --- */

static bool
write_all(int fd, struct bytes bytes)
{
	while (bytes.len != 0) {
		ssize_t n = write(fd, bytes.data, bytes.len);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		bytes = bytes_skip(bytes, (size_t)n);
	}
	return true;
}

static bool
read_all(int fd, size_t size, struct buf *out)
{
	uint8_t *at = buf_reserve(out, size + 1);

	while (out->len < size) {
		ssize_t n = read(fd, at + out->len, size - out->len);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		out->len += (size_t)n;
	}
	return true;
}

static size_t
take_records(struct kv_file *file, struct bytes all)
{
	struct bytes rest = bytes_skip(all, sizeof(magic) - 1);
	struct bytes key, value;
	bool is_deleted;

	for (size_t len; (len = read_record(rest, &key, &value, &is_deleted)) != 0;
	     rest = bytes_skip(rest, len)) {
		if (is_deleted) {
			(void)forget(file, key);
		} else {
			remember(file, key, value);
		}
	}
	return all.len - rest.len;
}

/* The folder's entry of the file is on the disk. */
static bool
sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = mem_text(bytes_make(path, (size_t)(slash - path)));
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0) {
		(void)close(fd);
	}
	mem_free(&folder);
	return good;
}

static bool
make_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = mem_text(bytes_make(path, (size_t)(slash - path)));
	bool good = mkdir(folder, S_IRWXU) == 0 || errno == EEXIST;

	mem_free(&folder);
	return good;
}

int
plugin_kv_file_open(struct kv_file *file)
{
	struct bytes head = {(const uint8_t *)magic, sizeof(magic) - 1};
	struct stat status, there;
	struct buf all;
	bool good;

	if (file->fd >= 0) {
		return 0;
	}
	empty(file);
	if (!make_folder(file->path)) {
		return fail(file, "its folder cannot be made");
	}
	file->fd = open(
	    file->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (file->fd < 0) {
		return fail(file, "cannot be opened");
	}
	/* Who has it may also have put another in its place since it was opened here. */
	if (flock(file->fd, LOCK_EX | LOCK_NB) != 0 || stat(file->path, &there) != 0 ||
	    fstat(file->fd, &status) != 0 || there.st_ino != status.st_ino) {
		shut(file);
		return ERR_AGAIN;
	}
	if (status.st_size == 0) {
		if (!write_all(file->fd, head) || fsync(file->fd) != 0 ||
		    !sync_folder(file->path)) {
			return fail(file, "cannot be written");
		}
		file->size = head.len;
		return 0;
	}
	buf_init(&all, SIZE_MAX);
	errno = EFBIG;
	good = status.st_size <= MAX_FILE && read_all(file->fd, (size_t)status.st_size, &all);
	if (good && !bytes_starts_with(buf_bytes(&all), head)) {
		errno = EINVAL;
		good = false;
	}
	file->size = good ? take_records(file, buf_bytes(&all)) : 0;
	if (good && file->size < all.len) {
		log_warning("%s: %zu bytes at its end are no whole record, and are dropped",
		    file->path, all.len - file->size);
		good = ftruncate(file->fd, (off_t)file->size) == 0;
	}
	buf_fini(&all);
	return good ? 0 : fail(file, "cannot be read");
}

/* All that counts into a new file, which takes the place of the old one. */
static int
write_anew(struct kv_file *file)
{
	struct buf all, path;
	struct kv_item *item;
	bool good;
	int fd;

	buf_init(&all, SIZE_MAX);
	buf_init(&path, SIZE_MAX);
	buf_printf(&path, "%s.new", file->path);
	buf_append_text(&all, magic);
	map_each (item, &file->items) {
		write_record(&all, kv_key(item), kv_value(item), false);
	}
	fd = open(buf_text(&path), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
	    S_IRUSR | S_IWUSR);
	good = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && write_all(fd, buf_bytes(&all)) &&
	       fsync(fd) == 0 && rename(buf_text(&path), file->path) == 0 &&
	       sync_folder(file->path);
	if (!good) {
		if (fd >= 0) {
			(void)close(fd);
		}
		(void)unlink(buf_text(&path));
	} else {
		shut(file);
		file->fd = fd;
		file->size = all.len;
		buf_clear(&file->out);
	}
	buf_fini(&all);
	buf_fini(&path);
	return good ? 0 : fail(file, "cannot be written anew");
}

int
plugin_kv_file_sync(struct kv_file *file)
{
	if (file->out.len == 0) {
		return 0;
	}
	if (file->size + file->out.len > 2 * (file->live + sizeof(magic)) + SLACK) {
		return write_anew(file);
	}
	if (!write_all(file->fd, buf_bytes(&file->out)) || fdatasync(file->fd) != 0) {
		return fail(file, "cannot be written");
	}
	file->size += file->out.len;
	buf_clear(&file->out);
	return 0;
}
