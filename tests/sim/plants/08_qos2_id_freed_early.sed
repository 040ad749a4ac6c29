# SPDX-License-Identifier: Apache-2.0
# what: an inbound packet id of QoS 2 is forgotten with its PUBREC
# file: core/session/inbound.c
/^session_inbound_done(/,/^}/ s/	if (reason < WIRE_REASON_FIRST_ERROR) {/	if (false) {/
