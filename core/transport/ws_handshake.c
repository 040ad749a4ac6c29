/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the head collects what counts into a struct; then the demands are asked one after
 * the other, the most telling refusal first. Everything is linear in the size of the head, which is
 * bounded by who gathers it.
 */
#include "transport/ws_handshake.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/err.h"

enum { KEY_LEN = 24 };

/* RFC 6455, 1.3. */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct request {
	struct bytes method;
	struct bytes path;
	struct bytes key;
	struct bytes origin;
	const char *protocol; /* the first of the client's that we speak */
	unsigned hosts;
	unsigned keys;
	unsigned origins;
	unsigned versions;
	bool is_13;
	bool upgrades;   /* Upgrade: websocket */
	bool connection; /* Connection: upgrade */
	bool has_body;
};

/* --- words --- */

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool
ws_same_word(struct bytes text, const char *word)
{
	size_t len = strlen(word);

	if (text.len != len) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (lower(text.data[i]) != lower((uint8_t)word[i])) {
			return false;
		}
	}
	return true;
}

static bool
is_letter_or_digit(uint8_t c)
{
	return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z');
}

bool
ws_is_token(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (!is_letter_or_digit(c) && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
			return false;
		}
	}
	return text.len != 0;
}

static struct bytes
trim(struct bytes text)
{
	while (text.len != 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
		text = bytes_skip(text, 1);
	}
	while (
	    text.len != 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t')) {
		text.len--;
	}
	return text;
}

/* What stands before the first `c`, taken off with it; all when there is none. */
static struct bytes
cut(struct bytes *rest, char c)
{
	const uint8_t *at = rest->len != 0 ? memchr(rest->data, c, rest->len) : NULL;
	struct bytes part = *rest;

	if (at == NULL) {
		*rest = bytes_skip(*rest, rest->len);
		return part;
	}
	part.len = (size_t)(at - rest->data);
	*rest = bytes_skip(*rest, part.len + 1);
	return part;
}

bool
ws_list_next(struct bytes *rest, struct bytes *item_out)
{
	while (rest->len != 0) {
		*item_out = trim(cut(rest, ','));
		if (item_out->len != 0) {
			return true;
		}
	}
	return false;
}

bool
ws_list_has(struct bytes list, const char *word)
{
	struct bytes item;

	while (ws_list_next(&list, &item)) {
		if (ws_same_word(item, word)) {
			return true;
		}
	}
	return false;
}

/* --- the form of a head --- */

/* The state: how much of CR LF CR LF the bytes before were. */
long
ws_head_scan(uint8_t *state, struct bytes bytes, bool *done_out)
{
	*done_out = false;
	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t c = bytes.data[i];
		bool after_cr = (*state & 1) != 0;

		if ((c == '\n') != after_cr || c == 0x7f ||
		    (c < ' ' && c != '\t' && c != '\r' && c != '\n')) {
			return ERR_INVALID;
		}
		*state = c == '\r' || c == '\n' ? (uint8_t)(*state + 1) : 0;
		if (*state == 4) {
			*done_out = true;
			return (long)i + 1;
		}
	}
	return (long)bytes.len;
}

struct bytes
ws_head_line(struct bytes *rest)
{
	struct bytes line = cut(rest, '\n');

	if (line.len != 0 && line.data[line.len - 1] == '\r') {
		line.len--;
	}
	return line;
}

int
ws_head_next(struct bytes *rest, struct bytes *name_out, struct bytes *value_out)
{
	struct bytes line = ws_head_line(rest);

	if (line.len == 0) {
		return 0;
	}
	if (memchr(line.data, ':', line.len) == NULL) {
		return ERR_INVALID;
	}
	*name_out = cut(&line, ':');
	*value_out = trim(line);
	/* A folded line begins with a blank, which is no token; so is a blank before the colon. */
	return ws_is_token(*name_out) ? 1 : ERR_INVALID;
}

/* --- reading a request --- */

