/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of auth-sasl share. */
#ifndef AUTH_SASL_AUTH_SASL_H
#define AUTH_SASL_AUTH_SASL_H

#include <avocet/avocet_auth.h>
#include <avocet/avocet_metrics.h>
#include <avocet/avocet_runtime.h>
#include <sasl/sasl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "../users/guard.h"
#include "../users/users.h"

enum {
	SASL_MAX_MECHANISMS = 16,
	SASL_MAX_METHOD = 32, /* bytes of a method's name, with its NUL */
	SASL_MAX_PATH = 4096,
	SASL_SECRET_LEN = 32,
	SASL_MAX_HOST = 256,
};

/* A configuration, and what was read for it. Immutable once it is in force; a call that is open
 * keeps it. */
struct state {
	char path[SASL_MAX_PATH];
	char service[64], host[SASL_MAX_HOST];
	struct users_table *users;
	struct stat status;              /* of the file that was read */
	uint8_t secret[SASL_SECRET_LEN]; /* salts of users that are not there are made of it */
	char mechanisms[SASL_MAX_MECHANISMS][SASL_MAX_METHOD];
	size_t mechanism_count;
	struct guard_options guard;
	int64_t check_ns;
	int64_t reauth_ns; /* 0: a login holds for ever */
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_auth_api *auth;
	const avocet_runtime_api *runtime;
	const avocet_metrics_api *metrics;
	avocet_metric_h accepted, refused;
	struct guard *guard;
	struct state *_Atomic state;
	avocet_timer_h timer;
	bool has_timer;
};

/* --- library.c: what there is one of in a process --- */

/* Once, whoever comes first. NULL, or what was wrong. */
const char *library_init(void);

/* Whose exchange the calling thread is in: the library asks for options and credentials without a
 * word of whom it is about. */
struct turn {
	struct instance *instance;
	const struct state *state;
	const char *mechanism; /* without -PLUS */
	char *user;            /* gets the name that is claimed; USERS_MAX_NAME + 1 bytes */
};
extern _Thread_local const struct turn *library_turn;

/* --- exchange.c --- */

int32_t exchange_authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in);
void exchange_free(void *inst, void *exchange);

#endif
