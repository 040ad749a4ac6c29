/* SPDX-License-Identifier: Apache-2.0 */
/* What authenticators say. */
#include "plugin/said.h"

#include "base/mem.h"

struct plugin_said *
plugin_said_new(void)
{
	struct plugin_said *said = mem_zalloc(sizeof(*said));

	buf_init(&said->data, SIZE_MAX);
	buf_init(&said->username, SIZE_MAX);
	buf_init(&said->client_id, SIZE_MAX);
	buf_init(&said->prefix, SIZE_MAX);
	buf_init(&said->text, SIZE_MAX);
	buf_init(&said->user_props, SIZE_MAX);
	buf_init(&said->server, SIZE_MAX);
	buf_init(&said->attrs, SIZE_MAX);
	return said;
}

void
plugin_said_free(struct plugin_said **said_at)
{
	struct plugin_said *said = *said_at;

	if (said == NULL) {
		return;
	}
	buf_fini_wiped(&said->data);
	buf_fini(&said->username);
	buf_fini(&said->client_id);
	buf_fini(&said->prefix);
	buf_fini(&said->text);
	buf_fini(&said->user_props);
	buf_fini(&said->server);
	buf_fini_wiped(&said->attrs);
	mem_free(said_at);
}

struct plugin_said *
plugin_said_at(struct plugin_said **said)
{
	if (*said == NULL) {
		*said = plugin_said_new();
	}
	return *said;
}

static void
replace(struct buf *buf, const struct buf *with)
{
	if (with->len != 0) {
		buf_clear(buf);
		buf_append_bytes(buf, buf_bytes(with));
	}
}

/* 0 is no limit. */
static uint32_t
stricter(uint32_t a, uint32_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

void
plugin_said_add(struct plugin_said **to_at, const struct plugin_said *from)
{
	struct plugin_said *to;

	if (from == NULL) {
		return;
	}
	to = plugin_said_at(to_at);
	replace(&to->username, &from->username);
	replace(&to->client_id, &from->client_id);
	replace(&to->prefix, &from->prefix);
	replace(&to->text, &from->text);
	replace(&to->server, &from->server);
	buf_append_bytes(&to->user_props, buf_bytes(&from->user_props));
	buf_append_bytes(&to->attrs, buf_bytes(&from->attrs));
	if (to->expires_ms == 0 || (from->expires_ms != 0 && from->expires_ms < to->expires_ms)) {
		to->expires_ms = from->expires_ms;
	}
	to->max_session_expiry_s = stricter(to->max_session_expiry_s, from->max_session_expiry_s);
	to->max_receive = stricter(to->max_receive, from->max_receive);
	to->max_packet = stricter(to->max_packet, from->max_packet);
}

const struct plugin_said *
plugin_said_or_none(const struct plugin_said *said)
{
	static const struct plugin_said none;

	return said != NULL ? said : &none;
}
