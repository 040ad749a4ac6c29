/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/client.h"

#include <stddef.h>

#include "base/mem.h"

static uint16_t
len_of(struct bytes text)
{
	return (uint16_t)(text.len < UINT16_MAX ? text.len : UINT16_MAX);
}

static uint8_t
short_len_of(struct bytes text)
{
	return (uint8_t)(text.len < UINT8_MAX ? text.len : UINT8_MAX);
}

static void
put_text(uint8_t **at, const uint8_t *data, uint16_t len)
{
	if (len != 0) {
		memcpy(*at, data, len);
	}
	(*at)[len] = 0;
	*at += (size_t)len + 1;
}

struct msg_client *
msg_client_new(const struct msg_client_parts *parts)
{
	const struct msg_client head = {.client_id_len = len_of(parts->client_id),
	    .username_len = len_of(parts->username),
	    .prefix_len = len_of(parts->prefix),
	    .address_len = short_len_of(parts->address),
	    .listener_len = short_len_of(parts->listener),
	    .method_len = len_of(parts->method),
	    .version = parts->version & 0x7fU,
	    .authenticated = parts->authenticated};
	size_t size = offsetof(struct msg_client, text) + (size_t)head.client_id_len +
		      head.username_len + head.prefix_len + head.address_len + head.listener_len +
		      head.method_len + 6;
	struct msg_client *client = mem_alloc(size > sizeof(head) ? size : sizeof(head));
	uint8_t *at = client->text;

	*client = head;
	ref_init(&client->ref);
	put_text(&at, parts->client_id.data, head.client_id_len);
	put_text(&at, parts->username.data, head.username_len);
	put_text(&at, parts->prefix.data, head.prefix_len);
	put_text(&at, parts->address.data, head.address_len);
	put_text(&at, parts->listener.data, head.listener_len);
	put_text(&at, parts->method.data, head.method_len);
	return client;
}

void
msg_client_unref(struct msg_client **client)
{
	if (*client != NULL && ref_put(&(*client)->ref)) {
		if ((*client)->more != NULL) {
			(*client)->more->free((*client)->more);
		}
		mem_free(client);
	}
	*client = NULL;
}
