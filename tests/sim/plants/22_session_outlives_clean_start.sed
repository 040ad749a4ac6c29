# SPDX-License-Identifier: Apache-2.0
# what: the end of a session is not stored
# file: core/session/end.c
/^session_end(/,/^}/ s/if (session->has_row) {/if (false) {/
