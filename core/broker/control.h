/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a unix socket on main on which avocetctl asks for one command per connection.
 * A request is its words, each with its NUL, and an empty word. An answer is frames: a byte that
 * says what it is, four that say how many follow (big endian), those: 'o' text for standard output,
 * 'e' a sentence, 'x' the exit status, which is the last. Who may open the socket's file may do
 * everything here.
 */
#ifndef BROKER_CONTROL_H
#define BROKER_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct broker;
struct broker_control;

/* Binds it; "" gives NULL without a sentence: there is none. NULL with a sentence. Before
 * privileges are dropped: the file is given to the user by broker_control_give. */
struct broker_control *broker_control_new(
    struct broker *broker, const char *path, char *why, size_t why_size);
/* False: the file could not be given. */
bool broker_control_give(const struct broker_control *control, uid_t user, gid_t group);
/* Main, in a turn: accepts. */
int broker_control_start(struct broker_control *control);
/* Main: nothing is accepted any more, and who is there is sent away. */
void broker_control_stop(struct broker_control *control);
/* After loop_join. */
void broker_control_free(struct broker_control **control);

#endif
