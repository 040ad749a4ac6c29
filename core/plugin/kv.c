/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet.kv/0: a thread of the instance, started with the first call, has the file. It takes all
 * calls that wait, carries them out, makes the disk sure of them once, and sends them to main,
 * which answers in their order. Until there is a store that does it, a file each.
 */
#include <avocet/avocet_kv.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/kv_file.h"
#include "plugin/plugin_int.h"

enum { MAX_UNDER_WAY = 1024, JOIN_MS = 10000 };

enum errand { GET, PUT, DEL, SCAN };

struct call {
	struct list_link link;
	enum errand errand;
	avocet_kv_fn fn;
	void *arg;
	int32_t status;
	uint32_t key_len, value_len;
	struct buf found; /* GET: the value; SCAN: lengths, keys and values */
	uint8_t data[];   /* the key, the value */
};

struct plugin_kv {
	struct avocet_self *self;
	struct kv_file *file; /* the thread's */
	struct thread *thread;
	struct lock lock; /* guards what is below */
	struct cond news;
	struct list waiting, finished;
	size_t count; /* in both, and on their way between them */
	struct mail mail;
	bool mail_is_out;
	bool is_ending;
};

/* --- main --- */

static void
answer_scan(struct avocet_self *self, const struct call *call)
{
	struct bytes rest = buf_bytes(&call->found);

	while (rest.len != 0) {
		uint32_t lens[2];
		avocet_bytes key, value;

		memcpy(lens, rest.data, sizeof(lens));
		key = (avocet_bytes){rest.data + sizeof(lens), lens[0]};
		value = (avocet_bytes){key.p + lens[0], lens[1]};
		call->fn(self->inst, AVOCET_OK, key, value, call->arg);
		rest = bytes_skip(rest, sizeof(lens) + lens[0] + lens[1]);
	}
	call->fn(self->inst, call->status == AVOCET_OK ? AVOCET_E_NOTFOUND : call->status,
	    (avocet_bytes){0}, (avocet_bytes){0}, call->arg);
}

static void
answer(struct avocet_self *self, struct call *call)
{
	if (call->fn != NULL && call->errand == SCAN) {
		answer_scan(self, call);
	} else if (call->fn != NULL) {
		call->fn(self->inst, call->status, (avocet_bytes){call->data, call->key_len},
		    (avocet_bytes){call->found.data, call->found.len}, call->arg);
	}
	buf_fini(&call->found);
	mem_free(&call);
}

static void
answer_all(struct plugin_kv *kv)
{
	struct list_link *link;

	for (;;) {
		lock_take(&kv->lock);
		link = list_take_first(&kv->finished);
		kv->count -= link != NULL;
		lock_give(&kv->lock);
		if (link == NULL) {
			return;
		}
		answer(kv->self, list_item(link, struct call, link));
	}
}

static void
on_finished(struct worker *worker, struct mail *mail)
{
	struct plugin_kv *kv = list_item(mail, struct plugin_kv, mail);

	(void)worker;
	lock_take(&kv->lock);
	kv->mail_is_out = false;
	lock_give(&kv->lock);
	answer_all(kv);
	plugin_unref(kv->self);
}

/* --- the thread --- */

static void
find_all(struct plugin_kv *kv, struct call *call, struct bytes prefix)
{
	struct kv_item *item;

	map_each (item, &kv->file->items) {
		uint32_t lens[2] = {item->key_len, item->value_len};

		if (bytes_starts_with(kv_key(item), prefix)) {
			buf_append(&call->found, lens, sizeof(lens));
			buf_append(
			    &call->found, item->data, (size_t)item->key_len + item->value_len);
		}
	}
}

static void
carry_out(struct plugin_kv *kv, struct call *call)
{
	struct bytes key = {call->data, call->key_len};
	struct kv_item *item;

	int error = plugin_kv_file_open(kv->file);

	call->status = error == 0 ? AVOCET_OK : error == ERR_AGAIN ? AVOCET_E_BUSY : AVOCET_E_IO;
	if (call->status != AVOCET_OK) {
		return;
	}
	switch (call->errand) {
	case GET:
		item = map_find(&kv->file->items, key);
		if (item == NULL) {
			call->status = AVOCET_E_NOTFOUND;
		} else {
			buf_append_bytes(&call->found, kv_value(item));
		}
		break;
	case PUT:
		plugin_kv_file_put(
		    kv->file, key, bytes_make(call->data + call->key_len, call->value_len));
		break;
	case DEL:
		call->status = plugin_kv_file_del(kv->file, key) ? AVOCET_OK : AVOCET_E_NOTFOUND;
		break;
	case SCAN:
		find_all(kv, call, key);
		break;
	}
}

/* What was read of what could not be written does not count either. */
static void
fail_all(struct list *calls)
{
	list_each (link, calls) {
		struct call *call = list_item(link, struct call, link);

		call->status = AVOCET_E_IO;
		buf_clear(&call->found);
	}
}

