/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash map, compared with a plain array under random operations. After a step its slots are
 * looked at: whoever is in must be reached from its home without crossing an empty slot. Keys that
 * collide, also around the end of the slots, are found by hashing numbers with the map's own key.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/rand.h"

static const struct hash_key test_key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

struct item {
	uint64_t key;
	unsigned version;
};

static struct bytes
key_bytes(const uint64_t *key)
{
	return bytes_make(key, sizeof(*key));
}

static struct bytes
key_of_item(const void *item)
{
	return key_bytes(&((const struct item *)item)->key);
}

static struct bytes
key_of_text(const void *item)
{
	return *(const struct bytes *)item;
}

static void *
find_key(const struct map *map, uint64_t key)
{
	return map_find(map, key_bytes(&key));
}

static void *
take_key(struct map *map, uint64_t key)
{
	return map_take(map, key_bytes(&key));
}

/* All items are counted, and reached from their homes. */
static void
assert_sound(const struct map *map)
{
	size_t used = 0;

	if (map->slots == NULL) {
		assert_int_equal(map->count, 0);
		return;
	}
	assert_int_equal(map->mask & (map->mask + 1), 0);
	assert_true(map->count <= map->mask);
	for (size_t i = 0; i <= map->mask; i++) {
		const struct map_slot *slot = &map->slots[i];

		if (slot->item == NULL) {
			continue;
		}
		used++;
		assert_int_equal(slot->hash, hash_bytes(&map->hash_key, map->key_of(slot->item)));
		for (size_t at = slot->hash & map->mask; at != i; at = (at + 1) & map->mask) {
			assert_non_null(map->slots[at].item);
		}
	}
	assert_int_equal(used, map->count);
}

static void
an_empty_map_finds_nothing(void **state)
{
	struct map map;
	void *item;

	(void)state;
	map_init(&map, key_of_item, test_key);
	assert_int_equal(map.count, 0);
	assert_null(find_key(&map, 1));
	assert_null(take_key(&map, 1));
	assert_null(map_find(&map, bytes_of(NULL)));
	map_each (item, &map) {
		assert_null(item);
		fail();
	}
	map_fini(&map);
}

static void
what_was_put_is_found_and_taken_once(void **state)
{
	struct item items[] = {{1, 0}, {2, 0}};
	struct map map;

	(void)state;
	map_init(&map, key_of_item, test_key);
	assert_null(map_put(&map, &items[0]));
	assert_null(map_put(&map, &items[1]));
	assert_int_equal(map.count, 2);
	assert_ptr_equal(find_key(&map, 1), &items[0]);
	assert_ptr_equal(find_key(&map, 2), &items[1]);
	assert_null(find_key(&map, 3));
	assert_ptr_equal(take_key(&map, 1), &items[0]);
	assert_null(find_key(&map, 1));
	assert_null(take_key(&map, 1));
	assert_int_equal(map.count, 1);
	assert_null(map_put(&map, &items[0]));
	assert_ptr_equal(find_key(&map, 1), &items[0]);
	assert_sound(&map);
	map_fini(&map);
}

static void
an_item_with_an_equal_key_takes_the_place_of_the_other(void **state)
{
	struct item items[] = {{5, 0}, {5, 1}};
	struct map map;

	(void)state;
	map_init(&map, key_of_item, test_key);
	assert_null(map_put(&map, &items[0]));
	assert_ptr_equal(map_put(&map, &items[1]), &items[0]);
	assert_int_equal(map.count, 1);
	assert_ptr_equal(find_key(&map, 5), &items[1]);
	assert_ptr_equal(map_put(&map, &items[1]), &items[1]);
	assert_int_equal(map.count, 1);
	assert_ptr_equal(take_key(&map, 5), &items[1]);
	assert_null(find_key(&map, 5));
	map_fini(&map);
}

static void
keys_are_bytes_of_any_kind(void **state)
{
	static char long_key[5000] = "long";
	struct bytes keys[] = {{NULL, 0}, BYTES_LITERAL("\0"), BYTES_LITERAL("\0\0"),
	    BYTES_LITERAL("a"), BYTES_LITERAL("a\0"), BYTES_LITERAL("a\0b"), BYTES_LITERAL("A"),
	    BYTES_LITERAL("\xff"), {(const uint8_t *)long_key, sizeof(long_key)},
	    {(const uint8_t *)long_key, sizeof(long_key) - 1}};
	const size_t count = sizeof(keys) / sizeof(keys[0]);
	struct map map;

	(void)state;
	map_init(&map, key_of_text, test_key);
	for (size_t i = 0; i < count; i++) {
		assert_null(map_find(&map, keys[i]));
		assert_null(map_put(&map, &keys[i]));
	}
	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(map_find(&map, keys[i]), &keys[i]);
	}
	assert_ptr_equal(map_find(&map, BYTES_LITERAL("")), &keys[0]);
	assert_sound(&map);
	map_fini(&map);
}

