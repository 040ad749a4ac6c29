# SPDX-License-Identifier: Apache-2.0
# what: Receive Maximum of the client is not kept
# file: core/session/inflight.c
/^session_window_is_open(/,/^}/ s/session->out == NULL || session->out->inflight.count < session->window/true/
