/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordinary jobs with libmosquitto: libmosquitto PORT VERSION JOB TOPIC. Prints "ok" and ends with
 * 0, or says what went wrong. Jobs: qos0 qos1 qos2 retained will session large unicode properties.
 */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = 1 << 20, ROUNDS = 1000, ROUND_MS = 10 };

struct seen {
	bool connected, subscribed, published, retained, has_property;
	int session_present, count, qos;
	size_t len;
	char *payload;
};

static int port, version;

static void
fail(const char *what)
{
	printf("failed: %s\n", what);
	exit(1);
}

static void
on_connect(struct mosquitto *m, void *arg, int rc, int flags, const mosquitto_property *props)
{
	struct seen *seen = arg;

	(void)m;
	(void)props;
	seen->connected = rc == 0;
	seen->session_present = flags & 1;
}

static void
on_subscribe(struct mosquitto *m, void *arg, int mid, int count, const int *granted,
    const mosquitto_property *props)
{
	(void)m;
	(void)mid;
	(void)props;
	((struct seen *)arg)->subscribed = count == 1 && granted[0] < 3;
}

static void
on_publish(struct mosquitto *m, void *arg, int mid, int reason, const mosquitto_property *props)
{
	(void)m;
	(void)mid;
	(void)props;
	((struct seen *)arg)->published = reason < 0x80;
}

static void
on_message(struct mosquitto *m, void *arg, const struct mosquitto_message *msg,
    const mosquitto_property *props)
{
	struct seen *seen = arg;
	char *name = NULL, *value = NULL;

	(void)m;
	free(seen->payload);
	seen->payload = malloc((size_t)msg->payloadlen + 1);
	memcpy(seen->payload, msg->payload, (size_t)msg->payloadlen);
	seen->payload[msg->payloadlen] = '\0';
	seen->len = (size_t)msg->payloadlen;
	seen->qos = msg->qos;
	seen->retained = msg->retain;
	seen->count++;
	if (mosquitto_property_read_string_pair(
		props, MQTT_PROP_USER_PROPERTY, &name, &value, false) != NULL) {
		seen->has_property = strcmp(name, "key") == 0 && strcmp(value, "value") == 0;
	}
	free(name);
	free(value);
}

static struct mosquitto *
make(const char *id, bool clean, struct seen *seen)
{
	struct mosquitto *m = mosquitto_new(id, clean, seen);

	mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, version);
	mosquitto_connect_v5_callback_set(m, on_connect);
	mosquitto_subscribe_v5_callback_set(m, on_subscribe);
	mosquitto_publish_v5_callback_set(m, on_publish);
	mosquitto_message_v5_callback_set(m, on_message);
	return m;
}

static void
turn_until(struct mosquitto *m, const bool *flag, const int *count, int wanted, const char *what)
{
	for (int i = 0; i < ROUNDS; i++) {
		if ((flag != NULL && *flag) || (count != NULL && *count >= wanted)) {
			return;
		}
		(void)mosquitto_loop(m, ROUND_MS, 1);
	}
	fail(what);
}

static void
enter(struct mosquitto *m, struct seen *seen, bool keeps)
{
	mosquitto_property *props = NULL;

	if (version == MQTT_PROTOCOL_V5 && keeps) {
		mosquitto_property_add_int32(&props, MQTT_PROP_SESSION_EXPIRY_INTERVAL, 300);
	}
	seen->connected = false;
	if (mosquitto_connect_bind_v5(m, "127.0.0.1", port, 60, NULL, props) != 0) {
		fail("connect");
	}
	mosquitto_property_free_all(&props);
	turn_until(m, &seen->connected, NULL, 0, "CONNACK");
}

static void
subscribe(struct mosquitto *m, struct seen *seen, const char *topic, int qos)
{
	seen->subscribed = false;
	mosquitto_subscribe(m, NULL, topic, qos);
	turn_until(m, &seen->subscribed, NULL, 0, "SUBACK");
}

