/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks over retained messages against a plain list of topics. While a walk goes on in small steps,
 * topics come and go: each that is there from its beginning to its end is met once, none twice, and
 * none that was never there.
 */
#include "unit/topic/topic_unit.h"

enum { MOST = 2048, LONG = 1000000 };

struct topic {
	char text[TEXT_SIZE];
	bool is_kept;
	bool was_touched; /* deleted or made during the walk */
	unsigned met;
};

struct model {
	struct topic_retain *retain;
	struct topic topics[MOST];
	size_t count;
	uint64_t random;
};

static struct model *
model_new(uint64_t seed)
{
	struct model *model = mem_zalloc(sizeof(*model));

	model->retain = topic_retain_new((struct hash_key){seed, 3});
	model->random = seed;
	return model;
}

static void
model_free(struct model **model)
{
	topic_retain_free(&(*model)->retain);
	mem_free(model);
}

static struct topic *
find(struct model *model, struct bytes text)
{
	for (size_t i = 0; i < model->count; i++) {
		if (bytes_equal(bytes_of(model->topics[i].text), text)) {
			return &model->topics[i];
		}
	}
	return NULL;
}

static void
set(struct model *model, struct bytes text, bool kept)
{
	struct topic *topic = find(model, text);
	struct msg *msg = make_msg(text, kept ? "x" : "");
	uint64_t version;

	if (topic == NULL) {
		assert_true(model->count < MOST && text.len < TEXT_SIZE);
		topic = &model->topics[model->count++];
		memcpy(topic->text, text.data, text.len);
	}
	(void)topic_retain_put(model->retain, msg, NULL, NULL, &version);
	topic->was_touched |= topic->is_kept != kept;
	topic->is_kept = kept;
	msg_unref(&msg);
}

static void
start(struct model *model)
{
	for (size_t i = 0; i < model->count; i++) {
		model->topics[i].was_touched = false;
		model->topics[i].met = 0;
	}
}

static void
check(struct model *model, struct bytes filter)
{
	for (size_t i = 0; i < model->count; i++) {
		const struct topic *topic = &model->topics[i];
		bool matches = wire_topic_matches(filter, bytes_of(topic->text));

		if (!topic->was_touched) {
			assert_int_equal(topic->met, matches && topic->is_kept);
		} else {
			assert_true(topic->met <= matches);
		}
	}
}

/* Takes the whole walk; between steps `changes` topics come or go. Returns the budget spent. */
static unsigned
walk(struct model *model, struct bytes filter, unsigned step, int changes)
{
	struct topic_retain_cursor cursor;
	uint64_t version;
	unsigned spent = 0;
	char text[TEXT_SIZE];

	start(model);
	topic_retain_cursor_init(&cursor, filter);
	while (!cursor.done) {
		unsigned budget = step;
		struct msg *msg = topic_retain_next(model->retain, &cursor, 0, &budget, &version);

		assert_true(budget < step);
		spent += step - budget;
		if (msg != NULL) {
			find(model, msg_topic(msg))->met++;
			assert_true(version > 0 ||
				    bytes_starts_with(msg_topic(msg), BYTES_LITERAL("$SYS/")));
			msg_unref(&msg);
		}
		for (int i = 0; i < changes; i++) {
			set(model, draw_text(&model->random, text, false),
			    draw(&model->random, 2) != 0);
		}
	}
	topic_retain_cursor_fini(&cursor);
	check(model, filter);
	return spent;
}

static void
random_filters_meet_what_they_match_while_topics_come_and_go(void **state)
{
	struct model *model = model_new(11);
	char text[TEXT_SIZE];

	(void)state;
	for (int round = 0; round < 1500; round++) {
		for (int i = 0; i < 5; i++) {
			set(model, draw_text(&model->random, text, false),
			    draw(&model->random, 3) != 0);
		}
		(void)walk(model, draw_text(&model->random, text, true),
		    1 + draw(&model->random, 3), (int)draw(&model->random, 3));
	}
	model_free(&model);
}

static void
a_walk_costs_what_it_matches(void **state)
{
	struct model *model = model_new(3);
	char text[TEXT_SIZE];

	(void)state;
	for (int i = 0; i < 30; i++) {
		for (int j = 0; j < 30; j++) {
			(void)snprintf(text, sizeof(text), "p%d/q%d", i, j);
			set(model, bytes_of(text), true);
		}
	}
	assert_true(walk(model, bytes_of("p7/#"), LONG, 0) <= 32);
	assert_true(walk(model, bytes_of("p7/q3"), LONG, 0) == 1);
	assert_true(walk(model, bytes_of("p7/+"), LONG, 0) <= 62);
	assert_true(walk(model, bytes_of("+/q9"), LONG, 0) <= 92);
	assert_true(walk(model, bytes_of("+"), LONG, 0) <= 62);
	assert_true(walk(model, bytes_of("+/q4/+"), LONG, 0) <= 92);
	assert_true(walk(model, bytes_of("p7/zz/+"), LONG, 0) <= 3);
	assert_true(walk(model, bytes_of("#"), LONG, 0) <= 901);
	model_free(&model);
}

