/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Benchmark: the tree of filters and the retained messages. Prints one line of JSON per case: what
 * a subscription takes to add and to remove and the bytes it occupies (as the tree counts them, and
 * as the process grew), for a million distinct filters and for 100 000 subscribers of one filter;
 * what a match costs; and the same for a million retained messages of 64 bytes. Links the
 * simulator's loop.
 *
 *     bench_topic [COUNT]    COUNT in place of a million
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "loop/sim.h"
#include "msg/draft.h"
#include "topic/retain.h"
#include "topic/tree.h"

enum { MILLION = 1000000, MANY = 100000, TURN = 1000, TEXT_SIZE = 64 };

static struct loop *loop;
static struct worker *worker;
static volatile uint64_t sink;

static double
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double
heap(void)
{
	struct mallinfo2 info = mallinfo2();

	return (double)info.uordblks + (double)info.hblkhd;
}

static void
end_turn(int i)
{
	if (i % TURN == 0) {
		worker_again(worker);
		sim_leave();
		(void)sim_settle(loop, 100);
		sim_enter(worker);
	}
}

static void
report(const char *name, double ns, double count, double bytes)
{
	if (bytes != 0) {
		printf("{\"case\": \"%s\", \"ns\": %.0f, \"bytes\": %.1f}\n", name, ns / count,
		    bytes / count);
	} else {
		printf("{\"case\": \"%s\", \"ns\": %.0f}\n", name, ns / count);
	}
	(void)fflush(stdout);
}

static struct bytes
text_of(char text[TEXT_SIZE], const char *format, int i)
{
	int len = snprintf(text, TEXT_SIZE, format[0] == '1' ? "device/%d" : "device/%d/temp", i);

	return bytes_make(text, (size_t)len);
}

static void
see_subscribers(void *arg, const struct topic_subscriber *subscribers, uint32_t count)
{
	(void)arg;
	sink += subscribers[0].slot + count;
}

static void
see_group(void *arg, const struct topic_group *group)
{
	(void)arg;
	sink += group->member_count;
}

static const struct topic_match_ops ops = {see_subscribers, see_group};

static double
tree_memory(const struct topic_tree *tree)
{
	struct topic_tree_stats stats;

	topic_tree_stats(tree, &stats);
	return (double)stats.memory;
}

static void
bench_match(
    const struct topic_tree *tree, const char *name, const char *format, int from, int count)
{
	uint64_t random = 1;
	char text[TEXT_SIZE];
	double start = now_ns(), dry;

	for (int i = 0; i < MILLION; i++) {
		random = random * 6364136223846793005 + 1442695040888963407;
		sink += text_of(text, format, from + (int)(random >> 33) % count).len;
	}
	dry = now_ns() - start;
	start = now_ns();
	for (int i = 0; i < MILLION; i++) {
		random = random * 6364136223846793005 + 1442695040888963407;
		topic_tree_match(
		    tree, text_of(text, format, from + (int)(random >> 33) % count), &ops, NULL);
	}
	report(name, now_ns() - start - dry, MILLION, 0);
}

static void
bench_filters(int count, const char *format, const char *name)
{
	struct topic_tree *tree = topic_tree_new();
	struct topic_subscriber subscriber = {.slot = 1};
	char text[TEXT_SIZE], label[128];
	double before, start;

	end_turn(0);
	before = heap();
	start = now_ns();
	for (int i = 0; i < count; i++) {
		(void)topic_tree_add(tree, worker, text_of(text, format, i), &subscriber);
		end_turn(i);
	}
	(void)snprintf(label, sizeof(label), "%s, add (bytes as counted)", name);
	report(label, now_ns() - start, count, tree_memory(tree));
	end_turn(0);
	(void)snprintf(label, sizeof(label), "%s, bytes of the heap", name);
	report(label, 0, count, heap() - before);
	(void)snprintf(label, sizeof(label), "%s, match any of them", name);
	bench_match(tree, label, format, 0, count);
	(void)snprintf(label, sizeof(label), "%s, match one of 1000", name);
	bench_match(tree, label, format, 0, 1000);
	(void)snprintf(label, sizeof(label), "%s, match none", name);
	bench_match(tree, label, format, count, count);
	(void)topic_tree_add(tree, worker, bytes_of("#"), &subscriber);
	(void)topic_tree_add(tree, worker, bytes_of("device/+/temp"), &subscriber);
	(void)topic_tree_add(tree, worker, bytes_of("+/+/+"), &subscriber);
	(void)snprintf(label, sizeof(label), "%s, match one of 1000 and wildcards", name);
	bench_match(tree, label, format, 0, 1000);
	start = now_ns();
	for (int i = 0; i < count; i++) {
		(void)topic_tree_remove(tree, worker, text_of(text, format, i), 0, 1, 0);
		end_turn(i);
	}
	(void)snprintf(label, sizeof(label), "%s, remove", name);
	report(label, now_ns() - start, count, 0);
	topic_tree_free(&tree);
}

