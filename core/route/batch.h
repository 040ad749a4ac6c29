/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliveries for another worker, gathered over a turn. A batch is one allocation that grows and
 * then travels as one mail: entries of one message each, with its receivers behind it. It holds one
 * reference on the message per receiver.
 */
#ifndef ROUTE_BATCH_H
#define ROUTE_BATCH_H

#include "route/route_int.h"

/* Consumes the delivery. */
void route_batch_add(struct route_desk *desk, const struct topic_subscriber *subscriber,
    struct bytes group_name, struct session_delivery *delivery);

#endif
