/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
// The well-known way to count IPv4 connects: a kprobe keeps the socket, and when the call returns its ends are known.

struct flow {
    u32 source;
    u32 destination;
    u16 source_port;
    u16 destination_port;
};

BPF_HASH(connecting, u32, u64);
BPF_HASH(connects, struct flow, u64, 65536);

int enter(void *registers) {
    u32 thread = bpf_get_current_pid_tgid();
    u64 socket = *(u64 *)(registers + OFFSET_pt_regs_di);
    connecting.update(&thread, &socket);
    return 0;
}

int leave(void *registers) {
    u32 thread = bpf_get_current_pid_tgid();
    u64 *found = connecting.lookup(&thread);
    if (!found)
        return 0;
    void *socket = (void *)*found;
    connecting.delete(&thread);
    if (*(u64 *)(registers + OFFSET_pt_regs_ax))
        return 0;
    struct flow flow = {};
    bpf_probe_read_kernel(&flow.source, sizeof(flow.source), socket + OFFSET_sock_common_skc_rcv_saddr);
    bpf_probe_read_kernel(&flow.destination, sizeof(flow.destination), socket + OFFSET_sock_common_skc_daddr);
    bpf_probe_read_kernel(&flow.source_port, sizeof(flow.source_port), socket + OFFSET_sock_common_skc_num);
    bpf_probe_read_kernel(&flow.destination_port, sizeof(flow.destination_port), socket + OFFSET_sock_common_skc_dport);
    connects.atomic_increment(flow);
    return 0;
}
