/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes most, in one go: a whole PUBLISH without properties, an acknowledgement of four bytes.
 * Only what is certainly right is taken; what is wrong, and how, is for wire_decode to find.
 */
#ifndef WIRE_QUICK_H
#define WIRE_QUICK_H

#include "wire/decode.h"

/* The size of the packet at the front of the input, which wire_decode would decode to the same; 0:
 * it is another kind, or not whole, or not for certain right. */
uint32_t wire_decode_quick(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out);

/* wire_decode without the quick way: what that is compared with. */
struct wire_outcome wire_decode_fully(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out);

#endif
