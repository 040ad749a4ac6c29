/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins are given: the host's core table, and its interfaces by name. */
#include <avocet/avocet_admin.h>
#include <avocet/avocet_kv.h>
#include <avocet/avocet_link.h>
#include <avocet/avocet_metrics.h>
#include <avocet/avocet_store.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "plugin/plugin_int.h"

const struct plugin_interface plugin_interfaces[] = {
    {AVOCET_HOST_CONF, &plugin_conf_api},
    {AVOCET_HOST_AUTH, &plugin_auth_api},
    {AVOCET_HOST_MESSAGE, &plugin_message_api},
    {AVOCET_HOST_ADMIN, &plugin_admin_api},
    {AVOCET_HOST_KV, &plugin_kv_api},
    {AVOCET_HOST_METRICS, &plugin_metrics_api},
    {AVOCET_HOST_RUNTIME, &plugin_runtime_api},
    {AVOCET_HOST_STORE, &plugin_store_api},
    {AVOCET_HOST_LINK, NULL}, /* of a room above, which a tool has not */
    {NULL, NULL},
};

static const void *
find(const struct plugin_interface *interfaces, const char *name)
{
	for (size_t i = 0; interfaces != NULL && interfaces[i].id != NULL; i++) {
		if (strcmp(interfaces[i].id, name) == 0) {
			return interfaces[i].table;
		}
	}
	return NULL;
}

static const void *
query(avocet_self *self, const char *name)
{
	const void *table = find(plugin_interfaces, name);

	return table != NULL ? table : find(self->house->options.interfaces, name);
}

static void
write_log(const char *name, int32_t level, struct bytes text)
{
	static const enum log_level levels[] = {
	    LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR};
	struct log_field field = {"plugin", bytes_of(name)};
	size_t at = level >= 0 && level <= AVOCET_LOG_ERROR ? (size_t)level : 1;
	struct buf clean;

	buf_init(&clean, SIZE_MAX);
	str_escape(&clean, text, false);
	log_write(levels[at], &field, 1, "%s", buf_text(&clean));
	buf_fini(&clean);
}

/* A line of a thread that has no ring, on its way to main. */
struct line {
	struct mail mail;
	struct avocet_self *self; /* a reference */
	int32_t level;
	uint32_t len;
	char text[];
};

static void
on_line(struct worker *worker, struct mail *mail)
{
	struct line *line = list_item(mail, struct line, mail);

	(void)worker;
	write_log(line->self->name, line->level, bytes_make(line->text, line->len));
	plugin_unref(line->self);
	mem_free(&line);
}

static void
host_log(avocet_self *self, int32_t level, const char *text, size_t n)
{
	struct line *line;

	n = n < LOG_MAX_TEXT ? n : LOG_MAX_TEXT;
	if (context_current != NULL || self->house->options.loop == NULL) {
		write_log(self->name, level, bytes_make(text, n));
		return;
	}
	line = mem_alloc(sizeof(*line) + n);
	*line = (struct line){
	    .mail = {.run = on_line}, .self = plugin_ref(self), .level = level, .len = (uint32_t)n};
	memcpy(line->text, text, n);
	mail_post(self->house->options.main, &line->mail);
}

static void
give_news(avocet_self *self, int status, const char *text)
{
	lock_take(&self->lock);
	(void)snprintf(self->text, sizeof(self->text), "%s", text != NULL ? text : "");
	lock_give(&self->lock);
	atomic_store(&self->news_status, status);
	if (!atomic_exchange(&self->has_news, true)) {
		mail_post(self->house->options.main, &self->news);
	}
}

static int32_t
host_ready(avocet_self *self, int32_t status, const char *text)
{
	if (atomic_load(&self->state) != PLUGIN_STARTING) {
		return AVOCET_E_STATE;
	}
	give_news(self, status < 0 ? status : AVOCET_OK, text);
	return AVOCET_OK;
}

static void
host_fail(avocet_self *self, const char *text)
{
	give_news(self, AVOCET_E_INTERNAL, text);
}

/* The broker's worker of this name blocks. */
static bool
is_store(const struct context *context)
{
	return strcmp(worker_name(context->worker), "store") == 0;
}

static uint32_t
host_thread(uint32_t *index_out)
{
	const struct context *context = context_current;
	uint32_t index =
	    context != NULL && context->worker != NULL ? worker_index(context->worker) : UINT32_MAX;

	if (index_out != NULL) {
		*index_out = index;
	}
	return index == UINT32_MAX ? AVOCET_THREAD_FOREIGN
	       : index == 0        ? AVOCET_THREAD_MAIN
	       : is_store(context) ? AVOCET_THREAD_STORE
				   : AVOCET_THREAD_WORKER;
}

void
plugin_offer_host(avocet_host *host, unsigned workers)
{
	*host = (avocet_host){
	    .struct_size = sizeof(*host),
	    .abi_major = AVOCET_ABI_MAJOR,
	    .abi_minor = AVOCET_ABI_MINOR,
	    .workers = workers,
	    .version = PACKAGE_VERSION,
	    .query = query,
	    .log = host_log,
	    .ready = host_ready,
	    .fail = host_fail,
	    .thread = host_thread,
	    .publish = plugin_host_publish,
	    .client_kick = plugin_host_kick,
	    .name = plugin_name,
	};
}
