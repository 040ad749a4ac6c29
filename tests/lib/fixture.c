/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fixture.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

enum column { IDS, TITLE, VERSIONS, TO, OPTIONS, BYTES, RESULT, TEXT, COLUMNS };

static void __attribute__((noreturn)) die(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

/* --- the mini language of the column `bytes` --- */

static int
hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* HH or HH*N at *at; false when it is neither. */
static bool
parse_hex(const char **at, struct buf *out)
{
	int high = hex_digit((*at)[0]);
	int low = high >= 0 ? hex_digit((*at)[1]) : -1;
	unsigned long count = 1;

	if (low < 0) {
		return false;
	}
	*at += 2;
	if (**at == '*') {
		char *end;

		count = strtoul(*at + 1, &end, 10);
		*at = end;
	}
	while (count-- != 0) {
		buf_append_byte(out, (uint8_t)(high << 4 | low));
	}
	return true;
}

/* 'text' or s'text'. */
static bool
parse_text(const char **at, struct buf *out)
{
	bool prefixed = **at == 's';
	const char *start = *at + prefixed + 1;
	const char *end = strchr(start, '\'');
	size_t len;

	if ((*at)[prefixed] != '\'' || end == NULL) {
		return false;
	}
	len = (size_t)(end - start);
	if (prefixed) {
		buf_append_byte(out, (uint8_t)(len >> 8));
		buf_append_byte(out, (uint8_t)len);
	}
	buf_append(out, start, len);
	*at = end + 1;
	return true;
}

static bool
parse_bytes(const char *at, struct buf *out)
{
	while (*at != '\0') {
		if (*at == ' ') {
			at++;
		} else if (!parse_text(&at, out) && !parse_hex(&at, out)) {
			return false;
		}
	}
	return true;
}

/* --- rows --- */

static bool
parse_options(char *options, struct fixture *fixture)
{
	char *rest = options;
	const char *option;

	fixture->canonical = true;
	while ((option = strsep(&rest, ",")) != NULL) {
		if (strcmp(option, "lenient") == 0) {
			fixture->decoder.lenient = true;
		} else if (strcmp(option, "control") == 0) {
			fixture->decoder.allow_control = true;
		} else if (strcmp(option, "nocanon") == 0) {
			fixture->canonical = false;
		} else if (strncmp(option, "max=", 4) == 0) {
			fixture->decoder.max_packet_size = (uint32_t)strtoul(option + 4, NULL, 10);
		} else if (strcmp(option, "-") != 0) {
			return false;
		}
	}
	return true;
}

static bool
parse_result(const char *result, struct fixture *fixture)
{
	if (strcmp(result, "ok") == 0) {
		fixture->status = WIRE_DONE;
	} else if (strcmp(result, "more") == 0) {
		fixture->status = WIRE_MORE;
	} else {
		fixture->status = WIRE_REFUSED;
		fixture->reason = (uint8_t)strtoul(result, NULL, 16);
		return fixture->reason != 0;
	}
	return true;
}

static void
add_version(struct fixtures *fixtures, const struct fixture *row, char **columns, int version)
{
	struct fixture fixture = *row;
	struct buf name;
	uint8_t *packet = mem_alloc(row->packet.len);

	buf_init(&name, SIZE_MAX);
	if (strcmp(columns[IDS], "-") != 0) {
		buf_printf(&name, "%s ", columns[IDS]);
	}
	buf_printf(&name, "%s (version %d)", columns[TITLE], version);
	fixture.name = mem_text(buf_bytes(&name));
	buf_fini(&name);
	if (row->packet.len != 0) {
		memcpy(packet, row->packet.data, row->packet.len);
	}
	fixture.packet.data = packet;
	fixture.text = mem_text(bytes_of(columns[TEXT]));
	fixture.decoder.version = (uint8_t)version;
	vec_push(&fixtures->list, fixture);
}

static void
parse_row(struct fixtures *fixtures, char *line, const char *file, int number)
{
	struct fixture row = {0};
	char *columns[COLUMNS];
	struct buf packet;

	for (int i = 0; i < COLUMNS; i++) {
		columns[i] = strsep(&line, "\t");
		if (columns[i] == NULL) {
			die(file, number, "a row has too few columns");
		}
	}
	buf_init(&packet, SIZE_MAX);
	row.decoder.receiver = strcmp(columns[TO], "server") == 0 ? WIRE_SERVER : WIRE_CLIENT;
	if (!parse_options(columns[OPTIONS], &row) || !parse_bytes(columns[BYTES], &packet) ||
	    !parse_result(columns[RESULT], &row)) {
		die(file, number, "a row is not understood");
	}
	row.packet = buf_bytes(&packet);
	for (const char *version = columns[VERSIONS]; *version != '\0'; version++) {
		if (*version >= '3' && *version <= '5') {
			add_version(fixtures, &row, columns, *version - '0');
		}
	}
	buf_fini(&packet);
}

static void
load_file(struct fixtures *fixtures, const char *name)
{
	const char *srcdir = getenv("AVOCET_SRCDIR");
	struct buf path;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	FILE *file;
	int number = 0;

	buf_init(&path, SIZE_MAX);
	buf_printf(&path, "%s/tests/lib/%s", srcdir != NULL ? srcdir : ".", name);
	file = fopen(buf_text(&path), "r");
	if (file == NULL) {
		die(buf_text(&path), 0, "cannot be opened; is AVOCET_SRCDIR set?");
	}
	while ((len = getline(&line, &cap, file)) > 0) {
		number++;
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '\0' && line[0] != '#') {
			parse_row(fixtures, line, name, number);
		}
	}
	free(line);
	fclose(file);
	buf_fini(&path);
}

void
fixtures_load(struct fixtures *fixtures)
{
	load_file(fixtures, "packets.tsv");
	load_file(fixtures, "packets-props.tsv");
}

void
fixtures_free(struct fixtures *fixtures)
{
	struct fixture *fixture;

	vec_each (fixture, &fixtures->list) {
		free((void *)(uintptr_t)fixture->packet.data);
		mem_free(&fixture->name);
		mem_free(&fixture->text);
	}
	vec_fini(&fixtures->list);
}
