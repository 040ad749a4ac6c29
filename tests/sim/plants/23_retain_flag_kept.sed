# SPDX-License-Identifier: Apache-2.0
# what: RETAIN is sent to who did not ask for it
# file: core/route/fan.c
/^retain_flag(/,/^}/ s/(subscriber->flags & TOPIC_RETAIN_AS_PUBLISHED) != 0/true/
