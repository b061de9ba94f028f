// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts TCP connects by who makes them and where they go. Only counts leave the kernel.
 *
 * Two tracepoints, stable since Linux 4.16:
 *   sock:inet_sock_set_state   each change of state of a TCP socket
 *   sched:sched_process_exec   each program that starts
 *
 * The kernel does not run a program on a processor while one that is attached in the same way is running there: an
 * event in a network interrupt that arrives meanwhile would be missed. So each change of state is offered twice, to
 * count_state_change and, as a raw tracepoint, to rescue_state_change, which counts what the first was not shown.
 *
 * Compiled with -D for what differs from kernel to kernel and from host to host:
 *   COUNT_ENTRIES, PENDING_ENTRIES             sizes of the maps
 *   OFFSET_<struct>_<member>                   offsets in bytes, from the kernel's BTF
 *   OFFSET_task_struct_loginuid, _sessionid    absent where the kernel has no audit
 */

#define AF_INET 2
#define AF_INET6 10
#define PROTOCOL_TCP 6

#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_SYN_RECV 3
#define STATE_CLOSE 7

#define ERROR_TIMED_OUT 110
#define ERROR_REFUSED 111

#define DIRECTION_OUTBOUND 0
#define DIRECTION_INBOUND 1

#define UNKNOWN_ID 0xffffffffu

/* The end of a path that is kept; longer ones lose their beginning, and PATH_CUT stands for their first slash. */
#define PATH_BYTES 512
#define PATH_CUT 1
#define PATH_COMPONENTS 48
#define NAME_BYTES 256

