// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Who listens where, and where a login session came from: the peer of the connection that its first process holds. */

#ifdef TYPES

struct listener_key {
	u8 address[16] __attribute__((aligned(8)));
	u32 network;
	u16 port;
	u8 protocol;
	u8 unused;
};

/* Sockets may share a port; the entry goes with the last one. User space adds those that listened before it came. */
struct listener {
	u32 process;
	u32 sockets;
	/* The login session that it was opened in. */
	u32 session;
	u32 unused;
};
BPF_HASH(listeners, struct listener_key, struct listener, 8192);

struct origin {
	u8 address[16];
	u32 known;
	u32 tries;
};
BPF_TABLE("lru_hash", u32, struct origin, origins, 8192);

#define ANCESTORS_FOLLOWED 32
#define FILES_LOOKED_AT 64
#define ORIGIN_TRIES 8
#define TCP_IS_ESTABLISHED 1

static inline void listener_key_of(u64 socket, struct head *head, u8 protocol, struct listener_key *key, bool typed)
{
	read_local_address(socket, head, key->address, typed);
	key->port = HEAD(head, u16, skc_num);
	key->network = network_of(socket, typed);
	key->protocol = protocol;
}

/* Who listens for the connection: on its local address, else on all of IPv4's, else on all. */
static inline struct listener *listener_of(struct listener_key *key)
{
	struct listener *found = listeners.lookup(key);
	u64 *words = (u64 *)key->address;

	if (found)
		return found;
	if (words[0] == 0 && (key->address[10] & key->address[11]) == 0xff) {
		map_ipv4(key->address, 0);
		found = listeners.lookup(key);
		if (found)
			return found;
	}
	words[0] = words[1] = 0;
	return listeners.lookup(key);
}

/* Whether the socket is a connection that a listener of its network namespace accepted which is older than the session:
 * what is listened for within it tells nothing of where it came from. */
static inline bool is_accepted(u64 socket, struct head *head, u32 session)
{
	u16 protocol = 0;
	struct listener_key key = {};

	READ(protocol, socket + OFFSET_sock_sk_protocol);
	if (!is_internet(family_of(head)) || HEAD(head, u8, skc_state) != TCP_IS_ESTABLISHED || protocol != IPPROTO_TCP)
		return false;
	listener_key_of(socket, head, protocol, &key, false);
	struct listener *listener = listener_of(&key);
	return listener && listener->session != session;
}

static inline u32 effective_user_of(u64 task)
{
	u64 credentials = 0;
	u32 user = UNKNOWN_ID;

	READ(credentials, task + OFFSET_task_struct_cred);
	READ(user, credentials + OFFSET_cred_euid);
	return user;
}

#ifdef OFFSET_task_struct_sessionid
/* The first process of the session: its farthest ancestor that belongs to it. 0: not to be found. */
static inline u64 first_of_session(u64 task, u32 session)
{
	u64 first = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < ANCESTORS_FOLLOWED; i++) {
		u32 other = UNKNOWN_ID;

		READ(other, task + OFFSET_task_struct_sessionid);
		if (other != session)
			return first;
		first = task;
		READ(task, task + OFFSET_task_struct_real_parent);
	}
	return 0;
}

static inline bool find_origin(u64 task, u32 session, struct origin *origin)
{
	u64 first = first_of_session(task, session);

	/* Who lets people in is root. If the first process is gone, what is left of the session is anybody's. */
	if (!first || effective_user_of(first) != 0)
		return false;
	struct files files = files_of(first);
#pragma clang loop unroll(disable)
	for (int i = 0; i < FILES_LOOKED_AT; i++) {
		struct head head = {};

		if (i >= files.count)
			break;
		u64 socket = socket_of_slot(&files, i);
		if (!socket || READ(head, socket) || !is_accepted(socket, &head, session))
			continue;
		read_remote_address(socket, &head, origin->address, false);
		return true;
	}
	return false;
}
#endif

#endif

/* Looks for the origin of the session that runs now, unless it is known; not for interrupts. Returns whether there is nothing
 * left to look for. */
int learn_own_origin(void *unused)
{
#ifdef OFFSET_task_struct_sessionid
	u64 task = bpf_get_current_task();
	u32 session = UNKNOWN_ID;
	struct origin origin = {};

	READ(session, task + OFFSET_task_struct_sessionid);
	if (session == UNKNOWN_ID)
		return true;
	struct origin *known = origins.lookup(&session);
	if (known) {
		if (known->known || known->tries >= ORIGIN_TRIES)
			return true;
		origin.tries = known->tries;
	}
	origin.known = find_origin(task, session, &origin);
	origin.tries++;
	origins.update(&session, &origin);
	return origin.known;
#else
	return true;
#endif
}
APART(learn_own_origin, void);
