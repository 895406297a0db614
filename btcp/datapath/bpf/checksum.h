/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Verification of a TCP checksum.  The local TCP discards a damaged segment, so a program must
 * not believe one either: only packets that open or end a connection are verified, for the
 * others cost more than they could change.
 */
#ifndef BTCP_CHECKSUM_H
#define BTCP_CHECKSUM_H

#include "maps.h"
#include "parse.h"
#include "rewrite.h"

/* Octets that are summed at a time: bpf_csum_diff takes no more than 512 before Linux 6.14. */
#define CHUNK 512
#define MAX_CHUNKS 129 /* of 64 kB, the largest packet that is not segmented by a device */

/* In a map, for the stack has no room for it. */
struct summing {
	__u32 at;
	__u32 end;
	__u32 sum;
	__u32 failed;
	__u8 chunk[CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct summing);
} sums SEC(".maps");

static __always_inline struct summing *summing_here(void)
{
	const __u32 first = 0;

	return bpf_map_lookup_elem(&sums, &first);
}

/* A callback of bpf_loop. */
static int sum_chunk(__u32 index __attribute__((unused)), struct __sk_buff **skb)
{
	struct summing *summing = summing_here();
	__u64 size;
	__s64 sum;

	if (!summing || summing->at >= summing->end)
		return 1;
	size = summing->end - summing->at;
	if (size > CHUNK)
		size = CHUNK;
	/* 1 to CHUNK, in a form that the verifier of Linux 6.1 understands as well. */
	size--;
	asm volatile("" : "+r"(size));
	size &= CHUNK - 1;
	asm volatile("" : "+r"(size));
	size++;
	if (bpf_skb_load_bytes(*skb, summing->at, summing->chunk, size)) {
		summing->failed = 1;
		return 1;
	}
	summing->at += size;
	for (__u32 i = 0; i < 3 && size & 3; i++) /* the last chunk is filled up with zeros */
		summing->chunk[size++ & (CHUNK - 1)] = 0;
	asm volatile("" : "+r"(size));
	if (size > CHUNK)
		return 1;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)summing->chunk, size & ~3ULL, summing->sum);
	if (sum < 0) {
		summing->failed = 1;
		return 1;
	}
	summing->sum = sum;
	return 0;
}

/*
 * Whether the host or its device has verified the checksum, or has still to compute it
 * (CHECKSUM_UNNECESSARY, CHECKSUM_PARTIAL).  No helper tells CHECKSUM_PARTIAL from CHECKSUM_NONE,
 * but BPF_CSUM_LEVEL_INC makes CHECKSUM_UNNECESSARY of the latter alone, and
 * BPF_CSUM_LEVEL_DEC reverts that.  CHECKSUM_COMPLETE is the one state in which
 * bpf_csum_update succeeds.
 */
static __always_inline bool is_vouched_for(struct __sk_buff *skb)
{
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return true;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0) {
		bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
		return false;
	}
	return bpf_csum_update(skb, 0) < 0;
}

static __always_inline bool is_intact(struct __sk_buff *skb, const struct packet *packet)
{
	struct summing *summing = summing_here();
	struct __sk_buff *here = skb;
	__u64 sum = bpf_htons(IPPROTO_TCP) + (__u64)bpf_htons(packet->end - packet->tcp);

	if (skb->gso_size || is_vouched_for(skb))
		return true;
	if (!summing)
		return false;
	for (int i = packet->v6 ? 0 : 3; i < 4; i++) {
		sum += packet->key.source[i];
		sum += packet->key.destination[i];
	}
	summing->at = packet->tcp;
	summing->end = packet->end;
	summing->sum = fold(sum);
	summing->failed = 0;
	bpf_loop(MAX_CHUNKS, sum_chunk, &here, 0);
	sum = (summing->sum & 0xffff) + (summing->sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return !summing->failed && sum == 0xffff;
}

#endif