struct connection_key {
	u8 remote_address[16];
	u64 cgroup;
	u32 uid;
	u32 login_uid;
	u32 session;
	/* Number of the executable's path in `paths`; 0: none or unknown. */
	u32 executable;
	u16 remote_port;
	u16 local_port;
	u8 direction;
	u8 protocol;
	u16 unused;
	char command[16];
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

/* An attempt whose outcome is not known yet. */
struct pending_connect {
	struct connection_key key;
	u64 started_ns;
};

/* A file under execution holds its dentry and mount, so their addresses are not reused while it runs; the entry is
 * made anew at each exec, so an address that was reused since is never taken for the old file. */
struct image {
	u64 dentry;
	u64 mount;
};

/* Right-aligned, zeros before: a fixed-size key that is equal for equal paths. */
struct path {
	char bytes[PATH_BYTES];
};

/* A component is copied to where it belongs counting from the end, so a copy may reach NAME_BYTES past the path. */
struct path_scratch {
	char before[PATH_BYTES];
	struct path path;
	char after[NAME_BYTES];
};

enum loss {
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
	/* Not a loss: events that only rescue_state_change was shown. */
	RESCUED,
	COUNTERS,
};

/* The last change of state that count_state_change was shown, of the sockets that share a slot. */
struct shown {
	u64 socket;
	u64 change;
};
#define SHOWN_SLOTS 64

/* Two maps of counts: programs write to the one in `active` while user space drains the other. */
BPF_HASH(counts_a, struct connection_key, struct connection_value, COUNT_ENTRIES);
BPF_HASH(counts_b, struct connection_key, struct connection_value, COUNT_ENTRIES);
BPF_ARRAY_OF_MAPS(active, "counts_a", 1);

BPF_HASH(pending, u64, struct pending_connect, PENDING_ENTRIES);
BPF_ARRAY(counters, u64, COUNTERS);
BPF_PERCPU_ARRAY(shown, struct shown, SHOWN_SLOTS);

/* A cache: what is evicted is found again. */
BPF_TABLE("lru_hash", struct image, u32, images, 16384);
BPF_F_TABLE("hash", struct path, u32, paths, 16384, BPF_F_NO_PREALLOC);
BPF_PERCPU_ARRAY(scratch, struct path_scratch, 1);
BPF_PERCPU_ARRAY(path_numbers, u32, 1);

static inline void add_one(int kind)
{
	u64 *counter = counters.lookup(&kind);
	if (counter)
		__sync_fetch_and_add(counter, 1);
}

#define READ(target, address) bpf_probe_read_kernel(&(target), sizeof(target), (const void *)(address))

/* The verifier follows the range of `position` through every combination of steps, unless it has the same one after
 * each: always somewhere in the first two thirds of the buffer. */
static inline u32 forget_range(u32 position)
{
	asm volatile("" : "+r"(position));
	return position & (2 * PATH_BYTES - 1);
}

/* Number of the path of the file at (dentry, mount): walks up to the root of the mount namespace. 0: not to be had. */
static u32 number_path(u64 dentry, u64 vfsmount)
{
	int zero = 0;
	struct path_scratch *buffer = scratch.lookup(&zero);
	u64 mount = vfsmount - OFFSET_mount_mnt, root = 0;
	u32 position = 2 * PATH_BYTES;
	bool whole = false;

	if (!buffer)
		return 0;
	u64 *words = (u64 *)buffer->path.bytes;
#pragma unroll
	for (int i = 0; i < PATH_BYTES / 8; i++)
		words[i] = 0;

	for (int i = 0; i < PATH_COMPONENTS; i++) {
		u64 parent = 0, name = 0;
		u32 stored_length = 0;

		if (READ(root, vfsmount + OFFSET_vfsmount_mnt_root) || READ(parent, dentry + OFFSET_dentry_d_parent)) {
			add_one(LOST_UNREAD);
			return 0;
		}
		if (dentry == root || dentry == parent) {
			u64 above = 0;
			READ(above, mount + OFFSET_mount_mnt_parent);
			if (dentry != root || above == mount || !above) {
				whole = true;
				break;
			}
			READ(dentry, mount + OFFSET_mount_mnt_mountpoint);
			mount = above;
			vfsmount = above + OFFSET_mount_mnt;
			continue;
		}
		READ(name, dentry + OFFSET_dentry_d_name + OFFSET_qstr_name);
		READ(stored_length, dentry + OFFSET_dentry_d_name + OFFSET_qstr_len);
		u32 length = stored_length;
		/* One byte for the slash. */
		if (position < PATH_BYTES + (length & (NAME_BYTES - 1)) + 1)
			break;
		position = forget_range(position - (length & (NAME_BYTES - 1)));
		asm volatile("" : "+r"(length));
		length &= NAME_BYTES - 1;
		if (bpf_probe_read_kernel(buffer->before + position, length, (void *)name)) {
			add_one(LOST_UNREAD);
			return 0;
		}
		position = forget_range(position - 1);
		buffer->before[position] = '/';
		dentry = parent;
	}

	if (!whole)
		buffer->before[forget_range(position)] = PATH_CUT;

	u32 *known = paths.lookup(&buffer->path);
	if (known)
		return *known;
	u32 *count = path_numbers.lookup(&zero);
	if (!count)
		return 0;
	/* Each processor numbers by itself. Paths are numbered where a process starts a program or a connect, never in an
	 * interrupt, so nothing interferes. */
	*count += 1;
	u32 number = (*count << 10) | (bpf_get_smp_processor_id() & 1023);
	if (!paths.insert(&buffer->path, &number))
		return number;
	known = paths.lookup(&buffer->path);
	return known ? *known : 0;
}

static inline u32 executable_of(u64 task, bool started_now)
{
	u64 mm = 0, file = 0;
	struct image image = {};

	if (READ(mm, task + OFFSET_task_struct_mm)) {
		add_one(LOST_UNREAD);
		return 0;
	}
	/* A kernel thread has no executable: nothing is lost. */
	if (!mm)
		return 0;
	if (READ(file, mm + OFFSET_mm_struct_exe_file) || !file ||
	    READ(image.dentry, file + OFFSET_file_f_path + OFFSET_path_dentry) ||
	    READ(image.mount, file + OFFSET_file_f_path + OFFSET_path_mnt)) {
		add_one(LOST_UNREAD);
		return 0;
	}
	if (!started_now) {
		u32 *known = images.lookup(&image);
		if (known && *known)
			return *known;
	}
	u32 number = number_path(image.dentry, image.mount);
	if (!number && !started_now)
		add_one(LOST_UNNAMED);
	images.update(&image, &number);
	return number;
}

static inline struct connection_value *count_of(struct connection_key *key)
{
	int zero = 0;
	struct connection_value none = {}, *value;
	void *map = active.lookup(&zero);

	if (!map)
		return NULL;
	value = bpf_map_lookup_elem(map, key);
	if (value)
		return value;
	/* Another processor may have added it just now: then the update fails and the look-up succeeds. */
	bpf_map_update_elem(map, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

static inline void count_attempt(u64 socket, struct connection_key *key)
{
	struct pending_connect connect = {};
	u64 task = bpf_get_current_task();

	key->direction = DIRECTION_OUTBOUND;
	key->cgroup = bpf_get_current_cgroup_id();
	key->uid = bpf_get_current_uid_gid();
	key->login_uid = UNKNOWN_ID;
	key->session = UNKNOWN_ID;
#ifdef OFFSET_task_struct_loginuid
	if (READ(key->login_uid, task + OFFSET_task_struct_loginuid))
		add_one(LOST_UNREAD);
#endif
#ifdef OFFSET_task_struct_sessionid
	if (READ(key->session, task + OFFSET_task_struct_sessionid))
		add_one(LOST_UNREAD);
#endif
	key->executable = executable_of(task, false);
	bpf_get_current_comm(key->command, sizeof(key->command));

	struct connection_value *value = count_of(key);
	if (value)
		__sync_fetch_and_add(&value->attempted, 1);
	else
		add_one(LOST_ATTEMPTED);

	connect.key = *key;
	connect.started_ns = bpf_ktime_get_ns();
	if (pending.update(&socket, &connect))
		add_one(LOST_PENDING_FULL);
}

static inline void count_success(struct pending_connect *connect)
{
	struct connection_value *value = count_of(&connect->key);
	u64 took_ns = bpf_ktime_get_ns() - connect->started_ns;

	if (!value) {
		add_one(LOST_ESTABLISHED);
		return;
	}
	__sync_fetch_and_add(&value->established, 1);
	__sync_fetch_and_add(&value->handshake_ns_total, took_ns);
	/* Two processors at once may leave the smaller of two new maxima: a maximum is not worth a lock. */
	if (took_ns > value->handshake_ns_max)
		value->handshake_ns_max = took_ns;
}

static inline void count_failure(u64 socket, struct pending_connect *connect)
{
	struct connection_value *value = count_of(&connect->key);
	int error = 0;

	if (READ(error, socket + OFFSET_sock_sk_err))
		add_one(LOST_UNREAD);
	if (error == ERROR_REFUSED) {
		if (value)
			__sync_fetch_and_add(&value->refused, 1);
		else
			add_one(LOST_REFUSED);
	} else if (error == ERROR_TIMED_OUT) {
		if (value)
			__sync_fetch_and_add(&value->timed_out, 1);
		else
			add_one(LOST_TIMED_OUT);
	} else {
		if (value)
			__sync_fetch_and_add(&value->failed, 1);
		else
			add_one(LOST_FAILED);
	}
}

/* An accepted connection. `current` is whoever the packet arrived under, so who listens is not known here. */
static inline void count_inbound(struct connection_key *key, u16 local_port)
{
	key->direction = DIRECTION_INBOUND;
	key->remote_port = 0;
	key->local_port = local_port;
	key->uid = UNKNOWN_ID;
	key->login_uid = UNKNOWN_ID;
	key->session = UNKNOWN_ID;

	struct connection_value *value = count_of(key);
	if (!value) {
		add_one(LOST_INBOUND);
		return;
	}
	__sync_fetch_and_add(&value->attempted, 1);
	__sync_fetch_and_add(&value->established, 1);
}

struct change {
	u64 socket;
	int before, after;
	u16 remote_port, local_port;
	u8 remote_address[16];
};

static inline void count_change(struct change *change)
{
	struct connection_key key = {};
	u64 socket = change->socket;

	__builtin_memcpy(key.remote_address, change->remote_address, sizeof(key.remote_address));
	key.protocol = PROTOCOL_TCP;
	if (change->after == STATE_SYN_SENT) {
		key.remote_port = change->remote_port;
		count_attempt(socket, &key);
		return;
	}
	if (change->before != STATE_SYN_SENT && change->before != STATE_SYN_RECV)
		return;
	/* Both ends opened at once, or a socket connected to itself: the outcome is still to come. */
	if (change->after == STATE_SYN_RECV)
		return;

	struct pending_connect *connect = pending.lookup(&socket);
	if (connect) {
		if (change->after == STATE_ESTABLISHED)
			count_success(connect);
		else
			count_failure(socket, connect);
		pending.delete(&socket);
	} else if (change->before == STATE_SYN_SENT) {
		add_one(LOST_UNMATCHED);
	} else if (change->after == STATE_ESTABLISHED) {
		count_inbound(&key, change->local_port);
	}
}

static inline struct shown *shown_slot(u64 socket)
{
	/* Sockets are large and aligned: the low bits say nothing. */
	int slot = (socket >> 8) % SHOWN_SLOTS;
	return shown.lookup(&slot);
}

#define CHANGE_ID(before, after) (((u64)(before) << 32) | (u32)(after))

/* bcc makes the structure of the arguments from the tracepoint's format. */
int count_state_change(struct tracepoint__sock__inet_sock_set_state *args)
{
	struct change change = {
		.socket = (u64)args->skaddr,
		.before = args->oldstate,
		.after = args->newstate,
		.remote_port = args->dport,
		.local_port = args->sport,
	};
	struct shown *slot = shown_slot(change.socket);

	if (slot) {
		slot->socket = change.socket;
		slot->change = CHANGE_ID(change.before, change.after);
	}
	if (args->protocol != PROTOCOL_TCP || (args->family != AF_INET && args->family != AF_INET6))
		return 0;
	/* The kernel gives IPv4 addresses in mapped form here, whatever the family. */
	__builtin_memcpy(change.remote_address, args->daddr_v6, sizeof(change.remote_address));
	count_change(&change);
	return 0;
}

int rescue_state_change(struct bpf_raw_tracepoint_args *args)
{
	struct change change = {
		.socket = args->args[0],
		.before = args->args[1],
		.after = args->args[2],
	};
	struct shown *slot = shown_slot(change.socket);
	u16 family = 0, protocol = 0, remote_port = 0;

	if (!slot)
		return 0;
	if (slot->socket == change.socket && slot->change == CHANGE_ID(change.before, change.after)) {
		slot->socket = 0;
		return 0;
	}
	add_one(RESCUED);
	READ(family, change.socket + OFFSET_sock_common_skc_family);
	READ(protocol, change.socket + OFFSET_sock_sk_protocol);
	if (protocol != PROTOCOL_TCP || (family != AF_INET && family != AF_INET6))
		return 0;
	READ(remote_port, change.socket + OFFSET_sock_common_skc_dport);
	change.remote_port = __builtin_bswap16(remote_port);
	READ(change.local_port, change.socket + OFFSET_sock_common_skc_num);
	if (family == AF_INET6) {
		READ(change.remote_address, change.socket + OFFSET_sock_common_skc_v6_daddr);
	} else {
		change.remote_address[10] = change.remote_address[11] = 0xff;
		bpf_probe_read_kernel(change.remote_address + 12, 4,
				      (void *)(change.socket + OFFSET_sock_common_skc_daddr));
	}
	count_change(&change);
	return 0;
}

/* Finds the path of a new program while it is at hand, so that a connect later need not. */
int number_executable(struct tracepoint__sched__sched_process_exec *args)
{
	executable_of(bpf_get_current_task(), true);
	return 0;
}
