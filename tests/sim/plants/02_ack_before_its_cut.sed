# SPDX-License-Identifier: Apache-2.0
# what: PUBACK, PUBREC and PUBCOMP do not wait for the store
# file: core/peer/acks.c
/^peer_ack(/,/^}/ s/store_is_durable(peer->room->port, ticket)/true/
