/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 6455, 4.1, lists what an answer must be; each demand has its sentence. A refusal is told by
 * its status, since that is what helps who has to find out.
 */
#include "transport/ws_connect.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/err.h"

enum { KEY_SIZE = 25 };

struct answer {
	unsigned status;
	unsigned upgrades;
	unsigned accepts;
	unsigned protocols;
	bool is_websocket; /* Upgrade: websocket */
	bool connection;   /* Connection: upgrade */
	bool is_accepted;
	bool is_protocol;
	bool has_extension;
};

static const char *
path_of(const struct ws_connect_options *options)
{
	return options->path != NULL ? options->path : "/mqtt";
}

static const char *
protocol_of(const struct ws_connect_options *options)
{
	return options->protocol != NULL ? options->protocol : "mqtt";
}

/* --- the request --- */

static bool
is_visible(struct bytes text, const char *except)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (c <= ' ' || c >= 0x7f || strchr(except, c) != NULL) {
			return false;
		}
	}
	return text.len != 0;
}

const char *
ws_connect_check(const struct ws_connect_options *options)
{
	if (!is_visible(bytes_of(options->host), "/?#@\\,\"<>")) {
		return "the host's name cannot be used";
	}
	if (path_of(options)[0] != '/' || !is_visible(bytes_of(path_of(options)), "#")) {
		return "the path cannot be used";
	}
	return ws_is_token(bytes_of(protocol_of(options))) ? NULL
							   : "the sub-protocol cannot be used";
}

bool
ws_connect_write(struct buf *out, const struct ws_connect_options *options,
    const uint8_t nonce[WS_NONCE_SIZE], char accept_out[WS_ACCEPT_SIZE])
{
	char key[KEY_SIZE];

	if (EVP_EncodeBlock((unsigned char *)key, nonce, WS_NONCE_SIZE) != KEY_SIZE - 1 ||
	    !ws_accept_of(bytes_of(key), accept_out)) {
		return false;
	}
	buf_printf(out,
	    "GET %s HTTP/1.1\r\n"
	    "Host: %s\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Key: %s\r\n"
	    "Sec-WebSocket-Version: 13\r\n"
	    "Sec-WebSocket-Protocol: %s\r\n\r\n",
	    path_of(options), options->host, key, protocol_of(options));
	return true;
}

/* --- the answer --- */

/* "HTTP/1.1 101 Switching Protocols"; 0: it is none. */
static unsigned
read_status(struct bytes line)
{
	unsigned status = 0;

	if (!bytes_starts_with(line, BYTES_LITERAL("HTTP/1.")) || line.len < 12 ||
	    line.data[7] < '0' || line.data[7] > '9' || line.data[8] != ' ' ||
	    (line.len > 12 && line.data[12] != ' ')) {
		return 0;
	}
	for (size_t i = 9; i < 12; i++) {
		if (line.data[i] < '0' || line.data[i] > '9') {
			return 0;
		}
		status = status * 10 + line.data[i] - '0';
	}
	/* No HTTP/1.0 has upgrades. */
	return status == 101 && line.data[7] == '0' ? 0 : status;
}

static void
read_field(struct bytes name, struct bytes value, const char *protocol, const char *accept,
    struct answer *answer)
{
	if (ws_same_word(name, "upgrade")) {
		answer->upgrades++;
		answer->is_websocket = ws_same_word(value, "websocket");
	} else if (ws_same_word(name, "connection")) {
		answer->connection = answer->connection || ws_list_has(value, "upgrade");
	} else if (ws_same_word(name, "sec-websocket-accept")) {
		answer->accepts++;
		answer->is_accepted = bytes_equal_text(value, accept);
	} else if (ws_same_word(name, "sec-websocket-protocol")) {
		answer->protocols++;
		answer->is_protocol = bytes_equal_text(value, protocol);
	} else if (ws_same_word(name, "sec-websocket-extensions")) {
		answer->has_extension = answer->has_extension || value.len != 0;
	}
}

static const char *
refusal(unsigned status)
{
	switch (status) {
	case 400:
		return "the server answered 400, Bad Request";
	case 401:
		return "the server answered 401, Unauthorized";
	case 403:
		return "the server answered 403, Forbidden";
	case 404:
		return "the server answered 404, Not Found: is the path right?";
	case 426:
		return "the server answered 426, Upgrade Required";
	case 429:
		return "the server answered 429, Too Many Requests";
	case 500:
		return "the server answered 500, Internal Server Error";
	case 502:
		return "the server answered 502, Bad Gateway";
	case 503:
		return "the server answered 503, Service Unavailable";
	case 504:
		return "the server answered 504, Gateway Timeout";
	default:
		return status / 100 == 2   ? "the server answered as to the request for a page"
		       : status / 100 == 3 ? "the server wants to send us elsewhere"
		       : status / 100 == 4 ? "the server refused the request"
		       : status / 100 == 5 ? "the server failed"
					   : "the server's answer has an unknown status";
	}
}

static const char *
check(const struct answer *answer)
{
	if (answer->status != 101) {
		return refusal(answer->status);
	}
	if (answer->upgrades != 1 || !answer->is_websocket || !answer->connection) {
		return "the server's answer is no upgrade to WebSocket";
	}
	if (answer->accepts != 1 || !answer->is_accepted) {
		return "the server's Sec-WebSocket-Accept is not right";
	}
	if (answer->has_extension) {
		return "the server chose an extension that was not offered";
	}
	if (answer->protocols != 1 || !answer->is_protocol) {
		return "the server did not choose the sub-protocol";
	}
	return NULL;
}

const char *
ws_connect_judge(struct bytes head, const struct ws_connect_options *options, const char *accept)
{
	struct answer answer = {.status = read_status(ws_head_line(&head))};
	struct bytes name, value;
	int found = ERR_INVALID;

	if (answer.status != 0) {
		while ((found = ws_head_next(&head, &name, &value)) == 1) {
			read_field(name, value, protocol_of(options), accept, &answer);
		}
	}
	return found == 0 ? check(&answer) : "the server's answer is malformed";
}
