/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream in memory, for the simulator, fuzzers and unit tests: the far end is a struct that the
 * test holds. Works with both loops, but the far end is used on the thread of the stream's worker
 * only.
 */
#ifndef TRANSPORT_MEM_STREAM_H
#define TRANSPORT_MEM_STREAM_H

#include "base/buf.h"
#include "transport/stream.h"

/* Shared by the stream and the test by reference: freed when both have let go. */
struct mem_pipe;

/* A detached stream and its far end; room: bytes that the far end takes before the stream's writes
 * are short (SIZE_MAX: all). name: what peer_name says, copied. */
struct stream *mem_stream_new(const char *name, size_t room, struct mem_pipe **far_out);

/* The far end writes: the stream becomes readable. */
void mem_pipe_write(struct mem_pipe *pipe, struct bytes bytes);

/* The far end closes: the stream reads these bytes and then the end. broken: reads and writes give
 * ERR_IO at once. */
void mem_pipe_close(struct mem_pipe *pipe, bool broken);

/* What the stream has written and nobody took; borrowed until the next change. */
struct bytes mem_pipe_output(const struct mem_pipe *pipe);
/* The far end takes n bytes of that; makes room, so the stream becomes writable. */
void mem_pipe_take(struct mem_pipe *pipe, size_t n);
void mem_pipe_set_room(struct mem_pipe *pipe, size_t room);
/* Most bytes one read of the stream gives (0: no limit), to split packets at will. */
void mem_pipe_set_read_size(struct mem_pipe *pipe, size_t size);
/* The stream was shut or freed. */
bool mem_pipe_is_closed(const struct mem_pipe *pipe);

void mem_pipe_release(struct mem_pipe **pipe);

#endif
