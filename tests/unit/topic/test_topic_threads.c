/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that match while others add and remove, and threads that walk over retained messages
 * while others put and delete. Build with -fsanitize=thread for the order of memory, and with
 * -fsanitize=address for what is freed too early.
 *
 * The simulator's workers have no threads, so epoch_retire is linked to one of this test (--wrap):
 * each reader shows a number at the end of each of its turns; a writer frees what it retired when
 * all readers have shown a later one. A short patience of the writer keeps memory moving.
 */
#include "unit/topic/topic_unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/vec.h"
#include "loop/epoch.h"

enum { READERS = 2, WRITERS = 2, CHANGES = 20000, BATCH = 64 };

struct retired {
	void *memory;
	epoch_free_fn *free_fn;
};

struct scene;

struct writer {
	struct scene *scene;
	struct worker *worker;
	VEC(struct retired) retired;
	unsigned index;
	pthread_t thread;
};

struct reader {
	struct scene *scene;
	_Alignas(64) _Atomic uint64_t seen;
	uint64_t hits;
	uint64_t broken; /* subscribers that nobody ever added */
	uint64_t missed; /* of what is always there */
	unsigned steady; /* of this match */
	pthread_t thread;
};

struct scene {
	struct room room;
	struct topic_tree *tree;
	struct topic_retain *retain;
	struct topic_member_state state;
	_Atomic uint64_t epoch;
	_Atomic unsigned writers_left;
	struct reader readers[READERS];
	struct writer writers[WRITERS];
};

static _Thread_local struct writer *current_writer;

void __wrap_epoch_retire(struct worker *worker, void *memory, epoch_free_fn *free_fn);

void
__wrap_epoch_retire(struct worker *worker, void *memory, epoch_free_fn *free_fn)
{
	(void)worker;
	vec_push(&current_writer->retired, (struct retired){memory, free_fn});
}

/* Waits until all readers have ended the turn that they are in, then frees. */
static void
reclaim(struct writer *writer)
{
	struct scene *scene = writer->scene;
	uint64_t now = atomic_fetch_add(&scene->epoch, 1) + 1;
	struct retired *item;

	for (int i = 0; i < READERS; i++) {
		while (atomic_load(&scene->readers[i].seen) < now) {
			sched_yield();
		}
	}
	vec_each (item, &writer->retired) {
		item->free_fn(item->memory);
	}
	writer->retired.count = 0;
}

static void
pass(struct reader *reader)
{
	atomic_store(&reader->seen, atomic_fetch_add(&reader->scene->epoch, 0));
}

/* --- the tree --- */

static const struct topic_subscriber steady = {.slot = 9999, .sid = 1};

static void
see_subscribers(void *arg, const struct topic_subscriber *subscribers, uint32_t count)
{
	struct reader *reader = arg;

	for (uint32_t i = 0; i < count; i++) {
		reader->hits++;
		reader->broken +=
		    subscribers[i].sid !=
		    (subscribers[i].slot == steady.slot ? 1 : subscribers[i].slot + 100);
		reader->steady += subscribers[i].slot == steady.slot;
	}
}

static void
see_group(void *arg, const struct topic_group *group)
{
	for (uint32_t i = 0; i < group->member_count; i++) {
		if (topic_member_is_there(&group->members[i])) {
			see_subscribers(arg, &group->members[i].subscriber, 1);
		}
	}
}

static const struct topic_match_ops ops = {see_subscribers, see_group};

static void *
read_tree(void *arg)
{
	struct reader *reader = arg;
	uint64_t random = 77 + (uint64_t)(uintptr_t)reader;
	char text[TEXT_SIZE];

	while (atomic_load(&reader->scene->writers_left) > 0) {
		for (int i = 0; i < 8; i++) {
			reader->steady = 0;
			topic_tree_match(
			    reader->scene->tree, draw_text(&random, text, false), &ops, reader);
			reader->steady = 0;
			topic_tree_match(reader->scene->tree, bytes_of("always/x"), &ops, reader);
			reader->missed += reader->steady != 3;
		}
		pass(reader);
	}
	atomic_store(&reader->seen, UINT64_MAX);
	return NULL;
}

