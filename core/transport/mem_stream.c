/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream whose far end is a struct. It behaves as a socket does: readiness is a level, told again
 * as long as it stands and is wanted, and a read may bring less than is there. A raised watch
 * stands for the kernel: whatever changes the level raises it, and so does the end of a call to the
 * owner.
 *
 * The pipe is what both ends share. The stream holds one reference, the test the other, and a call
 * to the owner one more, since the owner may free the stream.
 */
#include "transport/mem_stream.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/ref.h"
#include "loop/watch.h"

struct mem_stream;

struct mem_pipe {
	struct ref ref;
	struct mem_stream *near; /* NULL: freed */
	struct buf input;        /* written by the far end, not read yet */
	struct buf output;       /* written by the stream, not taken yet */
	size_t room;             /* most bytes in output */
	size_t read_size;        /* most bytes of one read; 0: no limit */
	bool ended;              /* the far end has closed */
	bool broken;             /* and not in a friendly way */
	bool shut;               /* by the near end */
};

struct mem_stream {
	struct stream stream;
	struct watch watch;
	struct mem_pipe *pipe;
	uint8_t wanted;
	uint8_t raised; /* by hand and not delivered yet */
	bool end_told;  /* the owner, though it does not read any more, knows of the end */
	char *name;
};

static struct mem_stream *
of(struct stream *stream)
{
	return list_item(stream, struct mem_stream, stream);
}

static bool
is_attached(const struct mem_stream *mem)
{
	return mem->watch.worker != NULL;
}

/* --- the level --- */

static bool
is_readable(const struct mem_pipe *pipe)
{
	return pipe->input.len != 0 || pipe->ended;
}

static bool
is_writable(const struct mem_pipe *pipe)
{
	return pipe->output.len < pipe->room || pipe->broken;
}

/* What is wanted and stands; and an end that can be noticed without reading. */
static unsigned
level(const struct mem_stream *mem)
{
	const struct mem_pipe *pipe = mem->pipe;
	unsigned events = 0;

	if (is_readable(pipe)) {
		bool at_end = pipe->ended && (pipe->broken || pipe->input.len == 0);

		if ((mem->wanted & STREAM_READ) != 0 || (at_end && !mem->end_told)) {
			events |= STREAM_READ;
		}
	}
	if ((mem->wanted & STREAM_WRITE) != 0 && is_writable(pipe)) {
		events |= STREAM_WRITE;
	}
	return events;
}

static void
update(struct mem_stream *mem)
{
	unsigned events;

	if (mem != NULL && is_attached(mem)) {
		events = level(mem);
		if (events != 0) {
			watch_raise(&mem->watch, events);
		}
	}
}

static void
unref(struct mem_pipe *pipe)
{
	if (ref_put(&pipe->ref)) {
		buf_fini(&pipe->input);
		buf_fini(&pipe->output);
		mem_free(&pipe);
	}
}

static void
take_events(struct watch *watch, unsigned events)
{
	struct mem_stream *mem = list_item(watch, struct mem_stream, watch);
	struct mem_pipe *pipe = mem->pipe;
	unsigned told = level(mem) | (events & mem->raised);

	mem->raised &= (uint8_t)~events;
	if (told == 0 || mem->stream.ready == NULL) {
		return;
	}
	if ((told & STREAM_READ) != 0 && pipe->ended) {
		mem->end_told = true;
	}
	ref_get(&pipe->ref);
	mem->stream.ready(&mem->stream, told, mem->stream.owner);
	update(pipe->near);
	unref(pipe);
}

/* --- the stream's end --- */

static long
mem_read(struct stream *stream, void *memory, size_t size)
{
	struct mem_pipe *pipe = of(stream)->pipe;
	size_t len = pipe->input.len;

	if (pipe->broken || (pipe->ended && len == 0)) {
		of(stream)->end_told = true;
		return pipe->broken ? ERR_IO : 0;
	}
	if (len == 0) {
		return ERR_AGAIN;
	}
	if (pipe->read_size != 0 && len > pipe->read_size) {
		len = pipe->read_size;
	}
	if (len > size) {
		len = size;
	}
	memcpy(memory, pipe->input.data, len);
	buf_consume(&pipe->input, len);
	return (long)len;
}

static long
mem_write(struct stream *stream, const struct iovec *parts, int count)
{
	struct mem_pipe *pipe = of(stream)->pipe;
	size_t taken = 0;

	if (pipe->broken || pipe->shut) {
		return ERR_IO;
	}
	for (int i = 0; i < count && pipe->output.len < pipe->room; i++) {
		size_t left = pipe->room - pipe->output.len;
		size_t len = parts[i].iov_len < left ? parts[i].iov_len : left;

		buf_append(&pipe->output, parts[i].iov_base, len);
		if (pipe->output.failed) {
			return ERR_IO;
		}
		taken += len;
	}
	return (long)taken;
}

