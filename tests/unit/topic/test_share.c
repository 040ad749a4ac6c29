/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/topic/topic_unit.h"

enum { MEMBERS = 4 };

struct scene {
	struct room room;
	struct topic_tree *tree;
	struct topic_cursors cursors;
	struct topic_member_state states[MEMBERS];
	const struct topic_group *group;
};

static void
show(struct scene *scene)
{
	scene->group = topic_tree_find_group(scene->tree, bytes_of("g"), bytes_of("a/+"));
}

static void
join(struct scene *scene, uint32_t slot, uint8_t flags)
{
	const struct topic_subscriber subscriber = {.slot = slot, .flags = flags};

	(void)topic_tree_share_add(scene->tree, scene->room.worker, bytes_of("g"), bytes_of("a/+"),
	    &subscriber, &scene->states[slot]);
	show(scene);
}

static bool
leave(struct scene *scene, uint32_t slot)
{
	bool removed = topic_tree_share_remove(
	    scene->tree, scene->room.worker, bytes_of("g"), bytes_of("a/+"), 0, slot, 0);

	show(scene);
	return removed;
}

static struct scene *
open_scene(void)
{
	struct scene *scene = mem_zalloc(sizeof(*scene));

	scene->room = room_open();
	scene->tree = topic_tree_new();
	return scene;
}

static void
close_scene(struct scene **scene)
{
	topic_tree_free(&(*scene)->tree);
	room_close(&(*scene)->room);
	mem_free(scene);
}

static void
set_word(struct scene *scene, uint32_t slot, uint32_t word)
{
	atomic_store_explicit(&scene->states[slot].word, word, memory_order_relaxed);
}

static bool
is_out(void *arg, const struct topic_group_member *member)
{
	const bool *out = arg;

	return out[member->subscriber.slot];
}

/* The slot of the chosen one, or -1. */
static int
choose(struct scene *scene, uint64_t hash, bool *out)
{
	const struct topic_group_member *member = topic_group_choose(
	    scene->group, &scene->cursors, hash, out != NULL ? is_out : NULL, out);

	return member != NULL ? (int)member->subscriber.slot : -1;
}

static void
a_group_is_found_by_name_and_filter_and_keeps_its_id(void **state)
{
	struct scene *scene = open_scene();
	uint64_t id;

	(void)state;
	show(scene);
	assert_null(scene->group);
	join(scene, 0, 0);
	assert_non_null(scene->group);
	assert_bytes_text(scene->group->name, "$share/g/a/+");
	assert_int_equal(scene->group->member_count, 1);
	assert_false(scene->group->has_persistent);
	id = scene->group->id;
	for (uint32_t i = 1; i < MEMBERS; i++) {
		join(scene, i, i == 2 ? TOPIC_PERSISTENT : 0);
		assert_int_equal(scene->group->has_persistent, i >= 2);
	}
	join(scene, 1, 0); /* replaced */
	assert_int_equal(scene->group->member_count, MEMBERS);
	assert_int_equal(scene->group->id, id);
	assert_null(topic_tree_find_group(scene->tree, bytes_of("h"), bytes_of("a/+")));
	assert_null(topic_tree_find_group(scene->tree, bytes_of("g"), bytes_of("a/b")));
	assert_true(leave(scene, 2));
	assert_false(leave(scene, 2));
	assert_false(scene->group->has_persistent);
	for (uint32_t i = 0; i < MEMBERS; i++) {
		(void)leave(scene, i);
	}
	assert_null(scene->group);
	join(scene, 0, 0);
	assert_true(scene->group->id > id);
	close_scene(&scene);
}

static void
members_with_room_take_turns(void **state)
{
	struct scene *scene = open_scene();
	int counts[MEMBERS] = {0};

	(void)state;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		join(scene, i, 0);
		set_word(scene, i, i == 3 ? 0 : TOPIC_MEMBER_ONLINE | TOPIC_MEMBER_HAS_ROOM);
	}
	for (int i = 0; i < 30; i++) {
		counts[choose(scene, 0, NULL)]++;
	}
	assert_int_equal(counts[0], 10);
	assert_int_equal(counts[1], 10);
	assert_int_equal(counts[2], 10);
	assert_true(leave(scene, 0)); /* the cursor may point behind the end */
	assert_true(leave(scene, 1));
	assert_int_equal(choose(scene, 0, NULL), 2);
	close_scene(&scene);
}

