/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Round-trip times of clients, for the back-end's TCP to begin with.
 *
 * A front-end without state knows when it sent a SYN/ACK: the client's packets echo its TSval.  How
 * old that is when the ACK of the handshake arrives, is the round-trip time; when the request
 * arrives, it is the round-trip time and the time for which the client has waited.  So the first is
 * kept until the request comes.
 */
#ifndef BTCP_MEASURE_H
#define BTCP_MEASURE_H

#include "abi.h"
#include "cookie.h"
#include "maps.h"
#include "parse.h"
#include "rewrite.h"

/*
 * ms; the most that is believed of an age that may include the client's idle time.  TCP makes an
 * RTO of 0.9 s of it, about the initial one of RFC 6298.
 */
#define MOST_AGE 300

/*
 * Connections that are established and have not asked for anything yet.  An entry is deleted with
 * the request; what is evicted before costs a worse estimate, and no more.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct btcp_key);
	__type(value, struct btcp_measured);
} measured SEC(".maps");

/* The age in ms of the TSval that a packet echoes; -1 if it has no timestamps. */
static __always_inline __s32 age_of_echo(struct __sk_buff *skb, const struct packet *packet,
					 const __u64 *secret, __u64 now)
{
	__be32 options[WORDS_TIMESTAMPS];
	__s32 age;

	if (packet->header.doff < 5 + WORDS_TIMESTAMPS ||
	    bpf_skb_load_bytes(skb, packet->tcp + sizeof(packet->header), options,
			       sizeof(options)) ||
	    options[0] != bpf_htonl(LEAD_TIMESTAMPS))
		return -1;
	age = timestamp(secret, &packet->key, now) - bpf_ntohl(options[2]);
	return age < 0 ? 0 : age;
}

/* At the ACK that completes a handshake and has no data. */
static __always_inline void measure(struct __sk_buff *skb, const struct packet *packet,
				    const __u64 *secret, __u64 now)
{
	const __s32 age = age_of_echo(skb, packet, secret, now);
	struct btcp_measured found = {
		.iss = bpf_ntohl(packet->header.ack_seq) - 1,
		.first = bpf_ntohl(packet->header.seq),
		.rtt = BTCP_UNMEASURED,
	};

	if (age >= 0)
		found.rtt = age < BTCP_UNMEASURED ? age : BTCP_UNMEASURED - 1;
	bpf_map_update_elem(&measured, &packet->key, &found, BPF_ANY);
}

/* As standing() does for a cookie, for one that is too old to be told from any number. */
static __always_inline enum standing standing_of_measured(const struct packet *packet)
{
	const struct btcp_measured *found = bpf_map_lookup_elem(&measured, &packet->key);

	if (!found || found->iss != bpf_ntohl(packet->header.ack_seq) - 1)
		return STRANGER;
	return found->first == bpf_ntohl(packet->header.seq) ? FIRST : LATER;
}

/* At the request: the round-trip time in ms, BTCP_UNMEASURED if nothing tells it. */
static __always_inline __u16 measured_rtt(struct __sk_buff *skb, const struct packet *packet,
					  const __u64 *secret)
{
	const struct btcp_measured *found = bpf_map_lookup_elem(&measured, &packet->key);
	__s32 age;

	if (found && found->iss == bpf_ntohl(packet->header.ack_seq) - 1) {
		age = found->rtt;
		bpf_map_delete_elem(&measured, &packet->key);
		return age;
	}
	age = age_of_echo(skb, packet, secret, bpf_ktime_get_ns());
	if (age < 0)
		return BTCP_UNMEASURED;
	return age < MOST_AGE ? age : MOST_AGE;
}

#endif
