/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paho C against the broker, for test_clients.py: subscribes and publishes at QoS 0, 1 and 2 with
 * the version that it is told, reads back what it sent, resumes a session, and checks what the
 * broker keeps. Usage: paho_c URI PREFIX VERSION (3, 4 or 5) [CAFILE]. Exit status 0, or 1 with a
 * sentence on stderr.
 */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 10, TIMEOUT_MS = 10000 };

static const char *cafile; /* for ssl and wss */

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

static int
connect_client(MQTTClient client, int version, int clean)
{
	MQTTClient_connectOptions old = MQTTClient_connectOptions_initializer;
	MQTTClient_connectOptions new5 = MQTTClient_connectOptions_initializer5;
	MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
	MQTTProperties props = MQTTProperties_initializer;
	MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
	MQTTResponse response;
	int present;

	if (cafile != NULL) {
		ssl.trustStore = cafile;
		ssl.verify = 1;
		old.ssl = new5.ssl = &ssl;
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
disconnect_client(MQTTClient client, int version)
{
	if (version < 5) {
		check("disconnect", MQTTClient_disconnect(client, 1000));
	} else {
		check("disconnect",
		    MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL));
	}
}

static void
subscribe_to(MQTTClient client, int version, const char *topic, int qos)
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
publish_to(MQTTClient client, int version, const char *topic, const char *text, int qos)
{
	MQTTClient_deliveryToken token;

	if (version < 5) {
		check("publish",
		    MQTTClient_publish(client, topic, (int)strlen(text), text, qos, 0, &token));
	} else {
		MQTTResponse response = MQTTClient_publish5(
		    client, topic, (int)strlen(text), text, qos, 0, NULL, &token);

		check("publish", response.reasonCode);
		MQTTResponse_free(response);
	}
	if (qos > 0) {
		check("completion", MQTTClient_waitForCompletion(client, token, TIMEOUT_MS));
	}
}

static void
receive(MQTTClient client, const char *text, int qos)
{
	char *topic = NULL;
	int topic_len;
	MQTTClient_message *message = NULL;
	int code = MQTTClient_receive(client, &topic, &topic_len, &message, TIMEOUT_MS);

	if (message == NULL) {
		fail("nothing received", code);
	}
	if ((size_t)message->payloadlen != strlen(text) ||
	    memcmp(message->payload, text, strlen(text)) != 0 || message->qos != qos) {
		fail("another message than expected, of QoS", message->qos);
	}
	MQTTClient_freeMessage(&message);
	MQTTClient_free(topic);
}

static void
exchange(MQTTClient client, int version, const char *prefix)
{
	char topic[256];
	char text[64];

	for (int qos = 0; qos <= 2; qos++) {
		snprintf(topic, sizeof(topic), "%s/%d", prefix, qos);
		subscribe_to(client, version, topic, qos);
		for (int i = 0; i < COUNT; i++) {
			snprintf(text, sizeof(text), "message %d", i);
			publish_to(client, version, topic, text, qos);
			receive(client, text, qos);
		}
	}
}

int
main(int argc, char **argv)
{
	MQTTClient client;
	MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
	char other_id[256];
	char topic[256];
	MQTTClient other;
	int version;

	if (argc != 4 && argc != 5) {
		fail("usage: paho_c URI PREFIX VERSION [CAFILE]", argc);
	}
	cafile = argv[4]; /* NULL ends argv */
	version = atoi(argv[3]);
	options.MQTTVersion = version;
	check("create", MQTTClient_createWithOptions(&client, argv[1], argv[2],
			    MQTTCLIENT_PERSISTENCE_NONE, NULL, &options));
	connect_client(client, version, 1);
	disconnect_client(client, version);
	connect_client(client, version, 0);
	exchange(client, version, argv[2]);
	disconnect_client(client, version);

	/* Another client writes while the first one sleeps. Only at 3.1.1 does every release of
	 * Paho C tell whether a session was present. */
	snprintf(other_id, sizeof(other_id), "%s-other", argv[2]);
	snprintf(topic, sizeof(topic), "%s/2", argv[2]);
	check("create", MQTTClient_createWithOptions(&other, argv[1], other_id,
			    MQTTCLIENT_PERSISTENCE_NONE, NULL, &options));
	connect_client(other, version, 1);
	publish_to(other, version, topic, "while you slept", 2);
	disconnect_client(other, version);
	MQTTClient_destroy(&other);

	if (connect_client(client, version, 0) != 1 && version == 4) {
		fail("no session present", 0);
	}
	receive(client, "while you slept", 2);
	disconnect_client(client, version);
	connect_client(client, version, 1);
	disconnect_client(client, version);
	MQTTClient_destroy(&client);
	return 0;
}
