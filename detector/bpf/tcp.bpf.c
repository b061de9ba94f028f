// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts connections of TCP and SCTP by the changes of their sockets' state.
 *
 * The kernel does not run a program on a processor while the same one is running there: an event in a network interrupt
 * that arrives meanwhile would be missed. So each change of state is offered twice, to count_state_change and to its
 * twin rescue_state_change, which counts what the first was not shown.
 */

#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_SYN_RECV 3
#define STATE_CLOSE 7
#define STATE_LISTEN 10

/* The last change of state that count_state_change was shown, of the sockets that share a slot. */
struct shown {
	u64 socket;
	u64 change;
};
#define SHOWN_SLOTS 64

BPF_PERCPU_ARRAY(shown, struct shown, SHOWN_SLOTS);

struct change {
	u8 remote_address[16] __attribute__((aligned(8)));
	/* Read back as a number. */
	volatile u64 socket;
	int before, after;
	/* Read back as any: see count_change. */
	volatile u16 protocol;
	u16 remote_port, local_port;
#ifdef TYPES
	struct head head;
#endif
};

static inline void count_attempt(u64 socket, struct connection_key *key)
{
	key->direction = DIRECTION_OUTBOUND;
	COUNT(key, attempted, LOST_ATTEMPTED);
	begin_pending(socket, key);
}

#define NANOSECONDS 1000000000ull

/* From the first SYN to now. `sock`: the socket as the verifier knows it. */
static inline u64 handshake_ns(u64 sock, struct pending_connect *connect)
{
	u64 passed = clock_of(connect->key.protocol) - connect->started_ns;

#ifdef TYPES
	/* A SYN is repeated after a second: until then, the round trip that TCP has measured (8 times as many microseconds) is
	 * that of the first one. */
	if (connect->key.protocol == IPPROTO_TCP && passed < NANOSECONDS) {
		u64 tcp = (u64)bpf_skc_to_tcp_sock((void *)sock);
		u32 round_trip = 0;

		if (tcp)
			LOAD(round_trip, tcp + OFFSET_tcp_sock_srtt_us);
		if (round_trip)
			return (u64)round_trip * 125;
	}
#endif
	return passed;
}

static inline void count_success(u64 sock, struct pending_connect *connect)
{
	u64 took_ns = handshake_ns(sock, connect);
	struct connection_value *entry = known_entry(&connect->key);

	if (entry) {
		__sync_fetch_and_add(&entry->established, 1);
		add_handshake(entry, took_ns);
		return;
	}
	struct tally tally = {
		.key = connect->key,
		.loss = LOST_ESTABLISHED,
		.once = {.established = 1, .handshake_ns_total = took_ns, .handshake_ns_max = took_ns},
	};
	call_count(&tally);
}

#ifdef TYPES

/* Failed connects that connect() is yet to report: see refused_by_routing. */
struct failed_socket {
	u64 socket;
	u64 inode;
};
BPF_TABLE("lru_hash", struct failed_socket, u8, failed_sockets, 1024);

#endif

static inline void count_failure(u64 sock, u64 socket, struct connection_key *key)
{
	int error = 0;

#ifdef TYPES
	LOAD(error, sock + OFFSET_sock_sk_err);
#endif
	if (error == ECONNREFUSED) {
		COUNT(key, refused, LOST_REFUSED);
	} else if (error == ETIMEDOUT) {
		COUNT(key, timed_out, LOST_TIMED_OUT);
	} else {
		COUNT(key, failed, LOST_FAILED);
#ifdef TYPES
		struct failed_socket failed = {.socket = socket, .inode = inode_of_socket(sock, true)};
		u8 one = 1;
		failed_sockets.update(&failed, &one);
#endif
	}
}

