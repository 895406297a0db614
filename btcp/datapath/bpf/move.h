/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What becomes of a packet that a route takes: account, rewriting, the end of the connection,
 * and the way up to the daemon.
 */
#ifndef BTCP_MOVE_H
#define BTCP_MOVE_H

#include <linux/pkt_cls.h>

#include "follow.h"
#include "handshake.h"
#include "maps.h"
#include "measure.h"
#include "parse.h"
#include "rewrite.h"

/* What we let pass, other filters of the device may look at, and in the end the kernel. */
#define PASS TC_ACT_UNSPEC

/*
 * Discard a packet of the local TCP that is to believe it sent.  TC_ACT_SHOT on egress returns
 * NET_XMIT_DROP to the sender: TCP takes that for congestion of the device (tcp_enter_cwr), and
 * leaves slow start for the rest of the connection.  TC_ACT_STOLEN returns NET_XMIT_SUCCESS.
 * Under clsact only: tcx reads it as TCX_NEXT.
 */
#define SWALLOW TC_ACT_STOLEN

#define HOLDING 1000000000ULL /* ns, from the adoption on */

/* Octets that a client may send before it hears from the back-end; see btcp/handoff/reassembly.py. */
#define FIRST_WINDOW 32768

#define ICMP_TOO_BIG_V4 3
#define ICMP_TOO_BIG_V4_CODE 4
#define ICMP_TOO_BIG_V6 2

static __always_inline void enter_ack(struct btcp_account *account, const struct packet *packet)
{
	__u32 ack = bpf_ntohl(packet->header.ack_seq);

	if (flags_of(packet) & FLAG_ACK && ack != account->ack &&
	    at_or_after(ack, account->ack)) {
		account->ack = ack;
		account->progress = 1;
	}
}

/*
 * Whether a packet continues what the account has, in both directions (RFC 5961, 5.2); a
 * packet that does not may be a stranger's, and is passed on without moving a number.
 */
static __always_inline bool continues(const struct btcp_account *account,
				      const struct packet *packet)
{
	const __u32 ahead = bpf_ntohl(packet->header.seq) - account->end;
	const __u32 acked = bpf_ntohl(packet->header.ack_seq) - account->ack;

	return ahead + BTCP_REACH < 2 * BTCP_REACH &&
	       (!(flags_of(packet) & FLAG_ACK) || acked + BTCP_REACH < 2 * BTCP_REACH);
}

/* See Route.take. Returns false if the packet may be a stranger's. */
static __always_inline bool enter(struct btcp_account *account, const struct packet *packet)
{
	__u32 size = packet->end - packet->data;
	__u8 flags = flags_of(packet);

	account->used = bpf_ktime_get_ns();
	__sync_fetch_and_add(&account->packets, 1);
	if (!continues(account, packet))
		return false;
	enter_ack(account, packet);
	if (size || flags & FLAG_ENDING) {
		__u32 end = end_of_data(packet);

		__sync_fetch_and_add(&account->octets, size);
		if (at_or_after(end, account->end))
			account->end = end;
	}
	return true;
}

/* Rewrite addresses; returns their part of the TCP checksum's difference. */
static __always_inline __u32 rewrite_ends(struct __sk_buff *skb, const struct packet *packet,
					  const struct btcp_key *to, long *failed)
{
	const struct btcp_key *from = &packet->key;
	__u64 sum = 0;

	for (int i = 0; i < 4; i++) {
		sum = changed(sum, from->source[i], to->source[i]);
		sum = changed(sum, from->destination[i], to->destination[i]);
	}
	if (packet->v6) {
		*failed |= bpf_skb_store_bytes(skb, packet->ip + 8, to->source, 32, 0);
		/*
		 * The change of the TCP checksum makes up for that of the addresses, so what
		 * a device summed up over both stays right; but a helper that is told of a
		 * pseudo-header believes that the IP header makes up for itself.
		 */
		bpf_csum_update(skb, fold(sum));
	} else {
		__be32 addresses[2] = { to->source[3], to->destination[3] };

		*failed |= bpf_l3_csum_replace(skb, packet->ip + 10, 0, fold(sum), 0);
		*failed |= bpf_skb_store_bytes(skb, packet->ip + 12, addresses, 8, 0);
	}
	return fold(sum);
}

static __always_inline bool load_options(struct __sk_buff *skb, __u32 from, __be32 *options,
					 __u64 size)
{
	return bounded(&size) && !bpf_skb_load_bytes(skb, from, options, size);
}

static __always_inline bool store_options(struct __sk_buff *skb, __u32 to, const __be32 *options,
					  __u64 size)
{
	return bounded(&size) && !bpf_skb_store_bytes(skb, to, options, size, 0);
}

