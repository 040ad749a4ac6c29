/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains: several instances behind one authority, asked in the order of the configuration.
 *
 * sufficient: ACCEPT = yes, DENY = no, DEFER = the next. required: ACCEPT = the next, everything
 * else = no. After the last: yes only if there are members and all are required. ERROR, and no
 * answer in time, count as DENY, or as DEFER with on_error defer. Interceptors: DROP, REJECT,
 * DISCONNECT and ERROR end, PASS and DEFER go on with the edits.
 *
 * Made on main's thread, immutable, asked by workers. A set lives as long as the snapshot of the
 * configuration that it was made for.
 */
#ifndef PLUGIN_CHAIN_H
#define PLUGIN_CHAIN_H

#include "plugin/ask.h"

struct avocet_self;
struct plugin_house;

struct plugin_member_options {
	struct avocet_self *self;
	bool is_required;
	bool defers_errors; /* on_error: defer */
	int64_t timeout_ms;
};

struct plugin_chain_options {
	const struct plugin_member_options *members;
	size_t count;
};

struct plugin_set_options {
	struct plugin_house *house;
	struct plugin_chain_options authenticate, authorize, intercept;
	int64_t max_grants; /* remembered answers per client */
};

/* References the instances. The caller owns one reference. While a question is open its chain has
 * one, so who asks need not. */
struct plugin_set *plugin_set_new(const struct plugin_set_options *options);
/* Any thread. They do nothing to a set that is not counted. */
const struct plugin_set *plugin_set_ref(const struct plugin_set *set);
void plugin_set_unref(const struct plugin_set **set);

/* What a plugin is told of a client, beyond what the snapshot holds. Own thread of the client,
 * once, before it is asked about. The texts are copied. */
struct plugin_client_facts {
	uint64_t handle;
	uint32_t transport; /* AVOCET_TRANSPORT_* */
	bool is_verified, has_will, clean_start;
	uint32_t worker, keepalive_s, session_expiry_s;
	struct bytes props; /* of CONNECT, a checked block */
	struct bytes sni, tls_version, psk_identity;
	struct bytes certificate, exporter; /* where the set wants_proof */
	struct bytes attrs;                 /* of authenticators, a block of User Properties */
};
void plugin_client_describe(struct msg_client *client, const struct plugin_client_facts *facts);
/* The same of who has re-authenticated, with other attributes. */
void plugin_client_renew(
    struct msg_client *client, const struct msg_client *before, struct bytes attrs);

/* Own thread of the receiver, where the set intercepts_out: what it is sent. NULL: nothing; the
 * message itself; or another one, of which the caller gets a reference, while the given one is
 * still the caller's. */
struct msg *plugin_send_out(const struct plugin_set *set, struct msg_client *client,
    struct msg *msg, uint8_t qos, bool retain);

/* Own thread of the receiver: may it get this? Only where the set judges_receive. */
bool plugin_may_receive(
    const struct plugin_set *set, struct msg_client *client, struct bytes topic);

#endif
