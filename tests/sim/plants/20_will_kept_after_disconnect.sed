# SPDX-License-Identifier: Apache-2.0
# what: DISCONNECT does not drop the will
# file: core/session/open.c
/^session_detach(/,/^}/ s/if (how == SESSION_LEAVE_NORMAL) {/if (false) {/
