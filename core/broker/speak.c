/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins do unasked: main publishes for them, and goes round the workers for who is to leave.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/broker_int.h"
#include "plugin/host.h"

void
broker_speak_publish(struct broker *broker, struct msg_draft *draft)
{
	if (!route_publish_trusted(broker->house->main.route, draft)) {
		log_warning("a plugin's message is dropped: the store fails");
	}
}

/* A letter to one worker after the other; the texts lie behind it. */
struct letter {
	struct mail mail;
	struct broker *broker;
	struct plugin_kick kick;
	unsigned at;
	char texts[];
};

static void go_on(struct letter *letter);

static void
on_letter(struct worker *worker, struct mail *mail)
{
	struct letter *letter = list_item(mail, struct letter, mail);
	const struct plugin_kick *kick = &letter->kick;
	const struct broker_hand *hand = &letter->broker->house->hands[letter->at];

	(void)worker;
	if (conn_table_send_away(
		hand->conns, kick->handle, kick->client_id, kick->reason, kick->text) ||
	    (kick->handle == 0 && link_table_kick(hand->links, kick->client_id))) {
		mem_free(&letter);
		return;
	}
	letter->at++;
	go_on(letter);
}

static void
go_on(struct letter *letter)
{
	const struct broker_house *house = letter->broker->house;

	if (letter->at >= house->count) {
		mem_free(&letter);
		return;
	}
	mail_post(house->hands[letter->at].worker, &letter->mail);
}

void
broker_speak_kick(struct broker *broker, const struct plugin_kick *kick)
{
	size_t len = kick->client_id.len + kick->text.len;
	struct letter *letter = mem_zalloc(sizeof(*letter) + len);

	letter->mail.run = on_letter;
	letter->broker = broker;
	letter->kick = *kick;
	if (kick->client_id.len != 0) {
		memcpy(letter->texts, kick->client_id.data, kick->client_id.len);
	}
	if (kick->text.len != 0) {
		memcpy(letter->texts + kick->client_id.len, kick->text.data, kick->text.len);
	}
	letter->kick.client_id = bytes_make(letter->texts, kick->client_id.len);
	letter->kick.text = bytes_make(letter->texts + kick->client_id.len, kick->text.len);
	go_on(letter);
}
