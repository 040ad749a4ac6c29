/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a plugin without a broker: questions of all its services from several workers at once,
 * clients that leave at any moment, exchanges of AUTH that go on or are left, reloads that are
 * committed or aborted, and the end while questions are out. What the host counts as faults of the
 * plugin is the result. Build the plugin with sanitizers, and preload their runtime, to see the
 * rest.
 */
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <avocet/avocet_auth.h>
#include <avocet/avocet_message.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "loop/worker.h"
#include "plugin/chain.h"
#include "plugin/host.h"
#include "plugin/load.h"

enum {
	WORKERS = 3,
	MAX_OPEN = 32, /* questions per worker */
	MAX_WHY = 512,
	RELOAD_MS = 40,
	STOP_MS = 5000,
	MAX_STEPS = 5,
	VERDICTS = PLUGIN_DISCONNECT + 1,
};

static const char usage[] =
    "usage: avocet-plugintest [--config FILE] [--secs N] [--data-dir DIR] PLUGIN.so\n"
    "  --config FILE   YAML: what stands below `config` of the plugin; default: nothing\n"
    "  --secs N        how long, from 1 to 86400; default: 5\n"
    "  --data-dir DIR  what relative paths of the plugin's data begin with; default: .\n"
    "Exit status: 0 no fault was seen; 1 some were; 2 usage; 3 the plugin could not be used.\n";

struct test {
	const char *config_path, *data_dir;
	long secs;
	struct loop *loop;
	struct worker *main;
	struct plugin_desk *desks[WORKERS + 1];
	struct plugin_house *house;
	struct plugin_module *module;
	struct timer timer;
	int64_t end_ms;
	bool is_stopping;
	int status;
	unsigned reloads, aborts;
	struct lock lock; /* guards the set */
	const struct plugin_set *set;
};

/* A worker's part. */
struct driver {
	struct test *test;
	struct worker *worker;
	struct plugin_desk *desk;
	struct timer timer;
	unsigned open;
	uint64_t asked, left, steps;
	uint64_t verdicts[VERDICTS];
};

/* A client with a question. */
struct question {
	struct plugin_request request; /* first */
	struct driver *driver;
	const struct plugin_set *set; /* a reference */
	struct plugin_authority *authority;
	struct msg_client *client;
	struct msg_draft draft;
	struct plugin_access items[4];
	struct timer leaves;
	unsigned steps;
	char texts[4][32];
};

static struct test test;
static struct driver drivers[WORKERS];

/* --- chance --- */

static uint64_t
chance(struct driver *driver, uint64_t n)
{
	return worker_random(driver->worker) % n;
}

static struct bytes
word(struct driver *driver, char *out)
{
	static const char *const words[] = {
	    "alice", "bob", "x", "", "a+b", "user", "\xc3\xbc", "open sesame"};

	if (chance(driver, 3) == 0) {
		(void)snprintf(out, 32, "w%llu", (unsigned long long)chance(driver, 1000));
	} else {
		(void)snprintf(out, 32, "%s", words[chance(driver, 8)]);
	}
	return bytes_of(out);
}

/* --- a question --- */

static void
free_question(struct plugin_request *request)
{
	struct question *question = (struct question *)(void *)request;

	if (request->exchange != NULL && question->authority->ops->exchange_free != NULL) {
		question->authority->ops->exchange_free(question->authority, request->exchange);
	}
	question->driver->open--;
	plugin_request_fini(request);
	msg_draft_fini(&question->draft);
	msg_client_unref(&question->client);
	plugin_set_unref(&question->set);
	mem_free(&question);
}

static void ask(struct question *question);
static timer_fn on_leave;

/* The next step of an exchange: another question, which takes the exchange over. */
static void
go_on(struct question *before)
{
	struct question *question = mem_zalloc(sizeof(*question));
	struct driver *driver = before->driver;

	question->driver = driver;
	question->set = plugin_set_ref(before->set);
	question->authority = before->authority;
	question->client = msg_client_ref(before->client);
	question->leaves.fn = on_leave;
	question->steps = before->steps + 1;
	plugin_request_init(&question->request);
	question->request.question = PLUGIN_AUTH_CONTINUE;
	question->request.client = question->client;
	question->request.method = before->request.method; /* of the set */
	question->request.data = word(driver, question->texts[2]);
	question->request.exchange = before->request.exchange;
	before->request.exchange = NULL;
	driver->open++;
	driver->steps++;
	plugin_end(&before->request, free_question);
	ask(question);
}

