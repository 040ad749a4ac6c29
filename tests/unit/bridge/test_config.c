/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong is said when the configuration is read: later the host can only refuse the link. */
#include "lib/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../plugins/bridge/bridge.h"
#include "transport/addr.h"
#include "wire/topic_name.h"

#define SECOND INT64_C(1000000000)
#define PASSWORD "never-in-the-text"

/* --- a configuration of the test's --- */

enum { MOST_ITEMS = 64 };

struct item {
	char path[64];
	const char *text;
	int64_t number;
};

static struct item items[MOST_ITEMS];
static size_t item_count;
static avocet_error error;

static const struct item *
find(const char *path)
{
	for (size_t i = item_count; i > 0; i--) {
		if (strcmp(items[i - 1].path, path) == 0) {
			return &items[i - 1];
		}
	}
	return NULL;
}

static int32_t
get_str(const avocet_conf *conf, const char *path, avocet_str *out)
{
	const struct item *item = find(path);

	(void)conf;
	if (item == NULL || item->text == NULL) {
		return AVOCET_E_INVAL;
	}
	*out = avocet_str_of(item->text);
	return AVOCET_OK;
}

static int32_t
get_num(const avocet_conf *conf, const char *path, int64_t *out)
{
	const struct item *item = find(path);

	(void)conf;
	*out = item != NULL ? item->number : 0;
	return AVOCET_OK;
}

static int32_t
get_count(const avocet_conf *conf, const char *path, size_t *out)
{
	char entry[64];

	(void)conf;
	for (*out = 0;; (*out)++) {
		(void)snprintf(entry, sizeof(entry), "%s[%zu]%s", path, *out,
		    strcmp(path, "topics") == 0 ? ".filter" : "");
		if (find(entry) == NULL) {
			return AVOCET_OK;
		}
	}
}

static const avocet_conf_api api = {
    AVOCET_SIZED(avocet_conf_api), .str = get_str, .num = get_num, .count = get_count};

static void
set(const char *path, const char *text, int64_t number)
{
	struct item *item = &items[item_count++];

	assert_true(item_count < MOST_ITEMS);
	(void)snprintf(item->path, sizeof(item->path), "%s", path);
	item->text = text;
	item->number = number;
}

/* One that is good. */
static void
begin(void)
{
	item_count = 0;
	error.text[0] = '\0';
	set("remote.address[0]", "mqtt://far.example", 0);
	set("remote.version", NULL, 2);
	set("topics[0].filter", "#", 0);
	set("topics[0].direction", NULL, BRIDGE_OUT);
	set("connections", NULL, 1);
}

static struct bridge_config *
get(void)
{
	struct bridge_config *config = bridge_config_read(&api, NULL, "up", &error);

	if (config == NULL) {
		fail_msg("%s", error.text);
	}
	return config;
}

static void
assert_refused(const char *why)
{
	struct bridge_config *config = bridge_config_read(&api, NULL, "up", &error);

	bridge_config_unref(config);
	assert_null(config);
	if (strstr(error.text, why) == NULL) {
		fail_msg("\"%s\" is not in \"%s\"", why, error.text);
	}
}

/* --- cases --- */

static void
spans_are_rounded_up(void **state)
{
	struct bridge_config *config;

	(void)state;
	begin();
	set("remote.keep_alive", NULL, SECOND / 2);
	set("max_age", NULL, 1);
	set("remote.session_expiry", NULL, SECOND + 1);
	set("remote.connect_timeout", NULL, SECOND);
	set("idle_timeout", NULL, 1);
	config = get();
	assert_int_equal(config->keep_alive_s, 1);
	assert_int_equal(config->max_age_s, 1);
	assert_int_equal(config->session_expiry_s, 2);
	assert_int_equal(config->connect_timeout_ms, 1000);
	assert_int_equal(config->lazy_idle_ms, 1);
	bridge_config_unref(config);
	begin();
	set("max_age", NULL, INT64_MAX);
	config = get();
	assert_int_equal(config->keep_alive_s, 0);
	assert_int_equal(config->session_expiry_s, UINT32_MAX);
	assert_int_equal(config->max_age_s, UINT32_MAX);
	bridge_config_unref(config);
}

static void
a_size_that_is_too_large(void **state)
{
	(void)state;
	begin();
	set("remote.max_packet_size", NULL, INT64_C(1) << 32);
	assert_refused("remote.max_packet_size");
}

static void
keys_of_tls_need_tls(void **state)
{
	static const char *const keys[] = {
	    "cafile", "certfile", "keyfile", "crlfile", "server_name", "ciphers", "ciphersuites"};
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		begin();
		(void)snprintf(path, sizeof(path), "remote.tls.%s", keys[i]);
		set(path, "x", 0);
		assert_refused("remote.tls is set");
	}
	begin();
	set("remote.tls.min_version", NULL, 1);
	assert_refused("remote.tls is set");
}

