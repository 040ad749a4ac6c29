/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs with Paho C that test_matrix.py does not have: paho_c_jobs PORT VERSION JOB TOPIC, where JOB
 * is large, unicode or properties. Prints "ok", or says what went wrong.
 */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 1 << 20, WAIT_MS = 10000 };

static void
fail(const char *what)
{
	printf("failed: %s\n", what);
	exit(1);
}

static MQTTClient
enter(const char *uri, int version)
{
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	MQTTClient client;

	create.MQTTVersion = version;
	if (MQTTClient_createWithOptions(
		&client, uri, "", MQTTCLIENT_PERSISTENCE_NONE, NULL, &create) != 0) {
		fail("create");
	}
	if (version == MQTTVERSION_5) {
		MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer5;
		MQTTResponse response;

		options.MQTTVersion = version;
		response = MQTTClient_connect5(client, &options, NULL, NULL);
		if (response.reasonCode != 0) {
			fail("connect");
		}
		MQTTResponse_free(response);
	} else {
		MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;

		options.MQTTVersion = version;
		if (MQTTClient_connect(client, &options) != 0) {
			fail("connect");
		}
	}
	return client;
}

int
main(int argc, char **argv)
{
	MQTTClient_message message = MQTTClient_message_initializer, *got = NULL;
	MQTTClient_deliveryToken token;
	MQTTClient client;
	char uri[64], *topic = NULL, *large = malloc(LARGE);
	int version, len;

	if (argc != 5) {
		fail("usage: paho_c_jobs PORT VERSION JOB TOPIC");
	}
	version = atoi(argv[2]);
	(void)snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%s", argv[1]);
	client = enter(uri, version);
	memset(large, 'x', LARGE);
	message.payload = strcmp(argv[3], "large") == 0 ? large : "hello";
	message.payloadlen = strcmp(argv[3], "large") == 0 ? LARGE : 5;
	message.qos = 1;
	if (version == MQTTVERSION_5) {
		MQTTProperty property = {.identifier = MQTTPROPERTY_CODE_USER_PROPERTY};

		property.value.data.data = "key";
		property.value.data.len = 3;
		property.value.value.data = "value";
		property.value.value.len = 5;
		if (strcmp(argv[3], "properties") == 0) {
			MQTTProperties_add(&message.properties, &property);
		}
		MQTTResponse_free(MQTTClient_subscribe5(client, argv[4], 1, NULL, NULL));
		MQTTResponse_free(MQTTClient_publishMessage5(client, argv[4], &message, &token));
	} else if (MQTTClient_subscribe(client, argv[4], 1) != 0 ||
		   MQTTClient_publishMessage(client, argv[4], &message, &token) != 0) {
		fail("subscribe or publish");
	}
	if (MQTTClient_waitForCompletion(client, token, WAIT_MS) != 0) {
		fail("PUBACK");
	}
	if (MQTTClient_receive(client, &topic, &len, &got, WAIT_MS) < 0 || got == NULL) {
		fail("no message came");
	}
	if (strcmp(topic, argv[4]) != 0 || got->payloadlen != message.payloadlen ||
	    memcmp(got->payload, message.payload, (size_t)got->payloadlen) != 0) {
		fail("another message came");
	}
	if (strcmp(argv[3], "properties") == 0 &&
	    MQTTProperties_propertyCount(&got->properties, MQTTPROPERTY_CODE_USER_PROPERTY) != 1) {
		fail("the property is missing");
	}
	puts("ok");
	return 0;
}
