/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/topic/topic_unit.h"

#include "base/err.h"

/* Linked in place of mem_try_alloc (--wrap): there is memory for so many more. */
static int allocations_left = INT32_MAX;

void *__real_mem_try_alloc(size_t size);
void *__wrap_mem_try_alloc(size_t size);

void *
__wrap_mem_try_alloc(size_t size)
{
	return allocations_left-- > 0 ? __real_mem_try_alloc(size) : NULL;
}

/* --- the model: a list of subscriptions, each with its own number --- */

enum { MOST = 4096, KEYS = 24 };

struct entry {
	char filter[TEXT_SIZE];
	char share[4]; /* empty: none */
	struct topic_subscriber subscriber;
};

struct model {
	struct room room;
	struct topic_tree *tree;
	struct entry entries[MOST];
	size_t count;
	uint32_t hits[1 << 17]; /* by subscription id, modulo */
	uint32_t hit_count;
	uint32_t next_id;
	uint64_t random;
	struct topic_member_state state;
};

static void
see_subscribers(void *arg, const struct topic_subscriber *subscribers, uint32_t count)
{
	struct model *model = arg;

	assert_true(count > 0);
	for (uint32_t i = 0; i < count; i++) {
		model->hits[subscribers[i].subscription_id % (1 << 17)]++;
		model->hit_count++;
	}
}

static void
see_group(void *arg, const struct topic_group *group)
{
	struct model *model = arg;
	bool persistent = false;

	assert_true(group->member_count > 0);
	for (uint32_t i = 0; i < group->member_count; i++) {
		if (!topic_member_is_there(&group->members[i])) {
			continue;
		}
		assert_ptr_equal(group->members[i].state, &model->state);
		see_subscribers(model, &group->members[i].subscriber, 1);
		persistent |= (group->members[i].subscriber.flags & TOPIC_PERSISTENT) != 0;
	}
	assert_int_equal(group->has_persistent, persistent);
}

static const struct topic_match_ops ops = {see_subscribers, see_group};

static struct model *
model_new(uint64_t seed)
{
	struct model *model = mem_zalloc(sizeof(*model));

	model->room = room_open();
	model->tree = topic_tree_new();
	model->random = seed;
	return model;
}

static void
model_free(struct model **model)
{
	topic_tree_free(&(*model)->tree);
	room_close(&(*model)->room);
	mem_free(model);
}

static struct entry *
find(struct model *model, const struct entry *like)
{
	for (size_t i = 0; i < model->count; i++) {
		struct entry *entry = &model->entries[i];

		if (strcmp(entry->filter, like->filter) == 0 &&
		    strcmp(entry->share, like->share) == 0 &&
		    entry->subscriber.slot == like->subscriber.slot &&
		    entry->subscriber.worker == like->subscriber.worker &&
		    entry->subscriber.generation == like->subscriber.generation) {
			return entry;
		}
	}
	return NULL;
}

static struct entry
draw_entry(struct model *model)
{
	struct entry entry = {.share = ""};
	uint32_t share = draw(&model->random, 12);

	(void)draw_text(&model->random, entry.filter, true);
	if (share < 3) {
		entry.share[0] = (char)('g' + share);
	}
	entry.subscriber = (struct topic_subscriber){.slot = 16 * draw(&model->random, KEYS),
	    .worker = (uint16_t)draw(&model->random, 2),
	    .generation = draw(&model->random, 2),
	    .flags = draw(&model->random, 2) != 0 ? TOPIC_PERSISTENT : 0,
	    .subscription_id = ++model->next_id};
	return entry;
}

static int
tree_add(struct model *model, const struct entry *entry)
{
	return entry->share[0] == '\0'
		   ? topic_tree_add(model->tree, model->room.worker, bytes_of(entry->filter),
			 &entry->subscriber)
		   : topic_tree_share_add(model->tree, model->room.worker, bytes_of(entry->share),
			 bytes_of(entry->filter), &entry->subscriber, &model->state);
}

static bool
tree_remove(struct model *model, const struct entry *entry)
{
	const struct topic_subscriber *key = &entry->subscriber;

	return entry->share[0] == '\0'
		   ? topic_tree_remove(model->tree, model->room.worker, bytes_of(entry->filter),
			 key->worker, key->slot, key->generation)
		   : topic_tree_share_remove(model->tree, model->room.worker,
			 bytes_of(entry->share), bytes_of(entry->filter), key->worker, key->slot,
			 key->generation);
}

