/* SPDX-License-Identifier: Apache-2.0 */
/* The bottom of a stack: a connected socket, TCP or unix. */
#ifndef TRANSPORT_PLAIN_H
#define TRANSPORT_PLAIN_H

#include "transport/addr.h"
#include "transport/stream.h"

/* Owns fd from now on, which is non-blocking; for TCP its maker has set TCP_NODELAY, or it has it
 * from the socket that accepted it. Detached. */
struct stream *plain_new(int fd, const struct addr *peer);

#endif