enum verdict { REWRITTEN, REWRITTEN_WITH_SACK, UNKNOWN_LAYOUT, FAILED };

/* Rewrite the packet itself; its description stays as it was. */
static __always_inline enum verdict rewrite(struct __sk_buff *skb, const struct packet *packet,
					    const struct btcp_rule *rule)
{
	const bool has_ack = flags_of(packet) & FLAG_ACK;
	const struct tcphdr *old = &packet->header;
	struct tcphdr new = packet->header;
	const __u32 at = packet->tcp + sizeof(new);
	__u32 words = old->doff - 5;
	__be32 options[MAX_OPTIONS] = {};
	int edges = 0;
	long failed = 0;
	__u64 sum = 0;
	__u32 ends;

	if (words && (rule->ack || rule->tsval || rule->tsecr)) {
		if (!load_options(skb, at, options, 4 * words))
			return FAILED;
		edges = rewrite_options(options, words, rule, has_ack, &sum);
		if (edges < 0)
			return UNKNOWN_LAYOUT;
		failed |= !store_options(skb, at, options, 4 * words);
	}
	new.source = rule->to.source_port;
	new.dest = rule->to.destination_port;
	new.seq = bpf_htonl(bpf_ntohl(old->seq) + rule->seq);
	if (has_ack)
		new.ack_seq = bpf_htonl(bpf_ntohl(old->ack_seq) + rule->ack);
	if (rule->shift)
		new.window = bpf_htons(shifted_window(bpf_ntohs(old->window), rule->shift));
	sum = changed(sum, old->source, new.source);
	sum = changed(sum, old->dest, new.dest);
	sum = changed(sum, old->seq, new.seq);
	sum = changed(sum, old->ack_seq, new.ack_seq);
	sum = changed(sum, old->window, new.window);
	failed |= bpf_skb_store_bytes(skb, packet->tcp, &new, 16, 0); /* up to the checksum */
	ends = rewrite_ends(skb, packet, &rule->to, &failed);
	failed |= bpf_l4_csum_replace(skb, packet->tcp + 16, 0, fold(sum), 0);
	failed |= bpf_l4_csum_replace(skb, packet->tcp + 16, 0, ends, BPF_F_PSEUDO_HDR);
	if (failed)
		return FAILED;
	return edges ? REWRITTEN_WITH_SACK : REWRITTEN;
}

static __always_inline int to_daemon(void)
{
	count(BTCP_PUNTED);
	return bpf_redirect(settings.tap, 0);
}

/* From the network, with a word of ours, or at least with nobody else's for ours. */
static __always_inline int up(struct __sk_buff *skb, __u8 say)
{
	__u8 source[6] = { 0x02, 'b', 't', 'c', 'p', say };

	if (!say) {
		if (bpf_skb_load_bytes(skb, 6, source, sizeof(source)))
			return TC_ACT_SHOT;
		if (source[0] != 0x02 || source[1] != 'b' || source[2] != 't' ||
		    source[3] != 'c' || source[4] != 'p')
			return to_daemon();
		source[1] = 0;
	}
	if (bpf_skb_store_bytes(skb, 6, source, sizeof(source), 0))
		return TC_ACT_SHOT;
	return to_daemon();
}

/* The first octets of a connection; see BTCP_FIRST. */
static __always_inline int up_first(struct __sk_buff *skb, const struct packet *packet,
				    const __u64 *secret)
{
	__be16 rtt = bpf_htons(measured_rtt(skb, packet, secret));

	if (bpf_skb_store_bytes(skb, 4, &rtt, sizeof(rtt), 0))
		return TC_ACT_SHOT;
	return up(skb, BTCP_FIRST);
}

static __always_inline bool is_listener(const __be32 *address, __be16 port)
{
	struct btcp_end end = { .port = port };

	__builtin_memcpy(end.address, address, 16);
	return bpf_map_lookup_elem(&listeners, &end);
}

/* A router's "too big" for a listener's address, which may concern a flow. */
static __always_inline bool is_too_big(struct __sk_buff *skb)
{
	struct btcp_end end = {};
	__u8 type[2];

	if (is_of_vlan(skb))
		return false;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
		    ip.protocol != IPPROTO_ICMP ||
		    bpf_skb_load_bytes(skb, ETH_HLEN + ip.ihl * 4, type, 2) ||
		    type[0] != ICMP_TOO_BIG_V4 || type[1] != ICMP_TOO_BIG_V4_CODE)
			return false;
		map_ipv4(end.address, ip.daddr);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
		    ip.nexthdr != IPPROTO_ICMPV6 ||
		    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), type, 2) ||
		    type[0] != ICMP_TOO_BIG_V6)
			return false;
		__builtin_memcpy(end.address, &ip.daddr, 16);
	} else {
		return false;
	}
	return bpf_map_lookup_elem(&listeners, &end); /* port 0: the address alone */
}

