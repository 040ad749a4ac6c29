# SPDX-License-Identifier: Apache-2.0
# what: No Local is not looked at
# file: core/route/fan.c
/^is_own(/,/^}/ s/return (subscriber->flags/return false \&\& (subscriber->flags/
