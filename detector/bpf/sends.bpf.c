// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts what is sent without a connection (UDP, ICMP, raw IP, AF_PACKET) as flows: a process, a socket and where it
 * sends to, once a snapshot, however many packets. And connects that routing refuses before a socket changes its state.
 *
 * Two ways to see each send; program.py takes the first that the kernel has:
 *   a kprobe on security_socket_sendmsg, which is given the address in the kernel's own copy;
 *   the tracepoint sock:sock_send_length, which is not: the address is then read from where the system call left it.
 */

#ifdef TYPES

struct flow {
	u8 address[16] __attribute__((aligned(8)));
	u64 socket_inode;
	u32 thread_group;
	u16 port;
	u8 protocol;
	u8 unused;
};

/* Which snapshot a flow was last counted in, counted from 1: 0 is a free slot. A flow may stand in any slot of its set, which is
 * two lines of the processor's cache; a hash table would cost several times as much. What has to make room is counted again: with
 * 8 slots, that takes tens of thousands of flows in a snapshot. */
#define FLOW_SETS 4096
#define FLOW_SLOTS 8

struct flow_slot {
	u64 fingerprint;
	u64 counted_in;
};

struct flow_set {
	struct flow_slot slots[FLOW_SLOTS];
};

BPF_ARRAY(flows, struct flow_set, FLOW_SETS);

#define FLOW_HALVES (sizeof(struct flow) / sizeof(u32))

/* Random numbers, which user space puts there before anything is attached. */
struct flow_secrets {
	u64 numbers[2 + 2 * FLOW_HALVES];
};
BPF_ARRAY(flow_secrets, struct flow_secrets, 1);

/* 64 bits for a flow, by numbers that are drawn anew at each start: nobody can choose a destination that is taken for another.
 * Multilinear hashing (Lemire and Kaser, 2014, "Strongly universal string hashing is fast"), of which the upper half is good. */
static inline u64 fingerprint_of(struct flow *flow)
{
	int zero = 0;
	struct flow_secrets *secrets = flow_secrets.lookup(&zero);
	u32 *halves = (u32 *)flow;

	if (!secrets)
		return 0;
	u64 upper = secrets->numbers[0], lower = secrets->numbers[1];
#pragma unroll
	for (int i = 0; i < FLOW_HALVES; i++) {
		upper += secrets->numbers[2 + i] * halves[i];
		lower += secrets->numbers[2 + FLOW_HALVES + i] * halves[i];
	}
	return (upper & ~0xffffffffull) | lower >> 32;
}

/* Unconnected sockets that asked a DNS server, and which. */
struct server {
	u8 address[16];
};
BPF_TABLE("lru_hash", u64, struct server, asked, 1024);
#define DNS_PORT 53

struct destination {
	u8 address[16] __attribute__((aligned(8)));
	u16 port;
	bool known;
};

/* The beginning of struct sockaddr_in and sockaddr_in6. */
struct socket_address {
	u16 family;
	u16 port;
	/* Of IPv4; IPv6 has its address behind. */
	u32 ipv4;
};

/* `copy`: bpf_probe_read_kernel or bpf_probe_read_user. Old programs give no family: it is the socket's. */
#define READ_ADDRESS(copy, at, own_family, destination)                                                \
	do {                                                                                           \
		struct socket_address given = {};                                                      \
		if (copy(&given, sizeof(given), (void *)(at)))                                         \
			break;                                                                         \
		u16 family = given.family ? given.family : (own_family);                               \
		(destination)->port = __builtin_bswap16(given.port);                                   \
		if (family == AF_INET) {                                                               \
			map_ipv4((destination)->address, given.ipv4);                                  \
			(destination)->known = true;                                                   \
		} else if (family == AF_INET6) {                                                       \
			(destination)->known =                                                         \
				!copy((destination)->address, 16, (void *)((at) + sizeof(given)));     \
		}                                                                                      \
	} while (0)

static inline void read_user_address(u64 at, u16 own_family, struct destination *destination)
{
	READ_ADDRESS(bpf_probe_read_user, at, own_family, destination);
}

static inline void read_kernel_address(u64 at, u16 own_family, struct destination *destination)
{
	READ_ADDRESS(bpf_probe_read_kernel, at, own_family, destination);
}