/* An accepted connection. `current` is whoever the packet arrived under; who listens was kept when that began. */
static inline void count_inbound(u64 sock, struct change *change, struct connection_key *key)
{

	key->direction = DIRECTION_INBOUND;
	key->remote_port = 0;
	key->local_port = change->local_port;
#ifdef TYPES
	struct listener_key local = {};
	listener_key_of(sock, &change->head, change->protocol, &local, true);
	struct listener *listener = listener_of(&local);
	if (listener)
		key->process = listener->process;
#endif
	struct connection_value *entry = known_entry(key);
	if (entry) {
		__sync_fetch_and_add(&entry->attempted, 1);
		__sync_fetch_and_add(&entry->established, 1);
		return;
	}
	struct tally tally = {
		.key = *key,
		.loss = LOST_INBOUND,
		.once = {.attempted = 1, .established = 1},
	};
	call_count(&tally);
}

/* SCTP shows only that a connection stands: an accepted one if somebody listens on its port, else one that was made
 * where its attempt could not be seen. */
static inline void count_sctp(u64 sock, struct change *change, struct connection_key *key)
{
#ifdef TYPES
	struct listener_key local = {};
	listener_key_of(sock, &change->head, change->protocol, &local, true);
	if (listener_of(&local)) {
		count_inbound(sock, change, key);
		return;
	}
	key->direction = DIRECTION_OUTBOUND;
	COUNT(key, attempted, LOST_ATTEMPTED);
	COUNT(key, established, LOST_ESTABLISHED);
#endif
}

/* A socket begins or ends to listen. */
static inline void keep_listener(u64 sock, struct change *change, u32 process)
{
#ifdef TYPES
	struct listener_key key = {};

	listener_key_of(sock, &change->head, change->protocol, &key, true);
	struct listener *known = listeners.lookup(&key);
	if (change->after == STATE_LISTEN) {
		struct listener listener = {
			.process = process,
			.sockets = known ? known->sockets + 1 : 1,
			.session = UNKNOWN_ID,
		};
#ifdef OFFSET_task_struct_sessionid
		READ(listener.session, bpf_get_current_task() + OFFSET_task_struct_sessionid);
#endif
		if (listeners.update(&key, &listener))
			add_one(LOST_UNNAMED);
	} else if (known) {
		if (known->sockets > 1)
			known->sockets--;
		else
			listeners.delete(&key);
	}
#endif
}

/* Sets of states: to look one up is one branch, and so one way for the verifier to follow. */
#define BIT(state) (1u << ((state) & 31))
/* What a process does itself. */
#define OF_CURRENT (BIT(STATE_SYN_SENT) | BIT(STATE_LISTEN))

static inline bool is_relevant(int before, int after)
{
	/* SYN_SENT to SYN_RECV: both ends opened at once, or a socket connected to itself. The outcome is still to come.
	 * LISTEN to SYN_RECV: a new socket, copied from the one that listens.
	 * CLOSE to ESTABLISHED: what SCTP shows of a connection. */
	u32 from = BIT(before), to = BIT(after);
	u32 ours = (to & OF_CURRENT) | (from & (BIT(STATE_SYN_SENT) | BIT(STATE_SYN_RECV) | BIT(STATE_LISTEN))) |
		   (from >> STATE_CLOSE & to >> STATE_ESTABLISHED & 1);

	return ours && !(to & BIT(STATE_SYN_RECV));
}

/* `sock`: the socket as the verifier knows it. */
static inline void count_change(u64 sock, struct change *change)
{
	/* First of all, so that the verifier comes here in as few ways as can be: it follows each to the end. */
	u32 process = BIT(change->after) & OF_CURRENT ? call_current_process(NULL) : 0;
	struct connection_key key = {.process = process};
	u64 socket = change->socket;

	__builtin_memcpy(key.remote_address, change->remote_address, sizeof(key.remote_address));
	key.protocol = change->protocol;
	key.remote_port = change->remote_port;
	if (change->after == STATE_SYN_SENT) {
		learn_origin();
		count_attempt(socket, &key);
		return;
	}
	if (change->after == STATE_LISTEN || change->before == STATE_LISTEN) {
		keep_listener(sock, change, key.process);
		return;
	}

	struct pending_connect *connect = pending_of(socket);
	if (connect) {
		if (change->after == STATE_ESTABLISHED)
			count_success(sock, connect);
		else
			count_failure(sock, socket, &connect->key);
		end_pending(socket);
	} else if (change->before == STATE_SYN_SENT) {
		add_one(LOST_UNMATCHED);
	} else if (change->after == STATE_ESTABLISHED && change->before == STATE_SYN_RECV) {
		count_inbound(sock, change, &key);
	} else if (change->after == STATE_ESTABLISHED && change->protocol == IPPROTO_SCTP) {
		count_sctp(sock, change, &key);
	}
}

