// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Keeps the DNS answers that processes receive until user space fetches them, read from where the call left them. */

#ifdef TYPES

#define ANSWER_BYTES 1024
/* A header and a question. */
#define SHORTEST_ANSWER 17
#define MSG_PEEK 2

struct answer {
	u8 server[16];
	u32 length;
	u32 uid;
	u8 tcp;
	u8 host_network;
	/* Whether the kernel lets nobody but the server answer. */
	u8 connected;
	u8 unused;
	u32 unused_too;
	u8 payload[ANSWER_BYTES];
};

struct answer_key {
	u64 nanoseconds;
	u32 processor;
	u32 unused;
};

BPF_HASH(answers, struct answer_key, struct answer, 2048);
BPF_PERCPU_ARRAY(answer_scratch, struct answer, 1);

/* Where the call under way was to put what it received; 0: not to be known. */
static inline u64 buffer_of_call(void)
{
	struct call call = current_call();
	u64 message = 0, parts = 0, buffer = 0;

	if (call.number == CALL_READ || call.number == CALL_RECVFROM)
		return argument(&call, REGISTER_2);
	if (call.number == CALL_READV) {
		parts = argument(&call, REGISTER_2);
	} else if (call.number == CALL_RECVMSG || call.number == CALL_RECVMMSG) {
		message = argument(&call, REGISTER_2);
		bpf_probe_read_user(&parts, sizeof(parts), (void *)(message + MESSAGE_PARTS));
	}
	if (parts)
		bpf_probe_read_user(&buffer, sizeof(buffer), (void *)parts);
	return buffer;
}

static inline void keep_answer(u64 socket, long received, bool typed)
{
	int zero = 0;
	u16 type = 0;
	struct head head = {};

	if (received < SHORTEST_ANSWER || read_head(socket, &head, typed) || !is_internet(family_of(&head)))
		return;
	u16 port = remote_port_of(&head);
	if (port && port != DNS_PORT)
		return;
	GET(typed, type, socket + OFFSET_sock_sk_type);
	struct server *server = NULL;
	if (!port) {
		server = type == SOCK_DGRAM ? asked.lookup(&socket) : NULL;
		if (!server)
			return;
	}
	struct answer *answer = answer_scratch.lookup(&zero);
	u64 buffer = buffer_of_call();
	if (!answer || !buffer) {
		add_one(LOST_NAMES);
		return;
	}
	if (server)
		__builtin_memcpy(answer->server, server->address, sizeof(answer->server));
	else
		read_remote_address(socket, &head, answer->server, typed);
	answer->length = received;
	answer->uid = bpf_get_current_uid_gid();
	answer->tcp = type == SOCK_STREAM;
	answer->connected = port != 0;
	answer->host_network = network_of(socket, typed) == HOST_NETWORK;
	u32 kept = received < ANSWER_BYTES ? received : ANSWER_BYTES - 1;
	asm volatile("" : "+r"(kept));
	kept &= ANSWER_BYTES - 1;
	struct answer_key key = {.nanoseconds = bpf_ktime_get_ns(), .processor = bpf_get_smp_processor_id()};
	if (bpf_probe_read_user(answer->payload, kept, (void *)buffer) || answers.update(&key, answer))
		add_one(LOST_NAMES);
}

int keep_received(struct bpf_raw_tracepoint_args *args)
{
	if (!((int)args->args[2] & MSG_PEEK))
		keep_answer(args->args[0], (int)args->args[1], true);
	return 0;
}

#ifdef KPROBES
/* Where that tracepoint is missing: the socket at the start of the call, the rest at its end. */
BPF_TABLE("lru_hash", u32, u64, receiving, 4096);

int begin_receive(struct pt_regs *registers)
{
	u64 socket = PARAMETER(registers, PARAMETER_1);
	u32 thread = bpf_get_current_pid_tgid();
	u16 port = 0;

	READ(port, socket + OFFSET_sock_common_skc_dport);
	if (port != __builtin_bswap16(DNS_PORT) && (port || !asked.lookup(&socket)))
		return 0;
	receiving.update(&thread, &socket);
	return 0;
}

int end_receive(struct pt_regs *registers)
{
	u32 thread = bpf_get_current_pid_tgid();
	u64 *socket = receiving.lookup(&thread);

	if (!socket)
		return 0;
	keep_answer(*socket, (int)PARAMETER(registers, RESULT), false);
	receiving.delete(&thread);
	return 0;
}
#endif

#endif
