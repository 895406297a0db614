/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The packets of spliced flows, moved in the kernel; everything else goes up to
 * the daemon as it would without us.
 */
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"
#include "parse.h"
#include "rewrite.h"

/* What we let pass, other filters of the device may look at, and in the end the kernel. */
#define PASS TC_ACT_UNSPEC

#define FLAG_ACK 0x10
#define FLAG_ENDING 0x07 /* SYN, FIN, RST: each takes up, or ends, sequence space */

#define ICMP_TOO_BIG_V4 3
#define ICMP_TOO_BIG_V4_CODE 4
#define ICMP_TOO_BIG_V6 2

static __always_inline __u8 flags_of(const struct packet *packet)
{
	return ((const __u8 *)&packet->header)[13];
}

static __always_inline bool at_or_after(__u32 number, __u32 other)
{
	return (__s32)(number - other) >= 0;
}

/* See Route.take. */
static __always_inline void enter(struct btcp_account *account, const struct packet *packet)
{
	__u32 size = packet->end - packet->data;
	__u32 ack = bpf_ntohl(packet->header.ack_seq);
	__u8 flags = flags_of(packet);

	account->used = bpf_ktime_get_ns();
	__sync_fetch_and_add(&account->packets, 1);
	if (flags & FLAG_ACK && ack != account->ack && at_or_after(ack, account->ack)) {
		account->ack = ack;
		account->progress = 1;
	}
	if (size || flags & FLAG_ENDING) {
		__u32 end = bpf_ntohl(packet->header.seq) + size + (flags & 1) + (flags >> 1 & 1);

		__sync_fetch_and_add(&account->octets, size);
		if (at_or_after(end, account->end))
			account->end = end;
	}
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

/*
 * A bound that the verifier can see: compilers like to make one comparison of two, on a
 * value that they need for nothing else.
 */
static __always_inline bool bounded(__u64 *size)
{
	if (*size > 4 * MAX_OPTIONS)
		return false;
	asm volatile("" : "+r"(*size));
	return *size >= 4;
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

static __always_inline enum verdict rewrite(struct __sk_buff *skb, struct packet *packet,
					    const struct btcp_rule *rule)
{
	const bool has_ack = flags_of(packet) & FLAG_ACK;
	const struct tcphdr old = packet->header;
	struct tcphdr *new = &packet->header;
	const __u32 at = packet->tcp + sizeof(*new);
	__u32 words = old.doff - 5;
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
	new->source = rule->to.source_port;
	new->dest = rule->to.destination_port;
	new->seq = bpf_htonl(bpf_ntohl(old.seq) + rule->seq);
	if (has_ack)
		new->ack_seq = bpf_htonl(bpf_ntohl(old.ack_seq) + rule->ack);
	if (rule->shift)
		new->window = bpf_htons(shifted_window(bpf_ntohs(old.window), rule->shift));
	sum = changed(sum, old.source, new->source);
	sum = changed(sum, old.dest, new->dest);
	sum = changed(sum, old.seq, new->seq);
	sum = changed(sum, old.ack_seq, new->ack_seq);
	sum = changed(sum, old.window, new->window);
	failed |= bpf_skb_store_bytes(skb, packet->tcp, new, 16, 0); /* up to the checksum */
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

/*
 * Do what the route says.  Returns false if the daemon has to see the packet; else
 * *action is what becomes of it here.
 */
static __always_inline bool take(struct __sk_buff *skb, struct packet *packet,
				 const struct btcp_rule *rule, struct btcp_account *account,
				 int *action)
{
	enum verdict verdict = REWRITTEN;
	const struct packet before = *packet;

	if (flags_of(packet) & rule->punt)
		return false;
	if (rule->rewrites)
		verdict = rewrite(skb, packet, rule);
	if (verdict == UNKNOWN_LAYOUT)
		return false;
	enter(account, &before);
	if (verdict == REWRITTEN_WITH_SACK) /* whoever has holes has something around them */
		account->progress = 1;
	*action = PASS;
	if (verdict == FAILED) {
		count(BTCP_ODD);
		*action = TC_ACT_SHOT;
	}
	return true;
}

SEC("tc")
int btcp_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct btcp_route *route;
	struct btcp_rule rule;
	int action;

	/* A switch may show us other hosts' frames, and every node knows a shared address. */
	if (skb->pkt_type != PACKET_HOST)
		return PASS;
	if (!parse(skb, &packet))
		return is_too_big(skb) ? to_daemon() : PASS;
	route = bpf_map_lookup_elem(&routes, &packet.key);
	if (!route)
		return is_listener(packet.key.destination, packet.key.destination_port) ?
			       to_daemon() :
			       PASS;
	if (!copy_rule(&rule, route, &packet, true) ||
	    !take(skb, &packet, &rule, &route->account, &action))
		return to_daemon();
	if (action != PASS)
		return action;
	if (rule.local) {
		count(BTCP_ADMITTED);
		return PASS;
	}
	count(BTCP_FORWARDED);
	skb->mark = BTCP_MARK; /* the other program has nothing to do with it */
	return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
}

SEC("tc")
int btcp_egress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct btcp_route *route;
	struct btcp_rule rule;
	int action;

	if (skb->mark == BTCP_MARK || !parse(skb, &packet))
		return PASS;
	route = bpf_map_lookup_elem(&routes, &packet.key);
	if (!route) {
		if (!is_listener(packet.key.source, packet.key.source_port))
			return PASS;
		count(BTCP_GUARDED);
		return TC_ACT_SHOT;
	}
	if (!copy_rule(&rule, route, &packet, false) ||
	    !take(skb, &packet, &rule, &route->account, &action))
		return to_daemon();
	if (action == PASS)
		count(BTCP_SENT);
	return action;
}

/* Change what a route punts, and leave its account alone. */
SEC("syscall")
int btcp_amend(const struct btcp_amendment *amendment)
{
	const struct btcp_key key = amendment->key;
	struct btcp_route *route = bpf_map_lookup_elem(&routes, &key);

	if (!route)
		return 1;
	route->rule.punt = amendment->punt;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
