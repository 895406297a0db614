/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The front-end: which node a request goes to, and how it goes there.
 */
#ifndef BTCP_DECIDE_H
#define BTCP_DECIDE_H

#include "move.h"
#include "record.h"
#include "request.h"
#include "tables.h"

/* A callback of bpf_loop. */
static int read_next(__u32 at, struct scratch **here)
{
	struct scratch *scratch = *here;

	if (at >= scratch->size)
		return 1;
	read_octet(&scratch->reading, at, scratch->head[at & (MAX_HEAD - 1)], scratch->host);
	return is_over(&scratch->reading);
}

/* GET or HEAD: nothing more of the client has to come before the response can begin. */
static __always_inline bool asks_only(const __u8 *head)
{
	const bool get = head[0] == 'G' && head[1] == 'E' && head[2] == 'T' && head[3] == ' ';

	return get || (head[0] == 'H' && head[1] == 'E' && head[2] == 'A' && head[3] == 'D' &&
		       head[4] == ' ');
}

/* The replica set of a request; NULL if the daemon has to say. */
static __always_inline struct btcp_turns *look_up(struct __sk_buff *skb,
						  const struct packet *packet,
						  struct scratch *scratch,
						  const struct btcp_plan *current)
{
	struct reading *reading = &scratch->reading;
	__u64 size = packet->end - packet->data;
	__u32 scope = current->scope, *found;

	if (size > current->head)
		size = current->head;
	if (size > MAX_HEAD)
		size = MAX_HEAD;
	asm volatile("" : "+r"(size));
	if (!size || size > MAX_HEAD || bpf_skb_load_bytes(skb, packet->data, scratch->head, size))
		return NULL;
	__builtin_memset(scratch->host, 0, sizeof(scratch->host));
	__builtin_memset(reading, 0, sizeof(*reading));
	scratch->size = size;
	scratch->size = bpf_loop(MAX_HEAD, read_next, &scratch, 0);
	if (reading->state != COMPLETE)
		return NULL;
	if (current->hosts) {
		if (reading->literal) /* which has many spellings */
			return NULL;
		found = bpf_map_lookup_elem(&scopes, scratch->host);
		if (found)
			scope = *found;
	}
	if (!scope)
		return NULL;
	size = reading->path_end - reading->path;
	if (size > BTCP_PATH)
		size = BTCP_PATH;
	asm volatile("" : "+r"(size));
	if (!size || size > BTCP_PATH ||
	    bpf_skb_load_bytes(skb, packet->data + reading->path, scratch->prefix.path, size))
		return NULL;
	scratch->prefix.bits = 32 + 8 * size;
	scratch->prefix.scope = scope;
	found = bpf_map_lookup_elem(&prefixes, &scratch->prefix);
	if (!found)
		return NULL;
	scratch->handed.set = *found;
	return bpf_map_lookup_elem(&turns, found);
}

/* To the daemon, and what follows of this connection as well. */
static __always_inline int decline(struct __sk_buff *skb, const struct packet *packet)
{
	const struct btcp_promise *promise = bpf_map_lookup_elem(&promises, ONLY);
	const __u32 iss = bpf_ntohl(packet->header.ack_seq) - 1;

	count(BTCP_DECLINED);
	bpf_map_update_elem(&declined, &packet->key, &iss, BPF_ANY);
	return promise ? up_first(skb, packet, promise->secret) : TC_ACT_SHOT;
}

static __always_inline bool is_declined(const struct packet *packet)
{
	const __u32 *iss = bpf_map_lookup_elem(&declined, &packet->key);

	return iss && *iss == bpf_ntohl(packet->header.ack_seq) - 1;
}

/* Whether a record has room behind the packet, in the smallest frame of the cluster. */
static __always_inline bool has_room(const struct __sk_buff *skb, const struct packet *packet,
				     const struct btcp_promise *promise)
{
	return !skb->gso_size && packet->end - ETH_HLEN + sizeof(struct btcp_record) <=
				 (__u32)promise->mss_v4 + 40;
}

static __always_inline void enter_route(struct btcp_route *route, const struct packet *packet,
					const struct btcp_destination *to, __u8 node,
					__be16 origin, __u8 holds)
{
	struct btcp_rule *rule = &route->rule;

	__builtin_memset(route, 0, sizeof(*route));
	rule->to = packet->key;
	__builtin_memcpy(rule->to.destination, packet->v6 ? to->v6 : to->v4, sizeof(to->v4));
	rule->to.destination_port = origin;
	rule->rewrites = 1;
	rule->local = to->own;
	rule->follows = to->own;
	rule->lease = node;
	rule->express = BTCP_EXPRESS | BTCP_FRONT | (to->own ? BTCP_JOINED : 0) | holds;
	rule->iss = bpf_ntohl(packet->header.ack_seq) - 1;
	rule->first = bpf_ntohl(packet->header.seq);
	route->account.ack = rule->iss + 1;
	route->account.end = rule->first;
	route->account.used = bpf_ktime_get_ns();
}

