/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet.admin/0. A command that is under way is an errand with a number; numbers are never used
 * twice, so what comes for one that has ended finds nothing. All of it is main's: other threads
 * send mail.
 */
#include "plugin/admin.h"

#include <avocet/avocet_admin.h>

#include "base/mem.h"
#include "base/str.h"
#include "plugin/plugin_int.h"

enum { MAX_NAME = 64, MAX_WORDS = 2 };

struct plugin_command {
	char *name, *usage, *help;
	avocet_admin_fn fn;
	void *arg;
};

struct plugin_errand {
	struct list_link link; /* of the house's */
	uint64_t number;
	struct avocet_self *self; /* a reference */
	const struct plugin_errand_ops *ops;
	void *arg;
	struct plugin_errand **out; /* the call that began it still runs: cleared when it ends */
};

/* --- commands --- */

static bool
is_name(const char *name)
{
	size_t len = name != NULL ? strlen(name) : 0, words = 1;

	for (size_t i = 0; i < len; i++) {
		words += name[i] == ' ';
		if (name[i] == ' ' && (i == 0 || i + 1 == len || name[i - 1] == ' ')) {
			return false;
		}
	}
	return len != 0 && len <= MAX_NAME && words <= MAX_WORDS &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789- ")] == '\0';
}

static int32_t
add_command(avocet_self *self, const char *name, const char *usage, const char *help,
    avocet_admin_fn fn, void *arg)
{
	struct plugin_command *command;
	uint32_t i = 0;

	if (!plugin_is_main(self)) {
		plugin_fault(
		    self, PLUGIN_FAULT_THREAD, "called admin command on another thread than main");
		return AVOCET_E_THREAD;
	}
	if (!is_name(name) || fn == NULL) {
		return AVOCET_E_INVAL;
	}
	while (i < self->command_count && strcmp(self->commands[i]->name, name) != 0) {
		i++;
	}
	if (i == PLUGIN_MAX_COMMANDS) {
		return AVOCET_E_FULL;
	}
	if (i == self->command_count) {
		command = mem_zalloc(sizeof(*command));
		command->name = mem_text(bytes_of(name));
		command->usage = mem_text(bytes_of(usage));
		command->help = mem_text(bytes_of(help));
		self->commands[self->command_count++] = command;
	}
	self->commands[i]->fn = fn;
	self->commands[i]->arg = arg;
	return AVOCET_OK;
}

void
plugin_commands_fini(struct avocet_self *self)
{
	for (uint32_t i = 0; i < self->command_count; i++) {
		mem_free(&self->commands[i]->name);
		mem_free(&self->commands[i]->usage);
		mem_free(&self->commands[i]->help);
		mem_free(&self->commands[i]);
	}
	self->command_count = 0;
}

void
plugin_house_commands(struct plugin_house *house,
    void (*fn)(
	void *arg, const char *instance, const char *name, const char *usage, const char *help),
    void *arg)
{
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		for (uint32_t i = 0; i < self->command_count; i++) {
			const struct plugin_command *command = self->commands[i];

			fn(arg, self->name, command->name, command->usage, command->help);
		}
	}
}

/* --- errands --- */

static struct plugin_errand *
find_errand(struct avocet_self *self, uint64_t number)
{
	list_each (link, &self->house->errands) {
		struct plugin_errand *errand = list_item(link, struct plugin_errand, link);

		if (errand->number == number && errand->self == self) {
			return errand;
		}
	}
	return NULL;
}

void
plugin_errand_leave(struct plugin_errand **errand_at)
{
	struct plugin_errand *errand = *errand_at;

	*errand_at = NULL;
	if (errand != NULL) {
		if (errand->out != NULL) {
			*errand->out = NULL;
		}
		list_remove(&errand->link);
		plugin_unref(errand->self);
		mem_free(&errand);
	}
}

static void
end_errand(struct plugin_errand *errand, int status, const char *sentence)
{
	const struct plugin_errand_ops *ops = errand->ops;
	void *arg = errand->arg;

	plugin_errand_leave(&errand);
	ops->end(arg, status, sentence);
}