static void
the_map_grows_and_keeps_all(void **state)
{
	enum { COUNT = 20000 };
	static struct item items[COUNT];
	static bool seen[COUNT];
	struct item *item;
	struct map map;
	size_t seen_count = 0;

	(void)state;
	map_init(&map, key_of_item, test_key);
	for (uint64_t i = 0; i < COUNT; i++) {
		items[i].key = i * 0x10000;
		assert_null(map_put(&map, &items[i]));
		assert_int_equal(map.count, i + 1);
		if ((i & (i - 1)) == 0) {
			assert_sound(&map);
		}
	}
	for (uint64_t i = 0; i < COUNT; i++) {
		assert_ptr_equal(find_key(&map, i * 0x10000), &items[i]);
		assert_null(find_key(&map, i * 0x10000 + 1));
	}
	map_each (item, &map) {
		assert_non_null(item);
		assert_false(seen[item - items]);
		seen[item - items] = true;
		seen_count++;
	}
	assert_int_equal(seen_count, COUNT);
	assert_sound(&map);
	for (uint64_t i = 0; i < COUNT; i++) {
		assert_ptr_equal(take_key(&map, i * 0x10000), &items[i]);
	}
	assert_int_equal(map.count, 0);
	assert_true(map_next(&map, 0) > map.mask);
	map_fini(&map);
}

static void
the_load_stays_below_three_quarters(void **state)
{
	static struct item items[1000];
	struct map map;

	(void)state;
	map_init(&map, key_of_item, test_key);
	for (uint64_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		items[i].key = i;
		assert_null(map_put(&map, &items[i]));
		assert_true(4 * map.count < 3 * (map.mask + 1));
	}
	map_fini(&map);
}

static void
room_that_was_reserved_is_there_for_one_more(void **state)
{
	static struct item items[2000];
	struct map map;

	(void)state;
	map_init(&map, key_of_item, test_key);
	for (uint64_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		const struct map_slot *slots;

		assert_true(map_try_reserve(&map));
		assert_int_equal(map.count, i);
		slots = map.slots;
		assert_non_null(slots);
		assert_true(map_try_reserve(&map));
		assert_ptr_equal(map.slots, slots);
		items[i].key = i;
		assert_null(map_put(&map, &items[i]));
		assert_ptr_equal(map.slots, slots);
		assert_ptr_equal(find_key(&map, i / 2), &items[i / 2]);
	}
	assert_sound(&map);
	map_fini(&map);
}

/* Two items for each key, so that a put may replace; current is what the map should hold. */
enum { MODEL_KEYS = 200 };

struct model {
	struct item items[MODEL_KEYS][2];
	struct item *current[MODEL_KEYS];
	size_t count;
};

static void
assert_agrees(const struct map *map, const struct model *model)
{
	const struct item *item;
	size_t seen = 0;

	assert_int_equal(map->count, model->count);
	for (size_t i = 0; i < MODEL_KEYS; i++) {
		assert_ptr_equal(find_key(map, model->items[i][0].key), model->current[i]);
	}
	map_each (item, map) {
		assert_non_null(item);
		seen++;
	}
	assert_int_equal(seen, model->count);
	assert_sound(map);
}

static void
do_randomly(struct map *map, struct model *model, struct rand_gen *gen, uint64_t puts_of_ten)
{
	size_t i = (size_t)rand_gen_below(gen, MODEL_KEYS);
	struct item *item = &model->items[i][rand_gen_below(gen, 2)];

	if (rand_gen_below(gen, 10) < puts_of_ten) {
		assert_ptr_equal(map_put(map, item), model->current[i]);
		model->count += model->current[i] == NULL;
		model->current[i] = item;
	} else {
		assert_ptr_equal(take_key(map, item->key), model->current[i]);
		model->count -= model->current[i] != NULL;
		model->current[i] = NULL;
	}
}

/* Waves of filling and emptying; agreement after each step while few, then now and then. */
static void
compare_with_model(struct model *model, uint64_t seed)
{
	struct rand_gen gen;
	struct map map;

	rand_gen_init(&gen, seed);
	map_init(&map, key_of_item, test_key);
	for (int step = 0; step < 6000; step++) {
		do_randomly(&map, model, &gen, step / 500 % 2 == 0 ? 8 : 2);
		if (step < 300 || step % 50 == 0) {
			assert_agrees(&map, model);
		}
	}
	map_fini(&map);
}

