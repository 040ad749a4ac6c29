/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packet may come when. legal[state][type] names the handler; where there is none, the packet
 * is a protocol error in that state. While a question about the connection is open nothing is read,
 * so the states that wait have no rows but for what was already in the buffer.
 */
#include "base/counter.h"
#include "conn/conn_int.h"
#include "wire/reason.h"

typedef void handler_fn(struct conn *conn, const struct wire_packet *packet);

static void
on_connect(struct conn *conn, const struct wire_packet *packet)
{
	conn_on_connect(conn, &packet->connect);
}

static void
on_publish(struct conn *conn, const struct wire_packet *packet)
{
	conn_on_publish(conn, &packet->publish);
}

static void
on_puback(struct conn *conn, const struct wire_packet *packet)
{
	session_puback(conn->session, packet->ack.packet_id);
}

static void
on_pubrec(struct conn *conn, const struct wire_packet *packet)
{
	if (!session_pubrec(conn->session, packet->ack.packet_id, packet->ack.reason) &&
	    packet->ack.reason < WIRE_REASON_FIRST_ERROR) {
		/* Nothing of that id is known here, and the other side shall forget it too. */
		peer_send_ack(&conn->peer, WIRE_PUBREL, packet->ack.packet_id,
		    WIRE_REASON_PACKET_IDENTIFIER_NOT_FOUND);
	}
}

static void
on_pubrel(struct conn *conn, const struct wire_packet *packet)
{
	conn_on_pubrel(conn, &packet->ack);
}

static void
on_pubcomp(struct conn *conn, const struct wire_packet *packet)
{
	session_pubcomp(conn->session, packet->ack.packet_id);
}

static void
on_subscribe(struct conn *conn, const struct wire_packet *packet)
{
	conn_on_subscribe(conn, &packet->subscribe);
}

static void
on_unsubscribe(struct conn *conn, const struct wire_packet *packet)
{
	conn_on_unsubscribe(conn, &packet->subscribe);
}

static void
on_pingreq(struct conn *conn, const struct wire_packet *packet)
{
	static const struct wire_packet pong = {.type = WIRE_PINGRESP};

	(void)packet;
	(void)peer_send(&conn->peer, &pong);
}

static void
on_disconnect(struct conn *conn, const struct wire_packet *packet)
{
	const struct wire_disconnect *disconnect = &packet->disconnect;
	enum session_leave how = disconnect->reason == WIRE_REASON_NORMAL_DISCONNECTION
				     ? SESSION_LEAVE_NORMAL
				     : SESSION_LEAVE_ABNORMAL;

	if (conn->session != NULL &&
	    wire_props_has(&disconnect->props, WIRE_SESSION_EXPIRY_INTERVAL)) {
		uint32_t expiry_s =
		    wire_props_number(&disconnect->props, WIRE_SESSION_EXPIRY_INTERVAL, 0);

		/* [MQTT-3.14.2-2] and the text before it. */
		if (expiry_s != 0 && conn->connect_expiry_s == 0) {
			conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_PROTOCOL_ERROR,
			    "DISCONNECT: a session without expiry cannot get one");
			return;
		}
		session_set_expiry(conn->session, conn_capped_expiry(conn, expiry_s));
	}
	conn->peer.eof = true; /* the client closes [MQTT-3.14.4-1]; nothing more is due from it */
	conn_close(conn, how, WIRE_REASON_SUCCESS, "the client disconnected");
}

static void
on_auth(struct conn *conn, const struct wire_packet *packet)
{
	conn_on_auth(conn, &packet->auth);
}

static handler_fn *const legal[CONN_STATE_COUNT][WIRE_AUTH + 1] = {
    [CONN_NEW] = {[WIRE_CONNECT] = on_connect},
    [CONN_EXCHANGE] = {[WIRE_AUTH] = on_auth, [WIRE_DISCONNECT] = on_disconnect},
    [CONN_SERVING] =
	{
	    [WIRE_PUBLISH] = on_publish,
	    [WIRE_PUBACK] = on_puback,
	    [WIRE_PUBREC] = on_pubrec,
	    [WIRE_PUBREL] = on_pubrel,
	    [WIRE_PUBCOMP] = on_pubcomp,
	    [WIRE_SUBSCRIBE] = on_subscribe,
	    [WIRE_UNSUBSCRIBE] = on_unsubscribe,
	    [WIRE_PINGREQ] = on_pingreq,
	    [WIRE_DISCONNECT] = on_disconnect,
	    [WIRE_AUTH] = on_auth,
	},
};

void
conn_dispatch(struct peer *peer, struct wire_packet *packet)
{
	struct conn *conn = conn_of_peer(peer);
	handler_fn *handler = legal[conn->state][packet->type];

	if (handler == NULL) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_PROTOCOL_ERROR,
		    "%s is not allowed here", wire_type_name(packet->type));
		return;
	}
	handler(conn, packet);
}