/* http://host/path, which a server must understand, is /path. */
static struct bytes
path_of(struct bytes target)
{
	struct bytes path = cut(&target, '?');

	if (path.len != 0 && path.data[0] != '/') {
		for (size_t i = 0; i + 2 < path.len; i++) {
			if (memcmp(path.data + i, "://", 3) == 0) {
				path = bytes_skip(path, i + 3);
				(void)cut(&path, '/');
				/* With the slash, which stands before the rest. */
				return path.len != 0 ? bytes_make(path.data - 1, path.len + 1)
						     : BYTES_LITERAL("/");
			}
		}
	}
	return path;
}

static bool
read_request_line(struct bytes line, struct request *request)
{
	struct bytes target;

	request->method = cut(&line, ' ');
	target = cut(&line, ' ');
	request->path = path_of(target);
	return ws_is_token(request->method) && target.len != 0 && line.len == 8 &&
	       bytes_starts_with(line, BYTES_LITERAL("HTTP/1.")) && line.data[7] >= '1' &&
	       line.data[7] <= '9';
}

static const char *
common_protocol(struct bytes list, const char *const *protocols)
{
	static const char *const all[] = {"mqtt", "mqttv3.1", NULL};
	struct bytes item;

	while (ws_list_next(&list, &item)) {
		for (const char *const *at = protocols != NULL ? protocols : all; *at != NULL;
		     at++) {
			if (bytes_equal_text(item, *at)) {
				return *at;
			}
		}
	}
	return NULL;
}

static void
read_field(struct bytes name, struct bytes value, const struct ws_options *options,
    struct request *request)
{
	if (ws_same_word(name, "host")) {
		request->hosts++;
	} else if (ws_same_word(name, "upgrade")) {
		request->upgrades = request->upgrades || ws_list_has(value, "websocket");
	} else if (ws_same_word(name, "connection")) {
		request->connection = request->connection || ws_list_has(value, "upgrade");
	} else if (ws_same_word(name, "sec-websocket-key")) {
		request->keys++;
		request->key = value;
	} else if (ws_same_word(name, "sec-websocket-version")) {
		request->versions++;
		request->is_13 = bytes_equal_text(value, "13");
	} else if (ws_same_word(name, "sec-websocket-protocol")) {
		if (request->protocol == NULL) {
			request->protocol = common_protocol(value, options->protocols);
		}
	} else if (ws_same_word(name, "origin")) {
		request->origins++;
		request->origin = value;
	} else if (ws_same_word(name, "transfer-encoding")) {
		request->has_body = true;
	} else if (ws_same_word(name, "content-length")) {
		request->has_body = request->has_body || !bytes_equal_text(value, "0");
	}
}

static bool
read_request(struct bytes head, const struct ws_options *options, struct request *request)
{
	struct bytes name, value;
	int found;

	*request = (struct request){0};
	if (!read_request_line(ws_head_line(&head), request)) {
		return false;
	}
	while ((found = ws_head_next(&head, &name, &value)) == 1) {
		read_field(name, value, options, request);
	}
	return found == 0;
}

/* --- judging it --- */

/* 16 bytes in base64. */
static bool
is_key(struct bytes key)
{
	if (key.len != KEY_LEN) {
		return false;
	}
	for (size_t i = 0; i < KEY_LEN - 2; i++) {
		uint8_t c = key.data[i];

		if (!is_letter_or_digit(c) && c != '+' && c != '/') {
			return false;
		}
	}
	return memcmp(key.data + KEY_LEN - 2, "==", 2) == 0;
}

static bool
is_origin_allowed(const struct request *request, const struct ws_options *options)
{
	if (options->origins == NULL || options->origins[0] == NULL || request->origins == 0) {
		return true;
	}
	for (const char *const *at = options->origins; *at != NULL; at++) {
		if (ws_same_word(request->origin, *at)) {
			return true;
		}
	}
	return false;
}

void
ws_handshake_refuse(struct ws_answer *answer_out, uint16_t status, const char *why)
{
	*answer_out = (struct ws_answer){.status = status, .why = why};
}