static __always_inline bool same_end(const volatile __be32 *address, __be16 port,
				     const __be32 *other, __be16 other_port)
{
	__u32 difference = port ^ other_port;

	for (int i = 0; i < 4; i++)
		difference |= address[i] ^ other[i];
	return !difference;
}

/*
 * The daemon may delete a route at any time, and what it installs next may get the very
 * same memory.  So copy the rule at once, and see thereafter that it was of this client,
 * whose end no rule rewrites.
 */
static __always_inline bool copy_rule(struct btcp_rule *rule, const struct btcp_route *route,
				      const struct packet *packet, bool from_client)
{
	const volatile struct btcp_key *to = &route->rule.to;
	const struct btcp_key *key = &packet->key;

	*rule = route->rule;
	asm volatile("" ::: "memory");
	return from_client ? same_end(to->source, to->source_port, key->source, key->source_port) :
			     same_end(to->destination, to->destination_port, key->destination,
				      key->destination_port);
}

/* The local TCP speaks of a request that it was given. False if it says anything else. */
static __always_inline bool admitted(const struct packet *packet, const struct btcp_rule *rule,
				     struct btcp_route *route)
{
	struct btcp_event event = { .key = packet->key, .report = BTCP_TAKEN };

	if (!(flags_of(packet) & FLAG_ACK) || bpf_ntohl(packet->header.ack_seq) != rule->awaits)
		return false;

	route->rule.admitting = 0;
	report(&event);
	return true;
}

/* Whether this begins a response that the front-end may not be waiting for any more. */
static __always_inline bool too_late(const struct packet *packet, const struct btcp_rule *rule,
				     const struct btcp_account *account)
{
	const __u32 lease = rule->lease, daemon = 0;
	const __u64 now = bpf_ktime_get_ns();
	__u64 *until, *awake;

	if (!lease || account->octets ||
	    (packet->data == packet->end && !(flags_of(packet) & FLAG_FIN)))
		return false;
	until = bpf_map_lookup_elem(&leases, &lease);
	awake = bpf_map_lookup_elem(&leases, &daemon);
	return !until || !awake || now > *until || now > *awake;
}

/*
 * An acknowledgment before the response begins.  Without it the client sends the request again,
 * if its back-end should die; with it, the client would only wait.  But not for long: some
 * clients give up after five times.
 */
static __always_inline bool is_held(const struct packet *packet, const struct btcp_rule *rule,
				    const struct btcp_account *account)
{
	return rule->express & BTCP_HOLDS && !account->packets && packet->data == packet->end &&
	       !(flags_of(packet) & FLAG_ENDING) &&
	       bpf_ktime_get_ns() - account->used < HOLDING;
}

/*
 * Do what the route says.  Returns false if the daemon has to see the packet; else
 * *action is what becomes of it here.
 */
static __always_inline bool take(struct __sk_buff *skb, struct packet *packet,
				 const struct btcp_rule *rule, struct btcp_route *route,
				 bool from_client, int *action)
{
	struct btcp_account *account = &route->account;
	enum verdict verdict = REWRITTEN;
	enum belief belief = BELIEVED;
	bool continues = false;

	if (flags_of(packet) & rule->punt)
		return false;
	if (!from_client && rule->admitting && !admitted(packet, rule, route))
		return false;
	if (!from_client && is_held(packet, rule, account)) {
		enter_ack(account, packet); /* what a reset of the local TCP has to say */
		count(BTCP_HELD);
		*action = SWALLOW;
		return true;
	}
	if (!from_client && too_late(packet, rule, account)) {
		if (!(rule->express & BTCP_EXPRESS))
			return false;
		/*
		 * The local TCP must know that this was not sent: it tries again after at most
		 * half a second, without backoff, and by then the daemon may be back.
		 */
		count(BTCP_LATE);
		*action = TC_ACT_SHOT;
		return true;
	}
	if (from_client && rule->follows)
		belief = believe(skb, packet, rule);
	if (rule->rewrites)
		verdict = rewrite(skb, packet, rule);
	if (verdict == UNKNOWN_LAYOUT)
		return false;
	if (!rule->express || !(flags_of(packet) & FLAG_RST))
		continues = enter(account, packet);
	if (rule->follows)
		follow(packet, route, rule, from_client, belief);
	/* A client that has holes has something around them. */
	if (verdict == REWRITTEN_WITH_SACK && continues)
		account->progress = 1;
	*action = PASS;
	if (verdict == FAILED) {
		count(BTCP_ODD);
		*action = TC_ACT_SHOT;
	}
	return true;
}

#endif