/* What a key says of the protocol; 0: not for us. */
static inline u8 protocol_of(u16 family, u16 type, u16 protocol)
{
	if (family == AF_PACKET || family == AF_XDP)
		return PROTOCOL_PACKET;
	if (!is_internet(family))
		return 0;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return IPPROTO_ICMP;
	if (type == SOCK_RAW)
		return PROTOCOL_RAW;
	if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)
		return IPPROTO_UDP;
	if (protocol == IPPROTO_SCTP)
		return IPPROTO_SCTP;
	return PROTOCOL_RAW;
}

/* Whether a send that failed was kept from reaching its destination. Other faults are the program's own, or pass. */
static inline bool is_unreachable(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EACCES || error == -EPERM ||
	       error == -ENETDOWN;
}

struct send {
	/* Read back as a number. */
	volatile u64 socket;
	u64 inode;
	/* Where to, as the call says and as the socket is connected: the first that is known. */
	struct destination named, connected;
	struct connection_key key;
	u16 family;
	/* Negative: an error of the kernel's. */
	int result;
	/* Read back as either, so that the verifier goes on in one way. */
	volatile u8 is_new, unreachable, refused;
};

/* Not on the stack, where the verifier would try each combination of what is in it. */
BPF_PERCPU_ARRAY(send_scratch, struct send, 1);

static inline bool is_new_flow(struct send *send)
{
	int zero = 0;
	struct flow flow = {
		.socket_inode = send->inode,
		.thread_group = bpf_get_current_pid_tgid() >> 32,
		.port = send->key.remote_port,
		.protocol = send->key.protocol,
	};

	__builtin_memcpy(flow.address, send->key.remote_address, sizeof(flow.address));
	u32 *generations = generation.lookup(&zero);
	u64 fingerprint = fingerprint_of(&flow);
	int set = fingerprint % FLOW_SETS;
	struct flow_set *found = flows.lookup(&set);
	if (!generations || !found)
		return true;

	u64 now = (u64)*generations + 1;
	int free = (fingerprint >> 32) % FLOW_SLOTS;
#pragma unroll
	for (int i = 0; i < FLOW_SLOTS; i++) {
		struct flow_slot *slot = &found->slots[i];

		if (slot->counted_in != now)
			free = i;
		if (slot->fingerprint == fingerprint && slot->counted_in) {
			bool is_new = slot->counted_in != now;
			slot->counted_in = now;
			return is_new;
		}
	}
	struct flow_slot *slot = &found->slots[free % FLOW_SLOTS];
	slot->fingerprint = fingerprint;
	slot->counted_in = now;
	return true;
}

/* Remembers which server an unconnected socket asks: its answers are read from wherever they come to it. */
static inline void keep_asked(struct send *send, struct destination *to)
{
	struct server server;

	if (send->key.protocol != IPPROTO_UDP || to->port != DNS_PORT || !to->known)
		return;
	__builtin_memcpy(server.address, to->address, sizeof(server.address));
	u64 socket = send->socket;
	asked.update(&socket, &server);
}

static inline void fill_key(struct connection_key *key, struct destination *to)
{
	if (!to->known) {
		key->flags = KEY_ADDRESS_UNKNOWN;
		return;
	}
	__builtin_memcpy(key->remote_address, to->address, sizeof(key->remote_address));
	if (key->protocol == IPPROTO_UDP || key->protocol == IPPROTO_SCTP)
		key->remote_port = to->port;
}

/* Counts what is in the scratch. */
int count_send(void *unused)
{
	int zero = 0;
	struct send *send = send_scratch.lookup(&zero);

	if (!send)
		return 0;
	struct destination *to = send->named.known ? &send->named : &send->connected;
	fill_key(&send->key, to);
	keep_asked(send, to);
	send->unreachable = is_unreachable(send->result);
	/* The answer to an earlier packet. */
	send->refused = send->result == -ECONNREFUSED;
	if (send->result < 0 && !(send->unreachable | send->refused))
		return 0;
	send->is_new = is_new_flow(send);
	if (!(send->is_new | send->unreachable | send->refused))
		return 0;
	send->key.process = call_current_process(NULL);
	if (send->is_new)
		COUNT(&send->key, attempted, LOST_ATTEMPTED);
	if (send->unreachable)
		COUNT(&send->key, failed, LOST_FAILED);
	if (send->refused)
		COUNT(&send->key, refused, LOST_REFUSED);
	return 0;
}
APART(count_send, void);