static void
one_path_for_all(void **state)
{
	struct bridge_config *config;

	(void)state;
	begin();
	set("remote.address[0]", "ws://one/a", 0);
	set("remote.address[1]", "ws://two/a", 0);
	config = get();
	assert_string_equal(config->path, "/a");
	assert_string_equal(config->addresses[1], "two:80");
	bridge_config_unref(config);
	set("remote.address[1]", "ws://two/b", 0);
	assert_refused("the same path");
	set("remote.address[1]", "ws://two", 0);
	assert_refused("the same path");
	set("remote.address[0]", "ws://one/a b", 0);
	assert_refused("has a path with");
}

/* All kinds of addresses: what is wrong for the host is refused. */
static void
addresses_are_those_that_the_host_takes(void **state)
{
	static const char *const texts[] = {"a", "a:1", "a:65535", "a:65536", "a:099999",
	    "a:", "a:x", "a:1x", "a:-1", "a:1:2", ":1", "", "a b:1", "a@b:1", "1.2.3.4:1",
	    "1.2.3:1", "1.2.3.400:1", "1:1", "127.0.0.1.1.1.1.1:1", "[::1]", "[::1]:1",
	    "[::1]:", "[::1]x", "[::1:1", "[]:1", "[1.2.3.4]:1", "[fe80::1%eth0]:1", "::1",
	    "unix:/x", "unix:x", "unix:", "a_b-c.d:1", "\xc3\xa4:1", "a?:1"};
	static char longest[300];
	const char *why, *fault, *path;
	char *address;
	uint32_t flags;
	int good = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		fault = bridge_address_read(texts[i], &address, &path, &flags);
		assert_non_null(address);
		if ((fault == NULL) != (addr_check(address, &why) == 0)) {
			fail_msg("\"%s\" is \"%s\": %s", texts[i], address, fault);
		}
		good += fault == NULL;
		free(address);
	}
	assert_true(good > 6);
	memset(longest, 'a', sizeof(longest) - 1);
	for (size_t len = 100; len < 256; len++) {
		(void)snprintf(longest, sizeof(longest), "%.*s:1", (int)len,
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaa");
		fault = bridge_address_read(longest, &address, &path, &flags);
		assert_int_equal(fault == NULL, addr_check(address, &why) == 0);
		free(address);
		memmove(longest + 5, longest, len + 1);
		memcpy(longest, "unix:/", 6);
		fault = bridge_address_read(longest, &address, &path, &flags);
		assert_int_equal(fault == NULL, addr_check(address, &why) == 0);
		free(address);
	}
	begin();
	set("remote.address[0]", "far.example:99999", 0);
	assert_refused("the port must be a number");
	set("remote.address[0]", "far.example:0", 0);
	assert_refused("the port must be a number");
}

static void
filters_are_checked_as_they_are_joined(void **state)
{
	struct bridge_config *config;

	(void)state;
	begin();
	set("topics[0].local_prefix", "here", 0);
	assert_refused("\"here#\" is no topic filter");
	set("topics[0].direction", NULL, BRIDGE_IN);
	config = get(); /* it is the remote's that is subscribed to */
	bridge_config_unref(config);
	set("topics[0].remote_prefix", "there", 0);
	assert_refused("\"there#\" is no topic filter");
	set("topics[0].remote_prefix", "there/", 0);
	set("topics[0].direction", NULL, BRIDGE_BOTH);
	assert_refused("\"here#\" is no topic filter");
	begin();
	set("topics[0].filter", "$share/x", 0);
	assert_refused("is no topic filter");
}

static void
filters_are_those_that_the_broker_takes(void **state)
{
	static const char letters[] = "a/+#";
	static char longest[BRIDGE_MAX_TOPIC + 2];
	size_t good = 0;

	(void)state;
	for (unsigned i = 0; i < 4 * 4 * 4 * 4 * 4; i++) {
		for (size_t len = 0; len <= 5; len++) {
			char filter[6] = "";
			unsigned rest = i;
			bool is_so;

			for (size_t k = 0; k < len; k++, rest /= 4) {
				filter[k] = letters[rest % 4];
			}
			is_so =
			    wire_topic_filter_check(bytes_of(filter), true, true) == WIRE_TOPIC_OK;
			assert_int_equal(bridge_filter_is_good(filter), is_so);
			good += is_so;
		}
	}
	assert_true(good > 100);
	memset(longest, 'a', BRIDGE_MAX_TOPIC);
	assert_true(bridge_filter_is_good(longest));
	longest[BRIDGE_MAX_TOPIC] = 'a';
	assert_false(bridge_filter_is_good(longest));
}

static void
the_notification_topic_is_a_name(void **state)
{
	(void)state;
	begin();
	set("notification_topic", "a/#", 0);
	assert_refused("notification_topic");
}

static void
a_password_without_a_user_needs_version_5(void **state)
{
	struct bridge_config *config;

	(void)state;
	begin();
	set("remote.password", PASSWORD, 0);
	config = get();
	bridge_config_unref(config);
	set("remote.version", NULL, 1);
	assert_refused("remote.password");
}

