/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Adoption without a handshake.  The daemon writes the client's request into the TAP
 * device as if it had just come, with the numbers of the front-end; on its way in the
 * kernel is told that they are those of a SYN cookie that was answered, so it makes a
 * connection of them, ISN and all, for whoever listens.
 *
 * Needs bpf_sk_assign_tcp_reqsk, Linux 6.9.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "adopt.h"
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct btcp_key);
	__type(value, struct btcp_adoption);
} adoptions SEC(".maps");

static __always_inline bool adopt(struct __sk_buff *skb, struct bpf_sock *listener,
				  const struct btcp_adoption *adoption)
{
	struct bpf_tcp_req_attrs attrs = {
		.rcv_tsval = adoption->tsval,
		.rcv_tsecr = adoption->tsecr,
		.mss = adoption->mss,
		.rcv_wscale = adoption->own_scale,
		.snd_wscale = adoption->client_scale,
		.wscale_ok = adoption->scaling,
		.sack_ok = adoption->sack,
		.tstamp_ok = adoption->timestamps,
	};
	struct sock *sk = (struct sock *)bpf_skc_to_tcp_sock(listener);

	return sk && !bpf_sk_assign_tcp_reqsk(skb, sk, &attrs, sizeof(attrs));
}

SEC("tc")
int btcp_adopt(struct __sk_buff *skb)
{
	struct btcp_adoption *adoption;
	struct packet packet = {};
	struct bpf_sock *socket;

	if (!parse(skb, &packet))
		return TC_ACT_OK;
	adoption = bpf_map_lookup_elem(&adoptions, &packet.key);
	if (!adoption)
		return TC_ACT_OK;
	socket = local_socket(skb, &packet);
	if (socket) {
		/* Any other is what the first packet made; or, before that, an older connection. */
		if (socket->state == BPF_TCP_LISTEN && adopt(skb, socket, adoption))
			adoption->taken = 1;
		bpf_sk_release(socket);
	}
	if (adoption->taken)
		return TC_ACT_OK;
	/* Back to the daemon, which knows it by its source address and tries a replay. */
	return bpf_redirect(skb->ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
