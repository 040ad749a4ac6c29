/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

const char *
err_text(int code)
{
	switch ((enum err)code) {
	case ERR_NONE:
		return "no error";
	case ERR_NOMEM:
		return "out of memory";
	case ERR_LIMIT:
		return "limit reached";
	case ERR_INVALID:
		return "invalid";
	case ERR_IO:
		return "input/output error";
	case ERR_NOT_FOUND:
		return "not found";
	case ERR_AGAIN:
		return "try again";
	case ERR_GONE:
		return "gone";
	case ERR_UNSUPPORTED:
		return "not supported";
	}
	return "unknown error";
}

void
err_fatal(const char *sentence)
{
	log_stderr(sentence);
	abort();
}

bool
err_happened(const char *condition, const char *file, int line)
{
#ifdef NDEBUG
	log_write(LOG_LEVEL_ERROR, NULL, 0, "cannot happen: %s (%s:%d)", condition, file, line);
#else
	char sentence[256];

	/* The thread's ring would die with the process. */
	snprintf(sentence, sizeof(sentence), "cannot happen: %s (%s:%d)", condition, file, line);
	err_fatal(sentence);
#endif
	return true;
}
