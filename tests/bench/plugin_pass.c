/* SPDX-License-Identifier: Apache-2.0 */
/* For measurements: an interceptor that changes nothing. -DEXEC chooses how it runs. */
#include <avocet/avocet_message.h>

#ifndef EXEC
#define EXEC AVOCET_EXEC_INLINE
#endif

static int32_t
publish(void *inst, avocet_req_h req, uint32_t point, const avocet_msg *msg,
    const avocet_client_info *who, avocet_edit *edit)
{
	(void)inst;
	(void)req;
	(void)point;
	(void)msg;
	(void)who;
	(void)edit;
	return AVOCET_PASS;
}

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	(void)host;
	(void)err;
	*inst_out = self;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	(void)inst;
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	(void)inst;
	(void)conf;
	(void)err;
	*next_out = 0;
	return AVOCET_OK;
}

static void
commit(void *inst, void *next, void **old_out)
{
	(void)inst;
	(void)next;
	*old_out = 0;
}

static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create,
    .destroy = destroy, .prepare = prepare, .commit = commit};
static const avocet_interceptor interceptor = {
    AVOCET_SIZED(avocet_interceptor), .exec = EXEC, .points = AVOCET_AT_IN, .publish = publish};
static const avocet_service service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_INTERCEPTOR, .vtable = &interceptor};
static const avocet_service *const services[] = {&service, 0};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {.magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .name = "pass",
    .version = "1",
    .summary = "changes nothing",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services};
