/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paho C against the broker, for test_matrix.py: subscribes and publishes at QoS 0, 1 and 2 with
 * the version that it is told, reads back what it sent, reads what is retained, dies with a will,
 * and resumes a session. Usage: paho_c URI PREFIX VERSION (3, 4 or 5) [CAFILE [CERTIFICATE KEY]].
 * Each thing done is a line "ok NAME" on stdout. Exit status 0, or 1 with a sentence on stderr.
 */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 10, TIMEOUT_MS = 10000 };

static const char *uri;
static const char *prefix;
static int version;

/* For ssl and wss. */
static const char *cafile;
static const char *certificate;
static const char *key;

static void
fail(const char *what, int code)
{
	fprintf(stderr, "%s: %d\n", what, code);
	exit(1);
}

static void
check(const char *what, int code)
{
	if (code != MQTTCLIENT_SUCCESS) {
		fail(what, code);
	}
}

static void
done(const char *what)
{
	printf("ok %s\n", what);
	fflush(stdout);
}

/* The topic of this name below the prefix, until the next call. */
static const char *
below(const char *name)
{
	static char topic[256];

	snprintf(topic, sizeof(topic), "%s/%s", prefix, name);
	return topic;
}

static MQTTClient
create_client(const char *suffix)
{
	MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
	MQTTClient client;
	char id[256];

	snprintf(id, sizeof(id), "%s%s", prefix, suffix);
	options.MQTTVersion = version;
	check("create", MQTTClient_createWithOptions(
			    &client, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &options));
	return client;
}

/* Gives whether a session was present. will: a topic, or NULL. */
static int
connect_client(MQTTClient client, int clean, const char *will)
{
	MQTTClient_connectOptions old = MQTTClient_connectOptions_initializer;
	MQTTClient_connectOptions new5 = MQTTClient_connectOptions_initializer5;
	MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
	MQTTClient_willOptions last = MQTTClient_willOptions_initializer;
	MQTTProperties props = MQTTProperties_initializer;
	MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
	MQTTResponse response;
	int present;

	if (cafile != NULL) {
		ssl.trustStore = cafile;
		ssl.keyStore = certificate;
		ssl.privateKey = key;
		ssl.verify = 1;
		old.ssl = new5.ssl = &ssl;
	}
	if (will != NULL) {
		last.topicName = will;
		last.message = "gone";
		last.qos = 1;
		old.will = new5.will = &last;
	}
	if (version < 5) {
		old.MQTTVersion = version;
		old.cleansession = clean;
		old.keepAliveInterval = 20;
		check("connect", MQTTClient_connect(client, &old));
		return old.returned.sessionPresent;
	}
	new5.cleanstart = clean;
	new5.keepAliveInterval = 20;
	expiry.value.integer4 = 100;
	MQTTProperties_add(&props, &expiry);
	response = MQTTClient_connect5(client, &new5, &props, NULL);
	check("connect", response.reasonCode);
	present = new5.returned.sessionPresent;
	MQTTResponse_free(response);
	MQTTProperties_free(&props);
	return present;
}

static void
disconnect_client(MQTTClient client)
{
	if (version < 5) {
		check("disconnect", MQTTClient_disconnect(client, 1000));
	} else {
		check("disconnect",
		    MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL));
	}
}

static void
end_client(MQTTClient *client)
{
	disconnect_client(*client);
	MQTTClient_destroy(client);
}

static void
subscribe_to(MQTTClient client, const char *topic, int qos)
{
	int code;

	if (version < 5) {
		code = MQTTClient_subscribe(client, topic, qos);
	} else {
		MQTTResponse response = MQTTClient_subscribe5(client, topic, qos, NULL, NULL);

		code = (int)response.reasonCode;
		MQTTResponse_free(response);
	}
	/* Before version 5 Paho gives success; in version 5 the granted QoS. */
	if (code != (version < 5 ? MQTTCLIENT_SUCCESS : qos)) {
		fail("subscribe", code);
	}
}

