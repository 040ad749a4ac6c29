/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plugin gave, checked and copied: everything is judged here, on main, so that a link that
 * was opened cannot fail for what it was told. Structs may be of older plugins: what they do not
 * have is zero.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "link/link_int.h"
#include "wire/topic_name.h"

enum {
	MOST_SUBS = 10000,
	MOST_ADDRESSES = 100,
	MOST_PARTS = 1000,
	DEFAULT_CONNECT_MS = 30000,
	DEFAULT_BACKOFF_MIN_MS = 1000,
	DEFAULT_BACKOFF_MAX_MS = 30000,
};

int32_t
link_refuse(avocet_error *err, int32_t status, const char *format, ...)
{
	va_list args;

	if (err != NULL) {
		err->code = status;
		va_start(args, format);
		(void)vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return status;
}

/* What is being made. */
struct making {
	struct link_options *options;
	avocet_error *err;
	int32_t status; /* AVOCET_OK so far */
};

__attribute__((format(printf, 2, 3))) static void
fail(struct making *making, const char *format, ...)
{
	va_list args;

	if (making->status != AVOCET_OK) {
		return;
	}
	making->status = AVOCET_E_INVAL;
	if (making->err != NULL) {
		making->err->code = making->status;
		va_start(args, format);
		(void)vsnprintf(making->err->text, sizeof(making->err->text), format, args);
		va_end(args);
	}
}

/* --- texts --- */

static char *
copy_text(struct making *making, avocet_str text, const char *what)
{
	struct bytes bytes = bytes_make(text.p, text.n);

	if (text.n > WIRE_MAX_STRING || utf8_fault_at(bytes) != text.n ||
	    (text.n != 0 && memchr(text.p, '\0', text.n) != NULL)) {
		fail(making, "the %s is no text that MQTT can carry", what);
		bytes.len = 0;
	}
	return arena_text(&making->options->arena, bytes);
}

static struct bytes
copy_bytes(struct making *making, avocet_str text, const char *what)
{
	return bytes_of(copy_text(making, text, what));
}

/* NULL where it is empty. */
static char *
copy_optional(struct making *making, avocet_str text, const char *what)
{
	return text.n != 0 ? copy_text(making, text, what) : NULL;
}

/* --- subscriptions --- */

bool
link_filter_is_good(struct bytes filter)
{
	return wire_topic_filter_check(filter, true, true) == WIRE_TOPIC_OK;
}

static void
copy_sub(struct making *making, const avocet_link_sub *given, struct link_sub *sub)
{
	sub->filter = copy_bytes(making, given->filter, "filter");
	if (!link_filter_is_good(sub->filter)) {
		fail(making, "\"%.*s\" is no topic filter", (int)sub->filter.len,
		    (const char *)sub->filter.data);
	}
	if (given->qos > 2) {
		fail(making, "a QoS is above 2");
	}
	sub->qos = (uint8_t)given->qos;
	sub->no_local = (given->options & AVOCET_SUB_NO_LOCAL) != 0;
	sub->retain_as_published = (given->options & AVOCET_SUB_RETAIN_AS_PUBLISHED) != 0;
	sub->retain_handling = (given->options & AVOCET_SUB_RETAIN_NEVER) != 0    ? 2
			       : (given->options & AVOCET_SUB_RETAIN_IF_NEW) != 0 ? 1
										  : 0;
}

static void
copy_subs(struct making *making, const avocet_link_sub *given, size_t count, size_t stride,
    struct link_subs *subs)
{
	if (count > MOST_SUBS || (count != 0 && (given == NULL || stride == 0))) {
		fail(making, "there are more subscriptions than %d, or none where some should be",
		    MOST_SUBS);
		return;
	}
	subs->count = count;
	subs->items = arena_alloc(&making->options->arena, (count + 1) * sizeof(*subs->items));
	for (size_t i = 0; i < count; i++) {
		avocet_link_sub sub = {0};

		memcpy(&sub, (const char *)given + i * stride,
		    stride < sizeof(sub) ? stride : sizeof(sub));
		copy_sub(making, &sub, &subs->items[i]);
	}
}

/* --- the remote --- */

static void
copy_addresses(struct making *making, const avocet_link_remote *given, struct link_remote *remote)
{
	const char *why;

	if (given->n_addresses == 0 || given->n_addresses > MOST_ADDRESSES) {
		fail(making, "a remote needs an address");
		return;
	}
	for (size_t i = 0; i < given->n_addresses; i++) {
		char *text = copy_text(making, given->addresses[i], "address");
		struct bytes host;

		if (addr_check(text, &why) != 0) {
			fail(making, "address \"%s\": %s", text, why);
		} else if (!addr_host_text(text, &host) && strncmp(text, "unix:", 5) != 0) {
			fail(making, "address \"%s\": a host is missing", text);
		}
		vec_push(&remote->addresses, text);
	}
}

static const char *
file_of(struct making *making, avocet_str text)
{
	return copy_optional(making, text, "path");
}

static void
make_tls(struct making *making, const avocet_link_remote *given, struct link_remote *remote)
{
	char why[200] = "";
	struct tls_options options = {.certfile = file_of(making, given->certfile),
	    .keyfile = file_of(making, given->keyfile),
	    .cafile = file_of(making, given->cafile),
	    .crlfile = file_of(making, given->crlfile),
	    .ciphers = copy_optional(making, given->ciphers, "list of ciphers"),
	    .ciphersuites = copy_optional(making, given->ciphersuites, "list of ciphers"),
	    .min_version = (int)given->tls_min_version,
	    .alpn = (given->flags & AVOCET_LINK_WEBSOCKET) != 0 ? "http/1.1" : "mqtt"};

	if ((given->flags & AVOCET_LINK_TLS) == 0 || making->status != AVOCET_OK) {
		return;
	}
	remote->tls = tls_ctx_new_client(&options, why, sizeof(why));
	if (remote->tls == NULL) {
		fail(making, "%s", why);
		making->status = AVOCET_E_CONFIG;
	}
}

static bool
copy_publish(struct making *making, const avocet_publish *given, bool is_for_here, const char *what,
    struct msg_draft *draft)
{
	if (given == NULL) {
		return false;
	}
	if (plugin_take_publish(given, is_for_here, draft) != AVOCET_OK) {
		fail(making, "the %s message cannot be published", what);
		return false;
	}
	return true;
}

static uint16_t
to_u16(uint32_t number)
{
	return number < UINT16_MAX ? (uint16_t)number : UINT16_MAX;
}

static void
copy_numbers(const avocet_link_remote *given, struct link_remote *remote)
{
	remote->flags = given->flags;
	remote->version = (uint8_t)given->version;
	remote->keep_alive_s = to_u16(given->keep_alive_s);
	remote->receive_max = given->receive_max != 0 ? to_u16(given->receive_max) : UINT16_MAX;
	remote->topic_alias_max = to_u16(given->topic_alias_max);
	remote->session_expiry_s = given->session_expiry_s;
	remote->max_packet_size = given->max_packet_size;
	remote->connect_timeout_ms =
	    given->connect_timeout_ms != 0 ? given->connect_timeout_ms : DEFAULT_CONNECT_MS;
	remote->backoff_min_ms =
	    given->backoff_min_ms != 0 ? given->backoff_min_ms : DEFAULT_BACKOFF_MIN_MS;
	remote->backoff_max_ms =
	    given->backoff_max_ms != 0 ? given->backoff_max_ms : DEFAULT_BACKOFF_MAX_MS;
	if (remote->backoff_max_ms < remote->backoff_min_ms) {
		remote->backoff_max_ms = remote->backoff_min_ms;
	}
	remote->lazy_count = given->lazy_count != 0 ? given->lazy_count : 1;
	remote->lazy_idle_ms = given->lazy_idle_ms;
}

static void
copy_unsubs(struct making *making, const avocet_link_remote *given, struct link_remote *remote)
{
	for (size_t i = 0; i < given->n_unsubs && i < MOST_SUBS; i++) {
		struct bytes filter = copy_bytes(making, given->unsubs[i], "filter");

		if (link_filter_is_good(filter)) {
			vec_push(&remote->unsubs, filter);
		}
	}
}

static void
copy_remote(struct making *making, const avocet_link_remote *given_at)
{
	struct link_remote *remote = mem_zalloc(sizeof(*remote));
	avocet_link_remote given = {0};

	memcpy(&given, given_at,
	    given_at->struct_size < sizeof(given) ? given_at->struct_size : sizeof(given));
	making->options->remote = remote;
	buf_init(&remote->password, WIRE_MAX_STRING);
	if (given.version < WIRE_V31 || given.version > WIRE_V5) {
		fail(making, "there is no version %u of MQTT", (unsigned)given.version);
	}
	copy_numbers(&given, remote);
	copy_addresses(making, &given, remote);
	remote->client_id = copy_bytes(making, given.client_id, "client id");
	remote->username = copy_bytes(making, given.username, "user name");
	remote->has_username = given.username.p != NULL;
	remote->has_password = given.password.p != NULL;
	buf_append(&remote->password, given.password.p, given.password.n);
	if (remote->password.failed) {
		fail(making, "the password is too long");
	}
	if (remote->has_password && !remote->has_username && given.version != WIRE_V5) {
		fail(making, "MQTT 3 has no password without a user name");
	}
	remote->method = copy_bytes(making, given.method, "method");
	if (remote->method.len != 0 && given.version != WIRE_V5) {
		fail(making, "only MQTT 5 has enhanced authentication");
	}
	remote->path = copy_optional(making, given.path, "path");
	remote->server_name = copy_optional(making, given.server_name, "server name");
	remote->state_topic = copy_optional(making, given.state_topic, "state topic");
	remote->has_will = copy_publish(making, given.will, false, "will", &remote->will);
	remote->has_birth = copy_publish(making, given.birth, false, "birth", &remote->birth);
	copy_subs(making, given.subs, given.n_subs, given.sub_size, &remote->subs);
	copy_unsubs(making, &given, remote);
	make_tls(making, &given, remote);
}

/* --- all of it --- */

static bool
is_level(struct bytes name)
{
	return name.len != 0 && name.len <= 200 && memchr(name.data, '/', name.len) == NULL &&
	       memchr(name.data, '+', name.len) == NULL && memchr(name.data, '#', name.len) == NULL;
}

static void
copy_names(struct making *making, const avocet_link_opts *given, const char *instance)
{
	struct link_options *options = making->options;
	struct buf id;

	options->name = copy_text(making, given->name, "name");
	if (!is_level(bytes_of(options->name))) {
		fail(making, "\"%s\" is no name for a link", options->name);
	}
	buf_init(&id, SIZE_MAX);
	buf_printf(&id, "$link/%s/%s", instance, options->name);
	options->client_id = bytes_of(arena_text(&options->arena, buf_bytes(&id)));
	buf_fini(&id);
	options->username = copy_bytes(making, given->username, "user name");
	if (options->username.len == 0) {
		options->username = bytes_of(arena_text(&options->arena, bytes_of(instance)));
	}
}

struct link_options *
link_options_new(
    const avocet_link_opts *given_at, const char *instance, int32_t *status, avocet_error *err)
{
	struct making making = {.options = mem_zalloc(sizeof(struct link_options)), .err = err};
	avocet_link_opts given = {0};

	memcpy(&given, given_at,
	    given_at->struct_size < sizeof(given) ? given_at->struct_size : sizeof(given));
	arena_init(&making.options->arena);
	copy_names(&making, &given, instance);
	copy_subs(&making, given.subs, given.n_subs, given.sub_size, &making.options->subs);
	making.options->session_expiry_s = given.session_expiry_s;
	making.options->receive_max = given.receive_max;
	making.options->worker = given.worker;
	making.options->forgets = (given.flags & AVOCET_LINK_FORGET) != 0;
	making.options->part = given.part;
	making.options->parts = given.parts;
	if (given.parts > MOST_PARTS || (given.parts > 1 && given.part >= given.parts)) {
		fail(&making, "there is no part %u of %u", (unsigned)given.part,
		    (unsigned)given.parts);
	}
	if (given.remote != NULL) {
		copy_remote(&making, given.remote);
	}
	if (given.will != NULL && given.remote != NULL) {
		fail(&making, "a remote link has the will of its remote");
	}
	making.options->has_will =
	    copy_publish(&making, given.will, true, "will", &making.options->will);
	*status = making.status;
	if (making.status != AVOCET_OK) {
		link_options_free(&making.options);
	}
	return making.options;
}

void
link_options_free(struct link_options **options_at)
{
	struct link_options *options = *options_at;
	struct link_remote *remote = options->remote;

	if (remote != NULL) {
		buf_fini_wiped(&remote->password);
		tls_ctx_unref(&remote->tls);
		msg_draft_fini(&remote->will);
		msg_draft_fini(&remote->birth);
		vec_fini(&remote->addresses);
		vec_fini(&remote->unsubs);
		mem_free(&options->remote);
	}
	msg_draft_fini(&options->will);
	arena_fini(&options->arena);
	mem_free(options_at);
}
