/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared groups. A group's share stands in the table of nodes (found by ShareName below the
 * filter's node) and in the list of its filter's set, which a match follows; a share that is taken
 * out still leads on to those behind it. What readers see of a share is a struct topic_group, which
 * is replaced when members come. Its members lie in an array that several such structs use one
 * after the other: a new member is written behind those that the present one counts, so a group
 * grows without copying; to replace one copies the array. Who leaves stays in its place without a
 * state; when half of the places are such, the array is copied without them. So ten thousand
 * members that leave at once cost no more than a few copies.
 */
#include "topic/share.h"

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "topic/tree_int.h"

struct topic_member_array {
	uint32_t cap;
	struct topic_group_member items[];
};

static const char prefix[] = "$share/";

static size_t
array_size(uint32_t cap)
{
	return offsetof(struct topic_member_array, items) + cap * sizeof(struct topic_group_member);
}

static size_t
share_size(size_t text_len)
{
	return sizeof(struct topic_share) + text_len;
}

static struct topic_share *
share_of(const struct topic_node *node)
{
	return (struct topic_share *)atomic_load_explicit(&node->members, memory_order_acquire);
}

static struct topic_group *
group_of(const struct topic_share *share)
{
	return atomic_load_explicit(&share->group, memory_order_acquire);
}

static struct topic_node *
find_node(const struct topic_tree *tree, const struct topic_node *node, struct bytes share_name)
{
	return topic_node_find(
	    tree, node, TOPIC_NODE_SHARE, share_name, topic_level_hash(tree, share_name));
}

const struct topic_group *
topic_share_find(
    const struct topic_tree *tree, const struct topic_node *node, struct bytes share_name)
{
	const struct topic_node *found = find_node(tree, node, share_name);

	return found != NULL ? group_of(share_of(found)) : NULL;
}

/* --- what readers see; writers --- */

static bool
is_persistent(const struct topic_group_member *member)
{
	return (member->subscriber.flags & TOPIC_PERSISTENT) != 0;
}

/* Shows the group with so many members of the array. */
static void
show(struct topic_tree *tree, struct worker *worker, struct topic_share *share,
    struct topic_group *group, struct topic_member_array *array, uint32_t count)
{
	struct topic_group *old = group_of(share);

	*group = *old;
	group->member_count = count;
	group->members = array->items;
	group->has_persistent = share->persistent_count != 0;
	atomic_store_explicit(&share->group, group, memory_order_release);
	topic_tree_retire(tree, worker, old, sizeof(*old));
	if (array != share->array) {
		topic_tree_retire(tree, worker, share->array, array_size(share->array->cap));
		share->array = array;
	}
}

/* Of the members that are shown and there; their count when it is not. */
static uint32_t
find_member(const struct topic_group *group, const struct topic_subscriber *key)
{
	uint32_t i = 0;

	while (
	    i < group->member_count && !(topic_subscriber_is(&group->members[i].subscriber, key) &&
					   topic_member_is_there(&group->members[i]))) {
		i++;
	}
	return i;
}

static void
put_into(struct topic_group_member *place, const struct topic_group_member *member)
{
	place->subscriber = member->subscriber;
	atomic_init(&place->state, atomic_load_explicit(&member->state, memory_order_relaxed));
}

/* Copies those that are there but the one at `except`; returns their number. */
static uint32_t
copy_members(struct topic_member_array *array, const struct topic_group *group, uint32_t except)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < group->member_count; i++) {
		if (i != except && topic_member_is_there(&group->members[i])) {
			put_into(&array->items[count++], &group->members[i]);
		}
	}
	return count;
}

/* Puts the member in the place of the one at `at`, or behind all. */
static int
put_member(struct topic_tree *tree, struct worker *worker, struct topic_share *share, uint32_t at,
    const struct topic_group_member *member)
{
	const struct topic_group *old = group_of(share);
	uint32_t count = old->member_count;
	bool is_new = at == count;
	struct topic_group *group = topic_tree_alloc(tree, sizeof(*group));
	struct topic_member_array *array = share->array;

	if (group == NULL) {
		return ERR_NOMEM;
	}
	if (!is_new || count == array->cap) {
		uint32_t cap = share->live_count + share->live_count / 2 + 1;

		array = topic_tree_alloc(tree, array_size(cap));
		if (array == NULL) {
			topic_tree_discard(tree, group, sizeof(*group));
			return ERR_NOMEM;
		}
		array->cap = cap;
		count = copy_members(array, old, at);
	}
	put_into(&array->items[count], member);
	share->live_count += is_new;
	share->persistent_count += is_persistent(member);
	share->persistent_count -= !is_new && is_persistent(&old->members[at]);
	show(tree, worker, share, group, array, count + 1);
	return is_new;
}