static void
add(struct model *model, const struct entry *entry)
{
	struct entry *known = find(model, entry);

	assert_int_equal(tree_add(model, entry), known == NULL);
	if (known != NULL) {
		*known = *entry;
	} else {
		assert_true(model->count < MOST);
		model->entries[model->count++] = *entry;
	}
}

static void
take_away(struct model *model, const struct entry *entry)
{
	struct entry *known = find(model, entry);

	assert_int_equal(tree_remove(model, entry), known != NULL);
	if (known != NULL) {
		*known = model->entries[--model->count];
	}
}

static void
check_topic(struct model *model, struct bytes topic)
{
	uint32_t expected = 0;

	memset(model->hits, 0, sizeof(model->hits));
	model->hit_count = 0;
	topic_tree_match(model->tree, topic, &ops, model);
	for (size_t i = 0; i < model->count; i++) {
		const struct entry *entry = &model->entries[i];

		if (wire_topic_matches(bytes_of(entry->filter), topic)) {
			expected++;
			assert_int_equal(
			    model->hits[entry->subscriber.subscription_id % (1 << 17)], 1);
		}
	}
	assert_int_equal(model->hit_count, expected);
}

static void
check_stats(struct model *model)
{
	struct topic_tree_stats stats;
	uint64_t shared = 0;

	topic_tree_stats(model->tree, &stats);
	for (size_t i = 0; i < model->count; i++) {
		shared += model->entries[i].share[0] != '\0';
	}
	assert_int_equal(stats.subscriptions, model->count);
	assert_int_equal(stats.shared_subscriptions, shared);
}

static uint64_t
memory_of(const struct model *model)
{
	struct topic_tree_stats stats;

	topic_tree_stats(model->tree, &stats);
	return stats.memory;
}

static void
remove_all(struct model *model)
{
	while (model->count > 0) {
		struct entry entry = model->entries[draw(&model->random, (uint32_t)model->count)];

		take_away(model, &entry);
	}
}

/* --- cases --- */

static void
random_subscriptions_match_as_a_plain_list_says(void **state)
{
	struct model *model = model_new(42);
	uint64_t memory = memory_of(model);
	char text[TEXT_SIZE];

	(void)state;
	for (int step = 0; step < 30000; step++) {
		/* Grows for a while, then shrinks for a while. */
		bool growing = step / 3000 % 2 == 0;
		struct entry entry = draw_entry(model);

		if (draw(&model->random, 4) == 0 ? !growing : growing) {
			add(model, &entry);
		} else if (model->count > 0 && draw(&model->random, 8) != 0) {
			entry = model->entries[draw(&model->random, (uint32_t)model->count)];
			take_away(model, &entry);
		} else {
			take_away(model, &entry);
		}
		if (step % 16 == 0) {
			check_topic(model, draw_text(&model->random, text, false));
			check_stats(model);
			room_turn(&model->room);
		}
	}
	remove_all(model);
	check_topic(model, bytes_of("a/b"));
	assert_int_equal(memory_of(model), memory);
	model_free(&model);
}

static void
a_filter_with_many_subscribers_shows_each_once(void **state)
{
	enum { COUNT = 4000 };
	struct model *model = model_new(7);
	uint64_t memory = memory_of(model);
	struct topic_tree_stats stats;

	(void)state;
	for (uint32_t i = 0; i < COUNT; i++) {
		struct entry entry = {.filter = "x/+",
		    .subscriber = {.slot = i * 7919 % COUNT, .worker = 3, .subscription_id = i}};

		assert_int_equal(tree_add(model, &entry), 1);
		model->entries[model->count++] = entry;
	}
	check_topic(model, bytes_of("x/y"));
	for (uint32_t i = 0; i < COUNT; i += 3) { /* replaced */
		struct entry *entry = &model->entries[i];

		entry->subscriber.subscription_id += COUNT;
		assert_int_equal(tree_add(model, entry), 0);
	}
	check_topic(model, bytes_of("x/y"));
	room_turn(&model->room);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct entry entry = model->entries[draw(&model->random, (uint32_t)model->count)];

		take_away(model, &entry);
		if (i % 500 == 0) {
			check_topic(model, bytes_of("x/y"));
		}
		if (i == COUNT - 10) {
			assert_true(memory_of(model) < memory + 20000);
		}
	}
	topic_tree_stats(model->tree, &stats);
	assert_int_equal(stats.filters, 0);
	assert_int_equal(stats.memory, memory);
	model_free(&model);
}