static void
work(void *arg)
{
	struct plugin_kv *kv = arg;
	struct list calls;
	struct list_link *link;

	list_init(&calls);
	lock_take(&kv->lock);
	while (!kv->is_ending || !list_is_empty(&kv->waiting)) {
		while ((link = list_take_first(&kv->waiting)) != NULL) {
			list_append(&calls, link);
		}
		if (list_is_empty(&calls)) {
			cond_wait(&kv->news, &kv->lock);
			continue;
		}
		lock_give(&kv->lock);
		list_each (each, &calls) {
			carry_out(kv, list_item(each, struct call, link));
		}
		if (plugin_kv_file_sync(kv->file) != 0) {
			fail_all(&calls);
		}
		lock_take(&kv->lock);
		while ((link = list_take_first(&calls)) != NULL) {
			list_append(&kv->finished, link);
		}
		if (!kv->mail_is_out && !kv->is_ending) {
			kv->mail_is_out = true;
			(void)plugin_ref(kv->self);
			mail_post(kv->self->house->options.main, &kv->mail);
		}
	}
	lock_give(&kv->lock);
}

/* --- any thread --- */

static struct plugin_kv *
kv_new(struct avocet_self *self)
{
	struct plugin_kv *kv = mem_zalloc(sizeof(*kv));
	struct buf folder;

	buf_init(&folder, SIZE_MAX);
	buf_printf(&folder, "%s/kv", self->house->options.data_dir);
	kv->self = self;
	kv->file = plugin_kv_file_new(buf_text(&folder), self->name);
	buf_fini(&folder);
	kv->mail.run = on_finished;
	lock_init(&kv->lock);
	cond_init(&kv->news);
	list_init(&kv->waiting);
	list_init(&kv->finished);
	kv->thread = thread_start(self->name, work, kv);
	return kv;
}

static int32_t
put_call(struct plugin_kv *kv, enum errand errand, avocet_bytes key, avocet_bytes value,
    avocet_kv_fn fn, void *arg)
{
	struct call *call;

	if (kv->thread == NULL) {
		return AVOCET_E_NOMEM;
	}
	if (kv->count >= MAX_UNDER_WAY) {
		return AVOCET_E_AGAIN;
	}
	call = mem_zalloc(sizeof(*call) + key.n + value.n);
	call->errand = errand;
	call->fn = fn;
	call->arg = arg;
	call->key_len = (uint32_t)key.n;
	call->value_len = (uint32_t)value.n;
	buf_init(&call->found, SIZE_MAX);
	if (key.n != 0) {
		memcpy(call->data, key.p, key.n);
	}
	if (value.n != 0) {
		memcpy(call->data + key.n, value.p, value.n);
	}
	list_append(&kv->waiting, &call->link);
	kv->count++;
	cond_wake_one(&kv->news);
	return AVOCET_OK;
}

static int32_t
ask(avocet_self *self, enum errand errand, avocet_bytes key, avocet_bytes value, avocet_kv_fn fn,
    void *arg)
{
	struct plugin_kv *kv;
	int32_t status = AVOCET_E_STATE;

	if ((key.n == 0 && errand != SCAN) || key.n > AVOCET_KV_MAX_KEY ||
	    value.n > AVOCET_KV_MAX_VALUE || (fn == NULL && (errand == GET || errand == SCAN))) {
		return AVOCET_E_INVAL;
	}
	if (self->house->options.data_dir == NULL) {
		return AVOCET_E_UNSUPPORTED;
	}
	lock_take(&self->lock);
	if (self->kv == NULL && self->has_created && !self->kv_is_over) {
		self->kv = kv_new(self);
	}
	kv = self->kv;
	if (kv != NULL && !self->kv_is_over) {
		lock_take(&kv->lock);
		status = put_call(kv, errand, key, value, fn, arg);
		lock_give(&kv->lock);
	}
	lock_give(&self->lock);
	return status;
}

static int32_t
get(avocet_self *self, avocet_bytes key, avocet_kv_fn fn, void *arg)
{
	return ask(self, GET, key, (avocet_bytes){0}, fn, arg);
}

static int32_t
put(avocet_self *self, avocet_bytes key, avocet_bytes value, avocet_kv_fn fn, void *arg)
{
	return ask(self, PUT, key, value, fn, arg);
}

static int32_t
del(avocet_self *self, avocet_bytes key, avocet_kv_fn fn, void *arg)
{
	return ask(self, DEL, key, (avocet_bytes){0}, fn, arg);
}

static int32_t
scan(avocet_self *self, avocet_bytes prefix, avocet_kv_fn fn, void *arg)
{
	return ask(self, SCAN, prefix, (avocet_bytes){0}, fn, arg);
}

const avocet_kv_api plugin_kv_api = {
    .struct_size = sizeof(plugin_kv_api), .get = get, .put = put, .del = del, .scan = scan};

/* --- the end --- */

bool
plugin_kv_end(struct avocet_self *self)
{
	struct plugin_kv *kv;

	lock_take(&self->lock);
	self->kv_is_over = true;
	kv = self->kv;
	lock_give(&self->lock);
	if (kv == NULL) {
		return true;
	}
	lock_take(&kv->lock);
	kv->is_ending = true;
	cond_wake_all(&kv->news);
	lock_give(&kv->lock);
	if (kv->thread != NULL && !thread_join(&kv->thread, JOIN_MS)) {
		log_error("plugin %s does not end: the disk of its values hangs", self->name);
		thread_abandon(&kv->thread);
		return false;
	}
	answer_all(kv);
	return true;
}

void
plugin_kv_fini(struct avocet_self *self)
{
	struct plugin_kv *kv = self->kv;

	if (kv != NULL) {
		plugin_kv_file_free(&kv->file);
		cond_fini(&kv->news);
		lock_fini(&kv->lock);
		mem_free(&self->kv);
	}
}