void
plugin_errands_end(struct plugin_house *house)
{
	list_each (link, &house->errands) {
		end_errand(list_item(link, struct plugin_errand, link), 1, "the broker stops");
	}
}

static void
run(struct avocet_self *self, const struct plugin_command *command,
    const struct plugin_errand *errand, const char *const *words, size_t count, bool is_json)
{
	avocet_str *args = mem_alloc((count + 1) * sizeof(*args));
	avocet_admin_in in = {.struct_size = sizeof(in),
	    .flags = is_json ? AVOCET_ADMIN_JSON : 0,
	    .args = args,
	    .n_args = count};

	for (size_t i = 0; i < count; i++) {
		args[i] = avocet_str_of(words[i]);
	}
	command->fn(self->inst, errand->number, &in, command->arg);
	mem_free(&args);
}

bool
plugin_house_command(struct plugin_house *house, const char *const *words, size_t count,
    bool is_json, const struct plugin_errand_ops *ops, void *arg, struct plugin_errand **errand_out)
{
	*errand_out = NULL;
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		for (uint32_t i = 0;
		     count > 1 && strcmp(self->name, words[0]) == 0 && i < self->command_count;
		     i++) {
			size_t used =
			    str_match_words(self->commands[i]->name, words + 1, count - 1);
			struct plugin_errand *errand;

			if (used == 0) {
				continue;
			}
			errand = mem_zalloc(sizeof(*errand));
			errand->number = ++house->next_errand;
			errand->self = plugin_ref(self);
			errand->ops = ops;
			errand->arg = arg;
			errand->out = errand_out;
			list_append(&house->errands, &errand->link);
			*errand_out = errand;
			if (!plugin_is_serving(self)) {
				end_errand(errand, 1, "the instance does not serve");
			} else {
				run(self, self->commands[i], errand, words + 1 + used,
				    count - 1 - used, is_json);
			}
			if (*errand_out != NULL) {
				(*errand_out)->out = NULL;
			}
			return true;
		}
	}
	return false;
}

/* --- answers --- */

struct answer {
	struct mail mail;
	struct avocet_self *self; /* a reference */
	uint64_t number;
	bool is_end;
	int status;
	size_t len;
	char text[];
};

static int32_t
carry_out(struct avocet_self *self, uint64_t number, bool is_end, int status, const char *text,
    size_t len)
{
	struct plugin_errand *errand = find_errand(self, number);

	if (errand == NULL) {
		return AVOCET_E_GONE;
	}
	if (is_end) {
		end_errand(errand, status, text);
	} else {
		errand->ops->print(errand->arg, bytes_make(text, len));
	}
	return AVOCET_OK;
}

static void
on_answer(struct worker *worker, struct mail *mail)
{
	struct answer *answer = list_item(mail, struct answer, mail);

	(void)worker;
	(void)carry_out(answer->self, answer->number, answer->is_end, answer->status, answer->text,
	    answer->len);
	plugin_unref(answer->self);
	mem_free(&answer);
}

static int32_t
give(avocet_self *self, uint64_t number, bool is_end, int status, const char *text, size_t len)
{
	struct answer *answer;

	if (plugin_is_main(self)) {
		return carry_out(self, number, is_end, status, text, len);
	}
	answer = mem_zalloc(sizeof(*answer) + len + 1);
	answer->mail.run = on_answer;
	answer->self = plugin_ref(self);
	answer->number = number;
	answer->is_end = is_end;
	answer->status = status;
	answer->len = len;
	if (len != 0) {
		memcpy(answer->text, text, len);
	}
	mail_post(self->house->options.main, &answer->mail);
	return AVOCET_OK;
}

static int32_t
print(avocet_self *self, avocet_req_h req, const char *text, size_t n)
{
	return give(self, req, false, 0, text, n);
}

static int32_t
end(avocet_self *self, avocet_req_h req, int32_t status, const char *sentence)
{
	const char *text = sentence != NULL ? sentence : "";

	return give(self, req, true, status >= 0 && status <= 2 ? status : 1, text, strlen(text));
}

const avocet_admin_api plugin_admin_api = {
    .struct_size = sizeof(plugin_admin_api), .command = add_command, .print = print, .end = end};
