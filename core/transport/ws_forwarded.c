/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each proxy appends the address that it was called from. So the list is believed from its end, as
 * long as whoever wrote an entry is trusted: the client is the last entry that is not trusted
 * itself, or the first where all are; an entry that is no address ends belief. Walking forward, the
 * same is: an entry that is not trusted replaces what was found, one that is no address forgets it,
 * and a trusted one counts only where nothing was found yet.
 */
#include "transport/ws_forwarded.h"

#include "transport/addr_text.h"

static bool
take_entry(struct bytes entry, const struct ws_options *options, bool found, struct addr *addr)
{
	struct addr hop;

	if (bytes_starts_with(entry, BYTES_LITERAL("unix:")) || !addr_parse(entry, &hop)) {
		return false;
	}
	if (!found || !options->trusts(options->arg, &hop)) {
		*addr = hop;
	}
	return true;
}

bool
ws_forwarded(
    struct bytes head, const struct ws_options *options, struct bytes peer, struct addr *addr_out)
{
	struct bytes name, value, entry;
	struct addr addr;
	bool found = false;

	if (options->trusts == NULL || !addr_parse(peer, &addr) ||
	    !options->trusts(options->arg, &addr)) {
		return false;
	}
	(void)ws_head_line(&head);
	while (ws_head_next(&head, &name, &value) == 1) {
		if (!ws_same_word(name, "x-forwarded-for")) {
			continue;
		}
		while (ws_list_next(&value, &entry)) {
			found = take_entry(entry, options, found, addr_out);
		}
	}
	return found;
}