/* A reader in the middle of a match, and meanwhile a writer: one thread is enough. */
enum { STAY = 300, MORE = 4000 };
struct meddler {
	struct model *model;
	uint32_t from; /* subscribers from this slot on come or go at the first sight */
	uint32_t to;
	bool adds;
	bool is_done;
};

static void
meddle(struct meddler *meddler)
{
	struct model *model = meddler->model;

	for (uint32_t i = meddler->from; i < meddler->to && !meddler->is_done; i++) {
		struct entry entry = {
		    .filter = "x/+", .share = "", .subscriber = {.slot = i, .subscription_id = i}};

		if (i % 2 != 0) { /* some groups are shared with those that stay */
			entry.share[0] = (char)('a' + i % 26);
			entry.share[1] = i % 3 == 0 ? '\0' : (char)('a' + i / 26 % 26);
			entry.share[2] = i < STAY ? '\0' : 'x';
		}
		if (meddler->adds) {
			(void)tree_add(model, &entry);
		} else {
			(void)tree_remove(model, &entry);
		}
	}
	meddler->is_done = true;
}

static void
see_and_meddle(void *arg, const struct topic_subscriber *subscribers, uint32_t count)
{
	struct meddler *meddler = arg;

	see_subscribers(meddler->model, subscribers, count);
	meddle(meddler);
}

static void
see_group_and_meddle(void *arg, const struct topic_group *group)
{
	struct meddler *meddler = arg;

	see_group(meddler->model, group);
	meddle(meddler);
}

static void
what_stays_is_seen_once_whatever_happens_during_a_match(void **state)
{
	static const struct topic_match_ops meddling = {see_and_meddle, see_group_and_meddle};
	struct model *model = model_new(4);
	struct meddler meddler = {.model = model, .from = 0, .to = STAY, .adds = true};

	(void)state;
	meddle(&meddler);
	for (int i = 0; i < 4; i++) {
		/* They come in one match, and go in the next. */
		meddler =
		    (struct meddler){.model = model, .from = STAY, .to = MORE, .adds = i % 2 == 0};
		memset(model->hits, 0, sizeof(model->hits));
		topic_tree_match(model->tree, bytes_of("x/y"), &meddling, &meddler);
		assert_true(meddler.is_done);
		for (uint32_t slot = 0; slot < STAY; slot++) {
			assert_int_equal(model->hits[slot], 1);
		}
		room_turn(&model->room);
	}
	model_free(&model);
}

static void
a_node_with_many_children_finds_each(void **state)
{
	enum { COUNT = 20000 };
	struct model *model = model_new(9);
	uint64_t memory = memory_of(model);
	struct topic_subscriber subscriber = {.slot = 1, .subscription_id = 1};
	struct topic_tree_stats stats;
	char text[TEXT_SIZE];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(text, sizeof(text), "device/%d/temperature", i);
		assert_int_equal(
		    topic_tree_add(model->tree, model->room.worker, bytes_of(text), &subscriber),
		    1);
	}
	topic_tree_stats(model->tree, &stats);
	assert_int_equal(stats.filters, COUNT);
	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(text, sizeof(text), "device/%d/temperature", i);
		model->hit_count = 0;
		topic_tree_match(model->tree, bytes_of(text), &ops, model);
		assert_int_equal(model->hit_count, 1);
		assert_true(
		    topic_tree_remove(model->tree, model->room.worker, bytes_of(text), 0, 1, 0));
		topic_tree_match(model->tree, bytes_of(text), &ops, model);
		assert_int_equal(model->hit_count, 1);
	}
	assert_int_equal(memory_of(model), memory);
	model_free(&model);
}

