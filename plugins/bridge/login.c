/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of SASL, by Cyrus: for a remote that wants enhanced authentication. One
 * exchange belongs to one connection; its steps come one at a time, on the link's worker. Whether
 * the remote has proven that it knows the password too is judged at the last step.
 */
#include <sasl/sasl.h>
#include <stdlib.h>
#include <string.h>

#include "bridge.h"
#include "../sasl/threads.h"

struct bridge_login {
	sasl_conn_t *conn;
	sasl_callback_t callbacks[5];
	sasl_secret_t *secret;
	char *username;
	char *mechanism;
	bool is_done;
};

typedef int callback_fn(void);

static int
get_simple(void *context, int id, const char **result, unsigned *len)
{
	struct bridge_login *login = context;

	if (id != SASL_CB_USER && id != SASL_CB_AUTHNAME) {
		return SASL_BADPARAM;
	}
	*result = id == SASL_CB_USER ? "" : login->username;
	if (len != NULL) {
		*len = (unsigned)strlen(*result);
	}
	return SASL_OK;
}

static int
get_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	struct bridge_login *login = context;

	(void)conn;
	if (id != SASL_CB_PASS) {
		return SASL_BADPARAM;
	}
	*secret = login->secret;
	return SASL_OK;
}

/* The library writes to syslog otherwise. */
static int
log_nothing(void *context, int level, const char *message)
{
	(void)context;
	(void)level;
	(void)message;
	return SASL_OK;
}

static callback_fn *
as_callback(void *function)
{
	callback_fn *result;

	memcpy(&result, &function, sizeof(result));
	return result;
}

/* --- once --- */

static const char *failure;

/* The workers use the library at the same time. Where auth-sasl was first, its mutexes hold. */
static void
init(void)
{
	static const sasl_callback_t none[] = {{SASL_CB_LIST_END, NULL, NULL}};
	int status;

	sasl_threads_set();
	status = sasl_client_init(none);
	failure = status == SASL_OK ? NULL : sasl_errstring(status, NULL, NULL);
}

const char *
bridge_login_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, init);
	return failure;
}

/* --- an exchange --- */

struct bridge_login *
bridge_login_new(
    const char *mechanism, const char *username, const char *password, char *why, size_t why_size)
{
	struct bridge_login *login = calloc(1, sizeof(*login));
	size_t len = strlen(password);
	int status = SASL_NOMEM;

	if (login != NULL) {
		login->username = strdup(username);
		login->mechanism = strdup(mechanism);
		login->secret = malloc(sizeof(*login->secret) + len + 1);
	}
	if (login != NULL && login->username != NULL && login->mechanism != NULL &&
	    login->secret != NULL) {
		login->secret->len = len;
		memcpy(login->secret->data, password, len + 1);
		login->callbacks[0] = (sasl_callback_t){
		    SASL_CB_USER, as_callback((void *)(uintptr_t)get_simple), login};
		login->callbacks[1] = (sasl_callback_t){
		    SASL_CB_AUTHNAME, as_callback((void *)(uintptr_t)get_simple), login};
		login->callbacks[2] = (sasl_callback_t){
		    SASL_CB_PASS, as_callback((void *)(uintptr_t)get_secret), login};
		login->callbacks[3] = (sasl_callback_t){
		    SASL_CB_LOG, as_callback((void *)(uintptr_t)log_nothing), login};
		login->callbacks[4] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
		status = sasl_client_new(
		    "mqtt", "avocet", NULL, NULL, login->callbacks, 0, &login->conn);
	}
	if (status != SASL_OK) {
		(void)snprintf(why, why_size, "SASL: %s", sasl_errstring(status, NULL, NULL));
		bridge_login_free(login);
		return NULL;
	}
	return login;
}

void
bridge_login_free(struct bridge_login *login)
{
	if (login == NULL) {
		return;
	}
	if (login->conn != NULL) {
		sasl_dispose(&login->conn);
	}
	if (login->secret != NULL) {
		explicit_bzero(login->secret->data, login->secret->len);
		free(login->secret);
	}
	free(login->username);
	free(login->mechanism);
	free(login);
}

int
bridge_login_step(struct bridge_login *login, uint32_t step, avocet_bytes data, avocet_bytes *out)
{
	const char *answer = NULL, *chosen = NULL;
	unsigned len = 0;
	int status;

	*out = (avocet_bytes){NULL, 0};
	if (step == AVOCET_LINK_AUTH_BEGIN) {
		status =
		    sasl_client_start(login->conn, login->mechanism, NULL, &answer, &len, &chosen);
	} else if (login->is_done) {
		/* It knows who the remote is; more is not to be said. */
		return step == AVOCET_LINK_AUTH_DONE && data.n == 0 ? 0 : -1;
	} else {
		status = sasl_client_step(login->conn, data.n != 0 ? (const char *)data.p : "",
		    (unsigned)data.n, NULL, &answer, &len);
	}
	if (status != SASL_OK && status != SASL_CONTINUE) {
		return -1;
	}
	login->is_done = status == SASL_OK;
	if (step == AVOCET_LINK_AUTH_DONE && !login->is_done) {
		return -1; /* let in, but the remote has not proven anything */
	}
	*out = (avocet_bytes){(const uint8_t *)answer, len};
	return 0;
}
