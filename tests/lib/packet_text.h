/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decoded packet as one line of text, in the form that tests/lib/README.md describes.
 */
#ifndef LIB_PACKET_TEXT_H
#define LIB_PACKET_TEXT_H

#include "base/buf.h"
#include "wire/packet.h"

void packet_text(struct buf *out, const struct wire_packet *packet);

#endif
