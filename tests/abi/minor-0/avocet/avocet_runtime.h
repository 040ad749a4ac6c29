/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time, tasks and threads for plugins. The event library stays hidden: its version changes, this
 * does not. Since ABI 0.0.
 */
#ifndef AVOCET_RUNTIME_H
#define AVOCET_RUNTIME_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_HOST_RUNTIME "avocet.runtime/0"

typedef void (*avocet_task_fn)(void *inst, void *arg);

#define AVOCET_FD_READ 1u  /* There is something to read, or the end. */
#define AVOCET_FD_WRITE 2u /* There is room. */

typedef void (*avocet_fd_fn)(void *inst, int32_t fd, uint32_t events, void *arg);

typedef struct avocet_runtime_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* The monotonic clock that deadlines are of. [any] */
	int64_t (*now_ns)(void);
	/* Runs fn on the main thread later, in order of posting. [any] */
	int32_t (*post)(avocet_self *self, avocet_task_fn fn, void *arg);
	/* fn on the main thread after so much time, and again each period unless that is 0. [main]
	 */
	int32_t (*timer_add)(avocet_self *self, int64_t after_ns, int64_t period_ns,
	    avocet_task_fn fn, void *arg, avocet_timer_h *out);
	/* After it returns fn is not called. A timer without a period is gone once it has fired.
	 * [main] */
	int32_t (*timer_del)(avocet_self *self, avocet_timer_h timer);
	/* A thread of the plugin's own, named, with all signals blocked. fn must return soon after
	 * stop() was called: the host joins it then, and says which one hangs. [main] */
	int32_t (*thread_start)(avocet_self *self, const char *name, avocet_task_fn fn, void *arg);
	/* Prepares the configuration in force once more and commits it, as a reload does, since a
	 * file that it names has changed: prepare() and commit() run before it returns. What it
	 * replaced is retired as after a reload. AVOCET_OK; or what prepare() said, with its
	 * sentence in err (may be NULL), and nothing has changed; AVOCET_E_STATE within a reload or
	 * at the end. Methods and filters stay as they were. [main] */
	int32_t (*renew)(avocet_self *self, avocet_error *err);
	/* fn on the main thread each time fd is ready for one of the AVOCET_FD_* of events, level
	 * triggered; it may delete the watch. The descriptor stays the plugin's: fd_del before
	 * close(). What is left when stop() has returned is deleted. At most 4096 per instance:
	 * AVOCET_E_FULL. AVOCET_E_INVAL: fd cannot be watched. [main] */
	int32_t (*fd_add)(avocet_self *self, int32_t fd, uint32_t events, avocet_fd_fn fn,
	    void *arg, avocet_watch_h *out);
	int32_t (*fd_mod)(avocet_self *self, avocet_watch_h watch, uint32_t events); /* [main] */
	int32_t (*fd_del)(avocet_self *self, avocet_watch_h watch);                  /* [main] */
} avocet_runtime_api;

#ifdef __cplusplus
}
#endif
#endif