/*
 * Send a packet where its route says; as long as the back-end may not know of the connection,
 * with a record, if there is room for one.
 */
static __always_inline int send(struct __sk_buff *skb, struct packet *packet,
				struct btcp_route *route, const struct btcp_promise *promise)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, ONLY);
	const struct btcp_plan *current = bpf_map_lookup_elem(&plan, ONLY);
	struct btcp_record record = { .magic = bpf_htonl(BTCP_MAGIC) };
	const struct btcp_destination *to;
	struct btcp_rule *rule;
	__u32 node, rtt = 0;
	bool unknown;

	if (!scratch || !current)
		return TC_ACT_SHOT;
	rule = &scratch->route.rule;
	*rule = route->rule;
	node = rule->lease;
	to = bpf_map_lookup_elem(&destinations, &node);
	if (!to)
		return TC_ACT_SHOT;
	unknown = bpf_ntohl(packet->header.ack_seq) == rule->iss + 1;
	if (unknown) /* before the rewriting: it goes by the client's own numbers */
		rtt = measured_rtt(skb, packet, promise->secret);
	enter(&route->account, packet);
	if (rule->follows)
		follow(packet, route, rule, true, believe(skb, packet, rule));
	else if (flags_of(packet) & FLAG_FIN)
		route->account.closing = 1;
	if (rewrite(skb, packet, rule) == FAILED) {
		count(BTCP_ODD);
		return TC_ACT_SHOT;
	}
	if (unknown && has_room(skb, packet, promise)) {
		record.kind = bpf_ntohl(packet->header.seq) == rule->first &&
					      packet->end > packet->data ?
				      BTCP_OF_BEGINNING :
				      BTCP_OF_REST;
		record.node = node;
		record.port = packet->key.destination_port;
		__builtin_memcpy(record.address, packet->key.destination, sizeof(record.address));
		record.front = current->own;
		record.scale = promise->scale;
		record.holds = rule->express & BTCP_HOLDS;
		record.rtt = rtt == BTCP_UNMEASURED ? 0 : rtt;
		seal(&record, to->key, &rule->to, packet);
		if (!append(skb, packet, &record))
			return TC_ACT_SHOT;
	}
	count(BTCP_FORWARDED);
	if (to->own)
		return unknown ? bpf_redirect(skb->ifindex, BPF_F_INGRESS) : PASS;
	skb->mark = BTCP_MARK;
	return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
}

/* The route of a new connection; NULL if the daemon has to have it. */
static __always_inline struct btcp_route *decide(struct __sk_buff *skb,
						 const struct packet *packet,
						 struct btcp_route *old)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, ONLY);
	struct btcp_plan *current = bpf_map_lookup_elem(&plan, ONLY);
	struct btcp_destination *to;
	struct btcp_end end = { .port = packet->key.destination_port };
	struct btcp_turns *set;
	__u32 *origin, node;

	if (!scratch || !current || !current->decides)
		return NULL;
	__builtin_memcpy(end.address, packet->key.destination, sizeof(end.address));
	origin = bpf_map_lookup_elem(&listeners, &end);
	set = look_up(skb, packet, scratch, current);
	if (!origin || !*origin || !set || !set->count)
		return NULL;
	node = set->cursor++ % set->count; /* a turn that two processors take at once is no harm */
	node = set->node[node & (BTCP_TURNS - 1)];
	to = bpf_map_lookup_elem(&destinations, &node);
	if (!to || !(to->reach & (packet->v6 ? BTCP_BY_V6 : BTCP_BY_V4)))
		return NULL;
	enter_route(&scratch->route, packet, to, node, *origin,
		    asks_only(scratch->head) ? BTCP_HOLDS : 0);
	if (old && !claim(old))
		return NULL;
	if (bpf_map_update_elem(&routes, &packet->key, &scratch->route,
				old ? BPF_EXIST : BPF_NOEXIST)) {
		unclaim(old);
		return NULL;
	}
	count(BTCP_EXPRESSED);
	if (current->records)
		tell(scratch, packet, BTCP_HANDED_OFF, node, scratch->size);
	return bpf_map_lookup_elem(&routes, &packet->key);
}

#endif