/* Begins a description of a send, without what the call says; NULL if the socket's sends are not counted here. `typed`: see GET. */
static inline struct send *begin_send(u64 socket, bool typed)
{
	u16 type = 0, protocol = 0;
	struct head head = {};
	int zero = 0;

	GET(typed, type, socket + OFFSET_sock_sk_type);
	/* First of all, since nearly all sends are of such sockets. */
	if (type == SOCK_STREAM)
		return NULL;
	read_head(socket, &head, typed);
	GET(typed, protocol, socket + OFFSET_sock_sk_protocol);
	u8 counted_as = protocol_of(family_of(&head), type, protocol);
	struct send *send = counted_as ? send_scratch.lookup(&zero) : NULL;
	if (!send)
		return NULL;
	__builtin_memset(&send->key, 0, sizeof(send->key));
	send->key.protocol = counted_as;
	send->socket = socket;
	send->inode = inode_of_socket(socket, typed);
	send->family = family_of(&head);
	send->result = 0;
	send->named.known = send->connected.known = false;
	if (counted_as == PROTOCOL_PACKET)
		return send;
	read_remote_address(socket, &head, send->connected.address, typed);
	send->connected.port = remote_port_of(&head);
	/* Raw sockets have no port, connected or not: an address does for them. */
	u64 *words = (u64 *)send->connected.address;
	bool any = !words[0] && (!words[1] || words[1] == 0xffff0000ull);
	send->connected.known = send->connected.port || !any;
	return send;
}

#ifdef KPROBES
int count_send_call(struct pt_regs *registers)
{
	u64 outer = PARAMETER(registers, PARAMETER_1), message = PARAMETER(registers, PARAMETER_2), socket = 0, name = 0;

	READ(socket, outer + OFFSET_socket_sk);
	struct send *send = begin_send(socket, false);
	if (!send)
		return 0;
	READ(name, message + OFFSET_msghdr_msg_name);
	if (name && send->key.protocol != PROTOCOL_PACKET)
		read_kernel_address(name, send->family, &send->named);
	call_count_send(NULL);
	return 0;
}
#endif

/* How far a thread is in a vector of messages. A call that was cut short leaves its entry behind; the next one then
 * begins in the middle and comes around. */
struct batch {
	u64 vector;
	u32 messages;
	u32 next;
};
BPF_TABLE("lru_hash", u32, struct batch, batches, 4096);

static inline u64 next_of_batch(struct call *call)
{
	u32 thread = bpf_get_current_pid_tgid(), current = 0;
	struct batch fresh = {.vector = argument(call, REGISTER_2), .messages = argument(call, REGISTER_3), .next = 1};
	struct batch *known = batches.lookup(&thread);

	if (known && known->vector == fresh.vector && known->messages == fresh.messages) {
		current = known->next;
		known->next = current + 1 < fresh.messages ? current + 1 : 0;
	} else if (fresh.messages > 1) {
		batches.update(&thread, &fresh);
	}
	return fresh.vector + (u64)current * MESSAGES_STRIDE;
}

#ifdef OFFSET_io_async_msghdr_msg
#define IORING_OP_SENDMSG 9
#define IORING_OP_CONNECT 16
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

static inline void read_from_ring(struct send *send)
{
	u32 thread = bpf_get_current_pid_tgid(), flags = 0;
	u64 task = bpf_get_current_task();
	struct submitted *kept = submitted.lookup(&thread);

	if (!kept) {
		READ(flags, task + OFFSET_task_struct_flags);
		if (flags & PF_IO_WORKER)
			read_worker(task, &send->named);
		return;
	}
	u32 slot = kept->first;
	/* It is tried again at some other time: from here on nothing is certain. */
	if (send->result == -EAGAIN || slot >= kept->count || slot >= SUBMITTED) {
		submitted.delete(&thread);
		return;
	}
	send->named = kept->destinations[slot & (SUBMITTED - 1)];
	kept->first = slot + 1;
}
#else
static inline void read_from_ring(struct send *send)
{
}
#endif

static inline void read_from_call(struct send *send)
{
	struct call call = current_call();
	u64 name = 0;

	if (call.number == CALL_SENDTO) {
		name = argument(&call, REGISTER_5);
	} else if (call.number == CALL_SENDMSG) {
		bpf_probe_read_user(&name, sizeof(name), (void *)(argument(&call, REGISTER_2) + MESSAGE_NAME));
	} else if (call.number == CALL_SENDMMSG) {
		bpf_probe_read_user(&name, sizeof(name), (void *)(next_of_batch(&call) + MESSAGE_NAME));
	} else if (call.number != CALL_WRITE && call.number != CALL_WRITEV) {
		read_from_ring(send);
	}
	if (name)
		read_user_address(name, send->family, &send->named);
}

