# SPDX-License-Identifier: Apache-2.0
# what: a message passes those that wait in the queue
# file: core/session/deliver.c
/^may_pass(/,/^}/ s/out->rings\[SESSION_RING_QOS12\].count == 0/true/
