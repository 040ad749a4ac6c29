/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readings of a PUBLISH: live, of a group, or replayed. Each asks what the subscriptions that are
 * certain demand and what those that are possible allow: QoS, RETAIN, Subscription Identifiers.
 */
#include "reading.h"

#include "wire/packet.h"

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static bool
has_id(const struct came *came, uint32_t id)
{
	for (unsigned i = 0; i < came->id_count; i++) {
		if (came->ids[i] == id) {
			return true;
		}
	}
	return false;
}

static bool
is_own(const struct came *came)
{
	return came->pub->owner == came->life->owner && came->pub->life == came->life;
}

static bool
may_be_own(const struct came *came)
{
	return came->pub->owner == came->life->owner;
}

/* Retained ones are matched again when they arrive, so what has replaced a subscription meanwhile
 * may count. */
static bool
is_possible(const struct came *came, const struct sub *sub)
{
	const struct life *life = came->life;
	unsigned at = (unsigned)(sub - life->subs.items) + 1;

	if (model_is_possible(sub, came->from, came->to)) {
		return true;
	}
	for (size_t i = 0; i < life->subs.count && came->pub->retain && !sub->refused; i++) {
		const struct sub *other = &life->subs.items[i];

		if (other->closer == at && is_possible(came, other)) {
			return true;
		}
	}
	return false;
}

/* Live, merged over the subscriptions that are not shared. */
bool
reading_is_live(const struct came *came)
{
	const struct wire_publish *packet = came->packet;
	const struct life *life = came->life;
	unsigned low = 0, high = 0, known = 0;
	bool any = false, rap_possible = false, rap_certain = false;

	for (size_t i = 0; i < life->subs.count; i++) {
		const struct sub *sub = &life->subs.items[i];
		bool own = sub->no_local && is_own(came);

		if (sub->filter >= FIRST_SHARED || own ||
		    !model_matches(sub->filter, came->pub->topic) || !is_possible(came, sub)) {
			continue;
		}
		any = true;
		high = sub->qos > high ? sub->qos : high;
		rap_possible = rap_possible || sub->retain_as_published;
		known += sub->id != 0 && has_id(came, sub->id);
		/* Retained ones are matched again when they arrive. */
		if (model_is_certain(life, sub, came->from, came->to) &&
		    !(came->pub->retain && sub->closed_from != NEVER) &&
		    !(sub->no_local && may_be_own(came))) {
			low = sub->qos > low ? sub->qos : low;
			rap_certain = rap_certain || sub->retain_as_published;
			if (sub->id != 0 && came->link->client->version == WIRE_V5 &&
			    !has_id(came, sub->id)) {
				return false;
			}
		}
	}
	/* Each identifier is one of those: two filters of one SUBSCRIBE share theirs. */
	return any && known >= came->id_count && packet->qos <= least(came->pub->qos, high) &&
	       packet->qos >= least(came->pub->qos, low) &&
	       (packet->retain ? came->pub->retain && rap_possible
			       : !(came->pub->retain && rap_certain));
}

static bool
id_is(const struct came *came, const struct sub *sub)
{
	return came->link->client->version != WIRE_V5 ||
	       (sub->id == 0 ? came->id_count == 0
			     : came->id_count == 1 && came->ids[0] == sub->id);
}

/* Of a group; NULL: no. It may have been given back by a member, so it is routed until now. */
const struct sub *
reading_is_shared(const struct came *came)
{
	const struct life *life = came->life;

	for (size_t i = life->subs.count; i-- > 0;) {
		const struct sub *sub = &life->subs.items[i];

		if (sub->filter >= FIRST_SHARED && model_matches(sub->filter, came->pub->topic) &&
		    model_is_possible(sub, came->from, FOREVER) && id_is(came, sub) &&
		    came->packet->qos <= least(came->pub->qos, sub->qos) &&
		    came->packet->retain <= (came->pub->retain && sub->retain_as_published)) {
			return sub;
		}
	}
	return NULL;
}

/* When this subscription, or one that it replaced, may first have asked for a replay; NEVER: it has
 * not. */
static unsigned
asked_at(const struct life *life, const struct sub *sub)
{
	unsigned asked = NEVER;

	for (size_t i = life->subs.count; i-- > 0;) {
		const struct sub *other = &life->subs.items[i];

		/* One that is carried out late may take the place of those that were sent after it.
		 */
		if (other->filter != sub->filter || other->refused ||
		    (other->sent > sub->sent && !sub->asked_late)) {
			continue;
		}
		/* UNSUBSCRIBE ends it; what replaces it only goes on with it. */
		if (other->closed_at != NEVER && other->closer == 0 &&
		    other->closed_at < sub->sent) {
			break;
		}
		if (other->retain_handling == 0 ||
		    (other->retain_handling == 1 && other->may_be_new)) {
			asked = other->sent;
		}
	}
	return asked;
}

/* Of the retained store: all subscriptions are looked for whose replay it may be. */
bool
reading_is_replay(struct came *came)
{
	const struct life *life = came->life;
	bool any = false;

	came->asked = FOREVER;
	if (!came->packet->retain || !came->pub->retain) {
		return false;
	}
	for (size_t i = 0; i < life->subs.count; i++) {
		const struct sub *sub = &life->subs.items[i];
		unsigned asked = asked_at(life, sub);

		if (sub->filter < FIRST_SHARED && model_matches(sub->filter, came->pub->topic) &&
		    !(sub->no_local && may_be_own(came)) &&
		    model_is_possible(sub, came->from, FOREVER) && asked != NEVER &&
		    id_is(came, sub) && came->packet->qos <= least(came->pub->qos, sub->qos) &&
		    (sub->acked == NEVER || came->packet->qos == least(came->pub->qos, sub->qos))) {
			any = true;
			came->asked = least(came->asked, asked);
			came->was_acked = came->was_acked || sub->acked != NEVER ||
					  asked != sub->sent || sub->link != came->link->number;
		}
	}
	return any;
}
