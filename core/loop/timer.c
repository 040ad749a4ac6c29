/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wheel. Level n has 512 slots of 8^n milliseconds each. A timer goes into the lowest level
 * that reaches its moment (510 slots ahead), into the slot that ends at its moment or just after,
 * and fires when that slot ends. So it is never early, and late by less than one slot, which is
 * less than 1/63 of its distance. Nothing cascades: a timer is touched when it is set and when it
 * fires, and the worker wakes for no other reason. Slot s of level n ends at the moment s * 8^n,
 * counted from the clock's zero; only its number modulo 512 is kept, which is enough since all that
 * is in a level lies within 512 slots of the clock.
 *
 * Beyond the reach of the last level (12 days) a timer is put as far as the wheel reaches; when
 * that slot ends it is placed anew.
 *
 * Bits say which slots are used. A timer does not know its slot; but the last one to leave a slot
 * sees the slot's head on both sides.
 */
#include "loop/timer.h"

#include <assert.h>

#include "loop/worker_int.h"

enum { LEVEL_BITS = 3, REACH = 510 };

void
timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms)
{
	*wheel = (struct timer_wheel){.clock_ms = now_ms + 1};
	list_init(&wheel->due);
	list_init(&wheel->firing);
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		for (unsigned slot = 0; slot < TIMER_SLOTS; slot++) {
			list_init(&wheel->slots[level][slot]);
		}
	}
}

static unsigned
shift_of(unsigned level)
{
	return level * LEVEL_BITS;
}

/* How many milliseconds after the clock a level's last slot ends at least. */
static int64_t
reach_of(unsigned level)
{
	return (int64_t)REACH << shift_of(level);
}

/* The number of the first slot that ends at this moment or later. */
static uint64_t
slot_at(unsigned level, int64_t moment_ms)
{
	return ((uint64_t)moment_ms + (UINT64_C(1) << shift_of(level)) - 1) >> shift_of(level);
}

static void
place(struct timer_wheel *wheel, struct timer *timer)
{
	int64_t moment = timer->due_ms;
	unsigned level = 0;
	uint64_t slot;
	int64_t ends_at;

	if (moment < wheel->clock_ms) {
		list_append(&wheel->due, &timer->link);
		return;
	}
	while (level < TIMER_LEVELS - 1 && moment - wheel->clock_ms > reach_of(level)) {
		level++;
	}
	if (moment - wheel->clock_ms > reach_of(level)) {
		moment = wheel->clock_ms + reach_of(level);
	}
	slot = slot_at(level, moment);
	ends_at = (int64_t)(slot << shift_of(level));
	slot %= TIMER_SLOTS;
	list_append(&wheel->slots[level][slot], &timer->link);
	wheel->used[level][slot / 64] |= UINT64_C(1) << slot % 64;
	if (wheel->next_known && ends_at < wheel->next_ms) {
		wheel->next_ms = ends_at;
	}
}

/* The slot whose list head this is has become empty. Heads of `due` and `firing` are none. */
static void
slot_emptied(struct timer_wheel *wheel, const struct list_link *head)
{
	uintptr_t at = (uintptr_t)head;
	uintptr_t begin = (uintptr_t)wheel->slots;
	size_t slot;

	if (at < begin || at >= begin + sizeof(wheel->slots)) {
		return;
	}
	slot = (at - begin) / sizeof(struct list);
	wheel->used[slot / TIMER_SLOTS][slot % TIMER_SLOTS / 64] &= ~(UINT64_C(1) << slot % 64);
	wheel->next_known = false;
}

static void
displace(struct timer_wheel *wheel, struct timer *timer)
{
	const struct list_link *before = timer->link.prev;
	const struct list_link *after = timer->link.next;

	list_remove(&timer->link);
	if (before == after) {
		slot_emptied(wheel, before);
	}
}

void
timer_set(struct worker *worker, struct timer *timer, int64_t due_ms)
{
	if (timer_is_set(timer)) {
		displace(worker->wheel, timer);
	}
	timer->due_ms = due_ms;
	place(worker->wheel, timer);
}

void
timer_clear(struct worker *worker, struct timer *timer)
{
	if (timer_is_set(timer)) {
		displace(worker->wheel, timer);
	}
}

/* --- time goes on --- */

/* The first used slot of a level from `begin` on, counted round; TIMER_SLOTS: none is used. */
static unsigned
steps_to_used(const uint64_t *used, unsigned begin)
{
	unsigned word = begin / 64;
	uint64_t bits = used[word] & UINT64_MAX << begin % 64;

	for (unsigned i = 0; i <= TIMER_SLOTS / 64; i++) {
		if (bits != 0) {
			unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);

			return (slot - begin) % TIMER_SLOTS;
		}
		word = (word + 1) % (TIMER_SLOTS / 64);
		bits = used[word];
	}
	return TIMER_SLOTS;
}

static int64_t
find_next(const struct timer_wheel *wheel)
{
	int64_t next = LOOP_NEVER;

	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		uint64_t begin = slot_at(level, wheel->clock_ms);
		unsigned steps = steps_to_used(wheel->used[level], begin % TIMER_SLOTS);

		if (steps != TIMER_SLOTS) {
			int64_t ends_at = (int64_t)((begin + steps) << shift_of(level));

			next = ends_at < next ? ends_at : next;
		}
	}
	return next;
}

static int64_t
next_end(struct timer_wheel *wheel)
{
	if (!wheel->next_known) {
		wheel->next_ms = find_next(wheel);
		wheel->next_known = true;
	}
	return wheel->next_ms;
}

int64_t
timer_wheel_next(struct timer_wheel *wheel)
{
	return list_is_empty(&wheel->due) ? next_end(wheel) : INT64_MIN;
}

/* Collects the slots that end at this moment, one of each level at most. */
static void
collect(struct timer_wheel *wheel, int64_t moment_ms)
{
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		size_t slot = ((uint64_t)moment_ms >> shift_of(level)) % TIMER_SLOTS;

		if (((uint64_t)moment_ms & ((UINT64_C(1) << shift_of(level)) - 1)) != 0) {
			break;
		}
		list_move_all(&wheel->slots[level][slot], &wheel->due);
		wheel->used[level][slot / 64] &= ~(UINT64_C(1) << slot % 64);
	}
}

void
timer_wheel_advance(struct timer_wheel *wheel, int64_t now_ms)
{
	int64_t next;

	while ((next = next_end(wheel)) <= now_ms) {
		collect(wheel, next);
		wheel->clock_ms = next + 1;
		wheel->next_known = false;
	}
	if (wheel->clock_ms <= now_ms) {
		wheel->clock_ms = now_ms + 1;
	}
}

void
timer_run_due(struct worker *worker)
{
	struct timer_wheel *wheel = worker->wheel;
	struct list_link *link;

	list_move_all(&wheel->due, &wheel->firing);
	while ((link = list_take_first(&wheel->firing)) != NULL) {
		struct timer *timer = list_item(link, struct timer, link);

		if (timer->due_ms >= wheel->clock_ms) {
			place(wheel, timer); /* farther away than the wheel reaches */
		} else {
			timer->fn(worker, timer);
		}
	}
}
