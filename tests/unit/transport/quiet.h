/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream to put below another, that does not repeat itself: it tells of its bytes once, as TLS
 * does when what it has decoded is in its own memory. Who gets fewer bytes than it asked for, or
 * gives fewer on, must raise READ or go without. Takes all output, and keeps the beginning of it.
 */
#ifndef UNIT_TRANSPORT_QUIET_H
#define UNIT_TRANSPORT_QUIET_H

#include "lib/unit.h"

#include <string.h>

#include "base/err.h"
#include "transport/stream.h"

static struct stream quiet;
static struct bytes quiet_input;
static bool quiet_raised;
static uint8_t quiet_output[1024];
static size_t quiet_output_len;

static long
quiet_read(struct stream *stream, void *to, size_t size)
{
	size_t len = quiet_input.len < size ? quiet_input.len : size;

	(void)stream;
	if (len == 0) {
		return ERR_AGAIN;
	}
	memcpy(to, quiet_input.data, len);
	quiet_input = bytes_skip(quiet_input, len);
	return (long)len;
}

static long
quiet_write(struct stream *stream, const struct iovec *parts, int count)
{
	long total = 0;

	(void)stream;
	for (int i = 0; i < count; i++) {
		size_t room = sizeof(quiet_output) - quiet_output_len;
		size_t len = parts[i].iov_len < room ? parts[i].iov_len : room;

		if (len != 0) {
			memcpy(quiet_output + quiet_output_len, parts[i].iov_base, len);
			quiet_output_len += len;
		}
		total += (long)parts[i].iov_len;
	}
	return total;
}

static void
quiet_raise(struct stream *stream, unsigned events)
{
	(void)stream;
	quiet_raised = quiet_raised || (events & STREAM_READ) != 0;
}

static void
quiet_want(struct stream *stream, unsigned events)
{
	(void)stream;
	(void)events;
}

static int
quiet_attach(struct stream *stream, struct worker *worker)
{
	(void)stream;
	(void)worker;
	return 0;
}

static void
quiet_nothing(struct stream *stream)
{
	(void)stream;
}

static struct bytes
quiet_name(const struct stream *stream)
{
	(void)stream;
	return BYTES_LITERAL("quiet");
}

static struct stream *
quiet_stream(struct bytes input)
{
	static const struct stream_ops ops = {.read = quiet_read,
	    .write = quiet_write,
	    .want = quiet_want,
	    .raise = quiet_raise,
	    .attach = quiet_attach,
	    .detach = quiet_nothing,
	    .shut = quiet_nothing,
	    .free = quiet_nothing,
	    .peer_name = quiet_name};

	quiet = (struct stream){.ops = &ops};
	quiet_input = input;
	quiet_raised = true;
	quiet_output_len = 0;
	return &quiet;
}

/* Tells as long as it is asked to. An owner who got all that it asked for asks again by itself. */
static void
quiet_run(void)
{
	while (quiet_raised) {
		quiet_raised = false;
		quiet.ready(&quiet, STREAM_READ, quiet.owner);
	}
}

#endif