/* The answer is there. An exchange goes on, or is left. */
static void
on_answer(struct plugin_request *request)
{
	struct question *question = (struct question *)(void *)request;
	struct driver *driver = question->driver;

	driver->verdicts[request->verdict]++;
	timer_clear(driver->worker, &question->leaves);
	if (request->verdict == PLUGIN_CONTINUE && question->steps < MAX_STEPS &&
	    !request->timed_out && chance(driver, 4) != 0) {
		go_on(question);
	} else {
		plugin_end(request, free_question);
	}
}

static void
on_leave(struct worker *worker, struct timer *timer)
{
	struct question *question = list_item(timer, struct question, leaves);

	(void)worker;
	question->driver->left++;
	plugin_end(&question->request, free_question);
}

static void
ask(struct question *question)
{
	struct driver *driver = question->driver;

	question->request.done = on_answer;
	if (plugin_ask(driver->desk, question->authority, &question->request) != PLUGIN_PENDING) {
		on_answer(&question->request);
		return;
	}
	if (chance(driver, 4) == 0 && !timer_is_set(&question->leaves)) {
		timer_set(driver->worker, &question->leaves,
		    context_current->mono_ms + (int64_t)chance(driver, 20));
	}
}

static void
fill_login(struct question *question)
{
	struct plugin_request *request = &question->request;
	const char *const *methods = question->authority->methods;
	size_t count = 0;

	while (methods != NULL && methods[count] != NULL) {
		count++;
	}
	request->question = PLUGIN_AUTHENTICATE;
	request->username = msg_client_username_of(question->client);
	request->has_username = true;
	if (count != 0 && chance(question->driver, 2) == 0) {
		request->method = bytes_of(methods[chance(question->driver, count)]);
		request->data = word(question->driver, question->texts[2]);
	} else {
		request->password = word(question->driver, question->texts[2]);
		request->has_password = true;
	}
}

static void
fill_topic(struct question *question, enum plugin_question kind)
{
	struct plugin_request *request = &question->request;
	struct driver *driver = question->driver;

	(void)snprintf(question->texts[3], sizeof(question->texts[3]), "a/%llu/%llu",
	    (unsigned long long)chance(driver, 5), (unsigned long long)chance(driver, 50));
	request->question = kind;
	if (kind == PLUGIN_SUBSCRIBE) {
		request->items = question->items;
		request->item_count = 1 + (size_t)chance(driver, 4);
		for (size_t i = 0; i < request->item_count; i++) {
			question->items[i] = (struct plugin_access){
			    .filter = bytes_of(i % 2 == 0 ? question->texts[3] : "a/+/#"),
			    .qos = (uint8_t)chance(driver, 3),
			    .max_qos = 2};
		}
		return;
	}
	question->draft = (struct msg_draft){.topic = bytes_of(question->texts[3]),
	    .payload = bytes_of("payload"),
	    .client_id = msg_client_id_of(question->client),
	    .username = msg_client_username_of(question->client),
	    .born_mono_ms = context_current->mono_ms,
	    .born_wall_ms = context_current->wall_ms,
	    .qos = (uint8_t)chance(driver, 3),
	    .flags = kind == PLUGIN_WILL ? MSG_WILL : 0};
	request->draft = &question->draft;
}

static void
begin(struct driver *driver)
{
	struct question *question = mem_zalloc(sizeof(*question));
	enum plugin_question kind;
	const struct plugin_set *set;

	lock_take(&driver->test->lock);
	set = question->set = plugin_set_ref(driver->test->set);
	lock_give(&driver->test->lock);
	question->driver = driver;
	question->leaves.fn = on_leave;
	question->client = msg_client_new(&(struct msg_client_parts){.version = 5,
	    .client_id = word(driver, question->texts[0]),
	    .username = word(driver, question->texts[1]),
	    .listener = bytes_of("test"),
	    .address = bytes_of("192.0.2.1:4711")});
	plugin_client_describe(
	    question->client, &(struct plugin_client_facts){.handle = driver->asked + 1,
				  .transport = 1,
				  .worker = worker_index(driver->worker)});
	plugin_request_init(&question->request);
	question->request.client = question->client;
	driver->open++;
	driver->asked++;
	/* Of the services that are there, one. */
	do {
		static const enum plugin_question kinds[] = {PLUGIN_AUTHENTICATE, PLUGIN_PUBLISH,
		    PLUGIN_WILL, PLUGIN_SUBSCRIBE, PLUGIN_INTERCEPT_PUBLISH};

		kind = kinds[chance(driver, 5)];
		question->authority = kind == PLUGIN_AUTHENTICATE        ? set->authenticate
				      : kind == PLUGIN_INTERCEPT_PUBLISH ? set->intercept
									 : set->authorize;
	} while (question->authority == NULL);
	if (kind == PLUGIN_AUTHENTICATE) {
		fill_login(question);
	} else {
		fill_topic(question, kind);
	}
	ask(question);
}

