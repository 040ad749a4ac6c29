# SPDX-License-Identifier: Apache-2.0
# what: what a topic matched is remembered when a subscription came or went
# file: core/route/memo.c
s/ && place->entry->version == version &&/ \&\&/