static void
another_password_is_a_change_and_is_kept_apart(void **state)
{
	struct bridge_config *one, *same, *other, *none;

	(void)state;
	begin();
	none = get();
	set("remote.password", PASSWORD, 0);
	one = get();
	same = get();
	set("remote.password", "another", 0);
	other = get();
	assert_null(strstr(one->text, PASSWORD));
	assert_true(bridge_config_equals(one, same) && bridge_config_equals(none, none));
	assert_false(bridge_config_equals(one, other));
	assert_false(bridge_config_equals(one, none));
	assert_false(bridge_config_equals(none, one));
	bridge_config_unref(one);
	bridge_config_unref(same);
	bridge_config_unref(other);
	bridge_config_unref(none);
}

static void
write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void
files_of_tls_are_part_of_it(void **state)
{
	char path[] = "/tmp/avocet-bridge-XXXXXX";
	int fd = mkstemp(path);
	struct bridge_config *one, *same, *other;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	begin();
	set("remote.address[0]", "mqtts://far.example", 0);
	set("remote.tls.cafile", path, 0);
	assert_refused("holds no CERTIFICATE in PEM form");
	write_file(path, "-----BEGIN CERTIFICATE-----\n");
	one = get();
	same = get();
	write_file(path, "-----BEGIN CERTIFICATE-----\nanother\n");
	other = get();
	assert_true(bridge_config_equals(one, same));
	assert_false(bridge_config_equals(one, other));
	bridge_config_unref(one);
	bridge_config_unref(same);
	bridge_config_unref(other);
	assert_int_equal(unlink(path), 0);
	assert_refused("cannot read");
	set("remote.tls.cafile", "/tmp", 0);
	assert_refused("is no file");
}

static void
write_file_of(const char *path, const char *label)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "-----BEGIN %s-----\n", label);
	write_file(path, text);
}

/* A key in place of a certificate, and the other way round. */
static void
files_of_tls_are_what_they_should_be(void **state)
{
	static const struct {
		const char *item, *good, *wrong;
	} cases[] = {{"remote.tls.cafile", "TRUSTED CERTIFICATE", "X509 CRL"},
	    {"remote.tls.certfile", "CERTIFICATE", "EC PRIVATE KEY"},
	    {"remote.tls.keyfile", "EC PRIVATE KEY", "CERTIFICATE"},
	    {"remote.tls.crlfile", "X509 CRL", "CERTIFICATE"}};
	char paths[4][32];

	(void)state;
	begin();
	set("remote.address[0]", "mqtts://far.example", 0);
	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]), "/tmp/avocet-bridge-XXXXXX");
		close(mkstemp(paths[i]));
		write_file_of(paths[i], cases[i].good);
		set(cases[i].item, paths[i], 0);
	}
	bridge_config_unref(get());
	for (size_t i = 0; i < 4; i++) {
		write_file_of(paths[i], cases[i].wrong);
		assert_refused(paths[i]);
		write_file_of(paths[i], cases[i].good);
	}
	set("remote.tls.keyfile", NULL, 0);
	assert_refused("holds no PRIVATE KEY in PEM form"); /* it should be in the certfile */
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(unlink(paths[i]), 0);
	}
}

static void
of_the_same_filter_the_first_decides(void **state)
{
	struct bridge_config *config;

	(void)state;
	begin();
	set("topics[0].filter", "a", 0);
	set("topics[1].filter", "a", 0);
	set("topics[1].direction", NULL, BRIDGE_BOTH);
	set("topics[2].filter", "a", 0);
	set("topics[2].direction", NULL, BRIDGE_IN);
	config = get();
	assert_false(config->rules[0].is_again_here || config->rules[0].is_again_there);
	assert_true(config->rules[1].is_again_here && !config->rules[1].is_again_there);
	assert_true(!config->rules[2].is_again_here && config->rules[2].is_again_there);
	bridge_config_unref(config);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(spans_are_rounded_up),
	    cmocka_unit_test(a_size_that_is_too_large),
	    cmocka_unit_test(keys_of_tls_need_tls),
	    cmocka_unit_test(one_path_for_all),
	    cmocka_unit_test(addresses_are_those_that_the_host_takes),
	    cmocka_unit_test(filters_are_checked_as_they_are_joined),
	    cmocka_unit_test(filters_are_those_that_the_broker_takes),
	    cmocka_unit_test(the_notification_topic_is_a_name),
	    cmocka_unit_test(a_password_without_a_user_needs_version_5),
	    cmocka_unit_test(another_password_is_a_change_and_is_kept_apart),
	    cmocka_unit_test(files_of_tls_are_part_of_it),
	    cmocka_unit_test(files_of_tls_are_what_they_should_be),
	    cmocka_unit_test(of_the_same_filter_the_first_decides),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
