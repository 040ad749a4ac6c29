/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header is read into the owner's memory, together with what follows it. Usually it is whole at
 * once, and nothing is copied; else it is gathered in a buffer that grows with its bytes and not
 * with what it announces. What follows is moved to the front and is what the read gives, so nothing
 * is ever kept here.
 */
#include "transport/proxy.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "transport/proxy_head.h"

enum proxy_state { PROXY_WAITS, PROXY_PASSES, PROXY_FAILED };

struct proxy {
	struct stream stream;
	struct buf *head; /* a part of the header; NULL: none */
	const char *why;  /* static */
	char *name;       /* NULL: that of the stream below */
	char *client_cn;  /* NULL: none */
	char *authority;  /* NULL: none */
	uint8_t state;    /* enum proxy_state */
	bool is_tls;
};

static struct proxy *
of(struct stream *stream)
{
	return list_item(stream, struct proxy, stream);
}

/* --- the header --- */

static void
drop_head(struct proxy *proxy)
{
	if (proxy->head != NULL) {
		buf_fini(proxy->head);
		mem_free(&proxy->head);
	}
}

static long
fail(struct proxy *proxy, const char *why)
{
	proxy->state = PROXY_FAILED;
	proxy->why = why;
	drop_head(proxy);
	return ERR_IO;
}

static char *
text_of(struct bytes text)
{
	return text.len != 0 ? mem_text(text) : NULL;
}

static void
take_head(struct proxy *proxy, const struct proxy_head *head)
{
	proxy->state = PROXY_PASSES;
	proxy->is_tls = head->is_tls;
	proxy->client_cn = text_of(head->client_cn);
	proxy->authority = text_of(head->authority);
	if (head->has_source) {
		char text[ADDR_TEXT_SIZE];
		size_t len = addr_format(&head->source, text);

		proxy->name = mem_text(bytes_make(text, len));
	}
	drop_head(proxy);
}

/* Puts more bytes behind those that are there, no more of them than a header may have. Returns how
 * many, or ERR_NOMEM. */
static long
gather(struct proxy *proxy, struct bytes input)
{
	size_t room;

	if (proxy->head == NULL) {
		proxy->head = mem_alloc(sizeof(*proxy->head));
		buf_init(proxy->head, PROXY_HEAD_MAX_SIZE);
	}
	room = PROXY_HEAD_MAX_SIZE - proxy->head->len;
	input.len = input.len < room ? input.len : room;
	buf_append_bytes(proxy->head, input);
	return proxy->head->failed ? ERR_NOMEM : (long)input.len;
}

/* Takes the header off what was read; how many bytes are behind it, moved to the front; ERR_AGAIN
 * or ERR_IO. */
static long
take_input(struct proxy *proxy, uint8_t *memory, size_t len)
{
	size_t before = proxy->head != NULL ? proxy->head->len : 0, used;
	struct bytes input = bytes_make(memory, len);
	struct proxy_outcome outcome;
	struct proxy_head head;

	if (before != 0) {
		if (gather(proxy, input) < 0) {
			return fail(proxy, "no memory");
		}
		input = buf_bytes(proxy->head);
	}
	outcome = proxy_head_parse(input, &head);
	if (outcome.status == PROXY_BAD) {
		return fail(proxy, outcome.why);
	}
	if (outcome.status == PROXY_MORE) {
		return before == 0 && gather(proxy, input) < 0 ? fail(proxy, "no memory")
							       : ERR_AGAIN;
	}
	take_head(proxy, &head);
	used = outcome.size - before;
	memmove(memory, memory + used, len - used);
	return len != used ? (long)(len - used) : ERR_AGAIN;
}

/* --- the stream --- */

static long
proxy_read(struct stream *stream, void *memory, size_t size)
{
	struct proxy *proxy = of(stream);
	long n, left;

	if (proxy->state == PROXY_FAILED) {
		return ERR_IO;
	}
	n = stream_read(stream->lower, memory, size);
	if (proxy->state == PROXY_PASSES || n < 0) {
		return n;
	}
	if (n == 0) {
		proxy->why = "the connection ended before a PROXY header";
		return 0;
	}
	left = take_input(proxy, memory, (size_t)n);
	/* All that was asked for came, so there may be more, and we give less. */
	if (left != ERR_IO && (size_t)n == size) {
		stream_raise(stream, STREAM_READ);
	}
	return left;
}

static long
proxy_write(struct stream *stream, const struct iovec *parts, int count)
{
	return of(stream)->state != PROXY_FAILED ? stream_write(stream->lower, parts, count)
						 : ERR_IO;
}

static void
on_lower(struct stream *lower, unsigned events, void *owner)
{
	struct stream *stream = owner;

	(void)lower;
	if (stream->ready != NULL) {
		stream->ready(stream, events, stream->owner);
	}
}

static void
proxy_want(struct stream *stream, unsigned events)
{
	stream_want(stream->lower, events);
}

static void
proxy_raise(struct stream *stream, unsigned events)
{
	stream_raise(stream->lower, events);
}

static int
proxy_attach(struct stream *stream, struct worker *worker)
{
	return stream_attach(stream->lower, worker);
}

static void
proxy_detach(struct stream *stream)
{
	stream_detach(stream->lower);
}

static void
proxy_shut(struct stream *stream)
{
	stream_shut(stream->lower);
}

static void
proxy_free(struct stream *stream)
{
	struct proxy *proxy = of(stream);

	drop_head(proxy);
	mem_free(&proxy->name);
	mem_free(&proxy->client_cn);
	mem_free(&proxy->authority);
	mem_free(&proxy);
}

static struct bytes
proxy_peer_name(const struct stream *stream)
{
	const struct proxy *proxy = (const void *)stream;

	return proxy->name != NULL ? bytes_of(proxy->name) : stream_peer_name(stream->lower);
}

static const struct stream_ops proxy_ops = {.read = proxy_read,
    .write = proxy_write,
    .want = proxy_want,
    .raise = proxy_raise,
    .attach = proxy_attach,
    .detach = proxy_detach,
    .shut = proxy_shut,
    .free = proxy_free,
    .peer_name = proxy_peer_name};

struct stream *
proxy_stream_new(struct stream *lower)
{
	struct proxy *proxy = mem_zalloc(sizeof(*proxy));

	proxy->stream.ops = &proxy_ops;
	proxy->stream.lower = lower;
	stream_on_ready(lower, on_lower, &proxy->stream);
	return &proxy->stream;
}

/* --- what the header said --- */

static const struct proxy *
find(const struct stream *top)
{
	while (top != NULL && top->ops != &proxy_ops) {
		top = top->lower;
	}
	return (const void *)top;
}

const char *
proxy_stream_error(const struct stream *top)
{
	const struct proxy *proxy = find(top);

	return proxy != NULL ? proxy->why : NULL;
}

struct bytes
proxy_stream_client_cn(const struct stream *top)
{
	const struct proxy *proxy = find(top);

	return bytes_of(proxy != NULL ? proxy->client_cn : NULL);
}

struct bytes
proxy_stream_authority(const struct stream *top)
{
	const struct proxy *proxy = find(top);

	return bytes_of(proxy != NULL ? proxy->authority : NULL);
}

bool
proxy_stream_is_tls(const struct stream *top)
{
	const struct proxy *proxy = find(top);

	return proxy != NULL && proxy->is_tls;
}