static void
wildcards_of_the_first_level_skip_dollar_topics_at_once(void **state)
{
	struct model *model = model_new(3);
	char text[TEXT_SIZE];

	(void)state;
	for (int i = 0; i < 200; i++) {
		(void)snprintf(text, sizeof(text), "$SYS/%d", i);
		set(model, bytes_of(text), true);
	}
	set(model, bytes_of("a/b"), true);
	set(model, bytes_of("!/b"), true);
	assert_true(walk(model, bytes_of("#"), LONG, 0) <= 5);
	assert_true(walk(model, bytes_of("+/b"), LONG, 0) <= 7);
	assert_true(walk(model, bytes_of("$SYS/#"), LONG, 0) >= 200);
	model_free(&model);
}

static void
a_restarted_cursor_begins_anew(void **state)
{
	struct model *model = model_new(3);
	struct topic_retain_cursor cursor;

	(void)state;
	set(model, bytes_of("a"), true);
	set(model, bytes_of("a/b"), true);
	topic_retain_cursor_init(&cursor, bytes_of("a/#"));
	for (int round = 0; round < 2; round++) {
		unsigned budget = LONG, count = 0;
		uint64_t version;
		struct msg *msg;

		while ((msg = topic_retain_next(model->retain, &cursor, 0, &budget, &version)) !=
		       NULL) {
			count++;
			msg_unref(&msg);
		}
		assert_true(cursor.done);
		assert_int_equal(count, 2);
		topic_retain_cursor_restart(&cursor);
	}
	topic_retain_cursor_fini(&cursor);
	model_free(&model);
}

static void
what_has_expired_is_passed_by(void **state)
{
	static const char *const filters[] = {"a", "#"};
	struct model *model = model_new(3);
	struct msg *msg = make_expiring(bytes_of("a"), "x", 1000, 2);
	uint64_t version;

	(void)state;
	(void)topic_retain_put(model->retain, msg, NULL, NULL, &version);
	msg_unref(&msg);
	for (int i = 0; i < 4; i++) {
		struct topic_retain_cursor cursor;
		unsigned budget = LONG;

		topic_retain_cursor_init(&cursor, bytes_of(filters[i % 2]));
		msg = topic_retain_next(
		    model->retain, &cursor, i < 2 ? 2000 : 3000, &budget, &version);
		assert_int_equal(msg != NULL, i < 2);
		msg_unref(&msg);
		topic_retain_cursor_fini(&cursor);
	}
	model_free(&model);
}

static void
long_topics_and_filters_are_safe(void **state)
{
	enum { LEN = 65535 };
	struct model *model = model_new(3);
	uint8_t *topic = mem_alloc(LEN), *filter = mem_alloc(LEN);
	size_t found = 0;

	(void)state;
	memset(topic, '/', LEN);
	for (size_t i = 0; i < LEN; i++) {
		filter[i] = i % 2 == 0 ? '+' : '/';
	}
	for (size_t len = 32000; len < 32800; len += 1 + len % 3) {
		struct msg *msg = make_msg(bytes_make(topic, len), "x");
		uint64_t version;

		(void)topic_retain_put(model->retain, msg, NULL, NULL, &version);
		msg_unref(&msg);
	}
	for (int i = 0; i < 2; i++) {
		struct topic_retain_cursor cursor;
		unsigned budget = LONG;
		uint64_t version;
		struct msg *msg;

		filter[LEN - 1] = i == 0 ? '+' : '#'; /* 32768 levels, or more than 32766 */
		topic_retain_cursor_init(&cursor, bytes_make(filter, LEN));
		while ((msg = topic_retain_next(model->retain, &cursor, 0, &budget, &version)) !=
		       NULL) {
			assert_true(msg_topic(msg).len >= 32766);
			found++;
			msg_unref(&msg);
		}
		topic_retain_cursor_fini(&cursor);
	}
	assert_true(found > 0);
	mem_free(&topic);
	mem_free(&filter);
	model_free(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_filters_meet_what_they_match_while_topics_come_and_go),
	    cmocka_unit_test(a_walk_costs_what_it_matches),
	    cmocka_unit_test(wildcards_of_the_first_level_skip_dollar_topics_at_once),
	    cmocka_unit_test(a_restarted_cursor_begins_anew),
	    cmocka_unit_test(what_has_expired_is_passed_by),
	    cmocka_unit_test(long_topics_and_filters_are_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
