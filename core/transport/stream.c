/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all streams share. Each layer's `free` frees that layer alone; the walk down the stack
 * stands here, once.
 */
#include "transport/stream.h"

void
stream_free(struct stream **stream)
{
	struct stream *at = *stream;

	*stream = NULL;
	if (at != NULL) {
		at->ops->detach(at);
	}
	while (at != NULL) {
		struct stream *lower = at->lower;

		at->ops->free(at);
		at = lower;
	}
}
