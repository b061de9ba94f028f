// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which flows were counted in the snapshot under way: a process, a socket, and where it sends to. */

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

/* Whether the flow is yet to be counted in this snapshot; from then on it is not. */
static inline bool is_new(struct flow *flow)
{
	int zero = 0;
	u32 *generations = generation.lookup(&zero);
	u64 fingerprint = fingerprint_of(flow);
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

#endif
