/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views of bytes, lists and reference counts, the last with threads. That a count orders memory as
 * it promises is seen with -fsanitize=thread.
 */
#include "lib/unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/list.h"
#include "base/ref.h"

static int
sign(int n)
{
	return (n > 0) - (n < 0);
}

/* --- bytes --- */

static void
the_bytes_of_no_text_are_the_empty_view(void **state)
{
	(void)state;
	assert_int_equal(bytes_of(NULL).len, 0);
	assert_int_equal(bytes_of("").len, 0);
	assert_true(bytes_equal(bytes_of(NULL), bytes_of("")));
	assert_true(bytes_equal_text(bytes_make(NULL, 0), ""));
	assert_int_equal(bytes_skip(bytes_of(NULL), 0).len, 0);
}

static void
a_literal_is_seen_with_its_inner_nuls_and_without_its_last(void **state)
{
	struct bytes view = BYTES_LITERAL("a\0b");

	(void)state;
	assert_int_equal(view.len, 3);
	assert_memory_equal(view.data, "a\0b", 3);
	assert_int_equal(BYTES_LITERAL("").len, 0);
	assert_true(bytes_equal(view, bytes_make("a\0b", 3)));
	assert_false(bytes_equal_text(view, "a"));
}

static void
views_are_ordered_by_their_bytes_and_a_prefix_comes_first(void **state)
{
	/* in ascending order, each different from all others */
	static const struct bytes views[] = {{NULL, 0}, BYTES_LITERAL("\0"), BYTES_LITERAL("\0\0"),
	    BYTES_LITERAL("A"), BYTES_LITERAL("AB"), BYTES_LITERAL("AB\0"), BYTES_LITERAL("AC"),
	    BYTES_LITERAL("Z"), BYTES_LITERAL("a"), BYTES_LITERAL("\x7f\xff"),
	    BYTES_LITERAL("\x80"), BYTES_LITERAL("\xff"), BYTES_LITERAL("\xff\x00")};
	const size_t count = sizeof(views) / sizeof(views[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++) {
			assert_int_equal(
			    sign(bytes_compare(views[i], views[j])), (i > j) - (i < j));
			assert_int_equal(bytes_equal(views[i], views[j]), i == j);
		}
	}
}

static void
a_view_starts_with_its_prefixes_only(void **state)
{
	const struct bytes text = BYTES_LITERAL("a/b\0c");

	(void)state;
	for (size_t n = 0; n <= text.len; n++) {
		assert_true(bytes_starts_with(text, bytes_make(text.data, n)));
	}
	assert_true(bytes_starts_with(bytes_of(NULL), bytes_of(NULL)));
	assert_true(bytes_starts_with(text, bytes_of(NULL)));
	assert_false(bytes_starts_with(bytes_of(NULL), text));
	assert_false(bytes_starts_with(text, bytes_of("a/c")));
	assert_false(bytes_starts_with(text, BYTES_LITERAL("a/b\0c ")));
	assert_false(bytes_starts_with(text, BYTES_LITERAL("a/b\0d")));
}

static void
skipping_leaves_what_follows(void **state)
{
	const struct bytes text = BYTES_LITERAL("avocet");

	(void)state;
	assert_bytes_text(bytes_skip(text, 0), "avocet");
	assert_bytes_text(bytes_skip(text, 3), "cet");
	assert_bytes_text(bytes_skip(text, 6), "");
}

/* --- list --- */

struct card {
	int number;
	struct list_link link;
	struct list_link other;
};

/* The numbers in the list, both ways, are those of the text. */
static void
assert_cards(struct list *list, const char *text)
{
	char forward[32] = "";
	char back[32] = "";
	size_t count = 0;

	for (struct list_link *l = list->head.next; l != &list->head; l = l->next) {
		assert_ptr_equal(l->next->prev, l);
		assert_true(list_is_linked(l));
		forward[count++] = (char)('0' + list_item(l, struct card, link)->number);
	}
	assert_string_equal(forward, text);
	for (struct list_link *l = list->head.prev; l != &list->head; l = l->prev) {
		back[--count] = (char)('0' + list_item(l, struct card, link)->number);
	}
	assert_int_equal(count, 0);
	assert_string_equal(back, text);
	assert_int_equal(list_is_empty(list), text[0] == '\0');
}

