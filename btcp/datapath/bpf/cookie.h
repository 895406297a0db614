/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Initial sequence numbers that say what was agreed, so that nothing has to be remembered
 * of a client that has not asked for anything yet (RFC 4987, 3.6).
 *
 *   31      parity of the time slot
 *   30-28   which MSS
 *   27-24   the client's window scale, 15 for none
 *   23      SACK was agreed
 *   22-15   hash of both ends, the slot, and what was agreed
 *   14-0    hash of the client's initial sequence number, too
 *
 * Whoever knows the last fifteen bits only by guessing is still known to be of the connection,
 * though not where in it he is: so segments that overtake the first one are told from strangers'.
 */
#ifndef BTCP_COOKIE_H
#define BTCP_COOKIE_H

#include <stdbool.h>

#include "abi.h"

#define SLOT_SHIFT 36 /* of nanoseconds: 69 seconds */
#define NO_SCALE 15
#define PLACE_BITS 15 /* fewer, and what overtakes a lost beginning is taken for it too often */
#define AGREED(cookie) ((cookie) >> 23 & 0xff)

static __always_inline __u64 rotated(__u64 word, __u32 by)
{
	return word << by | word >> (64 - by);
}

static __always_inline void sip_round(__u64 *v)
{
	v[0] += v[1];
	v[1] = rotated(v[1], 13) ^ v[0];
	v[0] = rotated(v[0], 32);
	v[2] += v[3];
	v[3] = rotated(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotated(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotated(v[1], 17) ^ v[2];
	v[2] = rotated(v[2], 32);
}

/* SipHash-2-4 of so many whole words. */
static __noinline __u64 siphash(const __u64 *secret, const __u64 *words, __u32 count)
{
	__u64 v[4] = {
		0x736f6d6570736575ULL ^ secret[0], 0x646f72616e646f6dULL ^ secret[1],
		0x6c7967656e657261ULL ^ secret[0], 0x7465646279746573ULL ^ secret[1],
	};

	for (__u32 i = 0; i <= count; i++) {
		__u64 word = i < count ? words[i] : (__u64)count << 59;

		v[3] ^= word;
		sip_round(v);
		sip_round(v);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline __u64 pair(__be32 first, __be32 second)
{
	return first | (__u64)second << 32;
}

/* key: of the client's packets. */
static __always_inline __u32 cookie(const __u64 *secret, const struct btcp_key *key, __u32 slot,
				    __u32 agreed, __u32 irs)
{
	const __u64 words[] = {
		pair(key->source[0], key->source[1]),
		pair(key->source[2], key->source[3]),
		pair(key->destination[0], key->destination[1]),
		pair(key->destination[2], key->destination[3]),
		pair(key->source_port | (__u32)key->destination_port << 16, slot << 8 | agreed),
	};
	const __u64 hash = siphash(secret, words, 5);
	/* The golden section: numbers less than 17,711 apart never agree in these bits. */
	const __u32 of_all = ((__u32)(hash >> 32) + irs) * 0x9e3779b9u >> (32 - PLACE_BITS);

	return slot << 31 | agreed << 23 | (hash & 0xff) << PLACE_BITS | of_all;
}

enum standing { STRANGER, LATER, FIRST };

/* Whose is a packet that acknowledges this cookie? irs: if it is the very first. */
static __always_inline enum standing standing(const __u64 *secret, const struct btcp_key *key,
					      __u32 slot, __u32 acknowledged, __u32 irs)
{
	/* Of this slot or the one before. */
	const __u32 then = slot - ((slot ^ acknowledged >> 31) & 1);
	const __u32 right = cookie(secret, key, then, AGREED(acknowledged), irs);

	if (acknowledged == right)
		return FIRST;
	return (acknowledged ^ right) >> PLACE_BITS ? STRANGER : LATER;
}

/* Our TSval for a pair of hosts: monotonic over all their connections (RFC 7323, 5.3). */
static __always_inline __u32 timestamp(const __u64 *secret, const struct btcp_key *key, __u64 now)
{
	const __u64 words[] = {
		pair(key->source[0], key->source[1]),
		pair(key->source[2], key->source[3]),
		pair(key->destination[0], key->destination[1]),
		pair(key->destination[2], key->destination[3]),
	};

	return (__u32)siphash(secret, words, 4) + (__u32)(now / 1000000);
}

/* Which of the sizes that a cookie can name is the largest that is not too large. */
static __always_inline __u32 mss_number(__u32 mss)
{
	return (mss >= 1220) + (mss >= 1360) + (mss >= 1400) + (mss >= 1440) + (mss >= 1452) +
	       (mss >= 1460) + (mss >= 8940);
}

/* The reverse. */
static __always_inline __u32 mss_of(__u32 number)
{
	switch (number) {
	case 0:
		return 536;
	case 1:
		return 1220;
	case 2:
		return 1360;
	case 3:
		return 1400;
	case 4:
		return 1440;
	case 5:
		return 1452;
	case 6:
		return 1460;
	default:
		return 8940;
	}
}

#endif
