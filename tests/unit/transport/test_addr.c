/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/err.h"
#include "transport/addr.h"

static const char *
why(const char *text)
{
	const char *sentence = NULL;

	return addr_check(text, &sentence) == 0 ? "" : sentence;
}

static void
what_is_well_formed_passes_the_check(void **state)
{
	static const char *const good[] = {"1883", "0", "127.0.0.1:1883", "0.0.0.0:0",
	    "localhost:1883", "mqtt.example.org:65535", "a_b-c:1", "[::]:1883", "[::1]:1883",
	    "[2001:db8::1]:1", "[fe80::1%eth0]:1883", "unix:/run/avocet.sock"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_string_equal(why(good[i]), "");
	}
}

static void
what_is_not_is_refused_with_its_reason(void **state)
{
	char path[200] = "unix:/";

	(void)state;
	memset(path + 6, 'x', 110);
	assert_string_equal(why(""), "the address is empty");
	assert_string_equal(why("65536"), "the port must be a number from 0 to 65535");
	assert_string_equal(why("-1"), "a port is missing, HOST:PORT");
	assert_string_equal(why("1883x"), "the port must be a number from 0 to 65535");
	assert_string_equal(why("host:"), "the port must be a number from 0 to 65535");
	assert_string_equal(why("host:+1"), "the port must be a number from 0 to 65535");
	assert_string_equal(why("localhost"), "a port is missing, HOST:PORT");
	assert_string_equal(
	    why("::1:1883"), "an IPv6 address must stand in brackets, [ADDRESS]:PORT");
	assert_string_equal(why(":1883"), "the host must be a name or an address");
	assert_string_equal(why("a b:1883"), "the host must be a name or an address");
	assert_string_equal(why("1.2.3:1883"), "the host is not an IPv4 address");
	assert_string_equal(why("256.0.0.1:1883"), "the host is not an IPv4 address");
	assert_string_equal(why("[::1"), "a closing bracket is missing");
	assert_string_equal(why("["), "a closing bracket is missing");
	assert_string_equal(why("[]:1"), "between the brackets must be an IPv6 address");
	assert_string_equal(why("[host]:1"), "between the brackets must be an IPv6 address");
	assert_string_equal(why("[::1]"), "a colon and a port must follow the bracket");
	assert_string_equal(why("[::1]1883"), "a colon and a port must follow the bracket");
	assert_string_equal(why("unix:"), "the path of a unix socket must begin with a slash");
	assert_string_equal(why("unix:a"), "the path of a unix socket must begin with a slash");
	assert_string_equal(why(path), "the path of a unix socket is longer than 107 bytes");
}

static void
check_resolved(const char *text, const char *shown, bool is_local, size_t host_len)
{
	char said[ADDR_TEXT_SIZE];
	const char *sentence;
	struct addr addr;

	assert_int_equal(addr_resolve(text, &addr, 1, &sentence), 1);
	assert_int_equal(addr_format(&addr, said), strlen(shown));
	assert_string_equal(said, shown);
	assert_int_equal(addr_is_local(&addr), is_local);
	assert_int_equal(addr_host(&addr).len, host_len);
}

static void
addresses_say_what_they_are(void **state)
{
	(void)state;
	check_resolved("127.0.0.1:1883", "127.0.0.1:1883", true, 4);
	check_resolved("127.200.0.1:0", "127.200.0.1:0", true, 4);
	check_resolved("192.0.2.1:4711", "192.0.2.1:4711", false, 4);
	check_resolved("[2001:db8::1]:4711", "[2001:db8::1]:4711", false, 16);
	check_resolved("[::1]:1", "[::1]:1", true, 16);
	check_resolved("[::ffff:192.0.2.1]:1", "192.0.2.1:1", false, 4);
	check_resolved("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true, 4);
	check_resolved("[::]:1883", "[::]:1883", false, 16);
	check_resolved("unix:/run/x.sock", "unix:/run/x.sock", true, 0);
}

static void
odd_addresses_are_shown_too(void **state)
{
	struct addr unnamed = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
	struct addr unknown = {.storage.ss_family = AF_UNSPEC};
	struct addr abstract = {.len = offsetof(struct sockaddr_un, sun_path) + 3};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char said[ADDR_TEXT_SIZE];

	(void)state;
	memcpy(un.sun_path, "\0ab", 3);
	memcpy(&abstract.storage, &un, sizeof(un));
	(void)addr_format(&unnamed, said);
	assert_string_equal(said, "unix:");
	(void)addr_format(&abstract, said);
	assert_string_equal(said, "unix:@ab");
	(void)addr_format(&unknown, said);
	assert_string_equal(said, "?");
	assert_false(addr_is_local(&unknown));

	/* A path that fills the field leaves no room for a NUL. */
	memset(un.sun_path, 'p', sizeof(un.sun_path));
	memcpy(&abstract.storage, &un, sizeof(un));
	abstract.len = sizeof(un);
	assert_int_equal(addr_format(&abstract, said), 5 + sizeof(un.sun_path));
}

static void
a_port_alone_means_all_addresses(void **state)
{
	const char *sentence;
	struct addr addr;

	(void)state;
	assert_int_equal(addr_resolve("1883", &addr, 1, &sentence), 1);
	assert_false(addr_is_local(&addr));
	assert_true(addr.storage.ss_family == AF_INET6 || addr.storage.ss_family == AF_INET);
}

static void
a_name_is_looked_up(void **state)
{
	const char *sentence = NULL;
	struct addr addrs[4];
	int count = addr_resolve("localhost:1883", addrs, 4, &sentence);

	(void)state;
	assert_true(count >= 1);
	for (int i = 0; i < count; i++) {
		assert_true(addr_is_local(&addrs[i]));
	}
	assert_int_equal(addr_resolve("bad host:1", addrs, 4, &sentence), ERR_INVALID);
	assert_int_equal(addr_resolve("no-such-host.invalid:1", addrs, 4, &sentence), ERR_IO);
	assert_non_null(sentence);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_well_formed_passes_the_check),
	    cmocka_unit_test(what_is_not_is_refused_with_its_reason),
	    cmocka_unit_test(addresses_say_what_they_are),
	    cmocka_unit_test(odd_addresses_are_shown_too),
	    cmocka_unit_test(a_port_alone_means_all_addresses),
	    cmocka_unit_test(a_name_is_looked_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
