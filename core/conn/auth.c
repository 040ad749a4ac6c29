/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who it is (config.md, "Who gets in"; mqtt5-tables 13) and what its will may do. A question lives
 * in an object of its own, since the authority may answer when the connection has gone.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "wire/reason.h"

static void
free_question(struct plugin_request *request)
{
	struct conn_question *question = (struct conn_question *)(void *)request;

	plugin_request_fini(request);
	msg_draft_fini(&question->draft);
	msg_client_unref(&question->client);
	buf_fini_wiped(&question->input);
	mem_free(&question);
}

static void
free_exchange(struct plugin_authority *authority, void *exchange)
{
	if (exchange != NULL && authority != NULL && authority->ops->exchange_free != NULL) {
		authority->ops->exchange_free(authority, exchange);
	}
}

/* Nobody waited for the answer: the exchange ends with it. */
static void
free_orphan(struct plugin_request *request)
{
	free_exchange(request->authority, request->exchange);
	free_question(request);
}

void
conn_drop_question(struct conn *conn)
{
	struct conn_more *more = conn->more;
	void *exchange;

	if (more == NULL) {
		return;
	}
	if (more->question != NULL) {
		struct conn_question *question = more->question;

		more->question = NULL;
		question->conn = NULL;
		/* While a question is open its exchange belongs to it. */
		more->exchange = NULL;
		plugin_end(&question->request, free_orphan);
	}
	exchange = more->exchange;
	more->exchange = NULL;
	/* The listener may have another authority by now, or none. */
	if (exchange != NULL && more->exchange_free != NULL) {
		more->exchange_free(more->exchange_authority, exchange);
	}
}

struct msg_client *
conn_claimed_client(struct conn *conn)
{
	const struct conn_connect *connect = conn->connect;
	struct msg_client_parts client = {.version = conn_version(conn),
	    .client_id = connect->client_id,
	    .username = connect->username,
	    .listener = bytes_of(conn->listener->name),
	    .address = stream_peer_name(conn->peer.stream),
	    .prefix = bytes_of(conn->listener->mount_point),
	    .method = connect->method};

	return conn_make_client(conn, &client);
}

static struct bytes
keep(struct buf *buf, size_t *at, struct bytes bytes)
{
	struct bytes view;

	memcpy(buf->data + *at, bytes.len != 0 ? bytes.data : buf->data, bytes.len);
	view = bytes_make(buf->data + *at, bytes.len);
	*at += bytes.len;
	return view;
}

static struct conn_question *
question_new(struct conn *conn, enum plugin_question kind, struct bytes method, struct bytes data,
    bool has_data)
{
	struct conn_question *question = mem_zalloc(sizeof(*question));
	const struct conn_connect *connect = conn->connect;
	struct plugin_request *request = &question->request;
	size_t password_len = connect != NULL ? connect->password.len : 0, at = 0;

	question->conn = conn;
	question->client =
	    conn->client != NULL ? msg_client_ref(conn->client) : conn_claimed_client(conn);
	buf_init(&question->input, SIZE_MAX);
	(void)buf_reserve(&question->input, method.len + data.len + password_len + 1);
	plugin_request_init(request);
	request->question = kind;
	request->client = question->client;
	request->method = keep(&question->input, &at, method);
	request->data = keep(&question->input, &at, data);
	request->has_data = has_data;
	if (connect != NULL) {
		request->username = msg_client_username_of(question->client);
		request->password = keep(&question->input, &at, connect->password);
		request->has_username = connect->has_username;
		request->has_password = connect->has_password;
		request->is_proven = connect->is_proven;
	}
	question->input.len = at;
	request->exchange = conn_more_of(conn)->exchange;
	conn->more->question = question;
	return question;
}