static void
who_has_no_room_is_better_than_who_sleeps(void **state)
{
	struct scene *scene = open_scene();
	bool out[MEMBERS] = {false};

	(void)state;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		join(scene, i, i == 1 ? TOPIC_PERSISTENT : 0);
	}
	set_word(scene, 2, TOPIC_MEMBER_ONLINE);
	set_word(scene, 0, TOPIC_MEMBER_HAS_ROOM); /* of no use to who is not online */
	assert_int_equal(choose(scene, 7, NULL), 2);
	set_word(scene, 3, TOPIC_MEMBER_ONLINE | TOPIC_MEMBER_HAS_ROOM);
	assert_int_equal(choose(scene, 7, NULL), 3);
	out[3] = true;
	assert_int_equal(choose(scene, 7, out), 2);
	out[2] = true;
	assert_int_equal(choose(scene, 7, out), 1); /* the persistent one */
	out[1] = true;
	assert_int_equal(choose(scene, 7, out), 0);
	out[0] = true;
	assert_int_equal(choose(scene, 7, out), -1);
	close_scene(&scene);
}

static void
when_all_sleep_the_hash_chooses_among_persistent_ones(void **state)
{
	struct scene *scene = open_scene();

	(void)state;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		join(scene, i, i % 2 != 0 ? TOPIC_PERSISTENT : 0);
	}
	assert_int_equal(choose(scene, 1, NULL), 1);
	assert_int_equal(choose(scene, 1, NULL), 1);
	assert_int_equal(choose(scene, 2, NULL), 3);
	assert_int_equal(choose(scene, 0, NULL), 1);
	close_scene(&scene);
}

static void
a_group_replaced_in_a_turn_is_good_until_its_end(void **state)
{
	struct scene *scene = open_scene();
	const struct topic_group *before;

	(void)state;
	join(scene, 0, 0);
	join(scene, 1, 0);
	join(scene, 2, 0);
	before = scene->group;
	join(scene, 0, TOPIC_PERSISTENT);
	join(scene, 3, 0);
	assert_int_equal(before->members[0].subscriber.flags, 0);
	assert_true(leave(scene, 0));
	assert_true(leave(scene, 1));
	assert_true(leave(scene, 2));
	assert_true(leave(scene, 3));
	assert_int_equal(before->member_count, 3);
	assert_int_equal(before->members[0].subscriber.slot, 0);
	assert_int_equal(before->members[1].subscriber.slot, 1);
	assert_bytes_text(before->name, "$share/g/a/+");
	close_scene(&scene);
}

/* Ten thousand may leave at once: that must not copy the group ten thousand times. */
static void
who_leaves_keeps_the_place_until_half_are_gone(void **state)
{
	struct scene *scene = open_scene();
	const struct topic_group *before;

	(void)state;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		join(scene, i, 0);
		set_word(scene, i, i == 0 ? TOPIC_MEMBER_ONLINE | TOPIC_MEMBER_HAS_ROOM : 0);
	}
	before = scene->group;
	assert_int_equal(choose(scene, 0, NULL), 0);
	assert_true(leave(scene, 0));
	assert_ptr_equal(scene->group, before);
	assert_false(leave(scene, 0));
	for (uint64_t hash = 0; hash < 2 * MEMBERS; hash++) {
		assert_int_not_equal(choose(scene, hash, NULL), 0);
	}
	join(scene, 0, TOPIC_PERSISTENT); /* again, in another place */
	assert_true(scene->group->has_persistent);
	assert_int_equal(choose(scene, 0, NULL), 0);
	assert_true(leave(scene, 0));
	assert_false(scene->group->has_persistent);
	for (uint32_t i = 1; i < MEMBERS - 1; i++) {
		assert_true(leave(scene, i));
	}
	assert_int_equal(scene->group->member_count, 1);
	assert_int_equal(choose(scene, 0, NULL), MEMBERS - 1);
	assert_true(leave(scene, MEMBERS - 1));
	assert_null(scene->group);
	close_scene(&scene);
}

/* A publisher has found the group before the last of its members left and another came. */
static void
a_group_that_was_found_is_never_empty(void **state)
{
	struct scene *scene = open_scene();
	struct topic_cursors cursors = {0};
	const struct topic_group *found;

	(void)state;
	join(scene, 0, 0);
	found = scene->group;
	join(scene, 1, 0);
	join(scene, 2, 0);
	assert_true(leave(scene, 0));
	assert_non_null(topic_group_choose(found, &cursors, 0, NULL, NULL));
	close_scene(&scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_group_is_found_by_name_and_filter_and_keeps_its_id),
	    cmocka_unit_test(members_with_room_take_turns),
	    cmocka_unit_test(who_has_no_room_is_better_than_who_sleeps),
	    cmocka_unit_test(when_all_sleep_the_hash_chooses_among_persistent_ones),
	    cmocka_unit_test(a_group_replaced_in_a_turn_is_good_until_its_end),
	    cmocka_unit_test(who_leaves_keeps_the_place_until_half_are_gone),
	    cmocka_unit_test(a_group_that_was_found_is_never_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
