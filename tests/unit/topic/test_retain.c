/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/topic/topic_unit.h"

/* Linked in place of mem_try_alloc (--wrap): there is memory for so many more. */
static int allocations_left = INT32_MAX;

void *__real_mem_try_alloc(size_t size);
void *__wrap_mem_try_alloc(size_t size);

void *
__wrap_mem_try_alloc(size_t size)
{
	return allocations_left-- > 0 ? __real_mem_try_alloc(size) : NULL;
}

static const struct hash_key key = {1, 2};

/* What a store would write. */
enum { MOST = 4096 };
struct log {
	size_t count;
	struct {
		struct topic_retained *entry;
		struct msg_applied *applied;
		struct msg *msg;
		uint64_t version;
		char topic[TEXT_SIZE];
	} ops[MOST];
};

static void
write_op(void *arg, struct topic_retained *entry, struct msg_applied *applied, struct msg *msg,
    uint64_t version)
{
	struct log *log = arg;
	struct bytes topic = topic_retained_topic(entry);

	assert_true(log->count < MOST);
	log->ops[log->count].entry = entry;
	log->ops[log->count].applied = applied;
	log->ops[log->count].msg = msg;
	log->ops[log->count].version = version;
	(void)snprintf(log->ops[log->count].topic, TEXT_SIZE, "%.*s", (int)topic.len,
	    (const char *)topic.data);
	log->count++;
}

static void
release_all(struct log *log)
{
	while (log->count > 0) {
		topic_retained_release(log->ops[--log->count].entry);
	}
}

static enum topic_retain_result
put(struct topic_retain *retain, const char *topic, const char *payload, struct log *log,
    uint64_t *version_out)
{
	struct msg *msg = make_msg(bytes_of(topic), payload);
	enum topic_retain_result result =
	    topic_retain_put(retain, msg, log != NULL ? write_op : NULL, log, version_out);

	msg_unref(&msg);
	return result;
}

static void
assert_kept(struct topic_retain *retain, const char *topic, const char *payload, uint64_t version)
{
	uint64_t found_version = 77;
	struct msg *msg = topic_retain_get(retain, bytes_of(topic), &found_version);

	if (payload == NULL) {
		assert_null(msg);
		return;
	}
	assert_non_null(msg);
	assert_bytes_text(msg_payload(msg), payload);
	assert_int_equal(found_version, version);
	msg_unref(&msg);
}

static uint64_t
count_of(const struct topic_retain *retain)
{
	struct topic_retain_stats stats;

	topic_retain_stats(retain, &stats);
	return stats.messages;
}

