/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logins PORT COUNT NAME: so many clients connect at once, with this user name and a number as
 * client id, and wait for the answer. Prints how many were let in. In C, since what it costs is
 * taken from the broker's machine while others are measured.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_COUNT = 10000, WAIT_MS = 15000 };

static struct pollfd polls[MAX_COUNT];

static size_t
put_text(uint8_t *at, const char *text)
{
	size_t len = strlen(text);

	at[0] = 0;
	at[1] = (uint8_t)len;
	memcpy(at + 2, text, len);
	return len + 2;
}

static int
open_one(int port, int number, const char *name)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint8_t packet[128] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 0};
	char id[16];
	size_t len = 12;

	(void)snprintf(id, sizeof(id), "login%d", number);
	len += put_text(packet + len, id);
	len += put_text(packet + len, name);
	len += put_text(packet + len, "password");
	packet[1] = (uint8_t)(len - 2);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    write(fd, packet, len) != (ssize_t)len) {
		perror("logins");
		exit(1);
	}
	return fd;
}

int
main(int argc, char **argv)
{
	int count = argc == 4 ? atoi(argv[2]) : 0, left = count, let_in = 0;

	if (count < 1 || count > MAX_COUNT) {
		return 2;
	}
	for (int i = 0; i < count; i++) {
		polls[i] =
		    (struct pollfd){.fd = open_one(atoi(argv[1]), i, argv[3]), .events = POLLIN};
	}
	while (left > 0 && poll(polls, (nfds_t)count, WAIT_MS) > 0) {
		for (int i = 0; i < count; i++) {
			uint8_t answer[4];

			if (polls[i].revents != 0) {
				let_in += read(polls[i].fd, answer, 4) == 4 && answer[3] == 0;
				polls[i].fd = -1 - polls[i].fd; /* it stays open to the end */
				left--;
			}
		}
	}
	printf("%d\n", let_in);
	return 0;
}
