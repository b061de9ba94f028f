// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts what is sent without a connection (UDP, ICMP, raw IP, AF_PACKET) as flows: a process, a socket and where it
 * sends to, once a snapshot, however many packets.
 *
 * Two ways to see each send; program.py takes the first that the kernel has:
 *   a kprobe on security_socket_sendmsg, which is given the address in the kernel's own copy;
 *   the tracepoint sock:sock_send_length, which is not: the address is then read from where the system call left it.
 */

#ifdef TYPES

/* Unconnected sockets that asked a DNS server, and which. */
struct server {
	u8 address[16];
};
BPF_TABLE("lru_hash", u64, struct server, asked, 1024);
#define DNS_PORT 53

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
	struct flow flow = {
		.socket_inode = send->inode,
		.thread_group = bpf_get_current_pid_tgid() >> 32,
		.port = send->key.remote_port,
		.protocol = send->key.protocol,
	};

	__builtin_memcpy(flow.address, send->key.remote_address, sizeof(flow.address));
	return is_new(&flow);
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
		read_from_ring(send->result, &send->named);
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

#endif