static void
send_auth(struct conn *conn, uint8_t reason, const struct plugin_said *given)
{
	const struct plugin_said *said = plugin_said_or_none(given);
	struct bytes data = buf_bytes(&said->data);
	struct bytes method =
	    conn->client != NULL ? msg_client_method_of(conn->client) : conn->connect->method;
	size_t room = method.len + data.len + said->text.len + said->user_props.len + 16;
	uint8_t *block = mem_alloc(room);
	struct wire_writer writer = wire_writer_of(block, room);
	struct wire_packet packet = {.type = WIRE_AUTH, .auth = {.reason = reason}};

	wire_write_prop_bytes(&writer, WIRE_AUTHENTICATION_METHOD, method);
	if (data.len != 0) {
		wire_write_prop_bytes(&writer, WIRE_AUTHENTICATION_DATA, data);
	}
	conn_write_said(&writer, said, (struct bytes){0});
	packet.auth.props.block = bytes_make(block, writer.len);
	(void)peer_send(&conn->peer, &packet);
	mem_free(&block);
}

/* --- verdicts --- */

/* A refused login is answered later, so that guessing is slow; only so many are held back.
 * delay_ms: so much later at least. */
static void
deny(struct conn *conn, uint8_t reason, const char *sentence, int64_t delay_ms)
{
	const struct conn_limits *limits = conn_limits_of(conn);
	_Atomic int64_t *delayed = &conn->table->house->delayed;

	if (reason < WIRE_REASON_FIRST_ERROR) {
		reason = WIRE_REASON_NOT_AUTHORIZED;
	}
	delay_ms = delay_ms > limits->auth_delay_ms ? delay_ms : limits->auth_delay_ms;
	if (delay_ms == 0 ||
	    atomic_load_explicit(delayed, memory_order_relaxed) >= limits->max_delayed) {
		conn_refuse(conn, reason, sentence);
		return;
	}
	atomic_fetch_add_explicit(delayed, 1, memory_order_relaxed);
	conn->connect->refusal = reason;
	conn->connect->refusal_text = sentence;
	conn_set_state(conn, CONN_DELAYED);
	peer_set_deadline(&conn->peer, context_current->mono_ms + delay_ms);
}

static void
go_on_with_client(struct conn *conn)
{
	const struct conn_limits *limits = conn_limits_of(conn);

	conn_set_state(conn, CONN_EXCHANGE);
	if (limits->connect_timeout_ms != 0 && limits->connect_timeout_ms != CONF_NEVER) {
		peer_set_deadline(
		    &conn->peer, context_current->mono_ms + limits->connect_timeout_ms);
	}
	peer_resume(&conn->peer, PEER_PAUSE_ROLE);
}

/* What was said is the connection's from here on. */
static void
take_said(struct conn *conn, struct plugin_request *request)
{
	plugin_said_free(&conn->connect->said);
	conn->connect->said = request->said;
	request->said = NULL;
}

static void
judge_connect(struct conn *conn, struct plugin_request *request)
{
	switch (request->verdict) {
	case PLUGIN_ACCEPT:
		take_said(conn, request);
		conn_accepted(conn, true);
		break;
	case PLUGIN_CONTINUE:
		send_auth(conn, WIRE_REASON_CONTINUE_AUTHENTICATION, request->said);
		go_on_with_client(conn);
		break;
	default:
		take_said(conn, request);
		deny(conn, request->reason, "the login is refused", request->answer_delay_ms);
		break;
	}
}

/* Another identity is not taken over by re-authentication. */
static bool
is_same_user(const struct conn *conn, const struct plugin_request *request)
{
	struct bytes name = buf_bytes(&plugin_said_or_none(request->said)->username);

	return name.len == 0 || bytes_equal(name, msg_client_username_of(conn->client));
}

