/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Keep-alive probes of clients that have connected and not asked for anything yet.  Browsers connect
 * in advance and probe such connections, which are known to this program alone.
 */
#ifndef BTCP_PROBE_H
#define BTCP_PROBE_H

#include "measure.h"
#include "move.h"
#include "record.h"

/* Whether a packet asks if the connection is alive (RFC 9293, 3.8.4): Windows sends an octet. */
static __always_inline bool is_probe(const struct packet *packet)
{
	const struct btcp_measured *found = bpf_map_lookup_elem(&measured, &packet->key);

	return found && found->iss == bpf_ntohl(packet->header.ack_seq) - 1 &&
	       found->first - 1 == bpf_ntohl(packet->header.seq) &&
	       packet->end - packet->data <= 1 && !(flags_of(packet) & FLAG_FIN);
}

/*
 * Make of a probe the ACK that answers it.  Returns what becomes of it; UNANSWERED, and has changed
 * nothing, if its options are none that we know.
 */
static __always_inline int answer_probe(struct __sk_buff *skb, struct packet *packet,
					const struct btcp_promise *promise, __u64 now)
{
	const bool scaled = ((bpf_ntohl(packet->header.ack_seq) - 1) >> 24 & 15) != NO_SCALE;
	const __u32 at = packet->tcp + sizeof(packet->header);
	const struct tcphdr *old = &packet->header;
	struct tcphdr new = packet->header;
	__be32 stamps[WORDS_TIMESTAMPS], echo;
	__be32 octet = 0;
	long failed = 0;
	__u64 sum = 0;

	if (old->doff != 5 && (old->doff != 5 + WORDS_TIMESTAMPS ||
			       bpf_skb_load_bytes(skb, at, stamps, sizeof(stamps)) ||
			       stamps[0] != bpf_htonl(LEAD_TIMESTAMPS)))
		return UNANSWERED;
	if (packet->end > packet->data) {
		failed |= bpf_skb_load_bytes(skb, packet->data, &octet, 1);
		sum = changed(sum, octet, 0);
		failed |= !end_at(skb, packet, packet->data);
	}
	if (old->doff != 5) {
		echo = stamps[1];
		stamps[1] = bpf_htonl(timestamp(promise->secret, &packet->key, now));
		sum = changed(changed(sum, echo, stamps[1]), stamps[2], echo);
		stamps[2] = echo;
		failed |= bpf_skb_store_bytes(skb, at, stamps, sizeof(stamps), 0);
	}
	new.source = old->dest;
	new.dest = old->source;
	new.seq = old->ack_seq;
	new.ack_seq = bpf_htonl(bpf_ntohl(old->seq) + 1);
	((__u8 *)&new)[12] &= 0xf0;
	((__u8 *)&new)[13] = FLAG_ACK;
	new.window = bpf_htons(scaled ? promise->window >> promise->scale : promise->window);
	for (int word = 1; word < 4; word++)
		sum = changed(sum, ((const __be32 *)old)[word], ((const __be32 *)&new)[word]);
	failed |= turn_ends(skb, packet) | renew_hops(skb, packet);
	failed |= bpf_skb_store_bytes(skb, packet->tcp, &new, 16, 0); /* up to the checksum */
	failed |= bpf_l4_csum_replace(skb, packet->tcp + 16, 0, fold(sum), 0);
	if (failed) {
		count(BTCP_ODD);
		return TC_ACT_SHOT;
	}
	count(BTCP_PROBED);
	skb->mark = BTCP_MARK;
	return bpf_redirect(skb->ifindex, 0);
}

#endif
