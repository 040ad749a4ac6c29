/* SPDX-License-Identifier: Apache-2.0 */
/* A SUBSCRIBE under way: asked about (asking.c), judged and carried out (subscribe.c). */
#ifndef CONN_SUBSCRIBE_INT_H
#define CONN_SUBSCRIBE_INT_H

#include "conn/conn_int.h"

/* A SUBSCRIBE under way, or an UNSUBSCRIBE that is intercepted. */
struct open_subscribe {
	struct plugin_request request; /* first */
	struct conn *conn;             /* NULL: it has gone */
	struct conf *conf;             /* a reference, may be NULL: it is judged by its rules */
	const struct conn_listener *listener;
	struct conn_table *table;
	struct msg_client *client;
	struct plugin_access *access; /* one per filter */
	struct wire_subscription *items;
	uint8_t *reasons;
	uint8_t *filters; /* the packet's payload, copied */
	uint8_t *full;    /* the filters with the prefix; NULL: there is none */
	struct bytes prefix;
	struct plugin_filter filter; /* that interceptors are asked about */
	struct buf whole;            /* what it shows, with the prefix */
	struct buf props;            /* of the packet, for them */
	uint8_t **changed;           /* filters that they changed, by place; NULL: none */
	uint64_t ack;
	uint32_t at; /* the filter they are asked about */
	uint32_t count;
	uint32_t subscription_id;
	uint32_t slot, generation;
	bool wants_sys; /* one of the filters is below $SYS */
	bool unsubscribes;
	uint8_t goodbye;           /* the connection is closed with this reason; 0: it is not */
	struct list_link all_link; /* of table->subscribes */
};

/* --- subscribe.c --- */
/* The filter as it stands in the tree: the prefix goes in front of it, or behind $share/NAME/. */
struct bytes conn_full_filter(struct conn_table *table, struct bytes prefix, struct bytes filter);
/* Splits; without a share the name is empty. */
void conn_split_filter(struct bytes filter, struct bytes *share_out, struct bytes *inner_out);
/* Into open->reasons and access, by the listener's limits. */
void conn_judge_filters(struct open_subscribe *open);
/* Into the session, and tells the connection, where it is still there. */
void conn_carry_out(struct open_subscribe *open);
void conn_free_subscribe(struct plugin_request *request);

/* --- asking.c --- */
/* Interceptors, then authorizers, then it is carried out and ended. */
void conn_ask_filters(struct open_subscribe *open);

#endif
