/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/context.h"
#include "broker/logger.h"

static char folder[] = "/tmp/avocet-logger-XXXXXX";

static const char *
path_of(const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* The file as a text; "" when it is not there. */
static const char *
contents(const char *name)
{
	static char text[1 << 20];
	int fd = open(path_of(name), O_RDONLY);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0) {
		close(fd);
	}
	return text;
}

static struct loop *
new_loop(enum log_level level)
{
	struct loop *loop =
	    loop_new(&(struct loop_options){.log_level = level, .log_ring_size = 4096});

	loop_add_worker(loop, "main");
	loop_add_worker(loop, "other");
	return loop;
}

/* As if this thread were the worker. */
static void
become(struct context *context, struct loop *loop, unsigned index)
{
	*context = (struct context){.log = worker_log(loop_worker(loop, index))};
	context_current = context;
}

static void
start(struct broker_logger *logger, struct loop *loop, const struct broker_log *options)
{
	struct broker_log_sink sink;
	char why[256] = "";

	assert_int_equal(broker_log_sink_open(&sink, options->to, why, sizeof(why)), 0);
	broker_logger_init(logger, &sink, options);
	broker_logger_start(logger, loop);
}

static void
end(struct broker_logger *logger, struct loop *loop)
{
	context_current = NULL;
	broker_logger_drain(logger);
	broker_logger_fini(logger);
	loop_free(&loop);
}

static void
records_of_all_workers_become_lines(void **state)
{
	struct loop *loop = new_loop(LOG_LEVEL_INFO);
	struct broker_log options = {LOG_LEVEL_INFO, LOG_FORMAT_TEXT, path_of("a")};
	struct broker_logger logger;
	struct context context;

	(void)state;
	start(&logger, loop, &options);
	become(&context, loop, 0);
	log_info("one %d", 1);
	log_debug("not shown");
	become(&context, loop, 1);
	log_write(LOG_LEVEL_WARNING, &(struct log_field){"key", BYTES_LITERAL("value")}, 1, "two");
	broker_logger_drain(&logger);
	assert_string_equal(contents("a"), "1970-01-01T00:00:00.000Z info one 1\n"
					   "1970-01-01T00:00:00.000Z warning two key=value\n");
	end(&logger, loop);
}

static void
level_and_format_change_while_it_runs(void **state)
{
	struct loop *loop = new_loop(LOG_LEVEL_ERROR);
	struct broker_log options = {LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, path_of("b")};
	struct broker_logger logger;
	struct context context;

	(void)state;
	start(&logger, loop, &options);
	become(&context, loop, 1);
	log_info("not shown");
	options.level = LOG_LEVEL_DEBUG;
	options.format = LOG_FORMAT_JSON;
	broker_logger_change(&logger, NULL, &options);
	log_debug("shown");
	broker_logger_drain(&logger);
	assert_non_null(strstr(contents("b"), "\"message\":\"shown\""));
	assert_null(strstr(contents("b"), "not shown"));
	end(&logger, loop);
}

static void
what_a_full_ring_drops_is_told(void **state)
{
	struct loop *loop = new_loop(LOG_LEVEL_INFO);
	struct broker_log options = {LOG_LEVEL_INFO, LOG_FORMAT_TEXT, path_of("c")};
	struct broker_logger logger;
	struct context context;

	(void)state;
	start(&logger, loop, &options);
	become(&context, loop, 1);
	for (int i = 0; i < 1000; i++) {
		log_info("a line that is long enough to fill a ring of four thousand bytes soon");
	}
	broker_logger_drain(&logger);
	assert_non_null(strstr(
	    contents("c"), "lines of the log were dropped: other wrote too many at a time\n"));
	end(&logger, loop);
}

static void
a_renamed_file_is_opened_again(void **state)
{
	struct loop *loop = new_loop(LOG_LEVEL_INFO);
	char from[256], to[256];
	struct broker_log options;
	struct broker_logger logger;
	struct context context;

	(void)state;
	(void)snprintf(from, sizeof(from), "%s", path_of("d"));
	(void)snprintf(to, sizeof(to), "%s", path_of("d.old"));
	options = (struct broker_log){LOG_LEVEL_INFO, LOG_FORMAT_TEXT, from};
	start(&logger, loop, &options);
	become(&context, loop, 0);
	log_info("before");
	broker_logger_drain(&logger);
	assert_int_equal(rename(from, to), 0);
	log_info("still before");
	broker_logger_reopen(&logger);
	log_info("after");
	broker_logger_drain(&logger);
	assert_non_null(strstr(contents("d.old"), "still before"));
	assert_non_null(strstr(contents("d"), "after"));
	assert_null(strstr(contents("d"), "before"));
	end(&logger, loop);
}

static void
another_sink_takes_over(void **state)
{
	struct loop *loop = new_loop(LOG_LEVEL_INFO);
	char first[256];
	struct broker_log options;
	struct broker_log_sink sink;
	struct broker_logger logger;
	struct context context;
	char why[256] = "";

	(void)state;
	(void)snprintf(first, sizeof(first), "%s", path_of("e"));
	options = (struct broker_log){LOG_LEVEL_INFO, LOG_FORMAT_TEXT, first};
	start(&logger, loop, &options);
	become(&context, loop, 0);
	log_info("to the first");
	assert_int_equal(broker_log_sink_open(&sink, path_of("f"), why, sizeof(why)), 0);
	broker_logger_change(&logger, &sink, &options);
	log_info("to the second");
	broker_logger_drain(&logger);
	assert_non_null(strstr(contents("e"), "to the first"));
	assert_null(strstr(contents("e"), "to the second"));
	assert_non_null(strstr(contents("f"), "to the second"));
	end(&logger, loop);
}

static void
a_file_that_cannot_be_opened_is_told(void **state)
{
	struct broker_log_sink sink;
	char why[256] = "";

	(void)state;
	assert_true(broker_log_sink_open(&sink, "/nowhere/at/all", why, sizeof(why)) < 0);
	assert_string_equal(why, "cannot open the log /nowhere/at/all: No such file or directory");
	broker_log_sink_close(&sink);
}

static void
a_full_disk_loses_lines_and_nothing_else(void **state)
{
	struct loop *loop = new_loop(LOG_LEVEL_INFO);
	struct broker_log options = {LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "/dev/full"};
	struct broker_logger logger;
	struct context context;

	(void)state;
	start(&logger, loop, &options);
	become(&context, loop, 0);
	log_info("lost");
	broker_logger_drain(&logger);
	assert_true(logger.lost_bytes != 0);
	end(&logger, loop);
}

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "d.old", "e", "f"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		(void)unlink(path_of(names[i]));
	}
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_of_all_workers_become_lines),
	    cmocka_unit_test(level_and_format_change_while_it_runs),
	    cmocka_unit_test(what_a_full_ring_drops_is_told),
	    cmocka_unit_test(a_renamed_file_is_opened_again),
	    cmocka_unit_test(another_sink_takes_over),
	    cmocka_unit_test(a_file_that_cannot_be_opened_is_told),
	    cmocka_unit_test(a_full_disk_loses_lines_and_nothing_else),
	};

	return cmocka_run_group_tests_name("logger", tests, make_folder, remove_folder);
}
