# SPDX-License-Identifier: Apache-2.0
# what: a slot is taken for the session that was in it before
# file: core/session/session.c
/^session_table_get(/,/^}/ s/at->generation == generation ? at->session : NULL/at->session/
