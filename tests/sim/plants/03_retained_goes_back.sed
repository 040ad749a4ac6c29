# SPDX-License-Identifier: Apache-2.0
# what: now and then a retained message does not take the place of the one before
# file: core/topic/retain.c
/^topic_retain_put(/,/^}/ s/old = exchange(retain, shard, entry, msg_ref(msg));/old = entry->version % 3 == 2 ? NULL : exchange(retain, shard, entry, msg_ref(msg));/
