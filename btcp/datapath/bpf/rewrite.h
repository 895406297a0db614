/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The arithmetic of btcp/handoff/splice.py once more.  Plain C over memory, so
 * that tests can compile it natively and hold it against the Python.
 *
 * A checksum's difference is gathered as a one's complement sum of 32-bit words,
 * in the order the words have in the packet; fold() makes 32 bits of it.
 */
#ifndef BTCP_REWRITE_H
#define BTCP_REWRITE_H

#include <stdbool.h>

#include "abi.h"

#define MAX_OPTIONS 10 /* words */

/*
 * The layouts that every stack we know uses (RFC 7323, appendix A): no-operations
 * in front, so that the fields are aligned.  A packet with any other goes up to the
 * daemon, which walks options octet by octet.
 */
#define LEAD_TIMESTAMPS 0x0101080au
#define LEAD_SACK 0x01010500u /* and the option's length */
#define WORDS_TIMESTAMPS 3

/* From the packet's order to the host's, or back; bpf_endian.h is for BPF only. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SWAPPED(word) __builtin_bswap32(word)
#else
#define SWAPPED(word) (word)
#endif

static __always_inline __u64 changed(__u64 sum, __u32 from, __u32 to)
{
	return sum + (__u32)~from + to;
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/*
 * Check that a size of options is 4 to 40 octets, in a way that the verifier can follow.  Each
 * barrier makes the compiler compare the very register that it uses afterwards: it likes to merge
 * both comparisons into one of a copy, and the verifier of Linux 6.1 does not carry what it learns
 * of a copy over to a value that was spilled before.
 */
static __always_inline bool bounded(__u64 *size)
{
	__u64 value = *size;

	asm volatile("" : "+r"(value));
	if (value > 4 * MAX_OPTIONS)
		return false;
	asm volatile("" : "+r"(value));
	if (value < 4)
		return false;
	asm volatile("" : "+r"(value));
	*size = value;
	return true;
}

/* Add to a field of the options. */
static __always_inline __u64 add_at(__u64 sum, __be32 *field, __u32 count)
{
	__be32 old = *field;

	*field = SWAPPED(SWAPPED(old) + count);
	return changed(sum, old, *field);
}

static __always_inline __u64 add_edges(__u64 sum, __be32 *sack, __u32 edges, __u32 count)
{
	for (__u32 edge = 0; edge < 8; edge++)
		if (edge < edges)
			sum = add_at(sum, sack + 1 + edge, count);
	return sum;
}

/* How many SACK edges fill these words wholly; -1 if they hold anything else. */
static __always_inline int sack_edges(const __be32 *sack, __u32 words)
{
	__u32 edges = words - 1;

	if (!words)
		return 0;
	if (!edges || edges & 1 || sack[0] != SWAPPED(LEAD_SACK + 2 + 4 * edges))
		return -1;
	return edges;
}

/*
 * Rewrite timestamps and SACK edges.
 *
 * options: MAX_OPTIONS words; words: how many the packet has, at most MAX_OPTIONS.
 * Returns how many SACK edges there were; -1, and has changed nothing, if the layout is
 * not one we know.
 */
static __always_inline int rewrite_options(__be32 *options, __u32 words,
					   const struct btcp_rule *rule, bool has_ack, __u64 *sum)
{
	int edges;

	if (words < WORDS_TIMESTAMPS || options[0] != SWAPPED(LEAD_TIMESTAMPS)) {
		edges = sack_edges(options, words);
		if (edges > 0)
			*sum = add_edges(*sum, options, edges, rule->ack);
		return edges;
	}
	edges = sack_edges(options + WORDS_TIMESTAMPS, words - WORDS_TIMESTAMPS);
	if (edges < 0 || edges > MAX_OPTIONS - WORDS_TIMESTAMPS - 1)
		return -1;
	*sum = add_at(*sum, options + 1, rule->tsval);
	if (has_ack)
		*sum = add_at(*sum, options + 2, rule->tsecr);
	/* Six edges are as many as fit. */
	for (int edge = 0; edge < MAX_OPTIONS - WORDS_TIMESTAMPS - 1; edge++)
		if (edge < edges)
			*sum = add_at(*sum, options + WORDS_TIMESTAMPS + 1 + edge, rule->ack);
	return edges;
}

static __always_inline __u16 shifted_window(__u16 window, __s8 shift)
{
	const __u32 wide = window;
	const __u32 moved = shift >= 0 ? wide << (shift & 15) : wide >> (-shift & 15);

	return moved > 0xffff ? 0xffff : moved;
}

#endif