static inline struct shown *shown_slot(u64 socket)
{
	/* Sockets are large and aligned: the low bits say nothing. */
	int slot = (socket >> 8) % SHOWN_SLOTS;
	return shown.lookup(&slot);
}

#define CHANGE_ID(before, after) (((u64)(before) << 32) | (u32)(after))

#ifdef TYPES

static inline void read_and_count(u64 sock, struct change *change)
{
	read_head(sock, &change->head, true);
	LOAD(change->protocol, sock + OFFSET_sock_sk_protocol);
	if (change->protocol != IPPROTO_TCP && change->protocol != IPPROTO_SCTP)
		return;
	if (!is_internet(family_of(&change->head)))
		return;
	if (change->after != STATE_LISTEN && change->before != STATE_LISTEN) {
		read_remote_address(sock, &change->head, change->remote_address, true);
		change->remote_port = remote_port_of(&change->head);
		change->local_port = HEAD(&change->head, u16, skc_num);
	}
	count_change(sock, change);
}

/* Not on the stack, where the verifier would try each combination of what is in it. Each program has its own: the one
 * may interrupt the other. */
enum { COUNTING, RESCUING };
BPF_PERCPU_ARRAY(changes, struct change, 2);

static inline struct change *clean_change(struct bpf_raw_tracepoint_args *args, int program)
{
	struct change *change = changes.lookup(&program);

	if (!change)
		return NULL;
	change->remote_port = change->local_port = 0;
	__builtin_memset(change->remote_address, 0, sizeof(change->remote_address));
	change->socket = args->args[0];
	change->before = args->args[1];
	change->after = args->args[2];
	return change;
}

int count_state_change(struct bpf_raw_tracepoint_args *args)
{
	if (!is_relevant(args->args[1], args->args[2]))
		return 0;
	struct change *change = clean_change(args, COUNTING);
	struct shown *slot = change ? shown_slot(change->socket) : NULL;
	if (!slot)
		return 0;
	slot->socket = change->socket;
	slot->change = CHANGE_ID(change->before, change->after);
	read_and_count(args->args[0], change);
	return 0;
}

int rescue_state_change(struct bpf_raw_tracepoint_args *args)
{
	if (!is_relevant(args->args[1], args->args[2]))
		return 0;
	struct change *change = clean_change(args, RESCUING);
	struct shown *slot = change ? shown_slot(change->socket) : NULL;
	if (!slot)
		return 0;
	if (slot->socket == change->socket && slot->change == CHANGE_ID(change->before, change->after)) {
		slot->socket = 0;
		return 0;
	}
	read_and_count(args->args[0], change);
	return 0;
}

#else

/* For kernels that do not describe their structures: bcc makes that of the arguments from the tracepoint's format. */
int count_described_change(struct tracepoint__sock__inet_sock_set_state *args)
{
	struct change change = {
		.socket = (u64)args->skaddr,
		.before = args->oldstate,
		.after = args->newstate,
		.protocol = args->protocol,
		.remote_port = args->dport,
		.local_port = args->sport,
	};

	if (!is_relevant(change.before, change.after))
		return 0;
	if (change.protocol != IPPROTO_TCP && change.protocol != IPPROTO_SCTP)
		return 0;
	if (args->family != AF_INET && args->family != AF_INET6)
		return 0;
	/* The kernel gives IPv4 addresses in mapped form here, whatever the family. */
	__builtin_memcpy(change.remote_address, args->daddr_v6, sizeof(change.remote_address));
	count_change(0, &change);
	return 0;
}

#endif
