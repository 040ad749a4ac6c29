/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: what a store gives back at start. The input is a list of operations; a plugin of the
 * fuzzer's own gives them to the broker, which loads them, lives on for some seconds and writes
 * what it has to write. What it writes must be fit to be loaded.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "broker/engine.h"
#include "broker/house.h"
#include "loop/sim.h"
#include "plugin/engine.h"
#include "plugin/host.h"
#include "plugin/plugin_int.h"
#include "wire/topic_name.h"

enum { WORKERS = 2, SECONDS = 5, MAX_OPS = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *at, *end;

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

/* --- the plugin --- */

static uint8_t
take(void)
{
	return at < end ? *at++ : 0;
}

static avocet_bytes
take_bytes(size_t len)
{
	avocet_bytes bytes = {at, len};

	if (len > (size_t)(end - at)) {
		bytes.n = (size_t)(end - at);
	}
	at += bytes.n;
	return bytes;
}

static int32_t
open_store(void *inst, avocet_error *err)
{
	(void)inst;
	(void)err;
	return AVOCET_OK;
}

static int32_t
load(void *inst, avocet_sink *sink, avocet_error *err)
{
	(void)inst;
	(void)err;
	for (int i = 0; i < MAX_OPS && at < end; i++) {
		avocet_store_op op = {.kind = take() % 20, .a = take(), .b = take()};
		uint8_t kind = take();
		size_t lens[3];

		op.t = (kind & 1) != 0 ? (int64_t)((uint64_t)take() << (kind >> 2)) : take();
		for (int k = 0; k < 3; k++) {
			lens[k] = take();
		}
		for (int k = 0; k < 3; k++) {
			op.s[k] = take_bytes(lens[k]);
		}
		if ((kind & 2) != 0) {
			op.a *= UINT64_C(0x123456789abcdef);
		}
		(void)plugin_store_api.sink_op(sink, &op);
	}
	return AVOCET_OK;
}

static int32_t
commit(void *inst, const avocet_store_batch *batch, avocet_error *err)
{
	(void)inst;
	(void)err;
	for (size_t i = 0; i < batch->n_ops; i++) {
		const avocet_store_op *op = &batch->ops[i];

		require(op->kind != 0);
		require(
		    op->kind != AVOCET_OP_QUEUE_PUT || (op->a != 0 && op->b != 0 && op->t != 0));
		require(op->kind != AVOCET_OP_MSG_PUT ||
			wire_topic_name_check(bytes_make(op->s[0].p, op->s[0].n), true) ==
			    WIRE_TOPIC_OK);
	}
	return AVOCET_OK;
}

static void
close_store(void *inst, uint32_t clean)
{
	(void)inst;
	(void)clean;
}

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	(void)host;
	(void)err;
	*inst_out = self;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	(void)inst;
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle), .create = create, .destroy = destroy};
static const avocet_store store = {AVOCET_SIZED(avocet_store), .open = open_store, .load = load,
    .commit = commit, .close = close_store};
static const avocet_service service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_STORE, .vtable = &store};
static const avocet_service *const services[] = {&service, NULL};
static const avocet_plugin plugin = {.magic = AVOCET_MAGIC,
    AVOCET_SIZED(avocet_plugin),
    .name = "fuzz",
    .version = "0",
    .lifecycle = &lifecycle,
    .services = services};

/* --- the broker --- */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct conn_limits limits = {.session = {.max_inflight_messages = 2,
						      .max_queued_messages = 5,
						      .max_subscriptions = 8,
						      .max_session_expiry_ms = CONF_NEVER,
						      .receive_maximum = 3},
	    .max_packet_size = 1024,
	    .max_qos = 2,
	    .retain_available = true,
	    .wildcard_subscriptions = true,
	    .shared_subscriptions = true};
	struct loop *loop = loop_new(
	    &(struct loop_options){.seed = 1, .log_level = LOG_LEVEL_ERROR, .log_ring_size = 4096});
	struct worker *main = loop_add_worker(loop, "main");
	struct plugin_module module = {.descriptor = &plugin};
	struct broker_house_options options = {
	    .loads_later = true, .limits = &limits, .wall_ms = INT64_C(1800000000000)};
	struct plugin_house *plugins;
	struct broker_house *house;
	struct avocet_self *self;
	char why[256] = "";

	at = data;
	end = data + size;
	sim_set_wall_ms(loop, options.wall_ms);
	options.engine = broker_engine_new(main);
	house = broker_house_new(loop, main, WORKERS, &options, why, sizeof(why));
	require(house != NULL);
	plugins = plugin_house_new(&(struct plugin_house_options){
	    .loop = loop, .main = main, .desks = house->desks, .workers = WORKERS});
	self = plugin_instance_new(plugins, "fuzz", &module);
	require(plugin_instance_create(
	    self, &(struct plugin_instance_options){.threads = 1}, why, sizeof(why)));
	require(broker_engine_bind(options.engine, house->store, self, why, sizeof(why)) == 0);
	if (broker_house_load(house, &options, why, sizeof(why)) == 0) {
		loop_start(loop);
		sim_advance(loop, SECONDS * 1000);
		loop_join(loop);
	}
	broker_house_free(&house);
	plugin_instance_free(self);
	plugin_house_free(&plugins);
	loop_free(&loop);
	return 0;
}
