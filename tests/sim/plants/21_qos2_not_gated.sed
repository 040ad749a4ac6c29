# SPDX-License-Identifier: Apache-2.0
# what: QoS 2 goes out before its row is durable
# file: core/session/inflight.c
/^needs_gate(/,/^}/ s/return delivery->qos == 2/return false \&\& delivery->qos == 2/
