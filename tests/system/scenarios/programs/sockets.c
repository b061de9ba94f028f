/*
 * Reaches another host in one way and ends:  sockets METHOD PROTOCOL ADDRESS PORT
 *
 * Linked statically, and without a library for io_uring: nothing but system calls. PROTOCOL is tcp, mptcp, sctp, udp, raw
 * or packet. Connects end when they are made or refused; a method that sends sends three packets from one socket, and one
 * that sends several at once sends them to PORT and the two ports after it.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MPTCP 262
#define EXPERIMENTAL_PROTOCOL 253
#define PACKETS 3

static long checked(long result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

#include "uring.h"

static const char *protocol;
static struct sockaddr_storage peers[PACKETS];
static socklen_t peer_length;
static char text[] = "detector";
static struct iovec content = { text, sizeof(text) };

static void resolve(struct sockaddr_storage *peer, const char *address, int port)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)peer;
	struct sockaddr_in *four = (struct sockaddr_in *)peer;
	struct sockaddr_ll *link = (struct sockaddr_ll *)peer;

	if (!strcmp(protocol, "packet")) {
		link->sll_family = AF_PACKET;
		link->sll_protocol = htons(ETH_P_IP);
		link->sll_ifindex = if_nametoindex(address);
		link->sll_halen = ETH_ALEN;
		memset(link->sll_addr, 0xff, ETH_ALEN);
		peer_length = sizeof(*link);
	} else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		peer_length = sizeof(*six);
	} else if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		peer_length = sizeof(*four);
	} else {
		errx(64, "%s is not an address", address);
	}
}

static int opened(void)
{
	int type = SOCK_STREAM, number = 0;

	if (!strcmp(protocol, "udp") || !strcmp(protocol, "packet"))
		type = SOCK_DGRAM;
	else if (!strcmp(protocol, "raw"))
		type = SOCK_RAW, number = EXPERIMENTAL_PROTOCOL;
	else if (!strcmp(protocol, "mptcp"))
		number = MPTCP;
	else if (!strcmp(protocol, "sctp"))
		number = IPPROTO_SCTP;
	return checked(socket(peers[0].ss_family, type, number), "socket");
}

static int connected(void)
{
	int fd = opened();
	/* A refusal is an end like any other. */
	if (connect(fd, (struct sockaddr *)&peers[0], peer_length))
		warn("connect");
	return fd;
}

static void say(const char *what)
{
	checked(write(STDOUT_FILENO, what, strlen(what)), "write");
}

static void connect_when_told(void)
{
	say("ready\n");
	checked(read(STDIN_FILENO, text, 1), "read");
	connected();
}

/* A packet for each byte that comes, always from the same socket. */
static void send_when_told(void)
{
	int fd = connected();

	while (read(STDIN_FILENO, text, 1) == 1) {
		checked(send(fd, text, sizeof(text), 0), "send");
		say("sent\n");
	}
}

static void send_file(void)
{
	int file = checked(memfd_create("content", 0), "memfd_create");

	checked(write(file, text, sizeof(text)), "write");
	checked(lseek(file, 0, SEEK_SET), "lseek");
	checked(sendfile(connected(), file, NULL, sizeof(text)), "sendfile");
}

static void open_fast(void)
{
	int fd = opened();

	checked(sendto(fd, text, sizeof(text), MSG_FASTOPEN, (struct sockaddr *)&peers[0], peer_length), "sendto");
	/* Waits for the answer: the peer closes. */
	checked(read(fd, text, sizeof(text)), "read");
}

static void send_packets(const char *method, struct mmsghdr *messages)
{
	int is_unconnected = !strncmp(method, "sendto", 6) || !strncmp(method, "sendm", 5);
	int fd = is_unconnected ? opened() : connected();

	if (!strcmp(method, "sendmmsg")) {
		checked(sendmmsg(fd, messages, PACKETS, 0), "sendmmsg");
		return;
	}
	for (int i = 0; i < PACKETS; i++) {
		ssize_t result;

		if (!strcmp(method, "send"))
			result = send(fd, text, sizeof(text), 0);
		else if (!strcmp(method, "write"))
			result = write(fd, text, sizeof(text));
		else if (!strcmp(method, "writev"))
			result = writev(fd, &content, 1);
		else if (!strcmp(method, "sendto"))
			result = sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&peers[0], peer_length);
		else if (!strcmp(method, "sendmsg"))
			result = sendmsg(fd, &messages[0].msg_hdr, 0);
		else
			errx(64, "there is no method %s", method);
		if (result < 0)
			warn("%s", method);
	}
}

int main(int count, char **arguments)
{
	struct mmsghdr messages[PACKETS] = {};

	if (count != 5)
		errx(64, "sockets METHOD PROTOCOL ADDRESS PORT");
	const char *method = arguments[1];
	const struct uring_method *uring = uring_method(method);

	protocol = arguments[2];
	for (int i = 0; i < PACKETS; i++) {
		resolve(&peers[i], arguments[3], atoi(arguments[4]) + i);
		messages[i].msg_hdr =
			(struct msghdr){ .msg_name = &peers[i], .msg_namelen = peer_length, .msg_iov = &content, .msg_iovlen = 1 };
	}
	if (uring && strstr(protocol, "tcp"))
		uring_connect(uring, opened(), &peers[0], peer_length);
	else if (uring)
		uring_sendmsg(uring, opened(), messages);
	else if (!strcmp(method, "connect"))
		connected();
	else if (!strcmp(method, "connect-when-told"))
		connect_when_told();
	else if (!strcmp(method, "send-when-told"))
		send_when_told();
	else if (!strcmp(method, "fastopen"))
		open_fast();
	else if (!strcmp(method, "sendfile"))
		send_file();
	else
		send_packets(method, messages);
	return 0;
}
