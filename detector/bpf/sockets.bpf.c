// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What a socket says of itself. */

#ifdef TYPES

/* The beginning of struct sock, read at once: SOCKET_HEAD_BYTES is as far as the members below reach. */
struct head {
	u8 bytes[SOCKET_HEAD_BYTES];
} __attribute__((aligned(8)));

#define HEAD(head, kind, member) (*(kind *)((head)->bytes + OFFSET_sock_common_##member))

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

static inline void read_remote_address(u64 socket, struct head *head, u8 *address)
{
	if (family_of(head) == AF_INET6)
		bpf_probe_read_kernel(address, 16, (void *)(socket + OFFSET_sock_common_skc_v6_daddr));
	else
		map_ipv4(address, HEAD(head, u32, skc_daddr));
}

static inline void read_local_address(u64 socket, struct head *head, u8 *address)
{
	if (family_of(head) == AF_INET6)
		bpf_probe_read_kernel(address, 16, (void *)(socket + OFFSET_sock_common_skc_v6_rcv_saddr));
	else
		map_ipv4(address, HEAD(head, u32, skc_rcv_saddr));
}

static inline u32 network_of(u64 socket)
{
	u64 network = 0;
	u32 number = 0;

	READ(network, socket + OFFSET_sock_common_skc_net);
	READ(number, network + OFFSET_net_ns + OFFSET_ns_common_inum);
	return number;
}

/* Tells a socket from one that had its memory before. */
static inline u64 inode_of_socket(u64 socket)
{
	u64 outer = 0, inode = 0;

	READ(outer, socket + OFFSET_sock_sk_socket);
	READ(inode, outer + OFFSET_socket_alloc_vfs_inode + OFFSET_inode_i_ino);
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
