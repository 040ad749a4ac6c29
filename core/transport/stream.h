/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of bytes, whatever carries it. Streams stack: WebSocket over TLS over plain; an upper
 * one owns the one below and passes what it does not change. Non-blocking. One owner; all functions
 * on the thread of the worker it is attached to (detached: of whoever holds it).
 */
#ifndef TRANSPORT_STREAM_H
#define TRANSPORT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/bytes.h"

struct worker;
struct stream;

enum { STREAM_READ = 1, STREAM_WRITE = 2 }; /* the values of WATCH_READ and WATCH_WRITE */

/* Called when bytes (or the end) may be there, or when there is room to write after a short write.
 * It may close the stream. */
typedef void stream_ready_fn(struct stream *stream, unsigned events, void *owner);

/* Who is at the other end, as far as the stream itself proves it. Views live as long as the stream.
 */
struct stream_identity {
	/* From the certificate, as asked, or the identity of a PSK; may be empty. */
	struct bytes username;
	bool has_certificate; /* and it was verified */
	bool is_encrypted;
	struct bytes sni;        /* empty: none */
	const char *tls_version; /* "TLSv1.3"; a literal */
};

/* What an authenticator may want to see of a TLS connection. */
struct stream_proof {
	uint8_t exporter[32];   /* `tls-exporter` of RFC 9266 */
	bool has_exporter;      /* not under TLS 1.2 without an extended master secret */
	struct buf certificate; /* of the client, DER; empty: none */
};

struct stream_ops {
	long (*read)(struct stream *stream, void *memory, size_t size);
	long (*write)(struct stream *stream, const struct iovec *parts, int count);
	void (*want)(struct stream *stream, unsigned events);
	void (*raise)(struct stream *stream, unsigned events);
	int (*attach)(struct stream *stream, struct worker *worker);
	void (*detach)(struct stream *stream); /* may be called when it is detached already */
	void (*shut)(
	    struct stream *stream); /* says goodbye below: FIN, close_notify, close frame */
	void (*free)(
	    struct stream *stream); /* this layer alone: stream_free walks down the stack */
	struct bytes (*peer_name)(const struct stream *stream); /* "192.0.2.1:4711", "unix:…" */
	/* NULL where a layer knows none: then the one below is asked. */
	const struct stream_identity *(*identity)(const struct stream *stream);
	/* Likewise: stream_proof. */
	bool (*proof)(const struct stream *stream, struct stream_proof *proof_out);
	/* Of the bottom alone: stream_set_late; NULL: all are alike. */
	void (*set_late)(struct stream *stream, bool is_late);
};

struct stream {
	const struct stream_ops *ops;
	struct stream *lower; /* owned; NULL at the bottom */
	stream_ready_fn *ready;
	void *owner;
};

static inline void
stream_on_ready(struct stream *stream, stream_ready_fn *ready, void *owner)
{
	stream->ready = ready;
	stream->owner = owner;
}

/* Bytes read (> 0), 0 at the end of the stream, ERR_AGAIN, or ERR_IO. Fewer bytes than asked means
 * that nothing more is there now: no second read that only fetches EAGAIN. */
static inline long
stream_read(struct stream *stream, void *memory, size_t size)
{
	return stream->ops->read(stream, memory, size);
}

/* Bytes taken (>= 0; fewer than offered: wait for STREAM_WRITE), or ERR_IO. */
static inline long
stream_write(struct stream *stream, const struct iovec *parts, int count)
{
	return stream->ops->write(stream, parts, count);
}

/* What the owner wants to be told. Only READ when idle; 0 notices the end all the same where the
 * bottom can tell (a hang-up). */
static inline void
stream_want(struct stream *stream, unsigned events)
{
	stream->ops->want(stream, events);
}

/* Others come first: what is ready here is told after them, within what a turn has time for. */
static inline void
stream_set_late(struct stream *stream, bool is_late)
{
	while (stream->lower != NULL) {
		stream = stream->lower;
	}
	if (stream->ops->set_late != NULL) {
		stream->ops->set_late(stream, is_late);
	}
}

/* ready is called with these events soon, without sleeping in between. */
static inline void
stream_raise(struct stream *stream, unsigned events)
{
	stream->ops->raise(stream, events);
}

/* To a worker's loop, wanting READ; raises READ once, since bytes that were decoded before wake
 * nobody. 0 or ERR_IO. */
static inline int
stream_attach(struct stream *stream, struct worker *worker)
{
	return stream->ops->attach(stream, worker);
}

/* Off its loop, so that it can travel by mail. */
static inline void
stream_detach(struct stream *stream)
{
	stream->ops->detach(stream);
}

static inline void
stream_shut(struct stream *stream)
{
	stream->ops->shut(stream);
}

/* Detaches, closes and frees the whole stack, and makes the pointer NULL. May be called inside
 * ready. */
void stream_free(struct stream **stream);

/* For logs; borrowed until the next stream_want. */
static inline struct bytes
stream_peer_name(const struct stream *stream)
{
	return stream->ops->peer_name(stream);
}

/* Borrowed; NULL when no layer of the stack knows any, or does not know it yet. */
static inline const struct stream_identity *
stream_identity(const struct stream *stream)
{
	while (stream != NULL && stream->ops->identity == NULL) {
		stream = stream->lower;
	}
	return stream != NULL ? stream->ops->identity(stream) : NULL;
}

/* False: no layer of the stack is TLS, or its handshake is not done. The caller ends the
 * certificate's buffer, which it has begun. */
static inline bool
stream_proof(const struct stream *stream, struct stream_proof *proof_out)
{
	while (stream != NULL && stream->ops->proof == NULL) {
		stream = stream->lower;
	}
	return stream != NULL && stream->ops->proof(stream, proof_out);
}

#endif
