/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A front-end's handshake: SYNs are answered in place, and what is to come is told from
 * what nobody asked for.
 */
#ifndef BTCP_HANDSHAKE_H
#define BTCP_HANDSHAKE_H

#include "cookie.h"
#include "maps.h"
#include "parse.h"
#include "rewrite.h"

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10
#define FLAGS_ECN 0xc0

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_SCALE 3
#define OPTION_SACK_PERMITTED 4
#define OPTION_TIMESTAMPS 8

#define HOPS 64
#define UNANSWERED (-2)
#define MAX_SCALE 14 /* RFC 7323, 2.3: a larger shift is to be used as 14 */

struct offer {
	union {
		__u8 octets[64]; /* the options; a power of two, so that any index can be made to fit */
		__be32 words[16];
	};
	__u32 at;
	__u32 end;
	__u32 mss;	/* 0: none */
	__u32 scale;	/* NO_SCALE: none */
	__u32 sack;
	__u32 timestamps;
	__be32 tsval;
	__u32 broken;
};

/*
 * Not on the stack: before Linux 6.7 the verifier looks at a callback of bpf_loop as if it were
 * called once, believes what it does not write then to be constant, and drops the code behind as
 * dead or refuses it.  What a map holds, it never believes to know.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct offer);
} offers SEC(".maps");

static __always_inline __u32 octet(const struct offer *offer, __u32 at)
{
	return offer->octets[at & 63];
}

/* A callback of bpf_loop: so the verifier looks at one option, and not at forty in a row. */
static int next_option(__u32 index __attribute__((unused)), struct offer **here)
{
	struct offer *offer = *here;
	const __u32 at = offer->at;
	const __u32 kind = octet(offer, at);
	const __u32 length = octet(offer, at + 1);

	if (at >= offer->end || kind == OPTION_END)
		return 1;
	if (kind == OPTION_NOP) {
		offer->at = at + 1;
		return 0;
	}
	if (length < 2 || at + length > offer->end) {
		offer->broken = 1;
		return 1;
	}
	if (kind == OPTION_MSS && length == 4) {
		offer->mss = octet(offer, at + 2) << 8 | octet(offer, at + 3);
	} else if (kind == OPTION_SCALE && length == 3) {
		offer->scale = octet(offer, at + 2);
		if (offer->scale > MAX_SCALE)
			offer->scale = MAX_SCALE;
	} else if (kind == OPTION_SACK_PERMITTED && length == 2) {
		offer->sack = 1;
	} else if (kind == OPTION_TIMESTAMPS && length == 10) {
		offer->timestamps = 1;
		offer->tsval = octet(offer, at + 2) | octet(offer, at + 3) << 8 |
			       octet(offer, at + 4) << 16 | octet(offer, at + 5) << 24;
	}
	offer->at = at + length;
	return 0;
}

/* Read the options of a SYN; false if they are none, or broken. */
static __always_inline bool read_offer(struct __sk_buff *skb, const struct packet *packet,
				       struct offer *offer)
{
	__u64 size = packet->data - packet->tcp - sizeof(packet->header);

	__builtin_memset(offer, 0, sizeof(*offer));
	offer->scale = NO_SCALE;
	if (!bounded(&size) ||
	    bpf_skb_load_bytes(skb, packet->tcp + sizeof(packet->header), offer->octets, size))
		return false;
	offer->end = size;
	bpf_loop(4 * MAX_OPTIONS, next_option, &offer, 0);
	return !offer->broken && offer->mss;
}

/*
 * What is promised, in no more words than it was offered in, filled up with no-operations.
 * Returns the words that it takes.
 */
static __always_inline __u32 pack_promise(__be32 *words, const struct btcp_promise *promise,
					  const struct offer *offer, bool v6, __u32 tsval)
{
	__u32 count = 1;

	for (int i = 0; i < MAX_OPTIONS; i++)
		words[i] = bpf_htonl(0x01010101);
	words[0] = bpf_htonl(0x02040000 | (v6 ? promise->mss_v6 : promise->mss_v4));
	if (offer->timestamps) {
		words[1] = bpf_htonl(offer->sack ? 0x0402080a : 0x0101080a);
		words[2] = bpf_htonl(tsval);
		words[3] = offer->tsval;
		count = 4;
	} else if (offer->sack) {
		words[1] = bpf_htonl(0x01010402);
		count = 2;
	}
	if (offer->scale != NO_SCALE)
		words[count++ & 7] = bpf_htonl(0x01030300 | promise->scale);
	return count;
}