static void
make_cards(struct card cards[9])
{
	memset(cards, 0, 9 * sizeof(*cards));
	for (int i = 0; i < 9; i++) {
		cards[i].number = i;
	}
}

static void
a_list_keeps_the_order_of_its_ends(void **state)
{
	struct card cards[9];
	struct list list;

	(void)state;
	make_cards(cards);
	list_init(&list);
	assert_cards(&list, "");
	assert_null(list_take_first(&list));
	assert_false(list_is_linked(&cards[1].link));
	list_append(&list, &cards[1].link);
	assert_true(list_is_linked(&cards[1].link));
	assert_cards(&list, "1");
	list_append(&list, &cards[2].link);
	list_prepend(&list, &cards[0].link);
	assert_cards(&list, "012");
	assert_ptr_equal(list_take_first(&list), &cards[0].link);
	assert_false(list_is_linked(&cards[0].link));
	list_append(&list, &cards[0].link);
	assert_cards(&list, "120");
}

static void
a_link_is_removed_anywhere_and_only_once(void **state)
{
	struct card cards[9];
	struct list list;

	(void)state;
	make_cards(cards);
	list_init(&list);
	for (int i = 0; i < 5; i++) {
		list_append(&list, &cards[i].link);
	}
	list_remove(&cards[2].link);
	assert_cards(&list, "0134");
	assert_null(cards[2].link.prev);
	assert_null(cards[2].link.next);
	list_remove(&cards[2].link);
	list_remove(&cards[0].link);
	list_remove(&cards[4].link);
	assert_cards(&list, "13");
	list_remove(&cards[1].link);
	list_remove(&cards[3].link);
	assert_cards(&list, "");
	list_prepend(&list, &cards[2].link);
	assert_cards(&list, "2");
}

static void
the_current_link_may_be_removed_while_walking(void **state)
{
	(void)state;
	for (unsigned keep = 0; keep < 64; keep++) {
		char expected[7] = "";
		struct card cards[9];
		struct list list;
		size_t kept = 0;
		int seen = 0;

		make_cards(cards);
		list_init(&list);
		for (int i = 0; i < 6; i++) {
			list_append(&list, &cards[i].link);
		}
		list_each (link, &list) {
			struct card *card = list_item(link, struct card, link);

			assert_int_equal(card->number, seen++);
			if ((keep >> card->number & 1) == 0) {
				list_remove(link);
			} else {
				expected[kept++] = (char)('0' + card->number);
			}
		}
		assert_int_equal(seen, 6);
		assert_cards(&list, expected);
	}
}

static void
an_item_may_be_in_one_list_for_each_of_its_links(void **state)
{
	struct card card = {.number = 3};
	struct list a;
	struct list b;

	(void)state;
	list_init(&a);
	list_init(&b);
	list_append(&a, &card.link);
	list_append(&b, &card.other);
	list_remove(&card.link);
	assert_true(list_is_empty(&a));
	assert_ptr_equal(list_item(list_take_first(&b), struct card, other), &card);
}

/* --- ref --- */

static void
the_last_reference_is_told(void **state)
{
	struct ref ref;

	(void)state;
	ref_init(&ref);
	assert_true(ref_is_single(&ref));
	ref_get(&ref);
	assert_false(ref_is_single(&ref));
	ref_get_many(&ref, 5);
	ref_get_many(&ref, 0);
	assert_false(ref_put(&ref));
	assert_false(ref_put_many(&ref, 5));
	assert_true(ref_is_single(&ref));
	assert_true(ref_put(&ref));
	ref_init(&ref);
	ref_get_many(&ref, 9);
	assert_true(ref_put_many(&ref, 10));
	ref_init(&ref);
	ref_get_many(&ref, UINT32_MAX - 1);
	assert_false(ref_put_many(&ref, UINT32_MAX - 1));
	assert_true(ref_is_single(&ref));
}

