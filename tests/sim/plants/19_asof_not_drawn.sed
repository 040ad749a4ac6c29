# SPDX-License-Identifier: Apache-2.0
# what: a new subscription has no place in time
# file: core/session/subscribe.c
s/asof = topic_retain_asof(.*);/asof = 0;/
