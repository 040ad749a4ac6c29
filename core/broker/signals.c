/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TERM and INT stop, once more: at once; HUP reloads; USR1 opens the log again. On main, in a turn.
 */
#include <signal.h>

#include "broker/broker_int.h"

static void
on_signal(struct worker *worker, int number, void *arg)
{
	struct broker *broker = arg;

	(void)worker;
	switch (number) {
	case SIGHUP:
		broker_reload_run(broker);
		break;
	case SIGUSR1:
		broker_logger_reopen(&broker->logger);
		break;
	default:
		broker_stop(broker);
		break;
	}
}

int
broker_signals_start(struct broker *broker)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
	int result = 0;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers) && result == 0; i++) {
		result = worker_on_signal(broker_main(broker), numbers[i], on_signal, broker);
	}
	return result;
}
