// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Where sends by io_uring go, which no system call says when they are carried out. */

#ifdef TYPES

#ifdef OFFSET_io_async_msghdr_msg
#define IORING_OP_SENDMSG 9
#define IORING_OP_SEND 26
#define IORING_OP_SEND_ZC 47
#define IORING_OP_SENDMSG_ZC 48
#define REQUEST_LINKED (1 << 2 | 1 << 3)
#define REQUEST_FOR_WORKER (1 << 4)
#define PF_IO_WORKER 0x10
#define SUBMITTED 8
#define EAGAIN 11

/* Where io_uring's requests of a thread send to: kept when they are submitted, used when they are carried out. That is
 * at once, or for a chain of linked requests in their order after the last of them. */
struct submitted {
	u32 first;
	u32 count;
	/* The last request was linked to the next. */
	u32 open;
	u32 unused;
	struct destination destinations[SUBMITTED];
};
BPF_TABLE("lru_hash", u32, struct submitted, submitted, 2048);
BPF_PERCPU_ARRAY(submitted_scratch, struct submitted, 1);

static inline bool is_send(u8 operation)
{
	return operation == IORING_OP_SENDMSG || operation == IORING_OP_SEND || operation == IORING_OP_SEND_ZC ||
	       operation == IORING_OP_SENDMSG_ZC;
}

static inline void read_request(u64 request, struct destination *destination)
{
	u64 message = 0, name = 0;

	READ(message, request + OFFSET_io_kiocb_async_data);
	if (!message)
		return;
	READ(name, message + OFFSET_io_async_msghdr_msg + OFFSET_msghdr_msg_name);
	if (name)
		read_kernel_address(name, AF_INET, destination);
}

static inline struct submitted *begin_chain(u32 thread)
{
	int zero = 0;
	struct submitted *fresh = submitted_scratch.lookup(&zero);

	if (!fresh)
		return NULL;
	fresh->first = fresh->count = fresh->open = 0;
	submitted.update(&thread, fresh);
	return submitted.lookup(&thread);
}

int keep_submitted(struct bpf_raw_tracepoint_args *args)
{
	u64 request = args->args[0];
	u32 thread = bpf_get_current_pid_tgid();
	u64 flags = 0;
	u8 operation = 0;

	READ(operation, request + OFFSET_io_kiocb_opcode);
	READ(flags, request + OFFSET_io_kiocb_flags);
	struct submitted *kept = submitted.lookup(&thread);
	if (!is_send(operation) || flags & REQUEST_FOR_WORKER) {
		if (kept)
			kept->open = kept->open && flags & REQUEST_LINKED;
		return 0;
	}
	if (!kept || !kept->open)
		kept = begin_chain(thread);
	if (!kept)
		return 0;
	kept->open = flags & REQUEST_LINKED ? 1 : 0;
	u32 slot = kept->count;
	if (slot < SUBMITTED) {
		struct destination destination = {};

		read_request(request, &destination);
		kept->destinations[slot & (SUBMITTED - 1)] = destination;
	}
	kept->count = slot + 1;
	return 0;
}

static inline void read_worker(u64 task, struct destination *destination)
{
	u64 worker = 0, work = 0;

	READ(worker, task + OFFSET_task_struct_worker_private);
	READ(work, worker + OFFSET_io_worker_cur_work);
	if (work)
		read_request(work - OFFSET_io_kiocb_work, destination);
}

/* Where the send that has just been carried out, with this result, goes. */
static inline void read_from_ring(int result, struct destination *destination)
{
	u32 thread = bpf_get_current_pid_tgid(), flags = 0;
	u64 task = bpf_get_current_task();
	struct submitted *kept = submitted.lookup(&thread);

	if (!kept) {
		READ(flags, task + OFFSET_task_struct_flags);
		if (flags & PF_IO_WORKER)
			read_worker(task, destination);
		return;
	}
	u32 slot = kept->first;
	/* It is tried again at some other time: from here on nothing is certain. */
	if (result == -EAGAIN || slot >= kept->count || slot >= SUBMITTED) {
		submitted.delete(&thread);
		return;
	}
	*destination = kept->destinations[slot & (SUBMITTED - 1)];
	kept->first = slot + 1;
}
#else
static inline void read_from_ring(int result, struct destination *destination)
{
}
#endif

#endif