static void
random_operations_agree_with_an_array(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct model model = {.count = 0};

		for (uint64_t i = 0; i < MODEL_KEYS; i++) {
			model.items[i][0].key = model.items[i][1].key = i * seed;
		}
		compare_with_model(&model, seed);
	}
}

/* The next number from `from` on whose hash ends in the byte `end`. */
static uint64_t
key_at_home(uint64_t from, uint64_t end)
{
	while ((hash_bytes(&test_key, key_bytes(&from)) & 0xff) != end) {
		from++;
	}
	return from;
}

/* All keys live around the end of the slots, as long as there are at most 256 of these. */
static void
colliding_keys_agree_with_an_array(void **state)
{
	(void)state;
	for (uint64_t homes = 1; homes <= 4; homes++) {
		struct model model = {.count = 0};
		uint64_t key = 0;

		for (size_t i = 0; i < MODEL_KEYS; i++) {
			key = key_at_home(key + 1, (0xff - homes / 2 + i % homes) & 0xff);
			model.items[i][0].key = model.items[i][1].key = key;
		}
		compare_with_model(&model, homes);
	}
}

/*
 * Five items whose homes are any of the last two and the first two slots, put in, and taken out
 * beginning with each of them: every form of a run that goes around the end.
 */
static void
every_removal_from_every_run_leaves_the_others_reachable(void **state)
{
	enum { COUNT = 5, HOMES = 4, PATTERNS = 1024 };
	struct item pool[HOMES][COUNT];

	(void)state;
	for (uint64_t home = 0; home < HOMES; home++) {
		uint64_t key = 0;

		for (size_t i = 0; i < COUNT; i++) {
			key = key_at_home(key + 1, (0xfe + home) & 0xff);
			pool[home][i] = (struct item){key, 0};
		}
	}
	for (unsigned first = 0; first < COUNT * PATTERNS; first++) {
		struct item *items[COUNT];
		struct map map;

		map_init(&map, key_of_item, test_key);
		for (size_t i = 0; i < COUNT; i++) {
			items[i] = &pool[first / COUNT >> 2 * i & 3][i];
			assert_null(map_put(&map, items[i]));
		}
		for (size_t i = 0; i < COUNT; i++) {
			struct item *item = items[(first + 2 * i) % COUNT];

			assert_ptr_equal(take_key(&map, item->key), item);
			assert_null(find_key(&map, item->key));
			assert_sound(&map);
		}
		assert_int_equal(map.count, 0);
		map_fini(&map);
	}
}

/* Nobody can make such keys, so the slot is made: one item under the hash of another's key. */
static void
equal_hashes_do_not_make_equal_keys(void **state)
{
	struct item items[] = {{1, 0}, {2, 0}};
	struct map map;
	uint64_t hash = hash_bytes(&test_key, key_bytes(&items[1].key));

	(void)state;
	map_init(&map, key_of_item, test_key);
	assert_null(map_put(&map, &items[0]));
	memset(map.slots, 0, (map.mask + 1) * sizeof(*map.slots));
	map.slots[hash & map.mask] = (struct map_slot){hash, &items[0]};
	assert_null(find_key(&map, 2));
	assert_null(take_key(&map, 2));
	assert_null(map_put(&map, &items[1]));
	assert_int_equal(map.count, 2);
	assert_ptr_equal(find_key(&map, 2), &items[1]);
	assert_ptr_equal(take_key(&map, 2), &items[1]);
	map_fini(&map);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_map_finds_nothing),
	    cmocka_unit_test(what_was_put_is_found_and_taken_once),
	    cmocka_unit_test(an_item_with_an_equal_key_takes_the_place_of_the_other),
	    cmocka_unit_test(keys_are_bytes_of_any_kind),
	    cmocka_unit_test(the_map_grows_and_keeps_all),
	    cmocka_unit_test(the_load_stays_below_three_quarters),
	    cmocka_unit_test(room_that_was_reserved_is_there_for_one_more),
	    cmocka_unit_test(random_operations_agree_with_an_array),
	    cmocka_unit_test(colliding_keys_agree_with_an_array),
	    cmocka_unit_test(every_removal_from_every_run_leaves_the_others_reachable),
	    cmocka_unit_test(equal_hashes_do_not_make_equal_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
