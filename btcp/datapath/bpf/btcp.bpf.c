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
#include "move.h"
#include "parse.h"
#include "probe.h"
#include "record.h"
#include "takeover.h"

int btcp_meet(struct __sk_buff *skb);
int btcp_plain(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, BTCP_PROGRAMS);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} strangers SEC(".maps") = { .values = {
	[BTCP_MEET] = (void *)&btcp_meet,
	[BTCP_PLAIN] = (void *)&btcp_plain,
} };

/* A packet to a listener that is of no flow: a program of its own, for the stack's sake. */
SEC("tc")
int btcp_meet(struct __sk_buff *skb)
{
	const __u64 now = bpf_ktime_get_ns();
	struct btcp_promise *promise;
	struct packet packet = {};
	int action = UNANSWERED;
	enum standing stands;
	__u32 irs, first = 0;
	__u8 flags;
	bool empty;

	if (!parse(skb, &packet))
		return PASS;
	irs = bpf_ntohl(packet.header.seq) - 1;
	flags = flags_of(&packet) & ~FLAGS_ECN;
	empty = packet.data == packet.end;
	promise = bpf_map_lookup_elem(&promises, &first);
	if (!promise || !promise->until)
		return up(skb, 0);
	if (flags == FLAG_SYN && empty && now < promise->until)
		action = answer(skb, &packet, promise, now);
	if (action != UNANSWERED)
		return action;
	if ((flags & (FLAG_SYN | FLAG_RST | FLAG_ACK)) != FLAG_ACK)
		return up(skb, 0);
	skb->cb[0] = BTCP_FIRST;
	stands = standing(promise->secret, &packet.key, now >> SLOT_SHIFT,
			  bpf_ntohl(packet.header.ack_seq) - 1, irs);
	if (stands == STRANGER)
		stands = standing_of_measured(&packet);
	if (stands == FIRST) {
		if (!empty || flags & FLAG_FIN) {
			bpf_tail_call(skb, &strangers, BTCP_DECIDE);
			return up_first(skb, &packet, promise->secret);
		}
		measure(skb, &packet, promise->secret, now);
		count(BTCP_ESTABLISHED);
		return TC_ACT_SHOT;
	}
	if (stands == LATER && is_probe(&packet))
		action = answer_probe(skb, &packet, promise, now);
	if (action != UNANSWERED)
		return action;
	skb->cb[0] = 0;
	if (skb->cb[1]) /* it is of the connection that has the route */
		bpf_tail_call(skb, &strangers, BTCP_DECIDE);
	return up(skb, stands == LATER ? BTCP_LATER : 0);
}

/* The back-end may not have the connection yet: nothing shows that the client heard of it. */
static __always_inline bool is_unconfirmed(const struct packet *packet,
					   const struct btcp_rule *rule)
{
	return bpf_ntohl(packet->header.ack_seq) == rule->iss + 1 &&
	       bpf_ntohl(packet->header.seq) - rule->first < FIRST_WINDOW;
}

/*
 * A client's packet of an express connection, at its front-end.  Returns which program has to
 * see it; BTCP_PROGRAMS if there is only to be done what the route says.
 */
static __always_inline __u32 look_at_front(struct __sk_buff *skb, const struct packet *packet,
					   struct btcp_route *route, const struct btcp_rule *rule)
{
	const __u8 flags = flags_of(packet);

	skb->cb[0] = 0;
	skb->cb[1] = 1;
	if (flags & FLAG_SYN) {
		route->account.closing = 1; /* whether or not it is: more of it will show */
		return BTCP_MEET;
	}
	if (flags & FLAG_RST) /* whose it is, the local TCP knows */
		return BTCP_PROGRAMS;
	/* From here on this may be of another connection, which is not to meet the old one's TCP. */
	if (route->account.closing)
		return BTCP_MEET;
	if (is_unconfirmed(packet, rule))
		return BTCP_DECIDE;
	if (flags & FLAG_FIN)
		route->account.closing = 1;
	return BTCP_PROGRAMS;
}

/* recorded: it may carry a record. */
static __always_inline int move(struct __sk_buff *skb, bool recorded)
{
	struct packet packet = {};
	struct btcp_route *route;
	struct btcp_rule rule;
	__u32 program;
	int action;

	/* A switch may show us other hosts' frames, and every node knows a shared address. */
	if (skb->pkt_type != PACKET_HOST || skb->mark == BTCP_MARK_CURE)
		return PASS;
	if (!parse(skb, &packet))
		return is_too_big(skb) ? up(skb, 0) : PASS;
	if (recorded && may_carry(skb, &packet))
		bpf_tail_call(skb, &strangers, BTCP_RECEIVE);
	route = bpf_map_lookup_elem(&routes, &packet.key);
	if (!route) {
		if (!is_listener(packet.key.destination, packet.key.destination_port))
			return PASS;
		skb->cb[1] = 0;
		bpf_tail_call(skb, &strangers, BTCP_MEET);
		return up(skb, 0);
	}
	if (!copy_rule(&rule, route, &packet, true))
		return up(skb, 0);
	if (rule.express & BTCP_FRONT) {
		program = look_at_front(skb, &packet, route, &rule);
		if (program != BTCP_PROGRAMS)
			bpf_tail_call(skb, &strangers, program);
	}
	if (!take(skb, &packet, &rule, route, true, &action))
		return up(skb, 0);
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
int btcp_ingress(struct __sk_buff *skb)
{
	return move(skb, true);
}

/* A packet that has no record, or not any more. */
SEC("tc")
int btcp_plain(struct __sk_buff *skb)
{
	return move(skb, false);
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
		return SWALLOW;
	}
	if (!copy_rule(&rule, route, &packet, false) ||
	    !take(skb, &packet, &rule, route, false, &action))
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

#define UNUSED __attribute__((unused))

static long halt(void *map UNUSED, const struct btcp_key *key UNUSED, struct btcp_route *route,
		 void *context UNUSED)
{
	route->rule.punt = 0xff;
	return 0;
}

/* Have every route show the daemon everything: from now on no account changes. */
SEC("syscall")
int btcp_halt(void *context UNUSED)
{
	bpf_for_each_map_elem(&routes, halt, NULL, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
