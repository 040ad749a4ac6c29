/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances that are made for trial, without a broker: two at a time, twice. A plugin that keeps to
 * what it is given does not notice the others.
 */
#include "plugin/host.h"

#include "plugin/plugin_int.h"

enum { ROUNDS = 2, AT_ONCE = 2, MAX_WHY = 512 };

size_t
plugin_module_try(const struct plugin_module *module, struct buf *out)
{
	struct plugin_house *house = plugin_house_new(&(struct plugin_house_options){0});
	const struct plugin_instance_options options = {.threads = 1, .queue = 1};
	static const char *const names[AT_ONCE] = {"trial-1", "trial-2"};
	char why[MAX_WHY];
	size_t count = 0;

	for (int round = 0; round < ROUNDS && count == 0; round++) {
		struct avocet_self *made[AT_ONCE];

		for (int i = 0; i < AT_ONCE; i++) {
			made[i] = plugin_instance_new(house, names[i], module);
			if (!plugin_instance_create(made[i], &options, why, sizeof(why))) {
				buf_printf(out, "%s instance cannot be made, %s time: %s\n",
				    i == 0 ? "an" : "a second",
				    round == 0 ? "the first" : "a second", why);
				count++;
			}
		}
		for (int i = 0; i < AT_ONCE; i++) {
			plugin_instance_free(made[i]);
		}
	}
	plugin_house_free(&house);
	return count;
}
