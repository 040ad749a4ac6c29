/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to a worker is asked and told by mail. A round goes to all client workers and is
 * over when the last has answered; its mails are part of the broker, so nothing is lost if the loop
 * ends meanwhile.
 */
#include "broker/broker_int.h"

#include "wire/reason.h"

enum { ERRAND_COST = 64 };

struct broker_errand {
	struct mail mail;
	struct broker *broker;
	struct broker_errands *errands;
	enum broker_errand_kind kind;
	unsigned hand;
	bool answer;
	struct conf *conf; /* RELOAD: a reference, the worker's to give up */
};

static void
run_answer(struct worker *worker, struct mail *mail)
{
	struct broker_errand *errand = list_item(mail, struct broker_errand, mail);
	struct broker_errands *errands = errand->errands;

	(void)worker;
	errands->any = errands->any || errand->answer;
	if (--errands->open == 0) {
		errands->done(errand->broker, errands->any);
	}
}

/* On the client worker. */
static void
carry_out(struct broker_errand *errand, struct broker_hand *hand)
{
	struct conn_table *table = hand->conns;

	switch (errand->kind) {
	case BROKER_ERRAND_RELOAD:
		conn_table_reload(table, errand->conf, broker_options_find);
		link_table_reload(hand->links, errand->conf);
		conf_unref(&errand->conf);
		break;
	case BROKER_ERRAND_RECHECK:
		conn_table_recheck(table);
		link_table_recheck(hand->links);
		break;
	case BROKER_ERRAND_STOP_READING:
		conn_table_stop_reading(table);
		link_table_stop_reading(hand->links);
		break;
	case BROKER_ERRAND_IS_BUSY:
		errand->answer = conn_table_is_busy(table) || link_table_is_busy(hand->links);
		break;
	case BROKER_ERRAND_CLOSE_ALL:
		conn_table_close_all(table, WIRE_REASON_SERVER_SHUTTING_DOWN);
		link_table_close_all(hand->links);
		break;
	case BROKER_ERRAND_ORPHANS:
		link_table_tell_orphans(hand->links);
		break;
	case BROKER_ERRAND_HAS_CONNS:
		errand->answer = !conn_table_is_empty(table) || !link_table_is_empty(hand->links);
		break;
	}
}

static void
run_errand(struct worker *worker, struct mail *mail)
{
	struct broker_errand *errand = list_item(mail, struct broker_errand, mail);

	(void)worker;
	carry_out(errand, &errand->broker->house->hands[errand->hand]);
	errand->mail.run = run_answer;
	mail_post(broker_main(errand->broker), &errand->mail);
}

void
broker_errands_init(struct broker *broker, struct broker_errands *errands)
{
	errands->items = mem_zalloc(broker->house->count * sizeof(*errands->items));
	for (unsigned i = 0; i < broker->house->count; i++) {
		errands->items[i].broker = broker;
		errands->items[i].errands = errands;
		errands->items[i].hand = i;
	}
}

void
broker_errands_fini(struct broker *broker, struct broker_errands *errands)
{
	for (unsigned i = 0; errands->items != NULL && i < broker->house->count; i++) {
		conf_unref(&errands->items[i].conf);
	}
	mem_free(&errands->items);
}

void
broker_errands_send(struct broker *broker, struct broker_errands *errands,
    enum broker_errand_kind kind, broker_errands_fn *done)
{
	errands->any = false;
	errands->done = done;
	errands->open = broker->house->count;
	for (unsigned i = 0; i < broker->house->count; i++) {
		struct broker_errand *errand = &errands->items[i];

		errand->kind = kind;
		errand->answer = false;
		errand->mail.run = run_errand;
		if (kind == BROKER_ERRAND_RELOAD) {
			errand->conf = conf_ref(broker->conf);
		}
		mail_send(broker_main(broker), broker->house->hands[i].worker, &errand->mail,
		    ERRAND_COST);
	}
}
