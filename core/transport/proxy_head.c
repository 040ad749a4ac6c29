/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both versions begin with a signature, and a byte that differs from both is refused at once, so
 * that a client that speaks something else is not waited for. Version 1 is a line of at most 107
 * bytes. Version 2 announces its length behind 16 bytes; within it stand the addresses, whose size
 * the family tells, and then values with type and length (TLV), of which one, SSL, holds more.
 *
 * What is not known is skipped where the protocol says so (families, types), and refused where a
 * receiver must (versions, commands). The checksum is verified where it is there.
 */
#include "transport/proxy_head.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/utf8.h"
#include "transport/addr_text.h"

static const uint8_t signature[12] = {
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum {
	V1_PREFIX = 6,
	COMMAND_LOCAL = 0x20,
	COMMAND_PROXY = 0x21,
	FAMILY_TCP4 = 0x11,
	FAMILY_TCP6 = 0x21,
	FAMILY_UNIX = 0x31,
	UNIX_PATH_SIZE = 108,
	TYPE_AUTHORITY = 0x02,
	TYPE_CRC32C = 0x03,
	TYPE_SSL = 0x20,
	TYPE_SSL_CN = 0x22,
	SSL_FIXED_SIZE = 5,
	SSL_IS_TLS = 0x01,
	SSL_HAS_CERTIFICATE = 0x02 | 0x04 /* of this connection, of its TLS session */
};

static struct proxy_outcome
bad(const char *why)
{
	return (struct proxy_outcome){.status = PROXY_BAD, .why = why};
}

static struct proxy_outcome
more(size_t size)
{
	return (struct proxy_outcome){.status = PROXY_MORE, .size = size};
}

static struct proxy_outcome
done(size_t size)
{
	return (struct proxy_outcome){.status = PROXY_DONE, .size = size};
}

/* --- version 1 --- */

/* The next word of a line whose words have one blank between them. */
static struct bytes
next_word(struct bytes *rest)
{
	const uint8_t *at = rest->len != 0 ? memchr(rest->data, ' ', rest->len) : NULL;
	struct bytes word = *rest;

	if (at != NULL) {
		word.len = (size_t)(at - rest->data);
	}
	*rest = bytes_skip(*rest, at != NULL ? word.len + 1 : word.len);
	return word;
}

static bool
read_host(int family, struct bytes text, uint8_t host[16])
{
	char copy[INET6_ADDRSTRLEN];

	if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.data, 0, text.len) != NULL) {
		return false;
	}
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	return inet_pton(family, copy, host) == 1;
}

/* "SOURCE DESTINATION PORT PORT"; behind the last word is nothing, not even a blank. */
static bool
read_v1_addresses(int family, struct bytes rest, struct addr *source)
{
	uint8_t from[16], to[16];
	uint16_t from_port, to_port;

	if (!read_host(family, next_word(&rest), from) ||
	    !read_host(family, next_word(&rest), to) ||
	    !addr_parse_port(next_word(&rest), &from_port) || !addr_parse_port(rest, &to_port)) {
		return false;
	}
	addr_set_ip(source, family, from, from_port);
	return true;
}

static struct proxy_outcome
parse_v1_line(struct bytes line, size_t size, struct proxy_head *head)
{
	struct bytes rest = bytes_skip(line, V1_PREFIX);
	struct bytes kind = next_word(&rest);
	int family = AF_UNSPEC;

	if (bytes_equal_text(kind, "UNKNOWN")) {
		return done(size);
	}
	if (bytes_equal_text(kind, "TCP4")) {
		family = AF_INET;
	} else if (bytes_equal_text(kind, "TCP6")) {
		family = AF_INET6;
	}
	if (family == AF_UNSPEC || !read_v1_addresses(family, rest, &head->source)) {
		return bad("the PROXY line is malformed");
	}
	head->has_source = true;
	return done(size);
}

static struct proxy_outcome
parse_v1(struct bytes input, struct proxy_head *head)
{
	size_t len = input.len < PROXY_V1_MAX_SIZE ? input.len : PROXY_V1_MAX_SIZE;
	const uint8_t *end = memchr(input.data, '\n', len);

	if (end == NULL) {
		return len == PROXY_V1_MAX_SIZE ? bad("the PROXY line is too long") : more(len + 1);
	}
	len = (size_t)(end - input.data);
	if (input.data[len - 1] != '\r') {
		return bad("the PROXY line does not end with CR LF");
	}
	return parse_v1_line(bytes_make(input.data, len - 1), len + 1, head);
}

/* --- version 2 --- */

static uint16_t
get_u16(const uint8_t *at)
{
	return (uint16_t)((unsigned)at[0] << 8 | at[1]);
}

/* The next value; false at the end, and with *bad_out when it is cut off. */
static bool
next_value(struct bytes *rest, uint8_t *type_out, struct bytes *value_out, bool *bad_out)
{
	size_t len;

	if (rest->len == 0) {
		return false;
	}
	len = rest->len >= 3 ? get_u16(rest->data + 1) : 0;
	if (rest->len < 3 + len) {
		*bad_out = true;
		return false;
	}
	*type_out = rest->data[0];
	*value_out = bytes_make(rest->data + 3, len);
	*rest = bytes_skip(*rest, 3 + len);
	return true;
}

/* CRC-32C of the header, in which the four bytes at `hole` count as zero. */
static uint32_t
checksum(struct bytes header, size_t hole)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < header.len; i++) {
		crc ^= i - hole < 4 ? 0 : header.data[i];
		for (int bit = 0; bit < 8; bit++) {
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
		}
	}
	return ~crc;
}

