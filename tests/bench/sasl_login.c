/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs in by SCRAM-SHA-256 again and again: CONNECT with client-first, AUTH with client-final,
 * CONNACK, DISCONNECT. The client's keys are derived once, so that its own work is small beside the
 * broker's.
 *
 *     sasl_login PORT USER PASSWORD COUNT AT-ONCE      prints how many were let in, and the seconds
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_AT_ONCE = 1000, KEY = 32 };

struct login {
	int fd;
	int step; /* of what is awaited: 0 nothing, 1 AUTH, 2 CONNACK */
	char bare[128];
	unsigned char in[1024];
	size_t have;
};

static struct sockaddr_in address;
static const char *user, *password;
static unsigned char client_key[KEY], stored_key[KEY];
static char salt_seen[128];
static unsigned long serial;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
derive(const char *salt64, int iterations)
{
	unsigned char salt[128], salted[KEY];
	int len = EVP_DecodeBlock(salt, (const unsigned char *)salt64, (int)strlen(salt64));
	unsigned n;

	for (const char *p = salt64 + strlen(salt64); *--p == '=';) {
		len--;
	}
	PKCS5_PBKDF2_HMAC(
	    password, (int)strlen(password), salt, len, iterations, EVP_sha256(), KEY, salted);
	HMAC(EVP_sha256(), salted, KEY, (const unsigned char *)"Client Key", 10, client_key, &n);
	EVP_Digest(client_key, KEY, stored_key, &n, EVP_sha256(), NULL);
	snprintf(salt_seen, sizeof(salt_seen), "%s", salt64);
}

static unsigned char *
put(unsigned char *at, const void *data, size_t len)
{
	*at++ = (unsigned char)(len >> 8);
	*at++ = (unsigned char)len;
	memcpy(at, data, len);
	return at + len;
}

/* Length of what is less than 16384 in front of a body. */
static void
send_packet(int fd, unsigned char type, const unsigned char *body, size_t len)
{
	unsigned char packet[1100];
	size_t at = 0;

	packet[at++] = type;
	if (len > 127) {
		packet[at++] = (unsigned char)(len % 128 | 128);
		packet[at++] = (unsigned char)(len / 128);
	} else {
		packet[at++] = (unsigned char)len;
	}
	memcpy(packet + at, body, len);
	if (write(fd, packet, at + len) != (ssize_t)(at + len)) {
		die("write");
	}
}

static unsigned char *
put_props(unsigned char *at, const char *data)
{
	unsigned char props[600], *p = props;

	*p++ = 0x15;
	p = put(p, "SCRAM-SHA-256", 13);
	*p++ = 0x16;
	p = put(p, data, strlen(data));
	if (p - props > 127) {
		*at++ = (unsigned char)((p - props) % 128 | 128);
		*at++ = (unsigned char)((p - props) / 128);
	} else {
		*at++ = (unsigned char)(p - props);
	}
	memcpy(at, props, (size_t)(p - props));
	return at + (p - props);
}