/* All that HTTP itself demands; true when it is met. */
static bool
check_http(
    const struct request *request, const struct ws_options *options, struct ws_answer *answer)
{
	if (!bytes_equal_text(request->method, "GET")) {
		ws_handshake_refuse(answer, 405, "the method is not GET");
	} else if (request->hosts != 1) {
		ws_handshake_refuse(answer, 400, "a request needs one Host");
	} else if (request->has_body) {
		ws_handshake_refuse(answer, 400, "the request has a body");
	} else if (options->path != NULL && !bytes_equal_text(request->path, options->path)) {
		ws_handshake_refuse(answer, 404, "there is nothing at this path");
	} else {
		return true;
	}
	return false;
}

static bool
check_upgrade(
    const struct request *request, const struct ws_options *options, struct ws_answer *answer)
{
	if (!request->upgrades || !request->connection) {
		ws_handshake_refuse(answer, 400, "the request is no upgrade to WebSocket");
	} else if (request->versions != 1 || !request->is_13) {
		ws_handshake_refuse(answer, 426, "the version of WebSocket is not 13");
	} else if (request->keys != 1 || !is_key(request->key)) {
		ws_handshake_refuse(answer, 400, "a valid Sec-WebSocket-Key is missing");
	} else if (request->origins > 1 || !is_origin_allowed(request, options)) {
		ws_handshake_refuse(answer, 403, "the origin is not allowed");
	} else if (request->protocol == NULL) {
		ws_handshake_refuse(answer, 400, "the client offers no sub-protocol of MQTT");
	} else {
		return true;
	}
	return false;
}

bool
ws_accept_of(struct bytes key, char accept_out[WS_ACCEPT_SIZE])
{
	uint8_t text[KEY_LEN + sizeof(GUID) - 1], digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	memcpy(text, key.data, KEY_LEN);
	memcpy(text + KEY_LEN, GUID, sizeof(GUID) - 1);
	if (EVP_Digest(text, sizeof(text), digest, &len, EVP_sha1(), NULL) != 1 || len != 20) {
		return false;
	}
	return EVP_EncodeBlock((unsigned char *)accept_out, digest, 20) == WS_ACCEPT_SIZE - 1;
}

void
ws_handshake(struct bytes head, const struct ws_options *options, struct ws_answer *answer_out)
{
	struct request request;

	if (!read_request(head, options, &request)) {
		ws_handshake_refuse(answer_out, 400, "the request is malformed");
		return;
	}
	if (!check_http(&request, options, answer_out) ||
	    !check_upgrade(&request, options, answer_out)) {
		return;
	}
	*answer_out = (struct ws_answer){.status = 101, .protocol = request.protocol};
	if (!ws_accept_of(request.key, answer_out->accept)) {
		ws_handshake_refuse(answer_out, 500, "there is no SHA-1 to be had");
	}
}

/* --- answering --- */

static const char *
phrase(uint16_t status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 426:
		return "Upgrade Required";
	case 431:
		return "Request Header Fields Too Large";
	default:
		return "Internal Server Error";
	}
}

void
ws_handshake_write(struct buf *out, const struct ws_answer *answer)
{
	if (answer->why == NULL) {
		buf_printf(out,
		    "HTTP/1.1 101 Switching Protocols\r\n"
		    "Upgrade: websocket\r\n"
		    "Connection: Upgrade\r\n"
		    "Sec-WebSocket-Accept: %s\r\n"
		    "Sec-WebSocket-Protocol: %s\r\n\r\n",
		    answer->accept, answer->protocol);
		return;
	}
	buf_printf(out, "HTTP/1.1 %u %s\r\n", (unsigned)answer->status, phrase(answer->status));
	if (answer->status == 426) {
		buf_append_text(out, "Upgrade: websocket\r\n"
				     "Sec-WebSocket-Version: 13\r\n"
				     "Connection: Upgrade, close\r\n");
	} else {
		buf_append_text(out, "Connection: close\r\n");
	}
	if (answer->status == 405) {
		/* May be an answer to HEAD, which has no body. */
		buf_append_text(out, "Allow: GET\r\nContent-Length: 0\r\n\r\n");
		return;
	}
	buf_printf(out, "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s\n",
	    strlen(answer->why) + 1, answer->why);
}
