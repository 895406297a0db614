/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The back-end: whose record it is, and a connection of the packet that has it.
 */
#ifndef BTCP_RECEIVE_H
#define BTCP_RECEIVE_H

#include "adopt.h"
#include "cure.h"
#include "move.h"
#include "record.h"
#include "tables.h"

/* Send a frame back to where it came from. */
static __always_inline int turn_around(struct __sk_buff *skb)
{
	__u8 hardware[12], turned[12];

	if (bpf_skb_load_bytes(skb, 0, hardware, sizeof(hardware)))
		return TC_ACT_SHOT;
	__builtin_memcpy(turned, hardware + 6, 6);
	__builtin_memcpy(turned + 6, hardware, 6);
	if (bpf_skb_store_bytes(skb, 0, turned, sizeof(turned), 0))
		return TC_ACT_SHOT;
	skb->mark = BTCP_MARK;
	return bpf_redirect(skb->ifindex, 0);
}

/* Back to the front-end with what we do not take. */
static __always_inline int give_back(struct __sk_buff *skb, struct packet *packet,
				     struct btcp_record *record, const __u64 *secret, bool joined)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, ONLY);
	struct btcp_rule *rule;

	if (!scratch || record->kind != BTCP_OF_BEGINNING)
		return TC_ACT_SHOT;
	count(BTCP_RETURNED);
	rule = &scratch->route.rule;
	__builtin_memset(rule, 0, sizeof(*rule));
	rule->to = packet->key;
	__builtin_memcpy(rule->to.destination, record->address, sizeof(record->address));
	rule->to.destination_port = record->port;
	record->kind = BTCP_OF_RETURN;
	if (rewrite(skb, packet, rule) == FAILED)
		return TC_ACT_SHOT;
	seal(record, secret, &rule->to, packet);
	if (bpf_skb_store_bytes(skb, packet->end - sizeof(*record), record, sizeof(*record), 0))
		return TC_ACT_SHOT;
	/* It came from the client, which would not send it here again. */
	return joined ? bpf_redirect(skb->ifindex, BPF_F_INGRESS) : turn_around(skb);
}

/*
 * It is no peer's record: a client's data, or somebody's attempt; or that of a peer whose key is
 * another by now, which a connection that is here must not take for data.
 */
static __always_inline int disbelieve(struct __sk_buff *skb, const struct packet *packet)
{
	const struct btcp_route *outbound;
	struct btcp_key reversed;

	count(BTCP_FORGED);
	reverse(&reversed, &packet->key);
	outbound = bpf_map_lookup_elem(&routes, &reversed);
	if (outbound && outbound->rule.express & BTCP_EXPRESS &&
	    outbound->rule.iss == bpf_ntohl(packet->header.ack_seq) - 1)
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &strangers, BTCP_PLAIN);
	return TC_ACT_SHOT;
}

/* One of ours came back: the daemon decides. */
static __always_inline int take_back(struct __sk_buff *skb, struct packet *packet,
				     const struct btcp_plan *current, struct scratch *scratch)
{
	const struct btcp_record *record = &scratch->arrival.record;
	const __u32 node = record->node;
	const struct btcp_destination *from = bpf_map_lookup_elem(&destinations, &node);
	struct btcp_route *route;
	bool ours;

	route = bpf_map_lookup_elem(&routes, &packet->key);
	ours = route && route->rule.express & BTCP_FRONT && is_of(&route->rule, packet);
	if (!from || !(from->key[0] | from->key[1]) || !is_true(from->key, packet, record)) {
		if (!ours)
			return disbelieve(skb, packet);
		count(BTCP_FORGED); /* or of an earlier key: its client sends it again */
		return TC_ACT_SHOT;
	}
	if (!ours || !claim(route))
		return TC_ACT_SHOT;
	bpf_map_delete_elem(&routes, &packet->key);
	if (!end_at(skb, packet, packet->end - sizeof(*record)))
		return TC_ACT_SHOT;
	count(BTCP_REGAINED);
	if (current->records)
		tell(scratch, packet, BTCP_HANDED_BACK, node, 0);
	return decline(skb, packet);
}

static __always_inline bool in_time(__u32 lease)
{
	const __u64 now = bpf_ktime_get_ns();
	const __u64 *until = bpf_map_lookup_elem(&leases, &lease);

	return until && now <= *until;
}

/* What a cookie and the packet itself say of the connection. */
static __always_inline bool read_arrival(struct __sk_buff *skb, const struct packet *packet,
					 struct arrival *arrival)
{
	const __u32 iss = bpf_ntohl(packet->header.ack_seq) - 1;
	__be32 options[3] = {};