static void
publish_to(MQTTClient client, const char *topic, const char *text, int qos, int retained)
{
	MQTTClient_deliveryToken token;
	int len = (int)strlen(text);

	if (version < 5) {
		check(
		    "publish", MQTTClient_publish(client, topic, len, text, qos, retained, &token));
	} else {
		MQTTResponse response =
		    MQTTClient_publish5(client, topic, len, text, qos, retained, NULL, &token);

		check("publish", response.reasonCode);
		MQTTResponse_free(response);
	}
	if (qos > 0) {
		check("completion", MQTTClient_waitForCompletion(client, token, TIMEOUT_MS));
	}
}

static void
receive(MQTTClient client, const char *text, int qos, int retained)
{
	char *topic = NULL;
	int topic_len;
	MQTTClient_message *message = NULL;
	int code = MQTTClient_receive(client, &topic, &topic_len, &message, TIMEOUT_MS);

	if (message == NULL) {
		fail("nothing received", code);
	}
	if ((size_t)message->payloadlen != strlen(text) ||
	    memcmp(message->payload, text, strlen(text)) != 0 || message->qos != qos ||
	    message->retained != retained) {
		fail("another message than expected, of QoS", message->qos);
	}
	MQTTClient_freeMessage(&message);
	MQTTClient_free(topic);
}

static void
exchange(MQTTClient client)
{
	char text[64];

	for (int qos = 0; qos <= 2; qos++) {
		const char name[] = {(char)('0' + qos), '\0'};

		subscribe_to(client, below(name), qos);
		for (int i = 0; i < COUNT; i++) {
			snprintf(text, sizeof(text), "message %d", i);
			publish_to(client, below(name), text, qos, 0);
			receive(client, text, qos, 0);
		}
		snprintf(text, sizeof(text), "QoS %d", qos);
		done(text);
	}
}

static void
check_retained(MQTTClient client)
{
	publish_to(client, below("kept"), "kept", 1, 1);
	subscribe_to(client, below("kept"), 1);
	receive(client, "kept", 1, 1);
	publish_to(client, below("kept"), "", 1, 1);
	receive(client, "", 1, 0);
	done("retained");
}

/* Another client writes while the first one sleeps. Only at 3.1.1 does every release of Paho C tell
 * whether a session was present. */
static void
check_session(MQTTClient client)
{
	MQTTClient other = create_client("other");

	disconnect_client(client);
	connect_client(other, 1, NULL);
	publish_to(other, below("2"), "while you slept", 2, 0);
	end_client(&other);
	if (connect_client(client, 0, NULL) != 1 && version == 4) {
		fail("no session present", 0);
	}
	receive(client, "while you slept", 2, 0);
	done("session");
}

/* The child connects with a will when it is told to, and dies. It is made before Paho has threads.
 */
static int
start_mortal(void)
{
	int pipe_ends[2];
	char byte;

	check("pipe", pipe(pipe_ends));
	switch (fork()) {
	case -1:
		fail("fork", 0);
		break;
	case 0:
		close(pipe_ends[1]);
		if (read(pipe_ends[0], &byte, 1) == 1) {
			connect_client(create_client("mortal"), 1, below("will"));
		}
		_exit(0);
	default:
		close(pipe_ends[0]);
	}
	return pipe_ends[1];
}

static void
check_will(MQTTClient client, int mortal)
{
	subscribe_to(client, below("will"), 1);
	if (write(mortal, "x", 1) != 1) {
		fail("write", 0);
	}
	receive(client, "gone", 1, 0);
	close(mortal);
	done("will");
}

int
main(int argc, char **argv)
{
	MQTTClient client;
	int mortal;

	if (argc != 4 && argc != 5 && argc != 7) {
		fail("usage: paho_c URI PREFIX VERSION [CAFILE [CERTIFICATE KEY]]", argc);
	}
	uri = argv[1];
	prefix = argv[2];
	version = atoi(argv[3]);
	cafile = argc > 4 ? argv[4] : NULL;
	certificate = argc > 6 ? argv[5] : NULL;
	key = argc > 6 ? argv[6] : NULL;
	mortal = start_mortal();

	client = create_client("");
	connect_client(client, 1, NULL);
	disconnect_client(client);
	connect_client(client, 0, NULL);
	exchange(client);
	check_retained(client);
	check_will(client, mortal);
	check_session(client);
	disconnect_client(client);
	connect_client(client, 1, NULL);
	end_client(&client);
	return 0;
}
