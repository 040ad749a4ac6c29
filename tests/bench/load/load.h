/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the load generator mqload share. One thread, so all state is plain and global:
 * the options, the counts of what went wrong, and whom to tell of a message. measure.c has clocks,
 * latencies and sequences; client.c connections; packet.c MQTT; one file each the sub-commands.
 * Shares nothing with the broker.
 */
#ifndef TESTS_BENCH_LOAD_LOAD_H
#define TESTS_BENCH_LOAD_LOAD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

enum {
	FILTER_SIZE = 128, /* of a topic or a filter, with its NUL */
	/* Of a payload: 8 bytes time or number, 4 publisher or session, 4 sequence. Then padding.
	 */
	HEAD_LEN = 16,
	KEEP_ALIVE_S = 600, /* longer than a run: no PINGREQ is ever sent */
	SESSION_EXPIRY_S = 3600,
};

struct options {
	const char *host, *topology, *label, *prefix, *user, *password;
	long port, version, cpu, broker_pid; /* cpu -1: any; broker_pid 0: not known */
	long qos, sub_qos;                   /* sub_qos -1: the command's own */
	long publishers, subscribers, size, window, parallel, batch, hot, nodelay;
	long number, count, messages, burst;
	double rate, seconds, warm, stall, limit;
	bool tls, same_topic, subscribe, persistent;
};

extern struct options options;

/* What no rate makes good; all of it is in the output. */
struct counts {
	long closed; /* by others than us */
	long refused;
	long sub_failed;
	long protocol_errors;
};

extern struct counts counts;

/* --- mqload.c --- */

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Zeroed; never NULL. */
void *allocate(size_t count, size_t size);
/* Never NULL. */
void *resize(void *old, size_t size);

/* --- measure.c --- */

int64_t now_ns(void);
double now_s(void);

/* What the broker and the generator have used so far; 0 what cannot be known. */
struct usage {
	double at_s;
	double cpu_s, user_s, system_s; /* of the broker */
	double own_s;                   /* CPU of the generator */
	long rss_kb;                    /* of the broker */
};

struct usage usage_now(void);
/* Microseconds of the broker's CPU for each of count things; 0 if there are none. */
double cpu_us_per(const struct usage *begin, const struct usage *end, uint64_t count);
/* Bytes the broker has grown by for each of count things; 0 if there are none. */
double rss_per(const struct usage *begin, const struct usage *end, uint64_t count);
double per_second(uint64_t count, double seconds);

/* One histogram of nanoseconds, exact to 1/64. */
void latency_clear(void);
void latency_add(int64_t ns);
double latency_percentile_us(double percent);
double latency_max_us(void);

/* What has come of a stream of numbers 0, 1, 2 …; zeroed at first. */
struct stream {
	uint32_t next;
	uint32_t gap_count, gap_room;
	uint32_t (*gaps)[2]; /* begin, and end, which is outside */
};

struct sequence_counts {
	uint64_t duplicates, out_of_order; /* of all streams */
};

extern struct sequence_counts sequences;

void stream_take(struct stream *stream, uint32_t number);

/* Bounds a loop that waits for a count to rise: by --stall without change, by --limit in all. */
struct progress {
	double begun_at, moved_at;
	uint64_t seen;
};

struct progress progress_begin(uint64_t count);
bool progress_goes_on(struct progress *progress, uint64_t count);

/* Both ends are this program, so the byte order is the machine's. */
static inline void
put_u64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static inline void
put_u32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static inline uint64_t
get_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t
get_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* A payload of --size bytes; the caller writes its head. */
uint8_t *payload_new(void);
/* Prints "label", escaped: it is the only text of the output that is not ours. */
void print_label(void);

/* --- client.c --- */

enum role { PUBLISHER, SUBSCRIBER, HOT_SUBSCRIBER, IDLE };
enum client_state { CLIENT_NEW, CLIENT_TCP, CLIENT_TLS, CLIENT_GREETED, CLIENT_UP, CLIENT_CLOSED };

struct client {
	int fd;
	uint32_t index; /* within its role */
	enum role role;
	enum client_state state;
	uint32_t source; /* added to 127.0.0.1 for the own address; 0: the system's choice */
	bool is_dirty;   /* in the list of those with output */
	bool awaits_out; /* registered for EPOLLOUT */
	bool is_persistent;
	bool session_present;
	SSL *ssl;
	uint8_t *out; /* out_head to out_len is not sent */
	uint32_t out_head, out_len, out_room;
	uint8_t *in; /* the beginning of a packet */
	uint32_t in_len;
	uint16_t last_id;
	uint32_t receive_maximum;
	uint32_t suback_count;
	char id[40];
	uint32_t sent, acked; /* messages; acked to the end of their flow */
	uint64_t delivered;   /* of its messages, to all subscribers */
	/* A PUBLISH that only needs an id and a head of the payload (pubsub). */
	uint8_t *form;
	uint32_t form_len, form_id_at, form_payload_at;
};

static inline uint16_t
next_id(struct client *client)
{
	client->last_id++;
	client->last_id = client->last_id == 0 ? 1 : client->last_id;
	return client->last_id;
}

/* May it send a message of QoS 1 or 2? */
static inline bool
client_window_open(const struct client *client)
{
	uint32_t window = (uint32_t)options.window;

	window = window < client->receive_maximum ? window : client->receive_maximum;
	return client->state == CLIENT_UP && client->sent - client->acked < window;
}

void clients_setup(void);
struct client *clients_new(long count);
void client_init(struct client *client, long index, enum role role, const char *tag);
/* Connects them, --par at once; returns how many are up. */
long clients_connect(struct client *clients, long count);
/* Waits for so many SUBACKs of each that is still connected; false: in vain. */
bool clients_subscribed(struct client *clients, long count, uint32_t subacks);
/* Closes on purpose: does not count. */
void client_end(struct client *client);
/* Closes because of the broker. */
void client_fail(struct client *client);
/* Room for len bytes of output, which the next turn sends. */
uint8_t *client_room(struct client *client, uint32_t len);
/* Sends what is due, waits for at most so long, reads what came. */
void turn(int64_t wait_ns);
void turn_for(double seconds);

/* --- packet.c --- */

struct message {
	const uint8_t *payload;
	uint32_t len;
	bool retain;
	int64_t read_ns; /* when its bytes were read */
};

typedef void message_fn(struct client *client, const struct message *message);

extern message_fn *on_message;

uint8_t *put_length(uint8_t *at, uint32_t len);
uint8_t *put_text(uint8_t *at, const char *text, uint32_t len);
void send_connect(struct client *client);
void send_subscribe(struct client *client, char (*filters)[FILTER_SIZE], long count, long qos);
void send_publish(
    struct client *client, const char *topic, const uint8_t *payload, long qos, bool retain);
void send_disconnect(struct client *client);
/* A whole packet: its first byte, and what follows the length. */
void packet_take(
    struct client *client, uint8_t head, const uint8_t *body, uint32_t len, int64_t read_ns);

/* --- the sub-commands; each prints a line of JSON --- */

void run_pubsub(void);
void run_conns(void);
void run_subs(void);
void run_retained(void);
void run_offline(void);

#endif