static void
begin(struct login *login)
{
	unsigned char body[1024], *p = body;
	char first[200], id[32];
	int one = 1;

	login->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (login->fd < 0 || connect(login->fd, (void *)&address, sizeof(address)) != 0) {
		die("connect");
	}
	setsockopt(login->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	snprintf(login->bare, sizeof(login->bare), "n=%s,r=nonce%lu", user, ++serial);
	snprintf(first, sizeof(first), "n,,%s", login->bare);
	snprintf(id, sizeof(id), "l%lu", serial % 100000);
	p = put(p, "MQTT", 4);
	memcpy(p, "\x05\x02\0\0", 4);
	p = put_props(p + 4, first);
	p = put(p, id, strlen(id));
	send_packet(login->fd, 0x10, body, (size_t)(p - body));
	login->step = 1;
	login->have = 0;
}

/* The value of a property in what came. */
static char *
find_data(unsigned char *in, size_t len)
{
	static char data[512];

	for (size_t i = 0; i + 3 < len; i++) {
		size_t n = (size_t)in[i + 1] << 8 | in[i + 2];

		if (in[i] == 0x16 && i + 3 + n <= len && n < sizeof(data)) {
			memcpy(data, in + i + 3, n);
			data[n] = '\0';
			if (strncmp(data, "r=", 2) == 0) {
				return data;
			}
		}
	}
	return NULL;
}

static void
answer(struct login *login, const char *server_first)
{
	unsigned char body[1024], *p = body, signature[KEY], proof[KEY], proof64[64];
	char nonce[200], salt[128], message[900], bare[300], final[500];
	int iterations;
	unsigned n;

	if (sscanf(server_first, "r=%199[^,],s=%127[^,],i=%d", nonce, salt, &iterations) != 3) {
		fprintf(stderr, "what? %s\n", server_first);
		exit(1);
	}
	if (strcmp(salt, salt_seen) != 0) {
		derive(salt, iterations);
	}
	snprintf(bare, sizeof(bare), "c=biws,r=%s", nonce);
	snprintf(message, sizeof(message), "%s,%s,%s", login->bare, server_first, bare);
	HMAC(EVP_sha256(), stored_key, KEY, (unsigned char *)message, strlen(message), signature,
	    &n);
	for (int i = 0; i < KEY; i++) {
		proof[i] = client_key[i] ^ signature[i];
	}
	EVP_EncodeBlock(proof64, proof, KEY);
	snprintf(final, sizeof(final), "%s,p=%s", bare, (char *)proof64);
	*p++ = 0x18;
	p = put_props(p, final);
	send_packet(login->fd, 0xf0, body, (size_t)(p - body));
	login->step = 2;
	login->have = 0;
}

/* -1: not yet; else whether it was let in. */
static int
take(struct login *login)
{
	ssize_t n = read(login->fd, login->in + login->have, sizeof(login->in) - login->have);
	char *data;

	if (n <= 0) {
		return 0;
	}
	login->have += (size_t)n;
	if (login->step == 1) {
		data = login->in[0] == 0xf0 ? find_data(login->in, login->have) : NULL;
		if (data != NULL) {
			answer(login, data);
		}
		return login->in[0] == 0x20 ? 0 : -1;
	}
	if (login->have < 4) {
		return -1;
	}
	return login->in[0] == 0x20 && login->in[login->in[1] > 127 ? 4 : 3] == 0;
}

int
main(int argc, char **argv)
{
	static struct login logins[MAX_AT_ONCE];
	static struct pollfd polls[MAX_AT_ONCE];
	struct timespec from, to;
	long count, begun = 0, done = 0, good = 0;
	int at_once;

	if (argc != 6) {
		return 2;
	}
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	user = argv[2];
	password = argv[3];
	count = atol(argv[4]);
	at_once = atoi(argv[5]) < MAX_AT_ONCE ? atoi(argv[5]) : MAX_AT_ONCE;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < at_once && begun < count; i++, begun++) {
		begin(&logins[i]);
	}
	while (done < count) {
		for (int i = 0; i < at_once; i++) {
			polls[i] =
			    (struct pollfd){logins[i].step != 0 ? logins[i].fd : -1, POLLIN, 0};
		}
		if (poll(polls, (nfds_t)at_once, 10000) <= 0) {
			die("poll");
		}
		for (int i = 0; i < at_once; i++) {
			int result = polls[i].revents != 0 ? take(&logins[i]) : -1;

			if (result < 0) {
				continue;
			}
			good += result;
			done++;
			if (write(logins[i].fd, "\xe0\0", 2) != 2) {
				result = 0;
			}
			close(logins[i].fd);
			logins[i].step = 0;
			if (begun < count) {
				begin(&logins[i]);
				begun++;
			}
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%ld %.3f\n", good,
	    (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return 0;
}