int count_sent(struct bpf_raw_tracepoint_args *args)
{
	struct send *send = begin_send(args->args[0], true);

	if (!send)
		return 0;
	send->result = args->args[1];
	if (send->key.protocol != PROTOCOL_PACKET)
		read_from_call(send);
	call_count_send(NULL);
	return 0;
}

static inline bool connects_by_tcp(u64 socket, struct head *head)
{
	u16 type = 0, protocol = 0;

	READ(type, socket + OFFSET_sock_sk_type);
	READ(protocol, socket + OFFSET_sock_sk_protocol);
	return type == SOCK_STREAM && is_internet(family_of(head)) &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

/* Counts a connect that failed, unless its socket's state has told already. */
static inline void count_refused(u64 socket, u64 address, u16 family)
{
	struct failed_socket failed = {.socket = socket, .inode = inode_of_socket(socket, false)};
	struct destination destination = {};
	struct connection_key key = {.direction = DIRECTION_OUTBOUND, .protocol = IPPROTO_TCP};

	if (failed_sockets.lookup(&failed)) {
		failed_sockets.delete(&failed);
		return;
	}
	read_user_address(address, family, &destination);
	if (!destination.known || !destination.port)
		return;
	__builtin_memcpy(key.remote_address, destination.address, sizeof(key.remote_address));
	key.remote_port = destination.port;
	key.process = call_current_process(NULL);
	COUNT(&key, attempted, LOST_ATTEMPTED);
	COUNT(&key, failed, LOST_FAILED);
}

/* Spelt out, since bcc would look for the format of a tracepoint that a kernel need not have. */
struct call_end {
	u64 common;
	long number;
	long result;
};

/* connect() has failed: if routing refused it, no change of state has told. */
int refused_by_routing(struct call_end *args)
{
	long result = args->result;
	struct head head = {};

	if (!is_unreachable(result) && result != -EINVAL)
		return 0;
	struct call call = current_call();
	u32 slot = argument(&call, REGISTER_1);
	struct files files = files_of(bpf_get_current_task());
	u64 socket = slot < files.count ? socket_of_slot(&files, slot) : 0;
	if (!socket || READ(head, socket) || !connects_by_tcp(socket, &head))
		return 0;
	count_refused(socket, argument(&call, REGISTER_2), family_of(&head));
	return 0;
}

#ifdef OFFSET_io_connect_addr
/* In struct io_cqe, behind what the program calls the request. */
#define RESULT_IN_CQE 8

/* The same for a connect by io_uring. */
int refused_in_ring(struct bpf_raw_tracepoint_args *args)
{
	u64 request = args->args[1], file = 0, address = 0;
	struct head head = {};
	int result = 0;
	u8 operation = 0;

	READ(operation, request + OFFSET_io_kiocb_opcode);
	if (operation != IORING_OP_CONNECT)
		return 0;
	READ(result, request + OFFSET_io_kiocb_cqe + RESULT_IN_CQE);
	if (!is_unreachable(result) && result != -EINVAL)
		return 0;
	READ(file, request + OFFSET_io_kiocb_file);
	u64 socket = file ? socket_of_file(file) : 0;
	if (!socket || READ(head, socket) || !connects_by_tcp(socket, &head))
		return 0;
	READ(address, request + OFFSET_io_connect_addr);
	count_refused(socket, address, family_of(&head));
	return 0;
}
#endif

#ifdef KPROBES
/* The attempt of an SCTP connection: its state changes only when it stands. */
int count_sctp_connect(struct pt_regs *registers)
{
	u64 outer = PARAMETER(registers, PARAMETER_1), address = PARAMETER(registers, PARAMETER_2), socket = 0;
	u16 protocol = 0;
	struct head head = {};
	struct destination destination = {};
	struct connection_key key = {.protocol = IPPROTO_SCTP};

	READ(socket, outer + OFFSET_socket_sk);
	READ(protocol, socket + OFFSET_sock_sk_protocol);
	if (protocol != IPPROTO_SCTP)
		return 0;
	READ(head, socket);
	read_kernel_address(address, family_of(&head), &destination);
	if (!destination.known)
		return 0;
	__builtin_memcpy(key.remote_address, destination.address, sizeof(key.remote_address));
	key.remote_port = destination.port;
	key.process = call_current_process(NULL);
	count_attempt(socket, &key);
	return 0;
}
#endif

#endif