static void
judge_reauth(struct conn *conn, struct plugin_request *request)
{
	conn->more->reauth = CONN_REAUTH_NONE;
	if (request->verdict == PLUGIN_ACCEPT && is_same_user(conn, request)) {
		conn_renew_terms(conn, request->said);
		send_auth(conn, WIRE_REASON_SUCCESS, request->said);
	} else if (request->verdict == PLUGIN_CONTINUE) {
		send_auth(conn, WIRE_REASON_CONTINUE_AUTHENTICATION, request->said);
		conn->more->reauth = CONN_REAUTH_EXCHANGE;
	} else {
		bool can_be_said =
		    request->reason >= WIRE_REASON_FIRST_ERROR &&
		    wire_reason_is_allowed(WIRE_DISCONNECT, WIRE_SERVER, request->reason);

		if (request->verdict != PLUGIN_ACCEPT) {
			conn->more->said = request->said;
			request->said = NULL;
		}
		conn_close(conn, SESSION_LEAVE_ABNORMAL,
		    can_be_said ? request->reason : (uint8_t)WIRE_REASON_NOT_AUTHORIZED,
		    "the re-authentication is refused");
		plugin_said_free(&conn->more->said);
	}
}

/* The question is answered, at once or later. */
static void
judge(struct conn_question *question)
{
	struct conn *conn = question->conn;
	struct plugin_request *request = &question->request;
	bool is_will = request->question == PLUGIN_WILL;

	if (conn == NULL) {
		return;
	}
	conn->more->question = NULL;
	question->conn = NULL;
	if (!is_will) {
		conn->more->exchange =
		    request->verdict == PLUGIN_CONTINUE ? request->exchange : NULL;
		conn->more->exchange_authority = request->authority;
		conn->more->exchange_free = request->authority->ops->exchange_free;
	}
	if (is_will) {
		if (request->verdict == PLUGIN_ACCEPT) {
			conn_go_home(conn);
		} else {
			conn_refuse(conn,
			    request->reason >= WIRE_REASON_FIRST_ERROR
				? request->reason
				: (uint8_t)WIRE_REASON_NOT_AUTHORIZED,
			    "the will is not allowed");
		}
	} else if (conn->state == CONN_SERVING) {
		judge_reauth(conn, request);
	} else {
		judge_connect(conn, request);
	}
	plugin_end(request, request->timed_out ? free_orphan : free_question);
	conn_settle(conn);
}

static void
on_answer(struct plugin_request *request)
{
	judge((struct conn_question *)(void *)request);
}

static void
put_question(struct conn *conn, struct plugin_authority *authority)
{
	struct conn_question *question = conn->more->question;

	question->request.done = on_answer;
	if (conn->state != CONN_SERVING) {
		conn_set_state(conn, CONN_ASKED);
	}
	if (plugin_ask(conn->table->plugins, authority, &question->request) != PLUGIN_PENDING) {
		judge(question);
	}
}

/* --- CONNECT --- */

static bool
knows_method(const struct plugin_authority *authority, struct bytes method)
{
	for (const char *const *name = authority->methods; name != NULL && *name != NULL; name++) {
		if (bytes_equal_text(method, *name)) {
			return true;
		}
	}
	return false;
}

/* The name that a certificate or a PSK proves takes the place of the claimed one. False: it was
 * refused, since its certificate has no such name. */
static bool
take_proven_name(struct conn *conn)
{
	const struct stream_identity *identity = stream_identity(conn->peer.stream);
	struct conn_connect *connect = conn->connect;

	if (identity == NULL) {
		return true;
	}
	if (identity->username.len != 0) {
		connect->username = identity->username; /* lives as long as the stream */
		connect->has_username = true;
		connect->is_proven = true;
		return true;
	}
	if (identity->has_certificate && conn->listener->needs_certificate_name) {
		deny(conn, WIRE_REASON_BAD_USER_NAME_OR_PASSWORD,
		    "the certificate has no name of the kind that username_from says", 0);
		return false;
	}
	return true;
}

