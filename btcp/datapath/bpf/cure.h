/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The local TCP's old connection of the same 4-tuple, which has to go before a new one is adopted.
 */
#ifndef BTCP_CURE_H
#define BTCP_CURE_H

#include "move.h"
#include "tables.h"

/* Replace some words of the TCP header. */
static __always_inline long replace(struct __sk_buff *skb, const struct packet *packet, __u32 at,
				    const __be32 *old, const __be32 *new, __u32 words)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < words; i++)
		sum = changed(sum, old[i], new[i]);
	return bpf_skb_store_bytes(skb, packet->tcp + at, new, 4 * words, 0) |
	       bpf_l4_csum_replace(skb, packet->tcp + 16, 0, fold(sum), 0);
}

#define SEQ_AT 4
#define FLAGS_AT 12
#define OPTIONS_AT 20
#define FLAGS_MASK 0x003f0000
#define FOUR_NOPS 0x01010101

/*
 * End an old connection by a reset with the number that it expects, and send the packet in again
 * behind the reset.  The old connection is in TIME-WAIT, or its client has begun anew.  Without timestamps, for those that the
 * client keeps for another node's address prove nothing here.
 */
static __always_inline int cure(struct __sk_buff *skb, const struct packet *packet,
				const struct arrival *arrival, __u32 expected)
{
	const __be32 stamps[3] = { bpf_htonl(LEAD_TIMESTAMPS), arrival->tsval, arrival->tsecr };
	const __be32 nops[3] = { FOUR_NOPS, FOUR_NOPS, FOUR_NOPS };
	const __be32 seq = packet->header.seq, right = bpf_htonl(expected);
	__be32 flags, reset;
	long failed = bpf_skb_load_bytes(skb, packet->tcp + FLAGS_AT, &flags, sizeof(flags));

	reset = (flags & ~bpf_htonl(FLAGS_MASK)) | bpf_htonl((__u32)FLAG_RST << 16);
	failed |= replace(skb, packet, SEQ_AT, &seq, &right, 1);
	failed |= replace(skb, packet, FLAGS_AT, &flags, &reset, 1);
	if (arrival->timestamps)
		failed |= replace(skb, packet, OPTIONS_AT, stamps, nops, 3);
	if (failed)
		return TC_ACT_SHOT;
	count(BTCP_CURED);
	skb->mark = BTCP_MARK_CURE;
	bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
	failed |= replace(skb, packet, SEQ_AT, &right, &seq, 1);
	failed |= replace(skb, packet, FLAGS_AT, &reset, &flags, 1);
	if (arrival->timestamps)
		failed |= replace(skb, packet, OPTIONS_AT, nops, stamps, 3);
	if (failed)
		return TC_ACT_SHOT;
	skb->mark = BTCP_MARK_CURED;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
