# SPDX-License-Identifier: Apache-2.0
# what: PUBREL is not sent again on another connection
# file: core/session/inflight.c
/^resend(/,/^}/ s/session->sink->ops->pubrel(.*);/;/
