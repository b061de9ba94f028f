// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Attempts under way, by their sockets. */

/* An attempt whose outcome is not known yet. */
struct pending_connect {
	struct connection_key key;
	/* By the clock of clock_of. */
	u64 started_ns;
};

/* Attempts under way. A socket's own slot costs a fraction of a hash table's entry; whoever finds it taken goes to the
 * table. */
struct pending_slot {
	/* Who wants the slot: added to before and read after. Who reads 1 has it, and nobody else can. */
	u64 claims;
	u64 socket;
	struct pending_connect connect;
};
BPF_ARRAY(pending_slots, struct pending_slot, PENDING_SLOTS);
BPF_HASH(pending, u64, struct pending_connect, PENDING_ENTRIES);

static inline struct pending_slot *slot_of(u64 socket)
{
	/* Sockets are large and aligned: the low bits say little, and some multiple spreads the others. */
	int slot = ((socket >> 6) * 0x9e3779b97f4a7c15ull >> 32) % PENDING_SLOTS;
	return pending_slots.lookup(&slot);
}

/* TCP measures its handshakes itself; ticks do for those that take longer than it waits. To read the clock takes as long as all
 * the rest. */
static inline u64 clock_of(u8 protocol)
{
#ifdef TYPES
	if (protocol == IPPROTO_TCP)
		return bpf_jiffies64() * TICK_NS;
#endif
	return bpf_ktime_get_ns();
}

static inline void begin_pending(u64 socket, struct connection_key *key)
{
	struct pending_slot *slot = slot_of(socket);

	if (!slot)
		return;
	/* Its own, if an earlier outcome was missed. */
	if (slot->socket != socket) {
		__sync_fetch_and_add(&slot->claims, 1);
		if (*(volatile u64 *)&slot->claims != 1) {
			struct pending_connect connect = {.key = *key, .started_ns = clock_of(key->protocol)};

			__sync_fetch_and_add(&slot->claims, -1);
			if (pending.update(&socket, &connect))
				add_one(LOST_PENDING_FULL);
			return;
		}
	}
	slot->connect.key = *key;
	slot->connect.started_ns = clock_of(key->protocol);
	slot->socket = socket;
}

static inline struct pending_connect *pending_of(u64 socket)
{
	struct pending_slot *slot = slot_of(socket);

	return slot && slot->socket == socket ? &slot->connect : pending.lookup(&socket);
}

static inline void end_pending(u64 socket)
{
	struct pending_slot *slot = slot_of(socket);

	if (slot && slot->socket == socket) {
		slot->socket = 0;
		__sync_fetch_and_add(&slot->claims, -1);
	} else {
		pending.delete(&socket);
	}
}
