/* SPDX-License-Identifier: Apache-2.0 */
/* Cyrus SASL with threads, for the plugins that use it. */
#ifndef SASL_THREADS_H
#define SASL_THREADS_H

/* Gives the library mutexes; before its first initialisation, after which it takes none any more:
 * then those of the plugin that was first hold, for all. */
void sasl_threads_set(void);

#endif
