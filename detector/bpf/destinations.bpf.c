// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Where a system call says that it sends, or connects, to. */

#ifdef TYPES

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

/* Whether what failed was kept from reaching its destination. Other faults are the program's own, or pass. */
static inline bool is_unreachable(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EACCES || error == -EPERM ||
	       error == -ENETDOWN;
}

#endif
