# SPDX-License-Identifier: Apache-2.0
# what: only the first Subscription Identifier is sent
# file: core/route/fan.c
/^set_ids(/,/^}/ s/delivery->subscription_id_count = receiver->id_count;/delivery->subscription_id_count = receiver->id_count != 0;/
/^set_ids(/,/^}/ s/if (receiver->id_count == 1) {/if (receiver->id_count >= 1) {/