/* Sets and tables grow for a while, then shrink for a while, so that they are remade again and
 * again. */
static void
change_tree(struct writer *writer, uint64_t *random, bool growing)
{
	struct scene *scene = writer->scene;
	const struct bytes always = BYTES_LITERAL("always/+");
	struct topic_subscriber subscriber = {
	    .slot = draw(random, 200), .worker = (uint16_t)writer->index};
	char text[TEXT_SIZE];
	struct bytes filter = draw_text(random, text, true);

	subscriber.sid = subscriber.slot + 100;
	switch (draw(random, 8) + (growing ? 0 : 8)) {
	case 0:
		(void)topic_tree_share_add(
		    scene->tree, writer->worker, bytes_of("g"), filter, &subscriber, &scene->state);
		break;
	case 8:
		(void)topic_tree_share_remove(scene->tree, writer->worker, bytes_of("g"), filter,
		    (uint16_t)writer->index, subscriber.slot, 0);
		break;
	case 1:
	case 9:
		(void)topic_tree_add(scene->tree, writer->worker, always, &steady);
		break;
	case 2:
	case 3:
	case 4:
		(void)topic_tree_add(scene->tree, writer->worker, always, &subscriber);
		break;
	case 10:
	case 11:
	case 12:
		(void)topic_tree_remove(scene->tree, writer->worker, always,
		    (uint16_t)writer->index, subscriber.slot, 0);
		break;
	default:
		if (growing) {
			(void)topic_tree_add(scene->tree, writer->worker, filter, &subscriber);
		} else {
			(void)topic_tree_remove(scene->tree, writer->worker, filter,
			    (uint16_t)writer->index, subscriber.slot, 0);
		}
		break;
	}
}

static void *
write_tree(void *arg)
{
	struct writer *writer = arg;
	uint64_t random = 5 + writer->index;

	current_writer = writer;
	for (int i = 0; i < CHANGES; i++) {
		change_tree(writer, &random, i / 1000 % 2 == 0);
		if (i % BATCH == 0) {
			reclaim(writer);
		}
	}
	reclaim(writer);
	atomic_fetch_sub(&writer->scene->writers_left, 1);
	return NULL;
}

/* --- retained messages --- */

static void *
walk_retained(void *arg)
{
	struct reader *reader = arg;
	struct topic_retain *retain = reader->scene->retain;
	uint64_t random = 77 + (uint64_t)(uintptr_t)reader;
	char text[TEXT_SIZE];

	while (atomic_load(&reader->scene->writers_left) > 0) {
		struct topic_retain_cursor cursor;
		unsigned steady_met = 0;
		bool all = draw(&random, 2) != 0;

		topic_retain_cursor_init(
		    &cursor, all ? bytes_of("#") : draw_text(&random, text, true));
		while (!cursor.done) {
			unsigned budget = 1 + draw(&random, 50);
			uint64_t version;
			struct msg *msg = topic_retain_next(retain, &cursor, 0, &budget, &version);

			if (msg != NULL) {
				reader->hits++;
				steady_met += bytes_equal(msg_topic(msg), bytes_of("b/steady"));
				reader->broken += msg_payload(msg).len == 0 || version == 0;
				msg_unref(&msg);
			}
		}
		reader->missed += all && steady_met != 1;
		topic_retain_cursor_fini(&cursor);
		(void)topic_retain_asof(retain);
	}
	return NULL;
}

static void
keep(void *arg, struct topic_retained *entry, struct msg_applied *applied, struct msg *msg,
    uint64_t version)
{
	VEC(struct topic_retained *) *entries = arg;

	(void)applied;
	(void)msg;
	(void)version;
	vec_push(entries, entry);
}

