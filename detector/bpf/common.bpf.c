// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What the programs share: numbers of the kernel's interface, the maps that user space reads, and reading memory.
 *
 * program.py joins the *.bpf.c files, in its order, into one text. Compiled with -D for what differs from kernel to
 * kernel and from host to host:
 *   COUNT_ENTRIES, FOLDED_ENTRIES, NAMED_ENTRIES, PENDING_ENTRIES, PENDING_SLOTS
 *                                    sizes of the maps
 *   TICK_NS                          nanoseconds between two ticks of the kernel's clock
 *   HOST_NETWORK                     inode of the host's own network namespace
 *   NUMBER_<function>                what stands for it in a call: see APART
 *   KPROBES                          the kernel has them
 *   TYPES                            the kernel describes its structures (BTF); without, only counting is left
 *   OFFSET_<struct>_<member>         offsets in bytes, from BTF; absent where the kernel has no such member
 */

#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define AF_XDP 44

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3

#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262

#define EPERM 1
#define EACCES 13
#define EINVAL 22
#define ENETDOWN 100
#define ENETUNREACH 101
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113

#define UNKNOWN_ID 0xffffffffu

#define DIRECTION_OUTBOUND 0
#define DIRECTION_INBOUND 1

/* What a key's protocol says: IP's number where there is one, and these. */
#define PROTOCOL_RAW 255
#define PROTOCOL_PACKET 254

/* Counted by process alone: there were too many keys. */
#define KEY_FOLDED 1
#define KEY_ADDRESS_UNKNOWN 2

struct connection_key {
	u8 remote_address[16];
	/* Number in `processes`; 0: unknown. */
	u32 process;
	u16 remote_port;
	u16 local_port;
	u8 direction;
	u8 protocol;
	u8 flags;
	u8 unused;
};

struct connection_value {
	u64 attempted;
	u64 established;
	u64 refused;
	u64 timed_out;
	u64 failed;
	u64 handshake_ns_total;
	u64 handshake_ns_max;
};

enum counter {
	LOST_ATTEMPTED,
	LOST_ESTABLISHED,
	LOST_REFUSED,
	LOST_TIMED_OUT,
	LOST_FAILED,
	LOST_INBOUND,
	LOST_PENDING_FULL,
	LOST_UNMATCHED,
	LOST_UNNAMED,
	LOST_UNREAD,
	LOST_FOLDED,
	LOST_UNNUMBERED,
	LOST_NAMES,
	COUNTERS,
};

BPF_ARRAY(counters, u64, COUNTERS);

/* Each pair: programs write to the one that is active while user space drains the other. */
BPF_HASH(counts_a, struct connection_key, struct connection_value, COUNT_ENTRIES);
BPF_HASH(counts_b, struct connection_key, struct connection_value, COUNT_ENTRIES);
BPF_ARRAY_OF_MAPS(active, "counts_a", 1);
BPF_HASH(folded_a, struct connection_key, struct connection_value, FOLDED_ENTRIES);
BPF_HASH(folded_b, struct connection_key, struct connection_value, FOLDED_ENTRIES);
BPF_ARRAY_OF_MAPS(active_folded, "folded_a", 1);

/* Two ways to read the kernel's memory. READ takes any address; a helper of the kernel's does it, which costs 20 to 40 ns.
 * LOAD is a plain instruction: it follows pointers whose type the verifier knows, which are the arguments of a tracepoint, the
 * current task, and what is loaded from these. Such a pointer cannot be calculated with; what is written to a map can, when it
 * is read back (hence `volatile` there). LOAD gives 0 where the memory cannot be read. */
#define READ(target, address) bpf_probe_read_kernel(&(target), sizeof(target), (const void *)(address))
#define LOAD(target, address) ((target) = *(volatile typeof(target) *)(address))

static inline void add_one(int kind)
{
	u64 *counter = counters.lookup(&kind);
	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* bcc inlines whatever a program calls, and has it compiled and verified again for each. What is large and called from many
 * places is therefore a function of its own, called by a number that linking.py replaces. It takes a pointer or nothing. */
#define APART(name, parameter) static u64 (*call_##name)(parameter *) = (void *)NUMBER_##name

/* What is to be counted: `once` is added to the key's entry, or `loss` to the counters. */
struct tally {
	struct connection_key key;
	u32 loss;
	struct connection_value once;
};

/* The key's entry; NULL if there is none, which is no fault if it was made just now, as `first` (then `made`). */
static inline struct connection_value *entry_of(void *map, struct connection_key *key, struct connection_value *first,
						bool *made)
{
	struct connection_value *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	*made = !bpf_map_update_elem(map, key, first, BPF_NOEXIST);
	/* Another processor may have added it just now: then the update fails and the look-up succeeds. */
	return *made ? NULL : bpf_map_lookup_elem(map, key);
}

static inline void add_handshake(struct connection_value *value, u64 nanoseconds)
{
	__sync_fetch_and_add(&value->handshake_ns_total, nanoseconds);
	/* Two processors at once may leave the smaller of two new maxima: a maximum is not worth a lock. */
	if (nanoseconds > value->handshake_ns_max)
		value->handshake_ns_max = nanoseconds;
}

static inline void add_to(struct connection_value *value, struct connection_value *once)
{
	if (once->attempted)
		__sync_fetch_and_add(&value->attempted, once->attempted);
	if (once->established)
		__sync_fetch_and_add(&value->established, once->established);
	if (once->refused)
		__sync_fetch_and_add(&value->refused, once->refused);
	if (once->timed_out)
		__sync_fetch_and_add(&value->timed_out, once->timed_out);
	if (once->failed)
		__sync_fetch_and_add(&value->failed, once->failed);
	if (once->handshake_ns_total)
		add_handshake(value, once->handshake_ns_total);
}

/* Counts at the key, or at its process alone when there is no room. */
int count(struct tally *tally)
{
	int zero = 0;
	bool made = false;
	void *map = active.lookup(&zero);
	struct connection_value *value = NULL;

	if (map)
		value = entry_of(map, &tally->key, &tally->once, &made);
	if (!value && !made) {
		struct connection_key folded = {
			.process = tally->key.process,
			.direction = tally->key.direction,
			.protocol = tally->key.protocol,
			.flags = KEY_FOLDED | KEY_ADDRESS_UNKNOWN,
		};
		map = active_folded.lookup(&zero);
		if (map)
			value = entry_of(map, &folded, &tally->once, &made);
		add_one(value || made ? LOST_FOLDED : tally->loss);
	}
	if (value)
		add_to(value, &tally->once);
	return 0;
}
APART(count, struct tally);

/* The entry that the key has already, as nearly all have; for another one, see count. */
static inline struct connection_value *known_entry(struct connection_key *key)
{
	int zero = 0;
	void *map = active.lookup(&zero);

	return map ? bpf_map_lookup_elem(map, key) : NULL;
}

/* Counts one in the field `member` of the key, or as lost. */
#define COUNT(counted_key, member, lost)                                 \
	do {                                                             \
		struct connection_value *entry = known_entry(counted_key); \
		if (entry) {                                             \
			__sync_fetch_and_add(&entry->member, 1);         \
			break;                                           \
		}                                                        \
		struct tally tally = {                                   \
			.key = *(counted_key),                           \
			.loss = (lost),                                  \
			.once = {.member = 1},                           \
		};                                                       \
		call_count(&tally);                                      \
	} while (0)

static inline void map_ipv4(u8 *address, u32 ipv4)
{
	__builtin_memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	__builtin_memcpy(address + 12, &ipv4, 4);
}