	arrival->mss = mss_of(iss >> 28 & 7);
	arrival->scale = iss >> 24 & 15;
	arrival->sack = iss >> 23 & 1;
	arrival->timestamps = 0;
	arrival->tsval = arrival->tsecr = 0;
	if (packet->header.doff == 5)
		return true;
	if (packet->header.doff < 8 ||
	    bpf_skb_load_bytes(skb, packet->tcp + sizeof(packet->header), options, 12) ||
	    options[0] != bpf_htonl(LEAD_TIMESTAMPS))
		return false;
	arrival->timestamps = 1;
	arrival->tsval = options[1];
	arrival->tsecr = options[2];
	return true;
}

static __always_inline bool adopt_arrival(struct __sk_buff *skb, struct bpf_sock *listener,
					  const struct arrival *arrival)
{
	const bool scaling = arrival->scale != NO_SCALE;
	struct bpf_tcp_req_attrs attrs = {
		.rcv_tsval = bpf_ntohl(arrival->tsval),
		/*
		 * The kernel sets its timestamp clock to this, and takes what the packet's own
		 * TSecr is behind for its first sample of the round-trip time.
		 */
		.rcv_tsecr = bpf_ntohl(arrival->tsecr) + arrival->record.rtt,
		.mss = arrival->mss,
		.rcv_wscale = scaling ? arrival->record.scale : 0,
		.snd_wscale = scaling ? arrival->scale : 0,
		.wscale_ok = scaling,
		.sack_ok = arrival->sack,
		.tstamp_ok = arrival->timestamps,
	};
	struct sock *sk = (struct sock *)bpf_skc_to_tcp_sock(listener);

	return sk && !bpf_sk_assign_tcp_reqsk(skb, sk, &attrs, sizeof(attrs));
}

/* Both directions of an adopted connection; false if there is no room. */
static __always_inline bool install(const struct packet *packet, const struct arrival *arrival,
				    bool joined)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, ONLY);
	const __u32 iss = bpf_ntohl(packet->header.ack_seq) - 1;
	struct btcp_route *route;
	struct btcp_key outbound;

	if (!scratch)
		return false;
	route = &scratch->route;
	reverse(&outbound, &packet->key);
	__builtin_memset(route, 0, sizeof(*route));
	route->rule.follows = 1;
	route->rule.express = BTCP_EXPRESS | (joined ? BTCP_JOINED : 0);
	route->rule.iss = iss;
	route->rule.first = bpf_ntohl(packet->header.seq);
	route->rule.lease = arrival->lease;
	route->account.used = bpf_ktime_get_ns();
	if (!joined) {
		route->rule.to = packet->key;
		route->rule.local = 1;
		route->account.ack = iss + 1;
		route->account.end = bpf_ntohl(packet->header.seq);
		if (bpf_map_update_elem(&routes, &packet->key, route, BPF_ANY))
			return false;
	}
	route->rule.express |= arrival->record.holds & BTCP_HOLDS;
	route->rule.to = outbound;
	__builtin_memcpy(route->rule.to.source, arrival->record.address, 16);
	route->rule.to.source_port = arrival->record.port;
	route->rule.local = 0;
	route->rule.rewrites = 1;
	route->account.ack = bpf_ntohl(packet->header.seq);
	route->account.end = iss + 1;
	if (!bpf_map_update_elem(&routes, &outbound, route, BPF_ANY))
		return true;
	if (!joined)
		bpf_map_delete_elem(&routes, &packet->key);
	return false;
}

static __always_inline void uninstall(const struct packet *packet, bool joined)
{
	struct btcp_key outbound;

	reverse(&outbound, &packet->key);
	bpf_map_delete_elem(&routes, &outbound);
	if (!joined)
		bpf_map_delete_elem(&routes, &packet->key);
}

/* OLD: of a connection that is over: it has closed, or its client has begun anew. */
enum standing_here { MINE, FREE, OLD, TAKEN };

/*
 * Whether a connection of another client's packet came by the same front-end address and port. Then
 * both are of one client and one 4-tuple, and the right cookie in this packet proves that the
 * client began anew: it has lost the old connection, whatever this node knows of it.
 */
static __always_inline bool same_front(const struct btcp_route *outbound,
				       const struct btcp_record *record)
{
	const struct btcp_key *to = &outbound->rule.to;

	return same_end(to->source, to->source_port, record->address, record->port);
}

