/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Handoffs that travel with the packet: to put one behind it, and to know a true one.
 */
#ifndef BTCP_RECORD_H
#define BTCP_RECORD_H

#include "cookie.h"
#include "move.h"
#include "parse.h"

/* Whether the packet ends with what looks like a record; it may be a client's data as well. */
static __always_inline bool may_carry(struct __sk_buff *skb, const struct packet *packet)
{
	__be32 magic;

	return packet->end - packet->data >= sizeof(struct btcp_record) && !skb->gso_size &&
	       !bpf_skb_load_bytes(skb, packet->end - sizeof(struct btcp_record), &magic, 4) &&
	       magic == bpf_htonl(BTCP_MAGIC);
}

/* Proves who wrote a record, and for which packet. */
static __always_inline __u64 tag_of(const __u64 *secret, const struct btcp_key *key,
				    const struct packet *packet, const struct btcp_record *record)
{
	const __u64 words[] = {
		pair(key->source[0], key->source[1]),
		pair(key->source[2], key->source[3]),
		pair(key->destination[0], key->destination[1]),
		pair(key->destination[2], key->destination[3]),
		pair(key->source_port | (__u32)key->destination_port << 16,
		     record->port | record->kind << 16 | (__u32)record->node << 24),
		pair(packet->header.seq, packet->header.ack_seq),
		pair(record->address[0], record->address[1]),
		pair(record->address[2], record->address[3]),
		record->front,
		record->scale | record->holds << 8 | (__u64)record->rtt << 16 |
			(__u64)record->zero << 32,
	};

	return siphash(secret, words, 10);
}

static __always_inline bool is_true(const __u64 *secret, const struct packet *packet,
				    const struct btcp_record *record)
{
	return tag_of(secret, &packet->key, packet, record) == record->tag;
}

/* Sign the record, and make its words add up to nothing. key: of the packet as it goes. */
static __always_inline void seal(struct btcp_record *record, const __u64 *secret,
				 const struct btcp_key *key, const struct packet *packet)
{
	const __u16 *word = (const __u16 *)record;
	__u32 sum = 0;

	record->tag = tag_of(secret, key, packet, record);
	record->balance = 0;
	for (__u32 i = 0; i < sizeof(*record) / 2; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	record->balance = ~((sum & 0xffff) + (sum >> 16));
}

/* Make a packet end elsewhere: the frame, the length in the IP header, and the checksums. */
static __always_inline bool end_at(struct __sk_buff *skb, struct packet *packet, __u32 end)
{
	const __u32 start = packet->v6 ? packet->ip + sizeof(struct ipv6hdr) : packet->ip;
	const __u32 at = packet->ip + (packet->v6 ? 4 : 2);
	const __be16 old = bpf_htons(packet->end - start), new = bpf_htons(end - start);
	long failed = bpf_skb_change_tail(skb, end, 0);

	if (packet->v6) /* see rewrite_ends */
		bpf_csum_update(skb, fold(changed(0, old, new)));
	else
		failed |= bpf_l3_csum_replace(skb, packet->ip + 10, old, new, sizeof(new));
	failed |= bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
	failed |= bpf_l4_csum_replace(skb, packet->tcp + 16, old, new,
				      BPF_F_PSEUDO_HDR | sizeof(new));
	packet->end = end;
	return !failed;
}

/* Put the record behind the packet's data. */
static __always_inline bool append(struct __sk_buff *skb, struct packet *packet,
				   const struct btcp_record *record)
{
	const __u32 at = packet->end;

	return end_at(skb, packet, at + sizeof(*record)) &&
	       !bpf_skb_store_bytes(skb, at, record, sizeof(*record), 0);
}

#endif