static void
on_tick(struct worker *worker, struct timer *timer)
{
	struct driver *driver = list_item(timer, struct driver, timer);

	bool is_there;

	if (context_current->mono_ms >= driver->test->end_ms) {
		return;
	}
	lock_take(&driver->test->lock);
	is_there = driver->test->set != NULL;
	lock_give(&driver->test->lock);
	for (uint64_t n = chance(driver, 8); is_there && n > 0 && driver->open < MAX_OPEN; n--) {
		begin(driver);
	}
	timer_set(worker, timer, context_current->mono_ms + 1);
}

static void
on_driver_start(struct worker *worker, void *arg)
{
	struct driver *driver = arg;

	driver->timer.fn = on_tick;
	timer_set(worker, &driver->timer, context_current->mono_ms + 50);
}

/* --- the instance --- */

static bool
change(bool commits, char *why, size_t why_size)
{
	struct conf *conf = test.config_path != NULL
				? conf_load(test.config_path, NULL)
				: conf_read("config", (struct bytes){NULL, 0}, NULL, NULL);
	struct plugin_instance_options options = {
	    .threads = 4, .queue = 1000, .start_timeout_ms = 10000};
	struct plugin_config *config =
	    plugin_config_bind(conf, test.module, test.config_path != NULL ? conf_root(conf) : NULL,
		&(struct conf_place){"config", 0, 0}, "config", test.data_dir);
	const struct plugin_set *old, *next;
	struct plugin_member_options member;
	struct plugin_set_options set;
	struct avocet_self *self;

	if (config == NULL) {
		struct buf text;

		buf_init(&text, SIZE_MAX);
		conf_format_errors(conf, &text);
		(void)snprintf(why, why_size, "%s", buf_text(&text));
		buf_fini(&text);
		conf_unref(&conf);
		return false;
	}
	plugin_house_begin(test.house);
	self =
	    plugin_house_want(test.house, "plugin", test.module, config, &options, why, why_size);
	plugin_config_unref(&config);
	if (self == NULL || !commits) {
		plugin_house_abort(test.house);
		conf_unref(&conf);
		return self != NULL;
	}
	member = (struct plugin_member_options){.self = self, .timeout_ms = 300};
	set = (struct plugin_set_options){.house = test.house, .max_grants = 16};
	if (plugin_offers(self, AVOCET_SERVICE_AUTHENTICATOR)) {
		set.authenticate = (struct plugin_chain_options){&member, 1};
	}
	if (plugin_offers(self, AVOCET_SERVICE_AUTHORIZER)) {
		set.authorize = (struct plugin_chain_options){&member, 1};
	}
	if (plugin_offers(self, AVOCET_SERVICE_INTERCEPTOR)) {
		set.intercept = (struct plugin_chain_options){&member, 1};
	}
	next = plugin_set_new(&set);
	plugin_house_commit(test.house);
	lock_take(&test.lock);
	old = test.set;
	test.set = next;
	lock_give(&test.lock);
	plugin_set_unref(&old);
	conf_unref(&conf);
	return true;
}

static void
on_stopped(void *arg)
{
	(void)arg;
	loop_stop(test.loop);
}

static void
nothing(void *arg)
{
	(void)arg;
}

static void
on_main_tick(struct worker *worker, struct timer *timer)
{
	char why[MAX_WHY] = "";

	if (context_current->mono_ms >= test.end_ms) {
		test.is_stopping = true;
		plugin_house_stop(test.house, STOP_MS, on_stopped, NULL);
		return;
	}
	if (worker_random(worker) % 3 == 0) {
		test.aborts += change(false, why, sizeof(why));
	} else if (change(true, why, sizeof(why))) {
		test.reloads++;
		plugin_house_start(test.house, nothing, NULL);
	}
	if (why[0] != '\0') {
		fprintf(stderr, "avocet-plugintest: a reload was refused: %s\n", why);
	}
	timer_set(worker, timer, context_current->mono_ms + RELOAD_MS);
}

static void
on_main_start(struct worker *worker, void *arg)
{
	char why[MAX_WHY] = "";

	(void)arg;
	if (!change(true, why, sizeof(why))) {
		fprintf(stderr, "avocet-plugintest: %s\n", why);
		test.status = 3;
		loop_stop(test.loop);
		return;
	}
	plugin_house_start(test.house, nothing, NULL);
	test.timer.fn = on_main_tick;
	timer_set(worker, &test.timer, context_current->mono_ms + RELOAD_MS);
}

/* --- telling --- */

