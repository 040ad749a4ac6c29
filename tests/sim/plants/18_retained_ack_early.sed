# SPDX-License-Identifier: Apache-2.0
# what: PUBACK of a retained message does not wait for its row
# file: core/route/route.c
/^retain(/,/^}/ s/if (row.ticket != 0 && .*) {/if (false) {/
