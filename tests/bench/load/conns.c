/* SPDX-License-Identifier: Apache-2.0 */
/* conns: many idle connections, and what each costs; with a subscription each, if asked. */
#include "bench/load/load.h"

#include <stdio.h>
#include <unistd.h>

enum {
	PER_SOURCE = 2000, /* few ports of an address in use: a quick search for the next */
	SOURCES = 100,     /* of a run; the next run begins where no port is in TIME_WAIT */
	RUNS = 500,
	AT_ONCE = 256,
};

static double
subscribe_all(struct client *clients, long count)
{
	double begun_at = now_s();
	char filter[1][FILTER_SIZE];

	for (long i = 0; i < count; i++) {
		if (clients[i].state == CLIENT_UP) {
			snprintf(filter[0], FILTER_SIZE, "%s/dev/%ld/cmd", options.prefix, i);
			send_subscribe(&clients[i], filter, 1, 0);
		}
		if (i % AT_ONCE == AT_ONCE - 1) {
			turn(0);
		}
	}
	if (!clients_subscribed(clients, count, 1)) {
		fputs("mqload: SUBACKs missing\n", stderr);
	}
	return now_s() - begun_at;
}

void
run_conns(void)
{
	long count = options.number;
	struct client *clients = clients_new(count);
	double subscribe_s = 0;

	for (long i = 0; i < count; i++) {
		client_init(&clients[i], i, IDLE, "c");
		clients[i].source = (uint32_t)(1 + getpid() % RUNS * SOURCES + i / PER_SOURCE);
	}
	struct usage begin = usage_now();
	long up_count = clients_connect(clients, count);
	struct usage connected = usage_now();
	uint64_t up = (uint64_t)up_count;

	turn_for(1);
	struct usage settled = usage_now();
	struct usage end = settled;

	if (options.subscribe) {
		subscribe_s = subscribe_all(clients, count);
		turn_for(0.5);
		end = usage_now();
	}
	double wall_s = connected.at_s - begin.at_s;

	printf("{\"cmd\":\"conns\",");
	print_label();
	printf(",\"v\":%ld,\"tls\":%d,\"n\":%ld,\"up\":%ld,\"wall_s\":%.3f,\"conns_per_s\":%.0f,"
	       "\"cpu_us_per_conn\":%.2f,\"rss_before_kb\":%ld,\"rss_after_kb\":%ld,"
	       "\"rss_bytes_per_conn\":%.0f,\"gen_util\":%.3f,",
	    options.version, options.tls, count, up_count, wall_s, per_second(up, wall_s),
	    cpu_us_per(&begin, &connected, up), begin.rss_kb, settled.rss_kb,
	    rss_per(&begin, &settled, up), (connected.own_s - begin.own_s) / wall_s);
	printf("\"sub_s\":%.3f,\"sub_cpu_us\":%.2f,\"rss_bytes_per_conn_sub\":%.0f,\"closed\":%ld,"
	       "\"refused\":%ld,\"sub_failed\":%ld}\n",
	    subscribe_s, cpu_us_per(&settled, &end, up), rss_per(&begin, &end, up), counts.closed,
	    counts.refused, counts.sub_failed);
}
