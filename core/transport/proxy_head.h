/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of the PROXY protocol, versions 1 (text) and 2 (binary): who a proxy speaks for. Pure:
 * bytes in, struct out, three answers.
 */
#ifndef TRANSPORT_PROXY_HEAD_H
#define TRANSPORT_PROXY_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "transport/addr.h"

enum {
	PROXY_V1_MAX_SIZE = 107,  /* with its CR LF */
	PROXY_V2_FIXED_SIZE = 16, /* up to the announced length */
	PROXY_V2_MAX_LEN = 4096,  /* most that may be announced */
	PROXY_HEAD_MAX_SIZE = PROXY_V2_FIXED_SIZE + PROXY_V2_MAX_LEN,
};

enum proxy_status {
	PROXY_MORE, /* size: bytes that are needed at least, from the beginning */
	PROXY_DONE, /* size: of the header */
	PROXY_BAD   /* why: a sentence, static */
};

struct proxy_outcome {
	enum proxy_status status;
	size_t size;
	const char *why;
};

/* The views are into the input. */
struct proxy_head {
	bool has_source;        /* false: UNKNOWN, LOCAL, or a kind that we do not use: the
				   connection speaks for itself */
	bool is_tls;            /* between client and proxy */
	struct addr source;     /* the client's */
	struct bytes authority; /* the name that the client asked for (SNI); UTF-8, may be empty */
	struct bytes client_cn; /* of a certificate that the proxy has verified; UTF-8 without NUL,
				   may be empty */
};

struct proxy_outcome proxy_head_parse(struct bytes input, struct proxy_head *head_out);

#endif
