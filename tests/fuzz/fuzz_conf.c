/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: any text as a configuration. What is accepted is dumped; the dump must be accepted too
 * and dump to the same.
 */
#include <stdint.h>
#include <stdlib.h>

#include "conf/conf.h"
#include "lib/conf_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Values that !env brings in, wanted or not. */
static const char *
env(const char *name)
{
	return *name == 'N' ? "null" : *name == '1' ? "16" : NULL;
}

static const struct conf_limits limits = {.max_bytes = 1 << 16,
    .max_value = 1 << 12,
    .max_nodes = 2000,
    .max_keys = 256,
    .max_depth = 24,
    .max_files = 1,
    .max_errors = 20};
static const struct conf_sources sources = {.env = env};

/* Reads, binds and dumps; false when there were errors, which are formatted instead. */
static bool
digest(struct bytes text, const struct conf_limits *most, struct buf *out)
{
	struct conf *conf = conf_read("fuzz/input.yaml", text, most, &sources);
	const void *target = conf_bind(conf, &conf_sample_schema);
	bool good = !conf_has_errors(conf);

	if (good != (target != NULL)) {
		abort();
	}
	if (good) {
		conf_dump(conf, &conf_sample_schema, target, (text.len & 1) != 0, out);
	} else {
		conf_format_errors(conf, out);
		if (out->len == 0 || out->data[out->len - 1] != '\n') {
			abort();
		}
	}
	conf_unref(&conf);
	return good;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first, second;

	buf_init(&first, SIZE_MAX);
	buf_init(&second, SIZE_MAX);
	if (digest(bytes_make(data, size), &limits, &first)) {
		/* The length decides about help, so make it even or odd as it was. */
		if (((first.len ^ size) & 1) != 0) {
			buf_append_byte(&first, '\n');
		}
		if (!digest(buf_bytes(&first), NULL, &second)) {
			abort();
		}
		while (first.len != 0 && first.data[first.len - 1] == '\n') {
			first.len--;
		}
		while (second.len != 0 && second.data[second.len - 1] == '\n') {
			second.len--;
		}
		if (!bytes_equal(buf_bytes(&first), buf_bytes(&second))) {
			abort();
		}
	}
	buf_fini(&first);
	buf_fini(&second);
	return 0;
}
