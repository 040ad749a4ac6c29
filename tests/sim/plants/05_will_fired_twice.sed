# SPDX-License-Identifier: Apache-2.0
# what: a will stays with its session when it was published
# file: core/session/will.c
/^session_will_fire(/,/^}/ s/session_will_free(session);/;/
