# SPDX-License-Identifier: Apache-2.0
# what: the newer of two connections is the one that must go
# file: core/session/open.c
/^is_outdated(/,/^}/ s/sink->claim < old->sink->claim/sink->claim > old->sink->claim/