static void *
put_retained(void *arg)
{
	struct writer *writer = arg;
	VEC(struct topic_retained *) entries = {0};
	uint64_t random = 5 + writer->index, version;
	char text[TEXT_SIZE];

	for (int i = 0; i < CHANGES; i++) {
		struct bytes topic =
		    draw(&random, 16) == 0 ? bytes_of("b/steady") : draw_text(&random, text, false);
		bool kept = topic.len == 8 || draw(&random, 2) != 0;
		struct msg *msg = make_msg(topic, kept ? "x" : "");

		(void)topic_retain_put(
		    writer->scene->retain, msg, i % 2 != 0 ? keep : NULL, &entries, &version);
		msg_unref(&msg);
		while (i % BATCH == 0 && entries.count != 0) {
			topic_retained_release(vec_pop(&entries));
		}
	}
	while (entries.count != 0) {
		topic_retained_release(vec_pop(&entries));
	}
	vec_fini(&entries);
	atomic_fetch_sub(&writer->scene->writers_left, 1);
	return NULL;
}

/* --- the scene --- */

static void
run(struct scene *scene, void *(*read)(void *), void *(*write)(void *))
{
	atomic_store(&scene->writers_left, WRITERS);
	for (int i = 0; i < READERS; i++) {
		scene->readers[i].scene = scene;
		assert_int_equal(
		    pthread_create(&scene->readers[i].thread, NULL, read, &scene->readers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		scene->writers[i].scene = scene;
		scene->writers[i].index = i;
		scene->writers[i].worker = scene->room.worker;
		assert_int_equal(
		    pthread_create(&scene->writers[i].thread, NULL, write, &scene->writers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(scene->writers[i].thread, NULL);
		vec_fini(&scene->writers[i].retired);
	}
	for (int i = 0; i < READERS; i++) {
		pthread_join(scene->readers[i].thread, NULL);
	}
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(scene->readers[i].broken, 0);
		assert_int_equal(scene->readers[i].missed, 0);
		assert_true(scene->readers[i].hits > 0);
	}
}

static struct scene *scene;

static int
open_scene(void **state)
{
	(void)state;
	scene = aligned_alloc(64, (sizeof(*scene) + 63) / 64 * 64);
	memset(scene, 0, sizeof(*scene));
	scene->room = room_open();
	return 0;
}

static int
close_scene(void **state)
{
	(void)state;
	room_close(&scene->room);
	mem_free(&scene);
	return 0;
}

static void
readers_never_miss_a_steady_subscriber_while_others_come_and_go(void **state)
{
	struct writer self = {.scene = scene};

	(void)state;
	current_writer = &self;
	scene->tree = topic_tree_new();
	(void)topic_tree_add(scene->tree, scene->room.worker, bytes_of("always/+"), &steady);
	(void)topic_tree_add(scene->tree, scene->room.worker, bytes_of("always/x"), &steady);
	(void)topic_tree_share_add(scene->tree, scene->room.worker, bytes_of("h"),
	    bytes_of("always/#"), &steady, &scene->state);
	run(scene, read_tree, write_tree);
	topic_tree_free(&scene->tree);
	for (size_t i = 0; i < self.retired.count; i++) {
		self.retired.items[i].free_fn(self.retired.items[i].memory);
	}
	vec_fini(&self.retired);
}

static void
walks_meet_a_steady_topic_once_while_others_come_and_go(void **state)
{
	struct msg *msg = make_msg(bytes_of("b/steady"), "x");
	uint64_t version;

	(void)state;
	scene->retain = topic_retain_new((struct hash_key){8, 9});
	(void)topic_retain_put(scene->retain, msg, NULL, NULL, &version);
	msg_unref(&msg);
	run(scene, walk_retained, put_retained);
	topic_retain_free(&scene->retain);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		readers_never_miss_a_steady_subscriber_while_others_come_and_go, open_scene,
		close_scene),
	    cmocka_unit_test_setup_teardown(
		walks_meet_a_steady_topic_once_while_others_come_and_go, open_scene, close_scene),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
