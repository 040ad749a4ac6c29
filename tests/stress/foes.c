/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of besiegers. Each connects from one of the addresses 127.1.0.x, says the first part of
 * what its kind says, and goes on a byte at a time, or not at all. Who is closed comes again,
 * as fast as the rate allows, which is what bounds the whole.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stress/siege.h"

enum {
	EVENTS = 512,
	TICK_MS = 10,
	FIRST_HELLO = 20, /* bytes that are said at once */
	FIRST_HEADER = 30,
	FIRST_CONNECT = 4,
	FIRST_ADDRESS = 0x7f010001, /* 127.1.0.1 */
};

static const char header[] =
    "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "X-Never-Ending: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/* Its packet has 100 bytes, of which not all will come. */
static const char slow_connect[] =
    "\x10\x64\x00\x04MQTT\x04\x02\x00\x3c\x00\x58"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct foe {
	struct link link; /* first: events carry it */
	enum kind kind;
	int index;
	size_t said;
	int64_t opened_at; /* ns, as all moments here */
	int64_t due_at;
};

struct foes {
	const struct siege *siege;
	int epoll_fd;
	struct foe *foes;
	int count;
	int next;      /* to be looked at for opening */
	double tokens; /* connections that may be opened */
	int64_t filled_at;
};

static struct tally *
tally_of(const struct foes *foes, const struct foe *foe)
{
	return &foes->siege->shared->tallies[foe->kind];
}

static void
count(_Atomic uint64_t *number)
{
	atomic_fetch_add_explicit(number, 1, memory_order_relaxed);
}

/* --- one of them --- */

static int
port_of(const struct siege *siege, enum kind kind)
{
	switch (kind) {
	case HELLO:
	case SILENCE:
		return siege->tls_port;
	case HEADER:
		return siege->ws_port;
	case HEADER_TLS:
		return siege->wss_port;
	default:
		return siege->port;
	}
}

static void
enter(struct foes *foes, struct foe *foe)
{
	const struct siege *siege = foes->siege;
	uint32_t address = FIRST_ADDRESS + (uint32_t)(foe->index % siege->addresses);

	foe->said = 0;
	foe->opened_at = now_ns();
	foe->due_at = 0;
	if (link_open(&foe->link, foes->epoll_fd, port_of(siege, foe->kind), address,
		foe->kind == HEADER_TLS ? siege->tls : NULL)) {
		count(&tally_of(foes, foe)->opened);
		atomic_fetch_add(&tally_of(foes, foe)->open, 1);
	} else {
		count(&tally_of(foes, foe)->failed);
	}
}

static void
leave(struct foes *foes, struct foe *foe)
{
	struct tally *tally = tally_of(foes, foe);
	bool at_once = now_ns() - foe->opened_at < AT_ONCE_MS * INT64_C(1000000);

	link_close(&foe->link, true);
	count(at_once ? &tally->closed_at_once : &tally->closed_later);
	atomic_fetch_sub(&tally->open, 1);
}

/* What it would say in all, and how much of it at once. */
static const void *
words_of(const struct siege *siege, const struct foe *foe, size_t *len_out, size_t *first_out)
{
	switch (foe->kind) {
	case HELLO:
	case SILENCE:
		*len_out = siege->hello_len - (foe->kind == HELLO ? 1 : 0);
		*first_out = foe->kind == HELLO ? FIRST_HELLO : siege->hello_len;
		return siege->hello;
	case HEADER:
	case HEADER_TLS:
		*len_out = sizeof(header) - 1;
		*first_out = FIRST_HEADER;
		return header;
	default:
		*len_out = sizeof(slow_connect) - 1;
		*first_out = FIRST_CONNECT;
		return slow_connect;
	}
}

/* False: it was closed. */
static bool
speak(struct foes *foes, struct foe *foe)
{
	size_t len, first, more;
	const uint8_t *words = words_of(foes->siege, foe, &len, &first);
	long said;

	more = foe->said < first ? first - foe->said : foe->said < len ? 1 : 0;
	foe->due_at = more != 0 && foe->said + more < len
			  ? now_ns() + foes->siege->trickle_ms * INT64_C(1000000)
			  : 0;
	if (more == 0) {
		return true;
	}
	said = link_write(&foe->link, words + foe->said, more);
	foe->said += said > 0 ? (size_t)said : 0;
	return said >= 0;
}

