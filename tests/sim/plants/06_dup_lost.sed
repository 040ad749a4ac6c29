# SPDX-License-Identifier: Apache-2.0
# what: a PUBLISH is sent again without DUP
# file: core/session/inflight.c
/^resend(/,/^}/ s/flight->delivery.flags |= SESSION_DUP;/;/