static bool
is_intact(struct bytes header, struct bytes value)
{
	uint32_t told;

	if (value.len != 4) {
		return false;
	}
	memcpy(&told, value.data, 4);
	return ntohl(told) == checksum(header, (size_t)(value.data - header.data));
}

static bool
is_text(struct bytes text)
{
	enum utf8_class class = utf8_classify(text);

	return class == UTF8_PLAIN || class == UTF8_RESTRICTED;
}

/* Once, and of text; NULL or what is wrong. */
static const char *
take_text(struct bytes value, struct bytes *text_out)
{
	if (text_out->data != NULL) {
		return "the PROXY header says a name twice";
	}
	if (!is_text(value)) {
		return "a name in the PROXY header is malformed";
	}
	*text_out = value;
	return NULL;
}

/* The name counts only when the certificate was there and was verified. */
static const char *
take_ssl(struct bytes value, struct proxy_head *head)
{
	struct bytes rest, item, name = {0};
	const char *why = NULL;
	bool is_bad = false;
	uint8_t type;

	if (value.len < SSL_FIXED_SIZE) {
		return "the PROXY header's part on TLS is cut off";
	}
	rest = bytes_skip(value, SSL_FIXED_SIZE);
	while (why == NULL && next_value(&rest, &type, &item, &is_bad)) {
		if (type == TYPE_SSL_CN) {
			why = take_text(item, &name);
		}
	}
	if (is_bad) {
		return "the PROXY header's part on TLS is cut off";
	}
	head->is_tls = (value.data[0] & SSL_IS_TLS) != 0;
	if (head->is_tls && (value.data[0] & SSL_HAS_CERTIFICATE) != 0 &&
	    memcmp(value.data + 1, "\0\0\0\0", 4) == 0) {
		head->client_cn = name;
	}
	return why;
}

static const char *
take_values(struct bytes header, struct bytes rest, struct proxy_head *head)
{
	bool is_bad = false, has_ssl = false;
	const char *why = NULL;
	struct bytes value;
	uint8_t type;

	while (why == NULL && next_value(&rest, &type, &value, &is_bad)) {
		if (type == TYPE_AUTHORITY) {
			why = take_text(value, &head->authority);
		} else if (type == TYPE_CRC32C && !is_intact(header, value)) {
			why = "the PROXY header's checksum is wrong";
		} else if (type == TYPE_SSL) {
			why = has_ssl ? "the PROXY header speaks of TLS twice"
				      : take_ssl(value, head);
			has_ssl = true;
		}
	}
	return is_bad ? "a value in the PROXY header is cut off" : why;
}

/* Size of both addresses; 0 for families and transports that are skipped. */
static size_t
addresses_size(uint8_t family)
{
	switch (family) {
	case FAMILY_TCP4:
		return 12;
	case FAMILY_TCP6:
		return 36;
	case FAMILY_UNIX:
		return 2 * UNIX_PATH_SIZE;
	default:
		return 0;
	}
}

static void
take_source(uint8_t family, const uint8_t *at, struct proxy_head *head)
{
	if (family == FAMILY_UNIX) {
		size_t len = strnlen((const char *)at, UNIX_PATH_SIZE);

		addr_set_unix(&head->source, bytes_make(at, len));
	} else if (family == FAMILY_TCP4) {
		addr_set_ip(&head->source, AF_INET, at, get_u16(at + 8));
	} else {
		addr_set_ip(&head->source, AF_INET6, at, get_u16(at + 32));
	}
	head->has_source = true;
}

static struct proxy_outcome
parse_v2_body(struct bytes header, struct proxy_head *head)
{
	struct bytes body = bytes_skip(header, PROXY_V2_FIXED_SIZE);
	uint8_t family = header.data[13];
	size_t size = addresses_size(family);
	const char *why;

	/* Without a family that we know, nobody knows where the values begin. */
	if (header.data[12] == COMMAND_LOCAL || size == 0) {
		return done(header.len);
	}
	if (body.len < size) {
		return bad("the PROXY header is too short for its addresses");
	}
	take_source(family, body.data, head);
	why = take_values(header, bytes_skip(body, size), head);
	return why != NULL ? bad(why) : done(header.len);
}

static struct proxy_outcome
parse_v2(struct bytes input, struct proxy_head *head)
{
	size_t len;

	if (input.len >= 13 && input.data[12] != COMMAND_LOCAL && input.data[12] != COMMAND_PROXY) {
		return bad("the PROXY header has an unknown version or command");
	}
	if (input.len < PROXY_V2_FIXED_SIZE) {
		return more(PROXY_V2_FIXED_SIZE);
	}
	len = get_u16(input.data + 14);
	if (len > PROXY_V2_MAX_LEN) {
		return bad("the PROXY header is too large");
	}
	if (input.len < PROXY_V2_FIXED_SIZE + len) {
		return more(PROXY_V2_FIXED_SIZE + len);
	}
	return parse_v2_body(bytes_make(input.data, PROXY_V2_FIXED_SIZE + len), head);
}

/* --- both --- */

static bool
may_begin(struct bytes input, const void *prefix, size_t len)
{
	return input.len == 0 || memcmp(input.data, prefix, input.len < len ? input.len : len) == 0;
}

struct proxy_outcome
proxy_head_parse(struct bytes input, struct proxy_head *head_out)
{
	*head_out = (struct proxy_head){0};
	if (may_begin(input, "PROXY ", V1_PREFIX)) {
		return input.len < V1_PREFIX ? more(V1_PREFIX + 2) : parse_v1(input, head_out);
	}
	if (may_begin(input, signature, sizeof(signature))) {
		return input.len < sizeof(signature) ? more(PROXY_V2_FIXED_SIZE)
						     : parse_v2(input, head_out);
	}
	return bad("the connection does not begin with a PROXY header");
}
