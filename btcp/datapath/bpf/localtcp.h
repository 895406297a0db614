/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The local TCP's own view of a connection.  The numbers in a packet are a stranger's; whether
 * they end or open anything, the socket's numbers say (RFC 5961).
 */
#ifndef BTCP_LOCALTCP_H
#define BTCP_LOCALTCP_H

#include "parse.h"

/* Only the names matter: where the fields are, the kernel's own BTF says. */
struct sock_common {
	__u32 skc_tw_rcv_nxt;
} __attribute__((preserve_access_index));

struct inet_timewait_sock {
	struct sock_common __tw_common;
} __attribute__((preserve_access_index));

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
} __attribute__((preserve_access_index));

struct tcp_sack_block {
	__u32 start_seq;
	__u32 end_seq;
} __attribute__((preserve_access_index));

struct tcp_options_received {
	__u8 num_sacks;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 rcv_nxt;
	__u32 rcv_wnd;
	__u32 snd_una;
	__u32 write_seq;
	__u32 max_window;
	struct tcp_options_received rx_opt;
	struct tcp_sack_block selective_acks[4];
} __attribute__((preserve_access_index));

static __always_inline struct bpf_sock *find_socket(struct __sk_buff *skb,
						    const struct btcp_key *key, bool v6)
{
	struct bpf_sock_tuple tuple = {};

	if (v6) {
		__builtin_memcpy(tuple.ipv6.saddr, key->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, key->destination, 16);
		tuple.ipv6.sport = key->source_port;
		tuple.ipv6.dport = key->destination_port;
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	tuple.ipv4.saddr = key->source[3];
	tuple.ipv4.daddr = key->destination[3];
	tuple.ipv4.sport = key->source_port;
	tuple.ipv4.dport = key->destination_port;
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline struct bpf_sock *local_socket(struct __sk_buff *skb,
						     const struct packet *packet)
{
	return find_socket(skb, &packet->key, packet->v6);
}

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

static __always_inline bool is_at_or_after(__u32 number, __u32 other)
{
	return (__s32)(number - other) >= 0;
}

/* The right-most edge of what the local TCP has received out of order. */
static __always_inline bool is_last_edge(const struct tcp_sock *tcp, __u32 seq)
{
	const __u32 count = tcp->rx_opt.num_sacks;
	__u32 last = tcp->selective_acks[0].end_seq;

	for (__u32 i = 1; i < 4; i++)
		if (i < count && is_at_or_after(tcp->selective_acks[i].end_seq, last))
			last = tcp->selective_acks[i].end_seq;
	return count && seq == last;
}

/* As tcp_validate_incoming and tcp_reset_check of Linux have it. */
static __always_inline bool is_reset_of(const struct tcp_sock *tcp, __u32 state, __u32 seq)
{
	const bool received_fin = state == BPF_TCP_CLOSE_WAIT || state == BPF_TCP_LAST_ACK ||
				  state == BPF_TCP_CLOSING;

	return seq == tcp->rcv_nxt || (received_fin && seq == tcp->rcv_nxt - 1) ||
	       is_last_edge(tcp, seq);
}

/*
 * A FIN is taken if it is in the receive window and acknowledges something that may have been
 * sent (RFC 5961, 5.2).  end: the sequence number after it.
 *
 * What may have been sent ends at write_seq: the local TCP moves snd_nxt only after a segment has
 * left, and on another processor the client's answer may be here before.
 */
static __always_inline bool is_fin_of(const struct tcp_sock *tcp, __u32 end, __u32 ack)
{
	return is_at_or_after(end, tcp->rcv_nxt) &&
	       is_at_or_after(tcp->rcv_nxt + tcp->rcv_wnd + 1, end) &&
	       is_at_or_after(tcp->write_seq, ack) &&
	       is_at_or_after(ack, tcp->snd_una - tcp->max_window);
}

#endif
