/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "transport/datagram.h"

static int reader, sender;
static char folder[] = "/tmp/avocet-datagram-XXXXXX";
static char path[64];

static int
set_up(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/notify", folder);
	strcpy(un.sun_path, path);
	reader = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(reader, (struct sockaddr *)&un, sizeof(un)), 0);
	sender = transport_datagram_open();
	assert_true(sender >= 0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	close(reader);
	close(sender);
	unlink(path);
	return rmdir(folder);
}

static void
assert_read(int fd, const char *text)
{
	char read[64];
	ssize_t len = recv(fd, read, sizeof(read), MSG_DONTWAIT);

	assert_true(len >= 0);
	assert_bytes_text(bytes_make(read, (size_t)len), text);
}

static void
a_path_and_a_name_without_a_file_are_reached(void **state)
{
	static const char name[] = "avocet-test-datagram";
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int abstract = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)state;
	assert_int_equal(transport_datagram_send(sender, path, bytes_of("one"), true), 0);
	assert_int_equal(transport_datagram_send(sender, path, bytes_of("two"), false), 0);
	assert_read(reader, "one");
	assert_read(reader, "two");

	memcpy(un.sun_path + 1, name, sizeof(name) - 1);
	assert_int_equal(bind(abstract, (struct sockaddr *)&un,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name))),
	    0);
	assert_int_equal(
	    transport_datagram_send(sender, "@avocet-test-datagram", bytes_of("three"), true), 0);
	assert_read(abstract, "three");
	close(abstract);
}

static void
what_is_no_address_is_refused(void **state)
{
	char text[200];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[0] = '/';
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(transport_datagram_send(sender, text, bytes_of("a"), true), ERR_INVALID);
	assert_int_equal(transport_datagram_send(sender, "", bytes_of("a"), true), ERR_INVALID);
	assert_int_equal(transport_datagram_send(sender, "@", bytes_of("a"), true), ERR_INVALID);
	assert_int_equal(
	    transport_datagram_send(sender, "vsock:2:1", bytes_of("a"), true), ERR_INVALID);
	assert_int_equal(
	    transport_datagram_send(sender, "/no/such/socket", bytes_of("a"), true), ERR_IO);
}

static void
a_full_queue_is_not_waited_for(void **state)
{
	char byte;
	int sent = 0, error;

	(void)state;
	do {
		error = transport_datagram_send(sender, path, bytes_of("x"), false);
		sent++;
	} while (error == 0 && sent < 100000);
	assert_int_equal(error, ERR_AGAIN);
	/* At last it gives up here as well. */
	assert_int_equal(transport_datagram_send(sender, path, bytes_of("x"), true), ERR_AGAIN);
	assert_int_equal(recv(reader, &byte, 1, 0), 1);
	assert_int_equal(transport_datagram_send(sender, path, bytes_of("x"), true), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_path_and_a_name_without_a_file_are_reached),
	    cmocka_unit_test(what_is_no_address_is_refused),
	    cmocka_unit_test(a_full_queue_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
