/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words to a service manager: datagrams to a unix socket that somebody else reads. Nothing comes
 * back. Main's thread.
 */
#ifndef TRANSPORT_DATAGRAM_H
#define TRANSPORT_DATAGRAM_H

#include <stdbool.h>

#include "base/bytes.h"

/* A socket to send from, or ERR_IO. Whoever opened it closes it. */
int transport_datagram_open(void);

/*
 * Sends `text` as one datagram to `to`: a path, or `@` and a name without a file. Where the
 * reader's queue is full, waits for at most a second if it may. 0; ERR_INVALID: `to` is no such
 * address; ERR_AGAIN: the queue is full; ERR_IO.
 */
int transport_datagram_send(int fd, const char *to, struct bytes text, bool may_wait);

#endif
