/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TERM and INT stop, once more: at once; HUP reloads; USR1 opens the log again. On main, in a turn.
 * They wait from the beginning of the process until there is somebody who handles them: to load
 * what the store holds may take long, and a log that is rotated meanwhile must not end the broker.
 * They are held again when the loop has ended: who asks twice to stop does not kill what has
 * stopped, and sees its exit status.
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

static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
enum { COUNT = sizeof(numbers) / sizeof(*numbers) };

static void
change_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT; i++) {
		sigaddset(&set, numbers[i]);
	}
	(void)sigprocmask(how, &set, NULL);
}

void
broker_signals_hold(void)
{
	change_mask(SIG_BLOCK);
}

int
broker_signals_start(struct broker *broker)
{
	int result = 0;

	for (size_t i = 0; i < COUNT && result == 0; i++) {
		result = worker_on_signal(broker_main(broker), numbers[i], on_signal, broker);
	}
	change_mask(SIG_UNBLOCK);
	return result;
}
