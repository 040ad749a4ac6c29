/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/client.h"

#include "base/mem.h"

static struct bytes
put_text(uint8_t **at, struct bytes text)
{
	struct bytes copy = {*at, text.len};

	if (text.len != 0) {
		memcpy(*at, text.data, text.len);
	}
	(*at)[text.len] = 0;
	*at += text.len + 1;
	return copy;
}

struct msg_client *
msg_client_new(const struct msg_client *from)
{
	size_t size = sizeof(*from) + from->client_id.len + from->username.len +
		      from->listener.len + from->address.len + from->prefix.len + from->method.len +
		      6;
	struct msg_client *client = mem_alloc(size);
	uint8_t *at = (uint8_t *)(client + 1);

	*client = *from;
	ref_init(&client->ref);
	client->client_id = put_text(&at, from->client_id);
	client->username = put_text(&at, from->username);
	client->listener = put_text(&at, from->listener);
	client->address = put_text(&at, from->address);
	client->prefix = put_text(&at, from->prefix);
	client->method = put_text(&at, from->method);
	client->prefix_len = (uint16_t)from->prefix.len;
	return client;
}

void
msg_client_unref(struct msg_client **client)
{
	if (*client != NULL && ref_put(&(*client)->ref)) {
		mem_free(client);
	}
	*client = NULL;
}
