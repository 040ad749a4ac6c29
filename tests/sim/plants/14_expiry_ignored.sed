# SPDX-License-Identifier: Apache-2.0
# what: what waits in a queue does not expire
# file: core/session/deliver.c
/^live_step(/,/^}/ s/if (!msg_expiry_left(/if (false \&\& !msg_expiry_left(/
