/* SPDX-License-Identifier: Apache-2.0 */
/* A session "s" that subscribes to "t", over a store on a disk that a test can look at. */
#ifndef TESTS_UNIT_SESSION_DURABLE_BENCH_H
#define TESTS_UNIT_SESSION_DURABLE_BENCH_H

#include "session_house.h"

struct bench {
	struct store_disk *disk;
	struct house house;
	struct fake_sink sink;
	struct session *session;
};

static inline void
bench_open(struct bench *bench)
{
	bench->disk = store_disk_new();
	house_open(&bench->house, bench->disk);
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, false);
	house_subscribe(&bench->house, bench->session, "t", 2);
	house_commit(&bench->house);
}

static inline void
bench_close(struct bench *bench)
{
	house_close(&bench->house);
	fake_fini(&bench->sink);
	store_disk_free(&bench->disk);
}

static inline void
bench_reconnect(struct bench *bench)
{
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, true);
}

static inline void
bench_publish(struct bench *bench, const char *payload, uint8_t qos)
{
	sim_enter(bench->house.workers[0]);
	house_publish(&bench->house, "t", payload, qos);
	sim_leave();
	house_settle(&bench->house);
}

static inline struct store_disk_counts
bench_on_disk(struct bench *bench)
{
	struct store_disk_counts counts;

	house_commit(&bench->house);
	store_disk_counts(bench->disk, &counts);
	return counts;
}

/* What: 'a' PUBACK, 'r' PUBREC, 'c' PUBCOMP. */
static inline void
bench_acknowledge(struct bench *bench, uint16_t id, int what)
{
	sim_enter(bench->house.workers[0]);
	if (what == 'a') {
		session_puback(bench->session, id);
	} else if (what == 'r') {
		assert_true(session_pubrec(bench->session, id, 0));
	} else {
		session_pubcomp(bench->session, id);
	}
	sim_leave();
	house_settle(&bench->house);
}

#endif
