/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a header of the PROXY protocol gives one of three answers; a good one cut short asks for
 * more, never for more than there is; what it says lies within it; a stream that gets the same
 * bytes in parts ends up the same, with what is behind the header.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "transport/mem_stream.h"
#include "transport/proxy.h"
#include "transport/proxy_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static struct proxy_outcome
parse(struct bytes bytes, struct proxy_head *head)
{
	struct proxy_outcome outcome = proxy_head_parse(bytes, head);

	require((outcome.status == PROXY_BAD) == (outcome.why != NULL));
	if (outcome.status == PROXY_MORE) {
		require(outcome.size > bytes.len && outcome.size <= PROXY_HEAD_MAX_SIZE);
	}
	if (outcome.status == PROXY_DONE) {
		require(outcome.size <= bytes.len && outcome.size >= 15);
	}
	return outcome;
}

static void
require_within(struct bytes part, struct bytes whole)
{
	if (part.len != 0) {
		require(part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
	}
}

static void
cut_short(struct bytes bytes)
{
	struct proxy_head head;

	for (size_t len = 0; len < bytes.len; len += 1 + len / 16) {
		require(parse(bytes_make(bytes.data, len), &head).status == PROXY_MORE);
	}
}

/* In reads of `read_size` from a far end that gives at most `far_size` at a time. */
static void
stream(struct bytes bytes, const struct proxy_outcome *outcome, size_t far_size, size_t read_size)
{
	struct mem_pipe *far;
	struct stream *stream = proxy_stream_new(mem_stream_new("mem:1", SIZE_MAX, &far));
	uint8_t *memory = mem_alloc(read_size);
	struct buf received;
	long n = ERR_AGAIN;

	buf_init(&received, SIZE_MAX);
	mem_pipe_set_read_size(far, far_size);
	mem_pipe_write(far, bytes);
	mem_pipe_close(far, false);
	while (n > 0 || n == ERR_AGAIN) {
		n = stream_read(stream, memory, read_size);
		require(n <= (long)read_size);
		if (n > 0) {
			buf_append(&received, memory, (size_t)n);
		}
	}
	require(n == (outcome->status == PROXY_BAD ? ERR_IO : 0));
	require((proxy_stream_error(stream) != NULL) == (outcome->status != PROXY_DONE));
	if (outcome->status == PROXY_DONE) {
		require(bytes_equal(buf_bytes(&received), bytes_skip(bytes, outcome->size)));
	} else {
		require(received.len == 0);
	}
	buf_fini(&received);
	mem_free(&memory);
	stream_free(&stream);
	mem_pipe_release(&far);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_outcome outcome;
	struct proxy_head head;
	struct bytes bytes;

	if (size < 2) {
		return 0;
	}
	bytes = bytes_make(data + 2, size - 2);
	outcome = parse(bytes, &head);
	if (outcome.status == PROXY_DONE) {
		char text[ADDR_TEXT_SIZE];
		struct bytes whole = bytes_make(bytes.data, outcome.size);

		require_within(head.authority, whole);
		require_within(head.client_cn, whole);
		require(!head.has_source || addr_format(&head.source, text) != 0);
		cut_short(whole);
	}
	stream(bytes, &outcome, data[0], 1U + data[1]);
	return 0;
}
