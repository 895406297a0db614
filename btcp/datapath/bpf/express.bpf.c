/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Handoffs without the daemon: btcp_express, at the front-end, reads the request and sends it
 * to the node that the daemon's map has for it; btcp_receive, at the back-end, has the local
 * TCP take it.  See docs/decisions/express.md.
 *
 * Needs bpf_sk_assign_tcp_reqsk, Linux 6.9.
 */
#include <linux/bpf.h>
#include <linux/if_packet.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "decide.h"
#include "receive.h"
#include "tables.h"

/*
 * A packet of an express connection of which the back-end may not know yet; or the first
 * octets of a new connection.
 */
SEC("tc")
int btcp_express(struct __sk_buff *skb)
{
	const bool beginning = skb->cb[0] == BTCP_FIRST;
	struct btcp_promise *promise;
	struct packet packet = {};
	struct btcp_route *route, *decided;

	if (!parse(skb, &packet))
		return TC_ACT_SHOT;
	promise = bpf_map_lookup_elem(&promises, ONLY);
	route = bpf_map_lookup_elem(&routes, &packet.key);
	if (!promise)
		return TC_ACT_SHOT;
	if (route && route->rule.express & BTCP_FRONT &&
	    (!beginning || is_of(&route->rule, &packet)))
		return send(skb, &packet, route, promise);
	if (!beginning)
		return up(skb, 0);
	/*
	 * The local TCP that is going to get it would discard it, and leave flow entries without a
	 * connection on both nodes.
	 */
	if (!is_intact(skb, &packet)) {
		count(BTCP_DAMAGED);
		return TC_ACT_SHOT;
	}
	/* Of an old connection that the kernel handed off, nothing comes: its client began anew. */
	if (route && !(route->rule.express & BTCP_FRONT))
		return decline(skb, &packet);
	decided = NULL;
	if (!is_declined(&packet) && !(flags_of(&packet) & FLAG_FIN) &&
	    has_room(skb, &packet, promise))
		decided = decide(skb, &packet, route);
	if (decided)
		return send(skb, &packet, decided, promise);
	if (route && claim(route)) /* what comes next is not of the old one, either */
		bpf_map_delete_elem(&routes, &packet.key);
	return decline(skb, &packet);
}

/* A packet with a record behind it. */
SEC("tc")
int btcp_receive(struct __sk_buff *skb)
{
	const struct btcp_plan *current = bpf_map_lookup_elem(&plan, ONLY);
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, ONLY);
	struct btcp_record *record;
	struct arrival *arrival;
	struct btcp_route *outbound, *inbound;
	struct packet packet = {};
	struct btcp_front *front;
	struct btcp_key reversed;
	enum standing_here whose;
	bool joined;

	if (!current || !scratch || !parse(skb, &packet))
		return TC_ACT_SHOT;
	arrival = &scratch->arrival;
	record = &arrival->record;
	if (bpf_skb_load_bytes(skb, packet.end - sizeof(*record), record, sizeof(*record)))
		return TC_ACT_SHOT;
	if (record->kind == BTCP_OF_RETURN)
		return take_back(skb, &packet, current, scratch);
	front = bpf_map_lookup_elem(&express_fronts, &record->front);
	if (!front || !is_true(front->key, &packet, record))
		return disbelieve(skb, &packet);
	joined = record->front == current->own;
	arrival->lease = front->lease;
	reverse(&reversed, &packet.key);
	outbound = bpf_map_lookup_elem(&routes, &reversed);
	inbound = joined ? NULL : bpf_map_lookup_elem(&routes, &packet.key);
	whose = standing_here(&packet, record, outbound);
	/* Where the origin's port is the listener's, clients of our own may have these ends. */
	if (inbound && (inbound->rule.express & (BTCP_EXPRESS | BTCP_FRONT)) != BTCP_EXPRESS)
		whose = TAKEN;
	else if (inbound && whose == FREE)
		whose = OLD;
	if (whose == TAKEN)
		return give_back(skb, &packet, record, front->key, joined);
	if (whose == MINE && (outbound->account.packets || is_connected(skb, &packet)))
		return pass_known(skb, &packet, joined);
	if (record->kind != BTCP_OF_BEGINNING) {
		count(BTCP_OVERTOOK);
		return TC_ACT_SHOT;
	}
	if (whose == MINE) {
		/* The local TCP did not take it: its accept queue is full. */
		if (!claim_both(outbound, inbound))
			return TC_ACT_SHOT;
		count(BTCP_ENDED);
		uninstall(&packet, joined);
		return give_back(skb, &packet, record, front->key, joined);
	}
	if (!current->adopts || !in_time(front->lease) || !in_time(0) ||
	    !read_arrival(skb, &packet, arrival))
		return give_back(skb, &packet, record, front->key, joined);
	return begin(skb, &packet, arrival, front->key, joined, whose == OLD, outbound,
		     inbound);
}

static __always_inline bool is_this(const struct btcp_route *route, const struct btcp_done *done)
{
	return route->rule.express & BTCP_EXPRESS && route->rule.iss == done->iss &&
	       route->rule.first == done->first;
}

static __always_inline void reap(const struct btcp_key *key, const struct btcp_done *done,
				 __u32 node)
{
	struct btcp_route *route = bpf_map_lookup_elem(&routes, key);

	if (!route || !is_this(route, done))
		return;
	if (node && (!(route->rule.express & BTCP_FRONT) || route->rule.lease != node))
		return; /* it is not the speaker's to end */
	if (!claim(route))
		return;
	if (is_this(route, done))
		bpf_map_delete_elem(&routes, key);
	else /* replaced, and its memory is another's, since we looked */
		unclaim(route);
}

/* A callback of bpf_loop. */
static int reap_next(__u32 at, struct btcp_reaping *reaping)
{
	const struct btcp_done *found = bpf_map_lookup_elem(&reaped, &at);
	struct btcp_key key, reversed;

	if (!found)
		return 1;
	key = found->key;
	reap(&key, found, reaping->node);
	if (reaping->both) {
		reverse(&reversed, &key);
		reap(&reversed, found, 0);
	}
	return 0;
}

SEC("syscall")
int btcp_reap(const struct btcp_reaping *asked)
{
	struct btcp_reaping reaping = *asked;

	bpf_loop(reaping.count, reap_next, &reaping, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