static void
the_last_message_of_a_topic_is_kept_with_its_version(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	struct topic_retain_stats stats;
	uint64_t version;

	(void)state;
	assert_int_equal(topic_retain_asof(retain), 0);
	assert_int_equal(put(retain, "a", "1", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(version, 1);
	assert_int_equal(put(retain, "a", "22", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(put(retain, "a/b", "3", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(topic_retain_asof(retain), 3);
	assert_int_equal(topic_retain_asof(retain), 3);
	assert_kept(retain, "a", "22", 2);
	assert_kept(retain, "a/b", "3", 3);
	assert_kept(retain, "b", NULL, 0);
	assert_int_equal(count_of(retain), 2);
	assert_int_equal(put(retain, "a", "", NULL, &version), TOPIC_RETAIN_DELETED);
	assert_int_equal(version, 4);
	assert_kept(retain, "a", NULL, 0);
	assert_int_equal(put(retain, "a", "", NULL, &version), TOPIC_RETAIN_NOTHING);
	assert_int_equal(put(retain, "a/b", "", NULL, &version), TOPIC_RETAIN_DELETED);
	topic_retain_stats(retain, &stats);
	assert_int_equal(stats.messages, 0);
	assert_int_equal(stats.bytes, 0);
	topic_retain_free(&retain);
}

static void
each_change_is_written_to_the_store_with_its_version(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	static struct log log;
	uint64_t version;

	(void)state;
	(void)put(retain, "a", "1", &log, &version);
	(void)put(retain, "a", "", &log, &version);
	/* Nothing is there, but that may not be durable: its acknowledgement must wait as well. */
	(void)put(retain, "a", "", &log, &version);
	(void)put(retain, "a", "2", &log, &version);
	assert_int_equal(log.ops[3].version, version);
	(void)put(retain, "never", "", &log, &version); /* nothing, and never was: not written */
	assert_int_equal(log.count, 4);
	assert_bytes_text(msg_payload(log.ops[3].msg), "2");
	assert_null(log.ops[1].msg);
	assert_null(log.ops[2].msg);
	assert_string_equal(log.ops[1].topic, "a");
	assert_int_equal(log.ops[0].version, 1);
	assert_int_equal(log.ops[1].version, 2);
	assert_int_equal(log.ops[2].version, 3);
	release_all(&log);
	topic_retain_free(&retain);
}

static void
a_deleted_topic_keeps_its_entry_while_the_store_refers_to_it(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	static struct log log, other;
	uint64_t version;

	(void)state;
	(void)put(retain, "a", "1", &log, &version);
	(void)put(retain, "a", "", &log, &version);
	for (int i = 0; i < 300; i++) { /* graves are looked at */
		char text[TEXT_SIZE];

		(void)snprintf(text, sizeof(text), "t%d", i);
		(void)put(retain, text, "x", NULL, &version);
	}
	log.ops[0].applied->version = 1;
	(void)put(retain, "a", "2", &other, &version);
	assert_ptr_equal(other.ops[0].entry, log.ops[0].entry);
	assert_int_equal(other.ops[0].applied->version, 1);
	(void)put(retain, "a", "", &other, &version);
	release_all(&other);
	release_all(&log);
	for (int i = 0; i < 300; i++) {
		char text[TEXT_SIZE];

		(void)snprintf(text, sizeof(text), "t%d", i);
		assert_int_equal(put(retain, text, "", NULL, &version), TOPIC_RETAIN_DELETED);
	}
	(void)put(retain, "a", "3", &other, &version);
	assert_int_equal(other.ops[0].applied->version, 0); /* a new one */
	release_all(&other);
	topic_retain_free(&retain);
}

static void
graves_are_emptied_when_the_store_has_let_go(void **state)
{
	enum { TOPICS = 100 };
	struct topic_retain *retain = topic_retain_new(key);
	static struct log log;
	uint64_t version;
	char text[TEXT_SIZE];

	(void)state;
	for (int i = 0; i < 2 * TOPICS; i++) {
		(void)snprintf(text, sizeof(text), "t%d", i % TOPICS);
		(void)put(retain, text, i < TOPICS ? "x" : "", &log, &version);
		log.ops[i].applied->version = 99;
	}
	topic_retain_sweep(retain, 0, 1000, NULL, NULL); /* finds nothing to free yet */
	for (int i = 0; i < TOPICS; i++) {
		assert_int_equal(log.ops[i].applied->version, 99);
	}
	release_all(&log);
	for (int i = 0; i < TOPICS; i++) {
		topic_retain_sweep(retain, 0, 1000, NULL, NULL);
	}
	for (int i = 0; i < TOPICS; i++) {
		(void)snprintf(text, sizeof(text), "t%d", i);
		(void)put(retain, text, "x", &log, &version);
		assert_int_equal(log.ops[i].applied->version, 0); /* a new one */
	}
	release_all(&log);
	topic_retain_free(&retain);
}

static void
topics_that_come_and_go_are_buried_once_and_always(void **state)
{
	enum { TOPICS = 640, CHANGES = 3000 }; /* some ten graves per shard */
	struct topic_retain *retain = topic_retain_new(key);
	struct log *log = mem_zalloc(sizeof(*log));
	uint64_t version, random = 3;
	char text[TEXT_SIZE];

	(void)state;
	for (int i = 0; i < CHANGES; i++) {
		(void)snprintf(text, sizeof(text), "t%d", (int)draw(&random, TOPICS));
		(void)put(retain, text, i % 2 == 0 ? "x" : "", log, &version);
		if (i % 3 == 0) {
			(void)put(retain, text, "", log, &version);
		}
	}
	for (size_t i = 0; i < log->count; i++) {
		log->ops[i].applied->version = 99;
	}
	for (int i = 0; i < TOPICS; i++) {
		(void)snprintf(text, sizeof(text), "t%d", i);
		(void)put(retain, text, "", log, &version);
	}
	release_all(log);
	for (int i = 0; i < TOPICS; i++) {
		topic_retain_sweep(retain, 0, 1000, NULL, NULL);
	}
	for (int i = 0; i < TOPICS; i++) {
		(void)snprintf(text, sizeof(text), "t%d", i);
		(void)put(retain, text, "x", log, &version);
		assert_int_equal(log->ops[i].applied->version, 0); /* a new one */
	}
	release_all(log);
	mem_free(&log);
	topic_retain_free(&retain);
}

static void
beyond_a_limit_what_was_there_stays(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	struct msg *msg = make_msg(bytes_of("a"), "12345678");
	size_t size = msg_size(msg);
	uint64_t version;

	(void)state;
	msg_unref(&msg);
	topic_retain_set_limits(retain, 2, 0);
	assert_int_equal(put(retain, "a", "12345678", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(put(retain, "b", "12345678", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_false(topic_retain_has_room(retain, bytes_of("c"), size));
	assert_true(topic_retain_has_room(retain, bytes_of("b"), size));
	assert_int_equal(put(retain, "c", "12345678", NULL, &version), TOPIC_RETAIN_FULL);
	assert_int_equal(version, 0);
	assert_int_equal(put(retain, "b", "23456789", NULL, &version), TOPIC_RETAIN_KEPT);
	topic_retain_set_limits(retain, 0, 2 * size + 3);
	assert_int_equal(put(retain, "c", "12345678", NULL, &version), TOPIC_RETAIN_FULL);
	assert_int_equal(put(retain, "b", "23456789012", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(put(retain, "a", "123456789", NULL, &version), TOPIC_RETAIN_FULL);
	assert_kept(retain, "a", "12345678", 1);
	assert_int_equal(put(retain, "b", "", NULL, &version), TOPIC_RETAIN_DELETED);
	assert_int_equal(put(retain, "c", "12345678", NULL, &version), TOPIC_RETAIN_KEPT);
	topic_retain_set_limits(retain, 0, 1);
	assert_int_equal(put(retain, "a", "23456789", NULL, &version), TOPIC_RETAIN_KEPT);
	topic_retain_free(&retain);
}

static void
without_memory_it_is_full(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	struct msg *msg = make_msg(bytes_of("a"), "1");
	uint64_t version;

	(void)state;
	allocations_left = 0;
	assert_int_equal(topic_retain_put(retain, msg, NULL, NULL, &version), TOPIC_RETAIN_FULL);
	allocations_left = INT32_MAX;
	assert_int_equal(version, 0);
	assert_int_equal(count_of(retain), 0);
	assert_int_equal(topic_retain_put(retain, msg, NULL, NULL, &version), TOPIC_RETAIN_KEPT);
	msg_unref(&msg);
	topic_retain_free(&retain);
}

static void
loading_sets_what_is_applied_and_versions_go_on_above(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	static struct log log;
	uint64_t version;

	(void)state;
	topic_retain_load(retain, make_msg(bytes_of("a"), "1"), 50);
	topic_retain_load(retain, make_msg(bytes_of("b"), "1"), 40);
	assert_kept(retain, "a", "1", 50);
	assert_int_equal(topic_retain_asof(retain), 50);
	(void)put(retain, "b", "2", &log, &version);
	assert_int_equal(version, 51);
	assert_int_equal(log.ops[0].applied->version, 40);
	assert_bytes_text(msg_payload(log.ops[0].applied->msg), "1");
	release_all(&log);
	topic_retain_free(&retain);
}

static void
what_has_expired_is_swept_and_not_found(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	struct room room = room_open();
	static struct log log;
	uint64_t version;
	char text[TEXT_SIZE];

	(void)state;
	for (int i = 0; i < 100; i++) {
		(void)snprintf(text, sizeof(text), "t%d", i);
		struct msg *msg = make_expiring(
		    bytes_of(text), "x", context_current->mono_ms, i % 2 == 0 ? 1 : 1000);

		(void)topic_retain_put(retain, msg, NULL, NULL, &version);
		msg_unref(&msg);
	}
	topic_retain_sweep(retain, context_current->mono_ms, 1000, write_op, &log);
	assert_int_equal(log.count, 0);
	sim_leave();
	sim_advance(room.loop, 1500);
	sim_enter(room.worker);
	assert_kept(retain, "t1", "x", 2);
	assert_kept(retain, "t0", NULL, 0);
	for (int i = 0; i < 100; i++) {
		size_t before = log.count;

		topic_retain_sweep(retain, context_current->mono_ms, 10, write_op, &log);
		assert_true(log.count - before <= 20);
	}
	assert_int_equal(log.count, 50);
	assert_null(log.ops[0].msg);
	assert_int_equal(count_of(retain), 50);
	release_all(&log);
	topic_retain_free(&retain);
	room_close(&room);
}

/* [flow 5] */
static void
values_of_the_broker_have_no_version_and_no_limit_counts_them(void **state)
{
	struct topic_retain *retain = topic_retain_new(key);
	uint64_t version = 77;

	(void)state;
	topic_retain_set_limits(retain, 2, 0);
	assert_int_equal(put(retain, "$SYS/broker/a", "1", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(version, 0);
	assert_int_equal(put(retain, "$SYS/broker/b", "1", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(count_of(retain), 0);
	assert_int_equal(topic_retain_asof(retain), 0);
	assert_int_equal(put(retain, "a", "1", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(put(retain, "b", "1", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(put(retain, "c", "1", NULL, &version), TOPIC_RETAIN_FULL);
	assert_int_equal(put(retain, "$SYS/broker/a", "2", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_int_equal(put(retain, "$SYS/broker/c", "2", NULL, &version), TOPIC_RETAIN_KEPT);
	assert_kept(retain, "$SYS/broker/a", "2", 0);
	assert_int_equal(put(retain, "$SYS/broker/a", "", NULL, &version), TOPIC_RETAIN_DELETED);
	assert_int_equal(count_of(retain), 2);
	topic_retain_free(&retain);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_message_of_a_topic_is_kept_with_its_version),
	    cmocka_unit_test(each_change_is_written_to_the_store_with_its_version),
	    cmocka_unit_test(a_deleted_topic_keeps_its_entry_while_the_store_refers_to_it),
	    cmocka_unit_test(graves_are_emptied_when_the_store_has_let_go),
	    cmocka_unit_test(topics_that_come_and_go_are_buried_once_and_always),
	    cmocka_unit_test(beyond_a_limit_what_was_there_stays),
	    cmocka_unit_test(without_memory_it_is_full),
	    cmocka_unit_test(loading_sets_what_is_applied_and_versions_go_on_above),
	    cmocka_unit_test(what_has_expired_is_swept_and_not_found),
	    cmocka_unit_test(values_of_the_broker_have_no_version_and_no_limit_counts_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
