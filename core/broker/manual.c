/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is made of the option tables for readers: etc/avocet.yaml, and the manual page
 * avocet.yaml(5). A test compares both files with what comes from here, so they cannot grow stale.
 * Pure; any thread.
 */
#include "broker/options.h"

#include <string.h>

#include "conf/value.h"

/* --- the example --- */

static const char example_head[] =
    "# SPDX-License-Identifier: Apache-2.0\n"
    "#\n"
    "# avocet.yaml: every key with its default, commented out. To change one, take the # in front "
    "of\n"
    "# it away (of an entry of a list: also from the line with the dash and the name above it).\n"
    "# In force is a store, so that sessions and messages outlive the process; sessions that do "
    "not\n"
    "# end by themselves are kept for ever, and limits.max_session_expiry: 30d would end them.\n"
    "#\n"
    "# Sizes take KiB, MiB and GiB; durations ms, s, m, h and d. A value may be !env NAME, or\n"
    "# !file PATH. include: conf.d/*.yaml merges other files. `avocet -t` checks, and says what "
    "would\n"
    "# run. avocet.yaml(5) explains; this file is made from the same tables.\n";

static const struct conf_option *
find_section(struct bytes name)
{
	for (size_t i = 0; i < broker_options_schema.count; i++) {
		const struct conf_option *option = &broker_options_schema.options[i];

		if (bytes_equal_text(name, option->name)) {
			return option;
		}
	}
	return NULL;
}

/* `broker:` alone says nothing, so it may stand there: to change a key in it takes one line. */
static bool
may_stand(struct bytes line)
{
	const struct conf_option *option;

	if (line.len < 2 || line.data[line.len - 1] != ':') {
		return false;
	}
	line.len--;
	option = find_section(line);
	return option != NULL && option->type == CONF_STRUCT;
}

/* What is in force in the installed file: with it everything outlives the process. */
static const struct {
	const char *line, *instead;
} in_force[] = {
    {"plugins: []", "plugins:\n  - name: db\n    module: persist-sqlite\n"},
    {"store: null", "store: db\n"},
};

static bool
put_in_force(struct buf *out, struct bytes line)
{
	for (size_t i = 0; i < sizeof(in_force) / sizeof(in_force[0]); i++) {
		if (bytes_equal_text(line, in_force[i].line)) {
			buf_append_text(out, in_force[i].instead);
			return true;
		}
	}
	return false;
}

static void
put_example_line(struct buf *out, struct bytes line)
{
	size_t indent = 0;

	if (put_in_force(out, line)) {
		return;
	}

	while (indent < line.len && line.data[indent] == ' ') {
		indent++;
	}
	if (line.len > 1 && line.data[0] == '#') {
		buf_append_byte(out, '\n'); /* the help of a section */
	}
	buf_append(out, line.data, indent);
	line = bytes_skip(line, indent);
	if (!bytes_starts_with(line, BYTES_LITERAL("# ")) && !(indent == 0 && may_stand(line))) {
		buf_append_byte(out, '#');
	}
	buf_append_bytes(out, line);
	buf_append_byte(out, '\n');
}

/* Help of a section that takes two lines has no blank line in between. */
static bool
is_continued(struct bytes before, struct bytes line)
{
	return before.len != 0 && before.data[0] == '#' && line.len != 0 && line.data[0] == '#';
}

void
broker_options_example(struct buf *out)
{
	struct conf *conf = conf_read("defaults", (struct bytes){NULL, 0}, NULL, NULL);
	const struct broker_options *options =
	    broker_options_bind(conf, (struct broker_override){0});
	struct bytes rest, before = {NULL, 0};
	struct buf dump;

	buf_init(&dump, SIZE_MAX);
	buf_append_text(out, example_head);
	conf_dump(conf, &broker_options_schema, options, true, &dump);
	for (rest = buf_bytes(&dump); rest.len != 0;) {
		const uint8_t *end = memchr(rest.data, '\n', rest.len);
		struct bytes line = {rest.data, (size_t)(end - rest.data)};

		if (is_continued(before, line)) {
			buf_append_bytes(out, line);
			buf_append_byte(out, '\n');
		} else {
			put_example_line(out, line);
		}
		before = line;
		rest = bytes_skip(rest, line.len + 1);
	}
	buf_fini(&dump);
	conf_unref(&conf);
}

/* --- the manual page --- */

enum { MAX_SCHEMAS = 32, MAX_PATH = 128 };

struct manual {
	struct buf *out;
	const struct conf_schema *seen[MAX_SCHEMAS]; /* each is explained once */
	size_t seen_count;
};

