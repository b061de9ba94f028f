/* The least of io_uring: operations that are submitted at once and waited for. */

#include <errno.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>

/* Carries the operations out and gives the first result that is negative, as -1 and errno. With IORING_SETUP_SQPOLL a
 * thread of the kernel submits them, and the program makes no system call that names a socket. */
static int uring_do(const struct io_uring_sqe *operations, unsigned int count, unsigned int flags)
{
	struct io_uring_params ring = { .flags = flags };
	int fd = checked(syscall(SYS_io_uring_setup, count, &ring), "io_uring_setup");
	char *submissions = mmap(NULL, ring.sq_off.array + ring.sq_entries * sizeof(unsigned int), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	char *completions = mmap(NULL, ring.cq_off.cqes + ring.cq_entries * sizeof(struct io_uring_cqe),
				 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_CQ_RING);
	struct io_uring_sqe *entries = mmap(NULL, ring.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);

	if (submissions == MAP_FAILED || completions == MAP_FAILED || entries == MAP_FAILED)
		err(1, "mmap");
	for (unsigned int i = 0; i < count; i++) {
		entries[i] = operations[i];
		((unsigned int *)(submissions + ring.sq_off.array))[i] = i;
	}
	__atomic_store_n((unsigned int *)(submissions + ring.sq_off.tail), count, __ATOMIC_RELEASE);
	checked(syscall(SYS_io_uring_enter, fd, count, count,
			IORING_ENTER_GETEVENTS | (flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0), NULL, 0),
		"io_uring_enter");
	for (unsigned int i = 0; i < count; i++) {
		int result = ((struct io_uring_cqe *)(completions + ring.cq_off.cqes))[i].res;
		if (result < 0) {
			errno = -result;
			return -1;
		}
	}
	return 0;
}

struct uring_method {
	const char *name;
	unsigned int setup_flags;
	unsigned int operation_flags;
	unsigned int messages;
};

static const struct uring_method uring_methods[] = {
	{ "uring", 0, 0, 1 },
	{ "uring-thread", IORING_SETUP_SQPOLL, 0, 1 },
	{ "uring-worker", 0, IOSQE_ASYNC, 1 },
	{ "uring-batch", 0, 0, 3 },
	{ "uring-chain", 0, IOSQE_IO_LINK, 3 },
};

static const struct uring_method *uring_method(const char *name)
{
	for (unsigned int i = 0; i < sizeof(uring_methods) / sizeof(*uring_methods); i++)
		if (!strcmp(uring_methods[i].name, name))
			return &uring_methods[i];
	return NULL;
}

static void uring_connect(const struct uring_method *how, int socket, const void *address, unsigned int length)
{
	struct io_uring_sqe operation = {
		.opcode = IORING_OP_CONNECT,
		.flags = how->operation_flags,
		.fd = socket,
		.addr = (unsigned long)address,
		.off = length,
	};
	/* A refusal is an end like any other. */
	if (uring_do(&operation, 1, how->setup_flags))
		warn("connect");
}

static void uring_sendmsg(const struct uring_method *how, int socket, const struct mmsghdr *messages)
{
	struct io_uring_sqe operations[8] = {};

	for (unsigned int i = 0; i < how->messages; i++)
		operations[i] = (struct io_uring_sqe){
			.opcode = IORING_OP_SENDMSG,
			.flags = i + 1 < how->messages || how->messages == 1 ? how->operation_flags : 0,
			.fd = socket,
			.addr = (unsigned long)&messages[i].msg_hdr,
			.len = 1,
		};
	checked(uring_do(operations, how->messages, how->setup_flags), "sendmsg");
}
