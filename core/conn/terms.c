/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an authenticator said beyond yes and no: the properties of the packet that answers, and the
 * terms on which the connection was let in. Own thread.
 */
#include "base/mem.h"
#include "conn/conn_int.h"
#include "plugin/chain.h"
#include "wire/packet.h"

void
conn_write_said(struct wire_writer *writer, const struct plugin_said *given, struct bytes sentence)
{
	const struct plugin_said *said = plugin_said_or_none(given);
	struct bytes text = said->text.len != 0 ? buf_bytes(&said->text) : sentence;
	struct bytes props = buf_bytes(&said->user_props);
	struct wire_property property;

	if (said->server.len != 0) {
		wire_write_prop_bytes(writer, WIRE_SERVER_REFERENCE, buf_bytes(&said->server));
	}
	if (text.len != 0) {
		wire_write_prop_bytes(writer, WIRE_REASON_STRING, text);
	}
	while (wire_props_next(&props, &property)) {
		wire_write_property(writer, &property);
	}
}

/* When its credential ends it is looked at, and in between, since a deadline may be too far. */
static void
watch(struct conn *conn)
{
	int64_t left_ms = conn->terms->expires_ms - context_current->wall_ms;

	peer_set_deadline(&conn->peer,
	    conn->terms->expires_ms == 0 ? 0
					 : context_current->mono_ms + (left_ms > 0 ? left_ms : 0));
}

void
conn_take_terms(struct conn *conn, const struct plugin_said *said)
{
	if (said == NULL || (said->expires_ms == 0 && said->max_session_expiry_s == 0 &&
				said->max_receive == 0 && said->max_packet == 0)) {
		return;
	}
	conn->terms = mem_zalloc(sizeof(*conn->terms));
	conn->terms->expires_ms = said->expires_ms;
	conn->terms->max_session_expiry_s = said->max_session_expiry_s;
	conn->terms->max_receive = said->max_receive;
	if (said->max_packet != 0 && said->max_packet < conn->peer.max_packet_in) {
		conn->peer.max_packet_in = said->max_packet;
	}
}

void
conn_begin_terms(struct conn *conn)
{
	if (conn->terms != NULL) {
		watch(conn);
	}
}

void
conn_renew_terms(struct conn *conn, const struct plugin_said *said)
{
	struct msg_client_parts parts = msg_client_parts_of(conn->client);
	struct msg_client *before = conn->client;

	if (conn->terms != NULL || (said != NULL && said->expires_ms != 0)) {
		if (conn->terms == NULL) {
			conn->terms = mem_zalloc(sizeof(*conn->terms));
		}
		conn->terms->expires_ms = said != NULL ? said->expires_ms : 0;
		watch(conn);
	}
	if (said == NULL || said->attrs.len == 0 || conn->session == NULL) {
		return;
	}
	conn->client = msg_client_new(&parts);
	plugin_client_renew(conn->client, before, buf_bytes(&said->attrs));
	session_set_client(conn->session, conn->client);
	msg_client_unref(&before);
	conn_recheck(conn); /* other attributes may mean other rights */
}

bool
conn_check_terms(struct conn *conn)
{
	if (conn->terms == NULL || conn->terms->expires_ms == 0) {
		return true;
	}
	if (conn->terms->expires_ms > context_current->wall_ms) {
		watch(conn);
		return true;
	}
	return false;
}

uint32_t
conn_receive_maximum(const struct conn *conn)
{
	uint32_t limit = (uint32_t)conn_limits_of(conn)->session.receive_maximum;
	uint32_t max = conn->terms != NULL ? conn->terms->max_receive : 0;

	return max != 0 && max < limit ? max : limit;
}

uint32_t
conn_capped_expiry(const struct conn *conn, uint32_t seconds)
{
	int64_t cap_ms = conn_limits_of(conn)->session.max_session_expiry_ms;
	uint32_t cap_s = cap_ms == CONF_NEVER || cap_ms / 1000 >= UINT32_MAX
			     ? UINT32_MAX
			     : (uint32_t)(cap_ms / 1000);
	uint32_t term_s = conn->terms != NULL ? conn->terms->max_session_expiry_s : 0;

	cap_s = term_s != 0 && term_s < cap_s ? term_s : cap_s;
	return seconds < cap_s ? seconds : cap_s;
}