void
conn_authenticate(struct conn *conn, const struct wire_connect *packet)
{
	struct plugin_authority *authority = conn->listener->plugins->authenticate;
	struct conn_connect *connect = conn->connect;
	struct bytes data = wire_props_bytes(&packet->props, WIRE_AUTHENTICATION_DATA);
	bool claims;

	if (!take_proven_name(conn)) {
		return;
	}
	claims = connect->has_username || connect->has_password || connect->has_method;
	if (connect->has_method &&
	    (authority == NULL || !knows_method(authority, connect->method))) {
		conn_refuse(conn, WIRE_REASON_BAD_AUTHENTICATION_METHOD, NULL);
		return;
	}
	if (authority == NULL && connect->is_proven) {
		conn_accepted(conn, false);
		return;
	}
	if (authority == NULL || !claims) {
		if (!conn->listener->allow_anonymous) {
			deny(conn, WIRE_REASON_NOT_AUTHORIZED,
			    "clients without a login are not let in here", 0);
			return;
		}
		if (claims) {
			/* One line at info is enough: Tasmota sends a name always. */
			conn_log(conn,
			    atomic_exchange(&conn->table->house->told_names, true) ? LOG_LEVEL_DEBUG
										   : LOG_LEVEL_INFO,
			    WIRE_REASON_SUCCESS,
			    "the user name is ignored: nobody is there to check it");
		}
		conn_accepted(conn, false);
		return;
	}
	(void)question_new(conn, PLUGIN_AUTHENTICATE, connect->method, data,
	    wire_props_has(&packet->props, WIRE_AUTHENTICATION_DATA));
	put_question(conn, authority);
}

void
conn_authorize_will(struct conn *conn)
{
	struct plugin_authority *authority = conn->listener->plugins->authorize;
	struct conn_question *question;

	if (authority == NULL || !conn->connect->has_will) {
		conn_go_home(conn);
		return;
	}
	question = question_new(conn, PLUGIN_WILL, (struct bytes){0}, (struct bytes){0}, false);
	/* A copy: the authority may look at it when the connection has gone. */
	question->draft = conn->connect->will;
	question->draft.copy = NULL;
	question->draft.scraps = NULL;
	if (msg_draft_own(&question->draft) != 0) {
		conn_refuse(conn, WIRE_REASON_SERVER_BUSY, "no memory for the will");
		return;
	}
	question->request.draft = &question->draft;
	put_question(conn, authority);
}

/* --- AUTH --- */

static void
refuse_auth(struct conn *conn, const char *sentence)
{
	conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_PROTOCOL_ERROR, "AUTH: %s", sentence);
}

void
conn_on_auth(struct conn *conn, const struct wire_disconnect *packet)
{
	struct bytes method = wire_props_bytes(&packet->props, WIRE_AUTHENTICATION_METHOD);
	struct bytes data = wire_props_bytes(&packet->props, WIRE_AUTHENTICATION_DATA);
	bool serving = conn->state == CONN_SERVING;
	struct bytes agreed = serving ? msg_client_method_of(conn->client) : conn->connect->method;
	bool restart = packet->reason == WIRE_REASON_RE_AUTHENTICATE;
	uint8_t reauth = conn->more != NULL ? conn->more->reauth : (uint8_t)CONN_REAUTH_NONE;

	if (agreed.len == 0) {
		refuse_auth(conn, "CONNECT had no Authentication Method"); /* [MQTT-4.12.0-6] */
		return;
	}
	if (!bytes_equal(method, agreed)) {
		refuse_auth(conn, "another Authentication Method"); /* [MQTT-4.12.0-5] */
		return;
	}
	if (restart != (serving && reauth == CONN_REAUTH_NONE) ||
	    packet->reason == WIRE_REASON_SUCCESS || (serving && reauth == CONN_REAUTH_ASKED)) {
		refuse_auth(conn, "this reason is not due");
		return;
	}
	if (conn->listener->plugins->authenticate == NULL) {
		/* A reload has taken it away. */
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_NOT_AUTHORIZED,
		    "nobody is there any more to go on with the authentication");
		return;
	}
	if (serving) {
		conn_more_of(conn)->reauth = CONN_REAUTH_ASKED;
	} else {
		peer_pause(&conn->peer, PEER_PAUSE_ROLE);
	}
	(void)question_new(conn, restart ? PLUGIN_REAUTHENTICATE : PLUGIN_AUTH_CONTINUE, method,
	    data, wire_props_has(&packet->props, WIRE_AUTHENTICATION_DATA));
	put_question(conn, conn->listener->plugins->authenticate);
}