enum { HOLDERS = 3, GETS = 50 };

/* What the holders wrote before they let go; the last one reads it without any other order. */
struct shared {
	struct ref ref;
	unsigned plain[HOLDERS];
	_Atomic unsigned last_count;
	_Atomic unsigned wrong_count;
};

struct holder {
	pthread_t thread;
	struct shared *shared;
	unsigned number;
};

static void
let_go(struct shared *shared)
{
	if (!ref_put(&shared->ref)) {
		return;
	}
	for (unsigned i = 0; i < HOLDERS; i++) {
		if (shared->plain[i] != GETS) {
			shared->wrong_count++;
		}
		shared->plain[i] = 0;
	}
	shared->last_count++;
}

static void *
hold(void *arg)
{
	struct holder *holder = arg;
	struct shared *shared = holder->shared;

	for (unsigned i = 1; i <= GETS; i++) {
		shared->plain[holder->number] = i;
		ref_get(&shared->ref);
		if (ref_put(&shared->ref)) {
			shared->wrong_count++;
		}
	}
	let_go(shared);
	return NULL;
}

static void
the_last_of_many_threads_sees_what_the_others_did(void **state)
{
	(void)state;
	for (int round = 0; round < 200; round++) {
		struct holder holders[HOLDERS];
		static struct shared shared;

		shared.last_count = 0;
		ref_init(&shared.ref);
		ref_get_many(&shared.ref, HOLDERS);
		for (unsigned i = 0; i < HOLDERS; i++) {
			holders[i].shared = &shared;
			holders[i].number = i;
			assert_int_equal(
			    pthread_create(&holders[i].thread, NULL, hold, &holders[i]), 0);
		}
		let_go(&shared);
		for (unsigned i = 0; i < HOLDERS; i++) {
			pthread_join(holders[i].thread, NULL);
		}
		assert_int_equal(shared.last_count, 1);
		assert_int_equal(shared.wrong_count, 0);
	}
}

static void *
write_and_let_go(void *arg)
{
	struct shared *shared = arg;

	shared->plain[0] = GETS;
	(void)ref_put(&shared->ref);
	return NULL;
}

static void
the_single_holder_sees_what_the_others_did(void **state)
{
	(void)state;
	for (int round = 0; round < 50; round++) {
		static struct shared shared; /* clang's sanitizer overlooks the stack here */
		pthread_t thread;

		ref_init(&shared.ref);
		ref_get(&shared.ref);
		assert_int_equal(pthread_create(&thread, NULL, write_and_let_go, &shared), 0);
		while (!ref_is_single(&shared.ref)) {
			sched_yield();
		}
		assert_int_equal(shared.plain[0], GETS);
		shared.plain[0] = 0;
		pthread_join(thread, NULL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_bytes_of_no_text_are_the_empty_view),
	    cmocka_unit_test(a_literal_is_seen_with_its_inner_nuls_and_without_its_last),
	    cmocka_unit_test(views_are_ordered_by_their_bytes_and_a_prefix_comes_first),
	    cmocka_unit_test(a_view_starts_with_its_prefixes_only),
	    cmocka_unit_test(skipping_leaves_what_follows),
	    cmocka_unit_test(a_list_keeps_the_order_of_its_ends),
	    cmocka_unit_test(a_link_is_removed_anywhere_and_only_once),
	    cmocka_unit_test(the_current_link_may_be_removed_while_walking),
	    cmocka_unit_test(an_item_may_be_in_one_list_for_each_of_its_links),
	    cmocka_unit_test(the_last_reference_is_told),
	    cmocka_unit_test(the_last_of_many_threads_sees_what_the_others_did),
	    cmocka_unit_test(the_single_holder_sees_what_the_others_did),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