static void
bench_subscribers(int count)
{
	struct topic_tree *tree = topic_tree_new();
	struct topic_subscriber subscriber = {.slot = 0};
	double start = now_ns();

	for (int i = 0; i < count; i++) {
		subscriber.slot = (uint32_t)i;
		(void)topic_tree_add(tree, worker, bytes_of("news"), &subscriber);
		end_turn(i);
	}
	report("subscribers of one filter, add", now_ns() - start, count, tree_memory(tree));
	start = now_ns();
	for (int i = 0; i < 100; i++) {
		topic_tree_match(tree, bytes_of("news"), &ops, NULL);
	}
	report(
	    "subscribers of one filter, match, per subscriber", now_ns() - start, 100.0 * count, 0);
	start = now_ns();
	for (int i = 0; i < count; i++) {
		(void)topic_tree_remove(tree, worker, bytes_of("news"), 0, (uint32_t)i, 0);
		end_turn(i);
	}
	report("subscribers of one filter, remove", now_ns() - start, count, 0);
	topic_tree_free(&tree);
}

static void
bench_walk(struct topic_retain *retain, const char *name, const char *filter)
{
	struct topic_retain_cursor cursor;
	double start = now_ns();
	int count = 0;

	topic_retain_cursor_init(&cursor, bytes_of(filter));
	while (!cursor.done) {
		unsigned budget = 1000;
		uint64_t version;
		struct msg *msg = topic_retain_next(retain, &cursor, 0, &budget, &version);

		count += msg != NULL;
		msg_unref(&msg);
	}
	report(name, now_ns() - start, count != 0 ? count : 1, 0);
	topic_retain_cursor_fini(&cursor);
}

static void
put_all(struct topic_retain *retain, int count, const char *format, size_t payload_len)
{
	static const uint8_t payload[64];
	char text[TEXT_SIZE];

	for (int i = 0; i < count; i++) {
		struct msg_draft draft = {.topic = text_of(text, format, i),
		    .payload = bytes_make(payload, payload_len),
		    .flags = MSG_RETAIN};
		struct msg *msg = msg_seal(&draft);
		uint64_t version;

		(void)topic_retain_put(retain, msg, NULL, NULL, &version);
		msg_unref(&msg);
	}
}

static void
bench_retained(int count, const char *format)
{
	struct topic_retain *retain = topic_retain_new((struct hash_key){1, 2});
	double before = heap(), start = now_ns();

	put_all(retain, count, format, 64);
	report("retained, put new", now_ns() - start, count, heap() - before);
	start = now_ns();
	put_all(retain, count, format, 64);
	report("retained, replace", now_ns() - start, count, 0);
	bench_walk(retain, "retained, walk #", "#");
	bench_walk(retain, "retained, walk device/+/temp", "device/+/temp");
	bench_walk(retain, "retained, walk without a match", "device/+/nothing");
	start = now_ns();
	put_all(retain, count, format, 0);
	report("retained, delete", now_ns() - start, count, 0);
	topic_retain_free(&retain);
}

int
main(int argc, char **argv)
{
	const struct loop_options options = {.seed = 1, .log_level = LOG_LEVEL_ERROR};
	int count = argc > 1 ? atoi(argv[1]) : MILLION;

	if (count < 1000) {
		fprintf(stderr, "usage: bench_topic [COUNT], at least 1000\n");
		return 1;
	}
	loop = loop_new(&options);
	worker = loop_add_worker(loop, "bench");
	if (loop_start(loop) != 0) {
		return 1;
	}
	sim_enter(worker);
	bench_filters(count, "1", "filters device/N");
	bench_filters(count, "2", "filters device/N/temp");
	bench_subscribers(MANY);
	bench_subscribers(count);
	bench_retained(count, "1");
	bench_retained(count, "2");
	sim_leave();
	loop_free(&loop);
	return 0;
}