static void
mem_want(struct stream *stream, unsigned events)
{
	struct mem_stream *mem = of(stream);

	mem->wanted = (uint8_t)events;
	if ((events & STREAM_READ) != 0) {
		mem->end_told = false;
	}
	update(mem);
}

static void
mem_raise(struct stream *stream, unsigned events)
{
	struct mem_stream *mem = of(stream);

	if (is_attached(mem)) {
		mem->raised |= (uint8_t)events;
		watch_raise(&mem->watch, events);
	}
}

static int
mem_attach(struct stream *stream, struct worker *worker)
{
	struct mem_stream *mem = of(stream);
	int error;

	if (err_impossible(is_attached(mem))) {
		return ERR_IO;
	}
	mem->wanted = STREAM_READ;
	mem->end_told = false;
	error = watch_attach(&mem->watch, worker, -1, 0);
	if (error == 0) {
		mem_raise(stream, STREAM_READ);
	}
	return error;
}

static void
mem_detach(struct stream *stream)
{
	struct mem_stream *mem = of(stream);

	if (is_attached(mem)) {
		watch_detach(&mem->watch);
	}
	mem->raised = 0;
}

static void
mem_shut(struct stream *stream)
{
	of(stream)->pipe->shut = true;
}

static void
mem_free_stream(struct stream *stream)
{
	struct mem_stream *mem = of(stream);

	mem_detach(stream);
	mem->pipe->near = NULL;
	mem->pipe->shut = true;
	unref(mem->pipe);
	mem_free(&mem->name);
	mem_free(&mem);
}

static struct bytes
mem_peer_name(const struct stream *stream)
{
	const struct mem_stream *mem = (const void *)stream;

	return bytes_of(mem->name);
}

static const struct stream_ops mem_ops = {.read = mem_read,
    .write = mem_write,
    .want = mem_want,
    .raise = mem_raise,
    .attach = mem_attach,
    .detach = mem_detach,
    .shut = mem_shut,
    .free = mem_free_stream,
    .peer_name = mem_peer_name};

struct stream *
mem_stream_new(const char *name, size_t room, struct mem_pipe **far_out)
{
	struct mem_stream *mem = mem_zalloc(sizeof(*mem));
	struct mem_pipe *pipe = mem_zalloc(sizeof(*pipe));

	ref_init(&pipe->ref);
	ref_get(&pipe->ref);
	pipe->near = mem;
	pipe->room = room;
	buf_init(&pipe->input, SIZE_MAX);
	buf_init(&pipe->output, SIZE_MAX);
	mem->stream.ops = &mem_ops;
	mem->watch.fn = take_events;
	mem->watch.fd = -1;
	mem->pipe = pipe;
	mem->name = mem_text(bytes_of(name));
	*far_out = pipe;
	return &mem->stream;
}

/* --- the far end --- */

void
mem_pipe_write(struct mem_pipe *pipe, struct bytes bytes)
{
	if (pipe->near == NULL || pipe->ended || bytes.len == 0) {
		return;
	}
	buf_append_bytes(&pipe->input, bytes);
	if (pipe->input.failed) {
		err_fatal("out of memory");
	}
	update(pipe->near);
}

void
mem_pipe_close(struct mem_pipe *pipe, bool broken)
{
	pipe->ended = true;
	pipe->broken = broken;
	if (pipe->near != NULL) {
		pipe->near->end_told = false;
	}
	update(pipe->near);
}

struct bytes
mem_pipe_output(const struct mem_pipe *pipe)
{
	return buf_bytes(&pipe->output);
}

void
mem_pipe_take(struct mem_pipe *pipe, size_t n)
{
	buf_consume(&pipe->output, n < pipe->output.len ? n : pipe->output.len);
	update(pipe->near);
}

void
mem_pipe_set_room(struct mem_pipe *pipe, size_t room)
{
	pipe->room = room;
	update(pipe->near);
}

void
mem_pipe_set_read_size(struct mem_pipe *pipe, size_t size)
{
	pipe->read_size = size;
}

bool
mem_pipe_is_closed(const struct mem_pipe *pipe)
{
	return pipe->shut;
}

void
mem_pipe_release(struct mem_pipe **pipe)
{
	struct mem_pipe *held = *pipe;

	*pipe = NULL;
	if (held != NULL) {
		unref(held);
	}
}
