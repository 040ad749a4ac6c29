/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"

_Thread_local struct context *context_current;