static const char manual_head[] =
    ".\\\" SPDX-License-Identifier: Apache-2.0\n"
    ".\\\" Made from the option tables by tests/unit/broker/generate.c; do not edit.\n"
    ".Dd November 26, 2026\n"
    ".Dt AVOCET.YAML 5\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm avocet.yaml\n"
    ".Nd configuration of the MQTT broker avocet\n"
    ".Sh DESCRIPTION\n"
    "The file is YAML.\n"
    "Every key has a default, and an empty file is a valid configuration: one listener on\n"
    "127.0.0.1:1883.\n"
    ".Xr avocet 8\n"
    "with\n"
    ".Fl t\n"
    "checks a file, and with\n"
    ".Fl -dump-config\n"
    "prints all keys with the values in force.\n"
    ".Pp\n"
    "A size is a number of bytes, or a number with\n"
    ".Li KiB , MiB\n"
    "or\n"
    ".Li GiB .\n"
    "A duration is a number with\n"
    ".Li ms , s , m , h\n"
    "or\n"
    ".Li d ,\n"
    "several of these in a row, or 0.\n"
    "A value may be\n"
    ".Li !env Ar NAME ,\n"
    ".Li \"!env {name: NAME, default: x}\"\n"
    "or\n"
    ".Li !file Ar PATH ;\n"
    "such values are neither logged nor dumped.\n"
    "The key\n"
    ".Ic include\n"
    "names files, by a pattern or a list of patterns, that are merged into this one.\n"
    ".Pp\n"
    "An unknown key, a wrong type or a value out of range is told as\n"
    ".Dl file:line:column: path: sentence\n"
    "all of them in one run, and nothing is started.\n"
    "A key of a feature that this version does not have is such an error too.\n"
    ".Pp\n"
    "On SIGHUP the file is read again and takes effect as a whole or not at all.\n"
    "The keys\n"
    ".Ic workers , data_dir , user , plugin_dir\n"
    "and\n"
    ".Ic store\n"
    "cannot change while the broker runs.\n"
    "Certificates, keys and lists of revoked certificates are read again each time, by the user\n"
    "that the broker has become; clients that are connected keep what they were let in with.\n"
    ".Pp\n"
    "A client with a pre-shared key, or with a certificate that has the name that\n"
    ".Ic username_from\n"
    "asks for, has that name as its user name, whatever else it says, and is not anonymous.\n"
    "With an empty chain\n"
    ".Ic authenticate\n"
    "that is enough to be let in.\n"
    ".Pp\n"
    "What is between a socket and MQTT is, in this order, a PROXY header\n"
    ".Pq Ic proxy_protocol ,\n"
    "TLS\n"
    ".Pq Ic tls\n"
    "and WebSocket\n"
    ".Pq Ic protocol .\n"
    "All of it, up to CONNECT, has\n"
    ".Ic limits.connect_timeout .\n"
    "A unix socket can be used by its owner and its group, which are those of the broker's "
    "process\n"
    "(of\n"
    ".Ic broker.user\n"
    "if it starts as root).\n"
    ".Sh KEYS\n";

static const char manual_tail[] =
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/avocet/avocet.yaml\n"
    "read when\n"
    ".Fl c\n"
    "does not name another.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "A listener for the network that lets everybody in, and one for this machine:\n"
    ".Bd -literal -offset indent\n"
    "listeners:\n"
    "  - bind: 0.0.0.0:1883\n"
    "    allow_anonymous: true\n"
    "    limits: { max_packet_size: 1MiB, max_session_expiry: 30d }\n"
    "  - name: local\n"
    "    bind: 127.0.0.1:1884\n"
    ".Ed\n"
    ".Pp\n"
    "TLS with certificates of clients, WebSocket over TLS for pages, and what a proxy on this\n"
    "machine passes on:\n"
    ".Bd -literal -offset indent\n"
    "broker:\n"
    "  trusted_proxies: [127.0.0.1]\n"
    "listeners:\n"
    "  - name: mqtts\n"
    "    bind: 0.0.0.0:8883\n"
    "    tls: { certfile: server.pem, keyfile: server.key, cafile: clients.pem,\n"
    "           require_certificate: true, username_from: cn }\n"
    "  - name: wss\n"
    "    bind: 0.0.0.0:8084\n"
    "    protocol: websocket\n"
    "    origins: [\"https://pages.example\"]\n"
    "    tls: { certfile: server.pem, keyfile: server.key }\n"
    "  - name: proxied\n"
    "    bind: 127.0.0.1:1885\n"
    "    proxy_protocol: true\n"
    "    allow_anonymous: true\n"
    ".Ed\n"
    ".Sh SEE ALSO\n"
    ".Xr avocet 8\n";

/* "auto | true | false"; words with the same value as one before are other spellings of it. */
static void
put_words(struct buf *out, const struct conf_word *words, const char *between)
{
	for (const struct conf_word *word = words; word->word != NULL; word++) {
		bool told = false;

		for (const struct conf_word *other = words; other != word; other++) {
			told = told || other->value == word->value;
		}
		if (!told) {
			buf_printf(out, "%s%s", word != words ? between : "", word->word);
		}
	}
}

