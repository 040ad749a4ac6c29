/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A doubly linked list through a link inside its items; it owns nothing and allocates nothing. An
 * item is in one list per link at most. `struct list` is the head; an unlinked `struct list_link`
 * is all zero.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list_link {
	struct list_link *prev;
	struct list_link *next;
};

struct list {
	struct list_link
	    head; /* head.next is the first, head.prev the last; both itself when empty */
};

/* The item that contains a link. */
#define list_item(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Over all links; the current one may be removed in the body. */
#define list_each(link, list)                                                       \
	for (struct list_link *link = (list)->head.next, *link##_next = link->next; \
	     link != &(list)->head; link = link##_next, link##_next = link->next)

static inline void
list_init(struct list *list)
{
	list->head.prev = list->head.next = &list->head;
}

static inline bool
list_is_empty(const struct list *list)
{
	return list->head.next == &list->head;
}

static inline bool
list_is_linked(const struct list_link *link)
{
	return link->next != NULL;
}

static inline void
list_insert_between(struct list_link *link, struct list_link *prev, struct list_link *next)
{
	assert(!list_is_linked(link));
	link->prev = prev;
	link->next = next;
	prev->next = link;
	next->prev = link;
}

static inline void
list_append(struct list *list, struct list_link *link)
{
	list_insert_between(link, list->head.prev, &list->head);
}

static inline void
list_prepend(struct list *list, struct list_link *link)
{
	list_insert_between(link, &list->head, list->head.next);
}

/* Unlinks; does nothing to a link that is in no list. */
static inline void
list_remove(struct list_link *link)
{
	if (!list_is_linked(link)) {
		return;
	}
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->prev = link->next = NULL;
}

/* The first link, unlinked, or NULL. */
static inline struct list_link *
list_take_first(struct list *list)
{
	struct list_link *link = list->head.next;

	if (link == &list->head) {
		return NULL;
	}
	list_remove(link);
	return link;
}

#endif
