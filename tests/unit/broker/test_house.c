/* SPDX-License-Identifier: Apache-2.0 */
/* The house on the simulator: streams in, packets out, taken down without a leak. */
#include "lib/unit.h"

#include "broker/house.h"
#include "broker/options.h"
#include "broker/sys.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"

struct built {
	struct loop *loop;
	struct conf *conf;
	struct broker_options *options;
	struct broker_house *house;
	struct broker_sys sys;
};

enum { WORKERS = 3, SETTLE = 100000 };

static void
build(struct built *built, uint64_t seed)
{
	char why[256] = "";

	*built = (struct built){
	    .loop = loop_new(&(struct loop_options){.seed = seed, .log_level = LOG_LEVEL_ERROR}),
	    .conf = conf_read("a", BYTES_LITERAL("listeners: [{name: x, bind: 1}]"), NULL, NULL),
	};
	built->options = broker_options_bind(built->conf, (struct broker_override){0});
	assert_non_null(built->options);
	broker_options_listener(built->options, 0)->conn.plugins = &broker_house_no_plugins;
	broker_options_listener(built->options, 0)->conn.allow_anonymous = true;
	built->house = broker_house_new(built->loop, loop_add_worker(built->loop, "main"), WORKERS,
	    &(struct broker_house_options){.limits = &built->options->limits,
		.conf = built->conf,
		.on_sys = broker_sys_ask,
		.arg = &built->sys},
	    why, sizeof(why));
	assert_non_null(built->house);
	broker_sys_init(&built->sys, built->house, 1000);
	assert_int_equal(loop_start(built->loop), 0);
}

static void
take_down(struct built *built)
{
	loop_join(built->loop);
	broker_house_free(&built->house);
	broker_sys_fini(&built->sys);
	loop_free(&built->loop);
	conf_unref(&built->conf);
}

/* A client whose CONNECT has been read. */
static struct mem_pipe *
open_client(struct built *built, unsigned hand, struct bytes connect)
{
	struct mem_pipe *far;
	struct stream *stream = mem_stream_new("192.0.2.1:1", SIZE_MAX, &far);

	sim_enter(built->house->hands[hand].worker);
	conn_open(built->house->hands[hand].conns, stream,
	    &broker_options_listener(built->options, 0)->conn, built->conf, true, NULL);
	mem_pipe_write(far, connect);
	sim_leave();
	assert_true(sim_settle(built->loop, SETTLE));
	return far;
}

static void
say(struct built *built, unsigned hand, struct mem_pipe *far, struct bytes bytes)
{
	sim_enter(built->house->hands[hand].worker);
	mem_pipe_write(far, bytes);
	sim_leave();
	assert_true(sim_settle(built->loop, SETTLE));
}

static bool
has_said(struct mem_pipe *far, struct bytes wanted)
{
	struct bytes output = mem_pipe_output(far);

	return memmem(output.data, output.len, wanted.data, wanted.len) != NULL;
}

#define CONNECT(id) BYTES_LITERAL("\x10\x0d\0\4MQTT\4\2\0\0\0\1" id)

static void
a_message_goes_from_one_worker_to_another(void **state)
{
	struct built built;

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct mem_pipe *from, *to;

		build(&built, seed);
		to = open_client(&built, 0, CONNECT("a"));
		assert_true(has_said(to, BYTES_LITERAL("\x20\x02\0\0")));
		say(&built, 0, to, BYTES_LITERAL("\x82\x06\0\1\0\1t\0"));
		assert_true(has_said(to, BYTES_LITERAL("\x90\x03\0\1\0")));
		from = open_client(&built, 2, CONNECT("b"));
		say(&built, 2, from, BYTES_LITERAL("\x30\x05\0\1thi"));
		assert_true(has_said(to, BYTES_LITERAL("\x30\x05\0\1thi")));
		take_down(&built);
		mem_pipe_release(&from);
		mem_pipe_release(&to);
	}
}

static void
sys_is_given_to_a_new_subscriber_at_once(void **state)
{
	struct built built;
	struct mem_pipe *far;

	(void)state;
	build(&built, 7);
	far = open_client(&built, 1, CONNECT("a"));
	say(&built, 1, far, BYTES_LITERAL("\x82\x0b\0\1\0\6$SYS/#\0"));
	assert_true(has_said(far, BYTES_LITERAL("$SYS/broker/clients/connected1")));
	assert_true(has_said(far, BYTES_LITERAL("$SYS/broker/retained messages/count0")));
	mem_pipe_take(far, mem_pipe_output(far).len);
	sim_advance(built.loop, 500);
	assert_int_equal(mem_pipe_output(far).len, 0);
	sim_advance(built.loop, 600);
	assert_true(has_said(far, BYTES_LITERAL("$SYS/broker/uptime")));
	take_down(&built);
	mem_pipe_release(&far);
}

static void
an_idle_house_has_no_timers(void **state)
{
	struct built built;
	struct mem_pipe *far;

	(void)state;
	build(&built, 9);
	far = open_client(&built, 1, CONNECT("a"));
	say(&built, 1, far, BYTES_LITERAL("\x82\x0b\0\1\0\6$SYS/#\0"));
	say(&built, 1, far, BYTES_LITERAL("\xe0\0"));
	sim_advance(built.loop, 60000);
	assert_false(sim_step(built.loop));
	take_down(&built);
	mem_pipe_release(&far);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_goes_from_one_worker_to_another),
	    cmocka_unit_test(sys_is_given_to_a_new_subscriber_at_once),
	    cmocka_unit_test(an_idle_house_has_no_timers),
	};

	return cmocka_run_group_tests_name("house", tests, NULL, NULL);
}