static void
topics_of_65535_bytes_of_slashes_are_safe(void **state)
{
	enum { LEN = 65535 };
	struct model *model = model_new(1);
	uint8_t *topic = mem_alloc(LEN), *filter = mem_alloc(LEN);
	struct topic_subscriber subscriber = {.slot = 1};

	(void)state;
	memset(topic, '/', LEN);
	for (size_t i = 0; i < LEN; i++) {
		filter[i] = i % 2 == 0 ? '+' : '/';
	}
	for (size_t len = 1; len <= LEN; len += len < 9 ? 2 : 16381) {
		assert_int_equal(topic_tree_add(model->tree, model->room.worker,
				     bytes_make(filter, len), &subscriber),
		    1);
	}
	assert_int_equal(
	    topic_tree_add(model->tree, model->room.worker, bytes_make(topic, LEN), &subscriber),
	    1);
	assert_int_equal(
	    topic_tree_add(model->tree, model->room.worker, bytes_make(filter, LEN), &subscriber),
	    1);
	topic_tree_match(model->tree, bytes_make(topic, LEN), &ops, model);
	assert_int_equal(model->hit_count, 1);
	topic_tree_match(model->tree, bytes_make(topic, LEN / 2), &ops, model);
	assert_int_equal(model->hit_count, 2); /* 32768 levels, which all + are */
	assert_true(
	    topic_tree_remove(model->tree, model->room.worker, bytes_make(topic, LEN), 0, 1, 0));
	mem_free(&topic);
	mem_free(&filter);
	model_free(&model);
}

static void
wildcards_of_the_first_level_pass_dollar_topics_by(void **state)
{
	static const char *const filters[] = {"#", "+/a", "$SYS/#", "$SYS/+", "+/+"};
	struct model *model = model_new(1);

	(void)state;
	assert_false(topic_tree_has_level(model->tree, bytes_of("$SYS")));
	for (size_t i = 0; i < 5; i++) {
		struct entry entry = draw_entry(model);

		strcpy(entry.filter, filters[i]);
		add(model, &entry);
	}
	assert_true(topic_tree_has_level(model->tree, bytes_of("$SYS")));
	assert_false(topic_tree_has_level(model->tree, bytes_of("a")));
	check_topic(model, bytes_of("$SYS/a"));
	assert_int_equal(model->hit_count, 2);
	check_topic(model, bytes_of("$SYS"));
	assert_int_equal(model->hit_count, 1);
	check_topic(model, bytes_of("x/a"));
	assert_int_equal(model->hit_count, 3);
	model_free(&model);
}

static void
without_memory_nothing_changes(void **state)
{
	struct model *model = model_new(5);
	char text[TEXT_SIZE];
	int refused = 0;

	(void)state;
	for (int step = 0; step < 3000; step++) {
		struct entry entry = draw_entry(model);
		struct entry *known = find(model, &entry);
		int outcome;

		allocations_left = (int)draw(&model->random, 10);
		outcome = tree_add(model, &entry);
		allocations_left = INT32_MAX;
		if (outcome == ERR_NOMEM) {
			refused++;
		} else if (known != NULL) {
			assert_int_equal(outcome, 0);
			*known = entry;
		} else {
			assert_int_equal(outcome, 1);
			model->entries[model->count++] = entry;
		}
		if (step % 10 == 0) {
			check_topic(model, draw_text(&model->random, text, false));
			check_stats(model);
			room_turn(&model->room);
		}
	}
	assert_true(refused > 200);
	remove_all(model);
	model_free(&model);
}

static void
a_path_for_which_there_is_no_memory_leaves_nothing_behind(void **state)
{
	struct model *model = model_new(5);
	struct topic_subscriber subscriber = {.slot = 1};
	uint64_t memory = memory_of(model);
	int left = 0, outcome = ERR_NOMEM;

	(void)state;
	for (; outcome == ERR_NOMEM; left++) {
		allocations_left = left;
		outcome = topic_tree_add(
		    model->tree, model->room.worker, bytes_of("a/b/c/+/#"), &subscriber);
		allocations_left = INT32_MAX;
		if (outcome == ERR_NOMEM) {
			assert_int_equal(memory_of(model), memory);
		}
	}
	assert_int_equal(outcome, 1);
	assert_true(left > 5);
	model_free(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_subscriptions_match_as_a_plain_list_says),
	    cmocka_unit_test(a_filter_with_many_subscribers_shows_each_once),
	    cmocka_unit_test(what_stays_is_seen_once_whatever_happens_during_a_match),
	    cmocka_unit_test(a_node_with_many_children_finds_each),
	    cmocka_unit_test(topics_of_65535_bytes_of_slashes_are_safe),
	    cmocka_unit_test(wildcards_of_the_first_level_pass_dollar_topics_by),
	    cmocka_unit_test(without_memory_nothing_changes),
	    cmocka_unit_test(a_path_for_which_there_is_no_memory_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
