// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What a socket says of itself. */

#ifdef TYPES

/* The beginning of struct sock, read at once: SOCKET_HEAD_BYTES is as far as the members below reach. */
struct head {
	u8 bytes[SOCKET_HEAD_BYTES];
} __attribute__((aligned(8)));

#define HEAD(head, kind, member) (*(kind *)((head)->bytes + OFFSET_sock_common_##member))

/* `typed`, here and below: the verifier knows `socket` for a struct sock, and it is loaded from. Constant wherever it is given. */
#define GET(typed, target, address) ((typed) ? (LOAD(target, address), 0) : READ(target, address))

static inline int read_head(u64 socket, struct head *head, bool typed)
{
	if (!typed)
		return READ(*head, socket);
	LOAD(HEAD(head, u32, skc_daddr), socket + OFFSET_sock_common_skc_daddr);
	LOAD(HEAD(head, u32, skc_rcv_saddr), socket + OFFSET_sock_common_skc_rcv_saddr);
	LOAD(HEAD(head, u16, skc_dport), socket + OFFSET_sock_common_skc_dport);
	LOAD(HEAD(head, u16, skc_num), socket + OFFSET_sock_common_skc_num);
	LOAD(HEAD(head, u16, skc_family), socket + OFFSET_sock_common_skc_family);
	LOAD(HEAD(head, u8, skc_state), socket + OFFSET_sock_common_skc_state);
	return 0;
}

static inline u16 family_of(struct head *head)
{
	return HEAD(head, u16, skc_family);
}

static inline u16 remote_port_of(struct head *head)
{
	return __builtin_bswap16(HEAD(head, u16, skc_dport));
}

static inline bool is_internet(u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

static inline void read_ipv6(u64 at, u8 *address, bool typed)
{
	u64 words[2] = {};

	GET(typed, words[0], at);
	GET(typed, words[1], at + sizeof(u64));
	__builtin_memcpy(address, words, sizeof(words));
}

static inline void read_remote_address(u64 socket, struct head *head, u8 *address, bool typed)
{
	if (family_of(head) == AF_INET6)
		read_ipv6(socket + OFFSET_sock_common_skc_v6_daddr, address, typed);
	else
		map_ipv4(address, HEAD(head, u32, skc_daddr));
}

static inline void read_local_address(u64 socket, struct head *head, u8 *address, bool typed)
{
	if (family_of(head) == AF_INET6)
		read_ipv6(socket + OFFSET_sock_common_skc_v6_rcv_saddr, address, typed);
	else
		map_ipv4(address, HEAD(head, u32, skc_rcv_saddr));
}

static inline u32 network_of(u64 socket, bool typed)
{
	u64 network = 0;
	u32 number = 0;

	GET(typed, network, socket + OFFSET_sock_common_skc_net);
	GET(typed, number, network + OFFSET_net_ns + OFFSET_ns_common_inum);
	return number;
}

/* Tells a socket from one that had its memory before. */
static inline u64 inode_of_socket(u64 socket, bool typed)
{
	u64 outer = 0, file = 0, node = 0, inode = 0;

	GET(typed, outer, socket + OFFSET_sock_sk_socket);
	if (!outer)
		return 0;
	GET(typed, file, outer + OFFSET_socket_file);
	if (!file)
		return 0;
	GET(typed, node, file + OFFSET_file_f_inode);
	GET(typed, inode, node + OFFSET_inode_i_ino);
	return inode;
}

#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* 0: the file is no socket. */
static inline u64 socket_of_file(u64 file)
{
	u64 inode = 0, private_data = 0, socket = 0;
	u16 mode = 0;

	READ(inode, file + OFFSET_file_f_inode);
	READ(mode, inode + OFFSET_inode_i_mode);
	if ((mode & S_IFMT) != S_IFSOCK)
		return 0;
	READ(private_data, file + OFFSET_file_private_data);
	READ(socket, private_data + OFFSET_socket_sk);
	return socket;
}

/* The open files of a task. */
struct files {
	u64 slots;
	u32 count;
};

static inline struct files files_of(u64 task)
{
	u64 open = 0, table = 0;
	struct files files = {};

	READ(open, task + OFFSET_task_struct_files);
	READ(table, open + OFFSET_files_struct_fdt);
	READ(files.slots, table + OFFSET_fdtable_fd);
	READ(files.count, table + OFFSET_fdtable_max_fds);
	return files;
}

static inline u64 socket_of_slot(struct files *files, u32 slot)
{
	u64 file = 0;

	READ(file, files->slots + (u64)slot * sizeof(u64));
	return file ? socket_of_file(file) : 0;
}

#endif
