// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Connects that no change of a socket's state shows: those that routing refuses, and attempts by SCTP. */

#ifdef TYPES

static inline bool connects_by_tcp(u64 socket, struct head *head)
{
	u16 type = 0, protocol = 0;

	READ(type, socket + OFFSET_sock_sk_type);
	READ(protocol, socket + OFFSET_sock_sk_protocol);
	return type == SOCK_STREAM && is_internet(family_of(head)) &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

/* Counts a connect that failed, unless its socket's state has told already. */
static inline void count_refused(u64 socket, u64 address, u16 family)
{
	struct failed_socket failed = {.socket = socket, .inode = inode_of_socket(socket, false)};
	struct destination destination = {};
	struct connection_key key = {.direction = DIRECTION_OUTBOUND, .protocol = IPPROTO_TCP};

	if (failed_sockets.lookup(&failed)) {
		failed_sockets.delete(&failed);
		return;
	}
	read_user_address(address, family, &destination);
	if (!destination.known || !destination.port)
		return;
	__builtin_memcpy(key.remote_address, destination.address, sizeof(key.remote_address));
	key.remote_port = destination.port;
	key.process = call_current_process(NULL);
	COUNT(&key, attempted, LOST_ATTEMPTED);
	COUNT(&key, failed, LOST_FAILED);
}

/* Spelt out, since bcc would look for the format of a tracepoint that a kernel need not have. */
struct call_end {
	u64 common;
	long number;
	long result;
};

/* connect() has failed: if routing refused it, no change of state has told. */
int refused_by_routing(struct call_end *args)
{
	long result = args->result;
	struct head head = {};

	if (!is_unreachable(result) && result != -EINVAL)
		return 0;
	struct call call = current_call();
	u32 slot = argument(&call, REGISTER_1);
	struct files files = files_of(bpf_get_current_task());
	u64 socket = slot < files.count ? socket_of_slot(&files, slot) : 0;
	if (!socket || READ(head, socket) || !connects_by_tcp(socket, &head))
		return 0;
	count_refused(socket, argument(&call, REGISTER_2), family_of(&head));
	return 0;
}

#ifdef OFFSET_io_connect_addr
#define IORING_OP_CONNECT 16
/* In struct io_cqe, behind what the program calls the request. */
#define RESULT_IN_CQE 8

/* The same for a connect by io_uring. */
int refused_in_ring(struct bpf_raw_tracepoint_args *args)
{
	u64 request = args->args[1], file = 0, address = 0;
	struct head head = {};
	int result = 0;
	u8 operation = 0;

	READ(operation, request + OFFSET_io_kiocb_opcode);
	if (operation != IORING_OP_CONNECT)
		return 0;
	READ(result, request + OFFSET_io_kiocb_cqe + RESULT_IN_CQE);
	if (!is_unreachable(result) && result != -EINVAL)
		return 0;
	READ(file, request + OFFSET_io_kiocb_file);
	u64 socket = file ? socket_of_file(file) : 0;
	if (!socket || READ(head, socket) || !connects_by_tcp(socket, &head))
		return 0;
	READ(address, request + OFFSET_io_connect_addr);
	count_refused(socket, address, family_of(&head));
	return 0;
}
#endif

#ifdef KPROBES
/* The attempt of an SCTP connection: its state changes only when it stands. */
int count_sctp_connect(struct pt_regs *registers)
{
	u64 outer = PARAMETER(registers, PARAMETER_1), address = PARAMETER(registers, PARAMETER_2), socket = 0;
	u16 protocol = 0;
	struct head head = {};
	struct destination destination = {};
	struct connection_key key = {.protocol = IPPROTO_SCTP};

	READ(socket, outer + OFFSET_socket_sk);
	READ(protocol, socket + OFFSET_sock_sk_protocol);
	if (protocol != IPPROTO_SCTP)
		return 0;
	READ(head, socket);
	read_kernel_address(address, family_of(&head), &destination);
	if (!destination.known)
		return 0;
	__builtin_memcpy(key.remote_address, destination.address, sizeof(key.remote_address));
	key.remote_port = destination.port;
	key.process = call_current_process(NULL);
	count_attempt(socket, &key);
	return 0;
}
#endif

#endif
