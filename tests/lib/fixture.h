/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the table of packets (tests/lib/packets.tsv; README.md there says what the columns mean). A
 * row that names several versions becomes one fixture for each. Tests only: what is wrong in the
 * table ends the program.
 */
#ifndef LIB_FIXTURE_H
#define LIB_FIXTURE_H

#include "base/bytes.h"
#include "base/vec.h"
#include "wire/decode.h"

struct fixture {
	char *name; /* "IDS TITLE (version N)" */
	struct wire_decoder decoder;
	bool canonical;      /* encoding the decoded packet gives the same bytes */
	struct bytes packet; /* owned */
	enum wire_status status;
	uint8_t reason;
	char *text; /* of the decoded packet */
};

struct fixtures {
	VEC(struct fixture) list;
};

/* Appends all rows of the named files, which lie in the folder tests/lib of AVOCET_SRCDIR. */
void fixtures_load(struct fixtures *fixtures);
void fixtures_free(struct fixtures *fixtures);

#endif