/* Not the last one. */
static void
remove_member(
    struct topic_tree *tree, struct worker *worker, struct topic_share *share, uint32_t at)
{
	const struct topic_group *old = group_of(share);
	struct topic_member_array *array = share->array;
	uint32_t count = old->member_count;
	bool was_persistent = is_persistent(&old->members[at]);

	share->live_count--;
	share->persistent_count -= was_persistent;
	atomic_store_explicit(&array->items[at].state, NULL, memory_order_release);
	if (share->live_count * 2 <= count) {
		array = topic_tree_alloc_surely(tree, array_size(share->live_count));
		array->cap = share->live_count;
		count = copy_members(array, old, at);
	}
	if (array != share->array || (was_persistent && share->persistent_count == 0)) {
		show(
		    tree, worker, share, topic_tree_alloc_surely(tree, sizeof(*old)), array, count);
	}
}

/* --- shares come and go; writers --- */

static size_t
append(uint8_t *text, size_t at, struct bytes bytes)
{
	memcpy(text + at, bytes.data, bytes.len);
	return at + bytes.len;
}

static void
write_text(struct topic_share *share, struct bytes share_name, struct bytes filter)
{
	size_t at = append(share->text, 0, BYTES_LITERAL(prefix));

	at = append(share->text, at, share_name);
	share->text[at++] = '/';
	at = append(share->text, at, filter);
	share->text_len = (uint32_t)at;
}

static void
discard_share(struct topic_tree *tree, struct topic_share *share, size_t text_len,
    struct topic_group *group, struct topic_member_array *array)
{
	topic_tree_discard(tree, share, share_size(text_len));
	topic_tree_discard(tree, group, sizeof(*group));
	topic_tree_discard(tree, array, array_size(1));
}

/* A share with its first member, which nobody sees yet. */
static struct topic_share *
new_share(struct topic_tree *tree, struct bytes share_name, struct bytes filter,
    const struct topic_group_member *member)
{
	size_t text_len = sizeof(prefix) - 1 + share_name.len + 1 + filter.len;
	struct topic_share *share = topic_tree_alloc(tree, share_size(text_len));
	struct topic_group *group = topic_tree_alloc(tree, sizeof(*group));
	struct topic_member_array *array = topic_tree_alloc(tree, array_size(1));

	if (share == NULL || group == NULL || array == NULL) {
		discard_share(tree, share, text_len, group, array);
		return NULL;
	}
	array->cap = 1;
	put_into(&array->items[0], member);
	write_text(share, share_name, filter);
	*group = (struct topic_group){.id = ++tree->group_count,
	    .name = bytes_make(share->text, share->text_len),
	    .member_count = 1,
	    .has_persistent = is_persistent(member),
	    .members = array->items};
	atomic_init(&share->next, NULL);
	atomic_init(&share->group, group);
	share->prev = NULL;
	share->node = NULL;
	share->array = array;
	share->live_count = 1;
	share->persistent_count = is_persistent(member);
	return share;
}

static void
link_share(struct topic_set *set, struct topic_share *share)
{
	struct topic_share *first = atomic_load_explicit(&set->shares, memory_order_relaxed);

	atomic_init(&share->next, first);
	if (first != NULL) {
		first->prev = share;
	}
	atomic_store_explicit(&set->shares, share, memory_order_release);
}

static void
unlink_share(struct topic_set *set, struct topic_share *share)
{
	struct topic_share *next = atomic_load_explicit(&share->next, memory_order_relaxed);

	if (share->prev != NULL) {
		atomic_store_explicit(&share->prev->next, next, memory_order_release);
	} else {
		atomic_store_explicit(&set->shares, next, memory_order_release);
	}
	if (next != NULL) {
		next->prev = share->prev;
	}
}