/* False: it was closed. */
static bool
work(struct foes *foes, struct foe *foe)
{
	uint8_t memory[4096];
	long got;

	if (!foe->link.is_up) {
		if (!link_advance(&foe->link)) {
			return false;
		}
		if (!foe->link.is_up) {
			return true;
		}
		if (!speak(foes, foe)) {
			return false;
		}
	}
	do {
		got = link_read(&foe->link, memory, sizeof(memory));
	} while (got > 0);
	return got == 0;
}

/* --- all of them --- */

static void
take_events(struct foes *foes)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(foes->epoll_fd, events, EVENTS, TICK_MS);

	for (int i = 0; i < n; i++) {
		struct foe *foe = events[i].data.ptr;

		if (foe->link.fd >= 0 && !work(foes, foe)) {
			leave(foes, foe);
		}
	}
}

static void
fill(struct foes *foes)
{
	double rate = (double)foes->siege->rate / foes->siege->processes;
	int64_t now = now_ns();

	foes->tokens += rate * (double)(now - foes->filled_at) / 1e9;
	foes->tokens = foes->tokens > rate / 10 ? rate / 10 : foes->tokens;
	foes->filled_at = now;
	for (int i = 0; i < foes->count && foes->tokens >= 1; i++) {
		struct foe *foe = &foes->foes[foes->next];

		foes->next = (foes->next + 1) % foes->count;
		if (foe->link.fd < 0) {
			foes->tokens -= 1;
			enter(foes, foe);
		}
	}
}

static void
trickle(struct foes *foes)
{
	int64_t now = now_ns();

	for (int i = 0; i < foes->count; i++) {
		struct foe *foe = &foes->foes[i];

		if (foe->link.is_up && foe->due_at != 0 && foe->due_at <= now &&
		    !speak(foes, foe)) {
			leave(foes, foe);
		}
	}
}

static void
add(struct foes *foes, enum kind kind, int wanted, int index)
{
	int share = wanted / foes->siege->processes;

	share += index < wanted % foes->siege->processes;
	for (int i = 0; i < share; i++) {
		foes->foes[foes->count] = (struct foe){
		    .link.fd = -1, .kind = kind, .index = index + i * foes->siege->processes};
		foes->count++;
	}
}

/* The kinds take turns, so that all of them grow side by side. */
static void
shuffle(struct foes *foes)
{
	uint64_t random = 1;

	for (int i = foes->count - 1; i > 0; i--) {
		struct foe other = foes->foes[i];
		int j;

		random = random * 6364136223846793005 + 1442695040888963407;
		j = (int)((random >> 33) % (uint64_t)(i + 1));
		foes->foes[i] = foes->foes[j];
		foes->foes[j] = other;
	}
}

void
foes_run(const struct siege *siege, int index)
{
	struct foes foes = {.siege = siege, .filled_at = now_ns()};
	int with_tls = siege->wss_port == 0  ? 0
		       : siege->ws_port == 0 ? siege->headers
					     : siege->headers / 2;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* never without the parent's clock */
	if (nice(siege->niceness) == -1 && getppid() == 1) {
		return;
	}
	foes.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	foes.foes = calloc(MAX_FOES, sizeof(*foes.foes));
	if (foes.epoll_fd < 0 || foes.foes == NULL) {
		return;
	}
	add(&foes, HELLO, siege->hellos / 2, index);
	add(&foes, SILENCE, siege->hellos - siege->hellos / 2, index);
	add(&foes, HEADER, siege->headers - with_tls, index);
	add(&foes, HEADER_TLS, with_tls, index);
	add(&foes, SLOW_CONNECT, siege->connects, index);
	shuffle(&foes);
	while (!atomic_load(&siege->shared->is_over)) {
		fill(&foes);
		take_events(&foes);
		trickle(&foes);
	}
	for (int i = 0; i < foes.count; i++) {
		link_close(&foes.foes[i].link, true);
	}
	free(foes.foes);
}
