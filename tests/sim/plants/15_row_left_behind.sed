# SPDX-License-Identifier: Apache-2.0
# what: the row of an acknowledged message is not deleted
# file: core/session/inflight.c
/^finish(/,/^}/ s/session_delete_row(.*);/;/