static void
on_log(struct worker *worker, void *arg)
{
	struct log_record record;
	struct buf line;

	(void)worker;
	(void)arg;
	buf_init(&line, SIZE_MAX);
	for (unsigned i = 0; i < loop_worker_count(test.loop); i++) {
		struct log_ring *ring = worker_log(loop_worker(test.loop, i));

		while (log_ring_take(ring, &record)) {
			if (record.level <= LOG_LEVEL_WARNING) {
				log_format_record(&line, &record, LOG_FORMAT_TEXT);
			}
			log_ring_release(ring);
		}
	}
	(void)fwrite(line.data, 1, line.len, stderr);
	buf_fini(&line);
}

static void
on_report(const struct plugin_report *report, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < report->fault_count; i++) {
		if (report->faults[i].count != 0) {
			printf("fault %s: %llu\n", report->faults[i].name,
			    (unsigned long long)report->faults[i].count);
			test.status = 1;
		}
	}
}

static void
tell(void)
{
	static const char *const names[VERDICTS] = {
	    "", "accepted", "denied", "continued", "dropped", "disconnected"};
	uint64_t asked = 0, left = 0, steps = 0;

	for (unsigned i = 0; i < WORKERS; i++) {
		asked += drivers[i].asked;
		left += drivers[i].left;
		steps += drivers[i].steps;
	}
	printf("%llu questions, %llu further steps, %llu clients left; %u reloads, %u aborted\n",
	    (unsigned long long)asked, (unsigned long long)steps, (unsigned long long)left,
	    test.reloads, test.aborts);
	for (unsigned v = 1; v < VERDICTS; v++) {
		uint64_t count = 0;

		for (unsigned i = 0; i < WORKERS; i++) {
			count += drivers[i].verdicts[v];
		}
		if (count != 0) {
			printf("%s: %llu\n", names[v], (unsigned long long)count);
		}
	}
	plugin_house_report(test.house, on_report, NULL);
	printf(test.status == 0 ? "no fault was seen\n" : "");
}

/* --- the whole --- */

static bool
parse(int argc, char **argv)
{
	static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
	    {"secs", required_argument, NULL, 's'}, {"data-dir", required_argument, NULL, 'd'},
	    {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option;

	test.secs = 5;
	test.data_dir = ".";
	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			test.config_path = optarg;
			break;
		case 's':
			test.secs = strtol(optarg, NULL, 10);
			break;
		case 'd':
			test.data_dir = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			return false;
		}
	}
	return optind + 1 == argc && test.secs >= 1 && test.secs <= 86400;
}

static bool
has_questions(const struct plugin_module *module)
{
	return plugin_module_service(module, AVOCET_SERVICE_AUTHENTICATOR) != NULL ||
	       plugin_module_service(module, AVOCET_SERVICE_AUTHORIZER) != NULL ||
	       plugin_module_service(module, AVOCET_SERVICE_INTERCEPTOR) != NULL;
}

static void
build(void)
{
	test.loop = loop_new(&(struct loop_options){.log_level = LOG_LEVEL_INFO});
	test.main = loop_add_worker(test.loop, "main");
	lock_init(&test.lock);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct driver *driver = &drivers[i];

		driver->test = &test;
		driver->worker = loop_add_worker(test.loop, "worker");
		driver->desk = plugin_desk_new(driver->worker);
		test.desks[worker_index(driver->worker)] = driver->desk;
		worker_on_start(driver->worker, on_driver_start, driver);
	}
	test.house = plugin_house_new(&(struct plugin_house_options){.loop = test.loop,
	    .main = test.main,
	    .desks = test.desks,
	    .workers = WORKERS,
	    .stall_warn_ms = 100});
	loop_on_log(test.loop, on_log, NULL);
	worker_on_start(test.main, on_main_start, NULL);
	test.end_ms = loop_now_ns(test.loop) / 1000000 + test.secs * 1000;
}

int
main(int argc, char **argv)
{
	char why[MAX_WHY] = "";

	if (!parse(argc, argv)) {
		fputs(usage, stderr);
		return 2;
	}
	test.module = plugin_module_open(".", argv[optind], why, sizeof(why));
	if (test.module == NULL) {
		fprintf(stderr, "avocet-plugintest: %s\n", why);
		return 3;
	}
	if (!has_questions(test.module)) {
		fputs("avocet-plugintest: it offers nothing that is asked\n", stderr);
		return 3;
	}
	build();
	if (loop_start(test.loop) != 0) {
		fputs("avocet-plugintest: there are no threads left\n", stderr);
		return 3;
	}
	loop_run(test.loop);
	loop_join(test.loop);
	on_log(test.main, NULL);
	if (test.status == 0) {
		tell();
	}
	plugin_set_unref(&test.set);
	for (unsigned i = 0; i < WORKERS; i++) {
		plugin_desk_free(&drivers[i].desk);
	}
	plugin_house_free(&test.house);
	loop_free(&test.loop);
	plugin_module_free(&test.module);
	return test.status;
}