/* Whose are the ends of this packet on this node? */
static __always_inline enum standing_here standing_here(const struct packet *packet,
							const struct btcp_record *record,
							const struct btcp_route *outbound)
{
	if (!outbound)
		return FREE;
	if (!(outbound->rule.express & BTCP_EXPRESS))
		return TAKEN; /* the core has it */
	if (record->kind == BTCP_OF_BEGINNING ?
		    is_of(&outbound->rule, packet) :
		    outbound->rule.iss == bpf_ntohl(packet->header.ack_seq) - 1)
		return MINE;
	if (record->kind == BTCP_OF_BEGINNING && same_front(outbound, record))
		return OLD;
	return outbound->account.closing ? OLD : TAKEN;
}

static __always_inline bool is_connected(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock *socket = local_socket(skb, packet);
	bool connected;

	if (!socket)
		return false;
	connected = socket->state != BPF_TCP_LISTEN;
	bpf_sk_release(socket);
	return connected;
}

/* Of a connection that the local TCP has: without its record it is a packet like others. */
static __always_inline int pass_known(struct __sk_buff *skb, struct packet *packet, bool joined)
{
	if (!end_at(skb, packet, packet->end - sizeof(struct btcp_record)))
		return TC_ACT_SHOT;
	if (joined) /* what there is to do, was done on the way in */
		return PASS;
	bpf_tail_call(skb, &strangers, BTCP_PLAIN);
	return TC_ACT_SHOT;
}

/* Of an old connection of the same ends, if there was one. */
static __always_inline bool claim_both(struct btcp_route *outbound, struct btcp_route *inbound)
{
	if (outbound && !claim(outbound))
		return false;
	if (!inbound || claim(inbound))
		return true;
	unclaim(outbound);
	return false;
}

/* Of a connection whose ends nobody has: only if there is room for it, the local TCP gets it. */
static __always_inline bool take_new(struct __sk_buff *skb, const struct packet *packet,
				     struct bpf_sock *listener, const struct arrival *arrival,
				     bool joined)
{
	if (!install(packet, arrival, joined))
		return false;
	if (adopt_arrival(skb, listener, arrival))
		return true;
	uninstall(packet, joined);
	return false;
}

/* In place of an old one, whose room it is to have, and which stays if the local TCP refuses. */
static __always_inline bool take_over(struct __sk_buff *skb, struct bpf_sock *listener,
				      const struct arrival *arrival, struct btcp_route *outbound,
				      struct btcp_route *inbound)
{
	if (!claim_both(outbound, inbound))
		return false;
	if (adopt_arrival(skb, listener, arrival))
		return true;
	unclaim(outbound);
	unclaim(inbound);
	return false;
}

/* Hand the beginning of a connection to the local TCP. outbound, inbound: of an old one. */
static __always_inline int begin(struct __sk_buff *skb, struct packet *packet,
				 struct arrival *arrival, const __u64 *secret, bool joined,
				 bool replaces, struct btcp_route *outbound,
				 struct btcp_route *inbound)
{
	struct bpf_sock *socket;
	__u32 expected;
	bool adopted;

	if (!is_intact(skb, packet)) { /* damaged on its way between the nodes */
		count(BTCP_DAMAGED);
		return TC_ACT_SHOT;
	}
	socket = local_socket(skb, packet);
	if (!socket)
		return give_back(skb, packet, &arrival->record, secret, joined);
	if (socket->state != BPF_TCP_LISTEN && skb->mark != BTCP_MARK_CURED &&
	    (socket->state == BPF_TCP_TIME_WAIT || replaces) && expected_by(socket, &expected)) {
		bpf_sk_release(socket);
		return cure(skb, packet, arrival, expected);
	}
	if (socket->state != BPF_TCP_LISTEN)
		adopted = false;
	else if (replaces)
		adopted = take_over(skb, socket, arrival, outbound, inbound);
	else
		adopted = take_new(skb, packet, socket, arrival, joined);
	bpf_sk_release(socket);
	if (!adopted)
		return give_back(skb, packet, &arrival->record, secret, joined);
	if (outbound && outbound->account.closing != BTCP_OVER)
		count(BTCP_ENDED); /* it was in TIME-WAIT for us, too */
	if (!end_at(skb, packet, packet->end - sizeof(arrival->record)))
		return TC_ACT_SHOT;
	if (replaces && !install(packet, arrival, joined)) {
		count(BTCP_ODD); /* the old one had not both directions */
		return TC_ACT_SHOT;
	}
	count(BTCP_ADOPTED);
	return PASS;
}

#endif