static const char *
type_name(enum conf_type type)
{
	switch (type) {
	case CONF_BOOL:
		return "true | false";
	case CONF_INT:
		return "number";
	case CONF_SIZE:
		return "size";
	case CONF_DURATION:
		return "duration";
	case CONF_STRING:
		return "text";
	case CONF_STRINGS:
		return "[text, ...]";
	case CONF_LIST:
		return "list of mappings";
	case CONF_NAMED:
		return "mapping of names";
	default:
		return "mapping";
	}
}

static void
put_type(struct buf *out, const struct conf_option *option)
{
	if (option->type == CONF_ENUM) {
		put_words(out, option->words, " | ");
	} else if (option->type == CONF_FLAGS) {
		buf_append_byte(out, '[');
		put_words(out, option->words, ", ");
		buf_append_byte(out, ']');
	} else {
		buf_append_text(out, type_name(option->type));
		if (option->words != NULL) {
			buf_append_text(out, " | ");
			put_words(out, option->words, " | ");
		}
	}
}

static void
put_help(struct buf *out, const char *help)
{
	buf_printf(out, "%s%s\n", help, help[strlen(help) - 1] == '.' ? "" : ".");
}

static void
put_range(struct buf *out, const struct conf_option *option)
{
	const struct conf_option bare = {.type = option->type};

	if (option->max != 0) {
		buf_append_text(out, "From ");
		conf_value_format(out, &bare, option->min);
		buf_append_text(out, " to ");
		conf_value_format(out, &bare, option->max);
		buf_append_text(out, ".\n");
	} else if (option->min != 0) {
		buf_append_text(out, "At least ");
		conf_value_format(out, &bare, option->min);
		buf_append_text(out, ".\n");
	}
}

static void
put_option(struct buf *out, const struct conf_option *option)
{
	buf_printf(out, ".It Ic %s : No ", option->name);
	put_type(out, option);
	buf_append_byte(out, '\n');
	if (option->help != NULL) {
		put_help(out, option->help);
	}
	put_range(out, option);
	if (option->required) {
		buf_append_text(out, "This key must be there.\n");
	} else if (option->fallback != NULL) {
		buf_printf(out, "Default: %s.\n", option->fallback);
	}
}

static bool
is_seen(struct manual *manual, const struct conf_schema *schema)
{
	for (size_t i = 0; i < manual->seen_count; i++) {
		if (manual->seen[i] == schema) {
			return true;
		}
	}
	if (manual->seen_count < MAX_SCHEMAS) {
		manual->seen[manual->seen_count++] = schema;
	}
	return false;
}

/* How a key of a list, or of a mapping of names, goes on. */
static const char *
path_tail(enum conf_type type)
{
	return type == CONF_LIST ? "[]" : type == CONF_NAMED ? ".NAME" : "";
}

static void put_schema(struct manual *manual, const char *path, const struct conf_schema *schema);

static void
put_inner(struct manual *manual, const char *path, const struct conf_schema *schema)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];
		struct buf inner;

		/* CONF_NODE takes a schema that is explained elsewhere. */
		if (option->schema == NULL || option->type == CONF_NODE ||
		    is_seen(manual, option->schema)) {
			continue;
		}
		buf_init(&inner, MAX_PATH);
		buf_printf(&inner, "%s.%s%s", path, option->name, path_tail(option->type));
		put_schema(manual, buf_text(&inner), option->schema);
		buf_fini(&inner);
	}
}

static void
put_schema(struct manual *manual, const char *path, const struct conf_schema *schema)
{
	if (strchr(path, '.') != NULL) {
		buf_printf(manual->out, ".Ss %s\n", path);
	}
	if (schema->shorthand != NULL) {
		buf_printf(manual->out, "A value in place of the mapping is its key %s.\n",
		    schema->shorthand);
	}
	buf_append_text(manual->out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; i < schema->count; i++) {
		put_option(manual->out, &schema->options[i]);
	}
	buf_append_text(manual->out, ".El\n");
	put_inner(manual, path, schema);
}

void
broker_options_manual(struct buf *out)
{
	struct manual manual = {.out = out};

	buf_append_text(out, manual_head);
	for (size_t i = 0; i < broker_options_schema.count; i++) {
		const struct conf_option *option = &broker_options_schema.options[i];
		struct buf path;

		buf_init(&path, MAX_PATH);
		buf_printf(&path, "%s%s", option->name, path_tail(option->type));
		buf_printf(out, ".Ss %s\n%s\n", buf_text(&path), option->help);
		if (option->schema != NULL && !is_seen(&manual, option->schema)) {
			put_schema(&manual, buf_text(&path), option->schema);
		}
		buf_fini(&path);
	}
	buf_append_text(out, manual_tail);
}
