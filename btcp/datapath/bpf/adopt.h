/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the kernel has for connections that are made without a handshake.
 */
#ifndef BTCP_ADOPT_H
#define BTCP_ADOPT_H

#include "parse.h"

/* As the kernel has it in its BTF. */
struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

/* Only the name matters; but it has to be a whole type to match the kernel's. */
struct sock {
};

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct bpf_tcp_req_attrs *attrs, int attrs__sz) __ksym;

static __always_inline struct bpf_sock *local_socket(struct __sk_buff *skb,
						     const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};

	if (packet->v6) {
		__builtin_memcpy(tuple.ipv6.saddr, packet->key.source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, packet->key.destination, 16);
		tuple.ipv6.sport = packet->key.source_port;
		tuple.ipv6.dport = packet->key.destination_port;
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	tuple.ipv4.saddr = packet->key.source[3];
	tuple.ipv4.daddr = packet->key.destination[3];
	tuple.ipv4.sport = packet->key.source_port;
	tuple.ipv4.dport = packet->key.destination_port;
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* Only the names matter: where the field is, the kernel's own BTF says. */
struct sock_common {
	__u32 skc_tw_rcv_nxt;
} __attribute__((preserve_access_index));

struct inet_timewait_sock {
	struct sock_common __tw_common;
} __attribute__((preserve_access_index));

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 rcv_nxt;
} __attribute__((preserve_access_index));

/* Read RCV.NXT of a connection; false if the socket is none, or has not been accepted yet. */
static __always_inline bool expected_by(struct bpf_sock *socket, __u32 *expected)
{
	if (socket->state == BPF_TCP_TIME_WAIT) {
		struct tcp_timewait_sock *waiting = bpf_skc_to_tcp_timewait_sock(socket);

		if (!waiting)
			return false;
		*expected = waiting->tw_sk.__tw_common.skc_tw_rcv_nxt;
	} else {
		struct tcp_sock *connection = bpf_skc_to_tcp_sock(socket);

		if (!connection)
			return false;
		*expected = connection->rcv_nxt;
	}
	return true;
}

#endif