/* Send the frame back to where it came from. */
static __always_inline long turn_ends(struct __sk_buff *skb, const struct packet *packet)
{
	const struct btcp_key *key = &packet->key;
	__u8 hardware[12], turned[12];
	long failed = bpf_skb_load_bytes(skb, 0, hardware, sizeof(hardware));

	__builtin_memcpy(turned, hardware + 6, 6);
	__builtin_memcpy(turned + 6, hardware, 6);
	failed |= bpf_skb_store_bytes(skb, 0, turned, sizeof(turned), 0);
	/* Neither sum over the addresses depends on their order. */
	if (packet->v6) {
		failed |= bpf_skb_store_bytes(skb, packet->ip + 8, key->destination, 16, 0);
		failed |= bpf_skb_store_bytes(skb, packet->ip + 24, key->source, 16, 0);
	} else {
		const __be32 ends[2] = { key->destination[3], key->source[3] };

		failed |= bpf_skb_store_bytes(skb, packet->ip + 12, ends, sizeof(ends), 0);
	}
	return failed;
}

static __always_inline long renew_hops(struct __sk_buff *skb, const struct packet *packet)
{
	const __u32 at = packet->ip + (packet->v6 ? 6 : 8);
	__be16 old, new; /* next header and hop limit, or time to live and protocol */
	long failed = bpf_skb_load_bytes(skb, at, &old, sizeof(old));

	if (packet->v6) {
		new = bpf_htons(IPPROTO_TCP << 8 | HOPS);
		return failed | bpf_skb_store_bytes(skb, at, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
	}
	new = bpf_htons(HOPS << 8 | IPPROTO_TCP);
	failed |= bpf_l3_csum_replace(skb, packet->ip + 10, old, new, sizeof(new));
	return failed | bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
}

/*
 * Make of a SYN the SYN/ACK that answers it.  The checksum is changed by the difference, so
 * to a SYN that was damaged on its way the answer is damaged as well.
 *
 * Returns what becomes of it; UNANSWERED, and has changed nothing, if the daemon has to answer.
 */
static __always_inline int answer(struct __sk_buff *skb, const struct packet *packet,
				  const struct btcp_promise *promise, __u64 now)
{
	const __u32 at = packet->tcp + sizeof(packet->header);
	const struct tcphdr *old = &packet->header;
	struct tcphdr new = packet->header;
	__be32 words[MAX_OPTIONS];
	__u32 agreed, needed, only = 0;
	struct offer *offer;
	__u64 size, sum = 0;
	long failed;

	if (packet->tcp != packet->ip + (packet->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
		return UNANSWERED;
	offer = bpf_map_lookup_elem(&offers, &only);
	if (!offer || !read_offer(skb, packet, offer))
		return UNANSWERED;
	if (!promise->scaling)
		offer->scale = NO_SCALE;
	offer->sack &= promise->sack;
	offer->timestamps &= promise->timestamps;
	agreed = mss_number(offer->mss) << 5 | offer->scale << 1 | offer->sack;
	needed = pack_promise(words, promise, offer, packet->v6,
			     timestamp(promise->secret, &packet->key, now));
	if (4 * needed > offer->end)
		return UNANSWERED;

	new.source = old->dest;
	new.dest = old->source;
	new.seq = bpf_htonl(cookie(promise->secret, &packet->key, now >> SLOT_SHIFT, agreed,
				   bpf_ntohl(old->seq)));
	new.ack_seq = bpf_htonl(bpf_ntohl(old->seq) + 1);
	/* Reflected alone, the third bit of RFC 9768 would say that ECN is agreed. */
	((__u8 *)&new)[12] &= 0xf0;
	((__u8 *)&new)[13] = FLAG_SYN | FLAG_ACK;
	new.window = bpf_htons(promise->window);
	for (int word = 1; word < 4; word++)
		sum = changed(sum, ((const __be32 *)old)[word], ((const __be32 *)&new)[word]);
	for (__u32 word = 0; word < MAX_OPTIONS; word++)
		if (4 * word < offer->end)
			sum = changed(sum, offer->words[word], words[word]);

	failed = turn_ends(skb, packet) | renew_hops(skb, packet);
	failed |= bpf_skb_store_bytes(skb, packet->tcp, &new, 16, 0); /* up to the checksum */
	size = offer->end;
	failed |= !bounded(&size) || bpf_skb_store_bytes(skb, at, words, size, 0);
	failed |= bpf_l4_csum_replace(skb, packet->tcp + 16, 0, fold(sum), 0);
	if (failed) {
		count(BTCP_ODD);
		return TC_ACT_SHOT;
	}
	count(BTCP_ANSWERED);
	skb->mark = BTCP_MARK;
	return bpf_redirect(skb->ifindex, 0);
}

#endif
