/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet.metrics/0: numbers of instances. A counter has a place per worker, each on a cache line of
 * its own, and one for all other threads; who reads it sums them up. Metrics are added on main and
 * live as long as their instance; the count is published last, so any thread may use a handle.
 */
#include <avocet/avocet_metrics.h>
#include <stdalign.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "plugin/plugin_int.h"

enum { LINE = 64, MAX_LABELS = 16, MAX_NAME = 128 };

struct place {
	alignas(LINE) _Atomic int64_t value;
};

struct plugin_metric {
	char *name, *help;
	char *labels; /* `key="value",…` as Prometheus writes them; "" without */
	uint32_t type;
	unsigned places;
	struct place *place;
};

static bool
is_name(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool is_letter = (name[i] >= 'a' && name[i] <= 'z') || name[i] == '_';

		if (!is_letter && (i == 0 || name[i] < '0' || name[i] > '9')) {
			return false;
		}
	}
	return len != 0 && len <= MAX_NAME;
}

/* A label's value: backslash, quote and newline are escaped, other control characters dropped. */
static void
put_value(struct buf *out, avocet_str value)
{
	for (size_t i = 0; i < value.n; i++) {
		uint8_t byte = (uint8_t)value.p[i];

		if (byte == '\\' || byte == '"') {
			buf_append_byte(out, '\\');
		}
		if (byte == '\n') {
			buf_append_text(out, "\\n");
		} else if (byte >= ' ' && byte != 0x7f) {
			buf_append_byte(out, byte);
		}
	}
}

/* False: they are none. */
static bool
put_labels(struct buf *out, const avocet_pair *labels, size_t count)
{
	static const char own[] = "instance";

	if (count > MAX_LABELS || (count != 0 && labels == NULL)) {
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		if (!is_name(labels[i].key.p, labels[i].key.n) ||
		    (labels[i].key.n == sizeof(own) - 1 &&
			memcmp(labels[i].key.p, own, sizeof(own) - 1) == 0)) {
			return false;
		}
		buf_append_byte(out, ',');
		buf_append(out, labels[i].key.p, labels[i].key.n);
		buf_append_text(out, "=\"");
		put_value(out, labels[i].value);
		buf_append_byte(out, '"');
	}
	return true;
}

static struct plugin_metric *
metric_new(const struct avocet_self *self, uint32_t type, const char *name, const char *help,
    const char *labels)
{
	struct plugin_metric *metric = mem_zalloc(sizeof(*metric));
	unsigned places = type == AVOCET_METRIC_COUNTER ? self->house->options.workers + 2 : 1;

	metric->name = mem_text(bytes_of(name));
	metric->help = mem_text(bytes_of(help));
	metric->labels = mem_text(bytes_of(labels));
	metric->type = type;
	metric->places = places;
	metric->place = aligned_alloc(LINE, places * sizeof(struct place));
	if (metric->place == NULL) {
		abort();
	}
	for (unsigned i = 0; i < places; i++) {
		atomic_init(&metric->place[i].value, 0);
	}
	return metric;
}

static int32_t
add(avocet_self *self, uint32_t type, const char *name, const char *help, const avocet_pair *labels,
    size_t n_labels, avocet_metric_h *out)
{
	uint32_t count = atomic_load(&self->metric_count), i = 0;
	struct buf text;
	int32_t status = AVOCET_OK;

	if (!plugin_is_main(self)) {
		plugin_fault(
		    self, PLUGIN_FAULT_THREAD, "called metrics add on another thread than main");
		return AVOCET_E_THREAD;
	}
	buf_init(&text, SIZE_MAX);
	if ((type != AVOCET_METRIC_COUNTER && type != AVOCET_METRIC_GAUGE) || name == NULL ||
	    !is_name(name, strlen(name)) || !put_labels(&text, labels, n_labels) || out == NULL) {
		status = AVOCET_E_INVAL;
	}
	while (status == AVOCET_OK && i < count &&
	       (strcmp(self->metrics[i]->name, name) != 0 ||
		   strcmp(self->metrics[i]->labels, buf_text(&text)) != 0)) {
		i++;
	}
	if (status == AVOCET_OK && i == PLUGIN_MAX_METRICS) {
		status = AVOCET_E_FULL;
	}
	if (status == AVOCET_OK && i < count && self->metrics[i]->type != type) {
		status = AVOCET_E_INVAL;
	}
	if (status == AVOCET_OK && i == count) {
		self->metrics[i] = metric_new(self, type, name, help, buf_text(&text));
		atomic_store_explicit(&self->metric_count, count + 1, memory_order_release);
	}
	if (status == AVOCET_OK) {
		*out = (avocet_metric_h)i + 1;
	}
	buf_fini(&text);
	return status;
}

static int32_t
update(avocet_self *self, avocet_metric_h handle, int64_t value)
{
	uint32_t count = atomic_load_explicit(&self->metric_count, memory_order_acquire);
	struct plugin_metric *metric;
	const struct context *context = context_current;
	unsigned at;

	if (handle == 0 || handle > count) {
		return AVOCET_E_GONE;
	}
	metric = self->metrics[handle - 1];
	if (metric->type == AVOCET_METRIC_GAUGE) {
		atomic_store_explicit(&metric->place[0].value, value, memory_order_relaxed);
		return AVOCET_OK;
	}
	if (value < 0) {
		return AVOCET_E_INVAL;
	}
	at = context != NULL && context->worker != NULL ? worker_index(context->worker)
							: metric->places - 1;
	at = at < metric->places ? at : metric->places - 1;
	atomic_fetch_add_explicit(&metric->place[at].value, value, memory_order_relaxed);
	return AVOCET_OK;
}

void
plugin_metrics_fini(struct avocet_self *self)
{
	for (uint32_t i = 0; i < atomic_load(&self->metric_count); i++) {
		struct plugin_metric *metric = self->metrics[i];

		mem_free(&metric->name);
		mem_free(&metric->help);
		mem_free(&metric->labels);
		mem_free(&metric->place);
		mem_free(&metric);
	}
	atomic_store(&self->metric_count, 0);
}

static int64_t
value_of(const struct plugin_metric *metric)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < metric->places; i++) {
		sum += atomic_load_explicit(&metric->place[i].value, memory_order_relaxed);
	}
	return sum;
}

void
plugin_house_metrics(struct plugin_house *house,
    void (*fn)(const struct plugin_number *number, void *arg), void *arg)
{
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);
		uint32_t count = atomic_load_explicit(&self->metric_count, memory_order_acquire);

		for (uint32_t i = 0; i < count; i++) {
			const struct plugin_metric *metric = self->metrics[i];
			struct plugin_number number = {.instance = self->name,
			    .module = self->module.descriptor->name,
			    .name = metric->name,
			    .help = metric->help,
			    .labels = metric->labels,
			    .is_counter = metric->type == AVOCET_METRIC_COUNTER,
			    .value = value_of(metric)};

			fn(&number, arg);
		}
	}
}

const avocet_metrics_api plugin_metrics_api = {
    .struct_size = sizeof(plugin_metrics_api), .add = add, .update = update};