static int
add_share(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct bytes share_name, struct bytes filter, const struct topic_group_member *member)
{
	struct topic_set *set = topic_members_set(tree, worker, node);
	struct topic_share *share =
	    set != NULL ? new_share(tree, share_name, filter, member) : NULL;

	if (share == NULL) {
		return ERR_NOMEM;
	}
	share->node = topic_node_new(tree, node, TOPIC_NODE_SHARE, share_name, NULL);
	if (share->node != NULL) {
		atomic_init(&share->node->members, (uintptr_t)share);
		if (topic_node_link(
			tree, worker, share->node, topic_level_hash(tree, share_name))) {
			link_share(set, share);
			return 1;
		}
		topic_node_discard(tree, share->node);
	}
	discard_share(tree, share, share->text_len, group_of(share), share->array);
	return ERR_NOMEM;
}

int
topic_share_add(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct bytes share_name, struct bytes filter, const struct topic_group_member *member)
{
	struct topic_node *found = find_node(tree, node, share_name);

	if (found == NULL) {
		return add_share(tree, worker, node, share_name, filter, member);
	}
	return put_member(tree, worker, share_of(found),
	    find_member(group_of(share_of(found)), &member->subscriber), member);
}

static void
remove_share(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct topic_share *share)
{
	struct topic_set *set = topic_members_set(tree, worker, node); /* is there */

	unlink_share(set, share);
	topic_node_unlink(tree, worker, share->node);
	topic_tree_retire(tree, worker, group_of(share), sizeof(struct topic_group));
	topic_tree_retire(tree, worker, share->array, array_size(share->array->cap));
	topic_tree_retire(tree, worker, share, share_size(share->text_len));
	topic_members_settle(tree, worker, node);
}

bool
topic_share_remove(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct bytes share_name, const struct topic_subscriber *key)
{
	struct topic_node *found = find_node(tree, node, share_name);
	struct topic_share *share;
	uint32_t at;

	if (found == NULL) {
		return false;
	}
	share = share_of(found);
	at = find_member(group_of(share), key);
	if (at == group_of(share)->member_count) {
		return false;
	}
	if (share->live_count > 1) {
		remove_member(tree, worker, share, at);
	} else {
		remove_share(tree, worker, node, share);
	}
	return true;
}

void
topic_share_free(struct topic_node *node)
{
	struct topic_share *share = share_of(node);
	struct topic_group *group = group_of(share);

	mem_free(&group);
	mem_free(&share->array);
	mem_free(&share);
}

/* --- choosing; readers --- */

static bool
is_excluded(const struct topic_group_member *member, topic_exclude_fn *exclude, void *arg)
{
	return exclude != NULL && exclude(arg, member);
}

/* Nobody is online: from the place that the hash says, the first persistent one, else the first;
 * who has left only if it need not be another. */
static const struct topic_group_member *
choose_asleep(const struct topic_group *group, uint64_t hash, topic_exclude_fn *exclude, void *arg)
{
	const struct topic_group_member *any = NULL, *left = NULL;
	uint32_t start = (uint32_t)(hash % group->member_count);

	for (uint32_t i = 0; i < group->member_count; i++) {
		const struct topic_group_member *member =
		    &group->members[((uint64_t)start + i) % group->member_count];

		if (is_excluded(member, exclude, arg)) {
			continue;
		}
		if (!topic_member_is_there(member)) {
			left = member;
		} else if (is_persistent(member)) {
			return member;
		} else if (any == NULL) {
			any = member;
		}
	}
	return any != NULL || exclude != NULL ? any : left;
}

const struct topic_group_member *
topic_group_choose(const struct topic_group *group, struct topic_cursors *cursors, uint64_t hash,
    topic_exclude_fn *exclude, void *arg)
{
	uint32_t *next = &cursors->next[group->id % TOPIC_CURSOR_COUNT];
	const struct topic_group_member *online = NULL;
	uint32_t at = *next < group->member_count ? *next : 0, online_at = 0;

	for (uint32_t i = 0; i < group->member_count; i++) {
		const struct topic_group_member *member = &group->members[at];
		uint32_t word = topic_member_word(member);
		bool has_room = (word & TOPIC_MEMBER_HAS_ROOM) != 0;

		at = at + 1 < group->member_count ? at + 1 : 0;
		if ((word & TOPIC_MEMBER_ONLINE) == 0 || (!has_room && online != NULL) ||
		    is_excluded(member, exclude, arg)) {
			continue;
		}
		if (has_room) {
			*next = at;
			return member;
		}
		online = member;
		online_at = at;
	}
	if (online != NULL) {
		*next = online_at;
		return online;
	}
	return choose_asleep(group, hash, exclude, arg);
}
