# SPDX-License-Identifier: Apache-2.0
# what: the deletion of a retained message is not stored
# file: core/topic/retain.c
/^store_change(/,/^}/ s/if (store != NULL) {/if (store != NULL \&\& entry->msg != NULL) {/
