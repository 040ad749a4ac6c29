/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cyrus SASL in this process: set up once, without a configuration file and with those mechanisms
 * alone that are of use here. Credentials come from the users file in memory by an auxprop plugin
 * of our own. All state of the library's that could be an instance's is the turn of the thread.
 */
#include "auth_sasl.h"
#include "../sasl/threads.h"

#include <pthread.h>
#include <sasl/saslplug.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Thread_local const struct turn *library_turn;

/* --- callbacks --- */

/* Every option: SASL_OK with NULL is "not set", and keeps the library from files. */
static int
on_getopt(void *context, const char *plugin, const char *option, const char **result, unsigned *len)
{
	const struct turn *turn = library_turn;
	const char *value = NULL;

	(void)context;
	(void)plugin;
	if (strcmp(option, "auxprop_plugin") == 0) {
		value = "avocet";
	} else if (strcmp(option, "pwcheck_method") == 0) {
		value = "auxprop"; /* which has no passwords: who was refused stays refused */
	} else if (strcmp(option, "mech_list") == 0) {
		value = turn != NULL ? turn->mechanism : "SCRAM-SHA-256";
	}
	*result = value;
	if (len != NULL) {
		*len = value != NULL ? (unsigned)strlen(value) : 0;
	}
	return SASL_OK;
}

/* For the log alone, and only for who looks for it: what it says tells names from passwords. */
static int
on_log(void *context, int level, const char *message)
{
	const struct turn *turn = library_turn;

	(void)context;
	if (turn != NULL && level <= SASL_LOG_NOTE && level != SASL_LOG_NONE) {
		turn->instance->host->log(
		    turn->instance->self, AVOCET_LOG_DEBUG, message, strlen(message));
	}
	return SASL_OK;
}

/* Asked for once; the library keeps it. */
static int
on_getconfpath(void *context, char **path)
{
	static char nowhere[] = "/nonexistent";

	(void)context;
	*path = nowhere;
	return SASL_OK;
}

static int
on_verifyfile(void *context, const char *file, sasl_verify_type_t type)
{
	static const char *const wanted[] = {"libscram.", "libplain.", "libgssapiv2."};
	const char *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;

	(void)context;
	if (type != SASL_VRFY_PLUGIN) {
		return SASL_OK;
	}
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (strncmp(name, wanted[i], strlen(wanted[i])) == 0) {
			return SASL_OK;
		}
	}
	return SASL_CONTINUE;
}

/* PLAIN. Not on a worker: it hashes. */
static int
on_checkpass(sasl_conn_t *conn, void *context, const char *user, const char *password, unsigned len,
    struct propctx *properties)
{
	const struct turn *turn = library_turn;
	bool is_known;

	(void)conn;
	(void)context;
	(void)properties;
	if (turn == NULL) {
		return SASL_FAIL;
	}
	(void)snprintf(turn->user, USERS_MAX_NAME + 1, "%s", user);
	return users_check(turn->state->users, user, strlen(user), (const uint8_t *)password, len,
		   &is_known)
		   ? SASL_OK
		   : SASL_BADAUTH;
}

/* The library calls each by its true type. */
#define CALLBACK(f) ((int (*)(void))(void (*)(void))(f))
static const sasl_callback_t callbacks[] = {
    {SASL_CB_GETOPT, CALLBACK(on_getopt), NULL},
    {SASL_CB_LOG, CALLBACK(on_log), NULL},
    {SASL_CB_GETCONFPATH, CALLBACK(on_getconfpath), NULL},
    {SASL_CB_VERIFYFILE, CALLBACK(on_verifyfile), NULL},
    {SASL_CB_SERVER_USERDB_CHECKPASS, CALLBACK(on_checkpass), NULL},
    {SASL_CB_LIST_END, NULL, NULL},
};

/* --- credentials --- */

/*
 * The verifier of the claimed name, or one that is invented for it: both are made for every name,
 * so that a name that is not there takes as long.
 */
static int
give_verifier(sasl_server_params_t *params, const struct turn *turn, const char *user, unsigned len)
{
	int kind = users_kind_of(turn->mechanism, strlen(turn->mechanism));
	const struct users_verifier *found;
	struct users_verifier invented;
	char hash[1024];
	int result = SASL_FAIL;

	if (kind < 0) {
		return SASL_OK; /* a mechanism that needs none */
	}
	found = users_find(turn->state->users, user, len, kind);
	if (users_invent(turn->state->users, (enum users_kind)kind, turn->state->secret,
		sizeof(turn->state->secret), user, len, &invented) &&
	    users_format_hash(found != NULL ? found : &invented, hash, sizeof(hash)) != 0) {
		result = params->utils->prop_set(params->propctx, "*authPassword", hash, -1);
	}
	params->utils->erasebuffer(hash, sizeof(hash));
	return result;
}

static int
on_lookup(
    void *context, sasl_server_params_t *params, unsigned flags, const char *user, unsigned len)
{
	const struct turn *turn = library_turn;
	const struct propval *wanted = params->utils->prop_get(params->propctx);
	int result = SASL_OK;

	(void)context;
	/* Nothing is kept of whom somebody wants to act for. */
	if (turn == NULL || (flags & SASL_AUXPROP_AUTHZID) != 0) {
		return SASL_OK;
	}
	(void)snprintf(turn->user, USERS_MAX_NAME + 1, "%.*s", (int)len, user);
	for (; wanted != NULL && wanted->name != NULL; wanted++) {
		if (strcmp(wanted->name, "*authPassword") == 0) {
			result = give_verifier(params, turn, user, len);
		}
	}
	return result;
}

static int
on_auxprop(const sasl_utils_t *utils, int max_version, int *version_out,
    sasl_auxprop_plug_t **plugin_out, const char *name)
{
	static char plugin_name[] = "avocet";
	static sasl_auxprop_plug_t plugin = {.auxprop_lookup = on_lookup, .name = plugin_name};

	(void)utils;
	(void)name;
	if (max_version < SASL_AUXPROP_PLUG_VERSION) {
		return SASL_BADVERS;
	}
	*version_out = SASL_AUXPROP_PLUG_VERSION;
	*plugin_out = &plugin;
	return SASL_OK;
}

/* --- once --- */

static const char *failure;

static void
init(void)
{
	int result;

	sasl_threads_set();
	result = sasl_server_init(callbacks, "avocet");
	if (result == SASL_OK) {
		result = sasl_auxprop_add_plugin("avocet", on_auxprop);
	}
	/* What it allocates now stays as long as the process: there is no way to take an auxprop
	 * plugin back. */
	failure = result == SASL_OK ? NULL : sasl_errstring(result, NULL, NULL);
}

const char *
library_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, init);
	return failure;
}