static void
publish(struct mosquitto *m, struct seen *seen, const char *topic, const void *payload, size_t len,
    int qos, bool retain, bool with_props)
{
	mosquitto_property *props = NULL;

	if (with_props) {
		mosquitto_property_add_string_pair(&props, MQTT_PROP_USER_PROPERTY, "key", "value");
		mosquitto_property_add_string(&props, MQTT_PROP_CONTENT_TYPE, "text/plain");
	}
	seen->published = false;
	if (mosquitto_publish_v5(m, NULL, topic, (int)len, payload, qos, retain, props) != 0) {
		fail("publish");
	}
	mosquitto_property_free_all(&props);
	turn_until(m, &seen->published, NULL, 0, "the end of a publication");
}

static void
round_trip(const char *topic, const char *payload, size_t len, int qos, bool with_props)
{
	struct seen seen = {0};
	struct mosquitto *m = make(NULL, true, &seen);

	enter(m, &seen, false);
	subscribe(m, &seen, topic, 2);
	publish(m, &seen, topic, payload, len, qos, false, with_props);
	turn_until(m, NULL, &seen.count, 1, "the message");
	if (seen.len != len || memcmp(seen.payload, payload, len) != 0 || seen.qos != qos ||
	    seen.has_property != with_props) {
		fail("another message came");
	}
	mosquitto_disconnect(m);
	mosquitto_destroy(m);
}

static void
do_retained(const char *topic)
{
	struct seen one = {0}, two = {0};
	struct mosquitto *m = make(NULL, true, &one), *other = make(NULL, true, &two);

	enter(m, &one, false);
	publish(m, &one, topic, "kept", 4, 1, true, false);
	enter(other, &two, false);
	subscribe(other, &two, topic, 1);
	turn_until(other, NULL, &two.count, 1, "the retained message");
	if (!two.retained || strcmp(two.payload, "kept") != 0) {
		fail("it is not the retained message");
	}
	publish(m, &one, topic, NULL, 0, 1, true, false);
}

static void
do_will(const char *topic)
{
	struct seen one = {0}, two = {0};
	struct mosquitto *m = make(NULL, true, &one), *watcher = make(NULL, true, &two);

	enter(watcher, &two, false);
	subscribe(watcher, &two, topic, 1);
	mosquitto_will_set(m, topic, 4, "gone", 1, false);
	enter(m, &one, false);
	(void)close(mosquitto_socket(m));
	turn_until(watcher, NULL, &two.count, 1, "the will");
	if (strcmp(two.payload, "gone") != 0) {
		fail("it is not the will");
	}
}

static void
do_session(const char *topic)
{
	struct seen one = {0}, two = {0};
	struct mosquitto *m = make(topic, false, &one), *publisher = make(NULL, true, &two);

	enter(m, &one, true);
	subscribe(m, &one, topic, 1);
	mosquitto_disconnect(m);
	(void)mosquitto_loop(m, ROUND_MS, 1);
	enter(publisher, &two, false);
	publish(publisher, &two, topic, "while away", 10, 1, false, false);
	enter(m, &one, true);
	turn_until(m, NULL, &one.count, 1, "what was kept");
	if (!one.session_present || strcmp(one.payload, "while away") != 0) {
		fail("the session was not there");
	}
}

int
main(int argc, char **argv)
{
	const char *job = argc == 5 ? argv[3] : "", *topic = argc == 5 ? argv[4] : "";
	char *large = malloc(LARGE);

	mosquitto_lib_init();
	port = argc == 5 ? atoi(argv[1]) : 0;
	version = argc == 5 ? atoi(argv[2]) : 0;
	for (size_t i = 0; i < LARGE; i++) {
		large[i] = (char)(i * 31);
	}
	if (strncmp(job, "qos", 3) == 0) {
		round_trip(topic, "hello", 5, job[3] - '0', false);
	} else if (strcmp(job, "retained") == 0) {
		do_retained(topic);
	} else if (strcmp(job, "will") == 0) {
		do_will(topic);
	} else if (strcmp(job, "session") == 0) {
		do_session(topic);
	} else if (strcmp(job, "large") == 0) {
		round_trip(topic, large, LARGE, 1, false);
	} else if (strcmp(job, "unicode") == 0) {
		round_trip(topic, "\xc3\xa9", 2, 1, false);
	} else if (strcmp(job, "properties") == 0) {
		round_trip(topic, "hello", 5, 1, true);
	} else {
		fail("usage: libmosquitto PORT VERSION JOB TOPIC");
	}
	puts("ok");
	return 0;
}
