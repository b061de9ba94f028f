// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The system call under way: which one it is, and what it was given. Differs from processor to processor. */

#if defined(MACHINE_x86_64)
/* Offsets in struct pt_regs, in bytes. */
#define REGISTER_CALL 120
#define REGISTER_1 112
#define REGISTER_2 104
#define REGISTER_3 96
#define REGISTER_5 72
#define PARAMETER_1 112
#define PARAMETER_2 104
#define RESULT 80
#define CALL_READ 0
#define CALL_WRITE 1
#define CALL_READV 19
#define CALL_WRITEV 20
#define CALL_SENDTO 44
#define CALL_RECVFROM 45
#define CALL_SENDMSG 46
#define CALL_RECVMSG 47
#define CALL_RECVMMSG 299
#define CALL_SENDMMSG 307
#elif defined(MACHINE_aarch64)
#define REGISTER_CALL 280
/* The first register is overwritten by the result; this is its copy. */
#define REGISTER_1 272
#define REGISTER_2 8
#define REGISTER_3 16
#define REGISTER_5 32
#define PARAMETER_1 0
#define PARAMETER_2 8
#define RESULT 0
#define CALL_READ 63
#define CALL_WRITE 64
#define CALL_READV 65
#define CALL_WRITEV 66
#define CALL_SENDTO 206
#define CALL_RECVFROM 207
#define CALL_SENDMSG 211
#define CALL_RECVMSG 212
#define CALL_RECVMMSG 243
#define CALL_SENDMMSG 269
#endif

/* Of the kernel's function that a kprobe stands at. */
#define PARAMETER(registers, offset) (*(u64 *)((char *)(registers) + (offset)))

#ifdef TYPES

struct call {
	u64 registers;
	u32 number;
};

static inline u64 argument(struct call *call, int offset)
{
	u64 value = 0;

	LOAD(value, call->registers + offset);
	return value;
}

static inline struct call current_call(void)
{
	struct call call = {.registers = (u64)bpf_task_pt_regs((void *)bpf_get_current_task_btf())};

	call.number = argument(&call, REGISTER_CALL);
	return call;
}

/* struct user_msghdr and struct mmsghdr, as programs of the kernel's own word size pass them. */
#define MESSAGE_NAME 0
#define MESSAGE_PARTS 16
#define MESSAGES_STRIDE 64

#endif
