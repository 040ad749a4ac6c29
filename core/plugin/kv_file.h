/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values in memory and in a file, to which changes are appended; what was cut off at its
 * end by a crash is dropped when it is read. It is written anew when most of it is old. One thread
 * at a time.
 *
 * The file: a line that says what it is, then records of check (8 bytes, over what follows), length
 * of the key and of the value (4 bytes each, little-endian; UINT32_MAX: deleted), key, value.
 */
#ifndef PLUGIN_KV_FILE_H
#define PLUGIN_KV_FILE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/map.h"

struct kv_file {
	char *path;
	struct map items; /* of struct kv_item */
	struct buf out;   /* records that are not written yet */
	size_t size;      /* of the file */
	size_t live;      /* bytes of its records that still count */
	int fd;           /* -1: it is not open */
};

struct kv_item {
	uint32_t key_len, value_len;
	uint8_t data[]; /* the key, the value */
};

static inline struct bytes
kv_key(const struct kv_item *item)
{
	return (struct bytes){item->data, item->key_len};
}

static inline struct bytes
kv_value(const struct kv_item *item)
{
	return (struct bytes){item->data + item->key_len, item->value_len};
}

/* NAME.kv in the folder, which is made at need. Nothing is read yet. */
struct kv_file *plugin_kv_file_new(const char *folder, const char *name);
void plugin_kv_file_free(struct kv_file **file);
/* 0; ERR_IO with a sentence in the log: it is not a file of ours, or cannot be read; or ERR_AGAIN:
 * somebody else has it open. Does nothing where it is open. */
int plugin_kv_file_open(struct kv_file *file);
/* In memory, and to be written. False: there was none. */
void plugin_kv_file_put(struct kv_file *file, struct bytes key, struct bytes value);
bool plugin_kv_file_del(struct kv_file *file, struct bytes key);
/* Writes what is not written yet. 0: it is on the disk; or ERR_IO with a sentence in the log, and
 * then the file is closed: opening it gives what is on the disk. */
int plugin_kv_file_sync(struct kv_file *file);

#endif
