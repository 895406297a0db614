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
#include "adopt.h"
#include "maps.h"
#include "move.h"
#include "parse.h"
#include "record.h"
#include "request.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, BTCP_PROGRAMS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} strangers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct btcp_plan);
} plan SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u8[BTCP_HOST]);
	__type(value, __u32);
} scopes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct btcp_prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct btcp_turns);
} turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BTCP_NODES);
	__type(key, __u32);
	__type(value, struct btcp_destination);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BTCP_NODES);
	__type(key, __u64);
	__type(value, struct btcp_front);
} express_fronts SEC(".maps");

/*
 * Connections that the daemon decides, by the front-end's initial sequence number: their
 * request sent again is not to be handed off here.  The daemon takes some thousands a
 * second, and its handoffs take seconds at most.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct btcp_key);
	__type(value, __u32);
} declined SEC(".maps");

struct arrival {
	struct btcp_record record;
	__u32 lease;
	__u32 mss;
	__u32 scale;		/* the client's; NO_SCALE */
	__u32 sack;
	__be32 tsval;
	__be32 tsecr;
	__u32 timestamps;
};

/* What is read or written octet by octet is here: of the stack the verifier knows too much. */
struct scratch {
	struct reading reading;
	__u32 size;
	__u8 head[MAX_HEAD];
	struct arrival arrival;
	__u8 host[BTCP_HOST];
	struct btcp_prefix prefix;
	struct btcp_route route;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BTCP_REAPED);
	__type(key, __u32);
	__type(value, struct btcp_done);
} reaped SEC(".maps");

#define ONLY (&(const __u32){ 0 }) /* the key of an array of one */

/* -- the front-end ------------------------------------------------------------------------- */

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
	bpf_loop(MAX_HEAD, read_next, &scratch, 0);
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
	return found ? bpf_map_lookup_elem(&turns, found) : NULL;
}

/* Whether a packet is the beginning of the connection that a route is of. */
static __always_inline bool is_of(const struct btcp_rule *rule, const struct packet *packet)
{
	return rule->iss == bpf_ntohl(packet->header.ack_seq) - 1 &&
	       rule->first == bpf_ntohl(packet->header.seq);
}

/* To the daemon, and what follows of this connection as well. */
static __always_inline int decline(struct __sk_buff *skb, const struct packet *packet)
{
	const __u32 iss = bpf_ntohl(packet->header.ack_seq) - 1;

	count(BTCP_DECLINED);
	bpf_map_update_elem(&declined, &packet->key, &iss, BPF_ANY);
	return up(skb, BTCP_FIRST);
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
	bool unknown;
	__u32 node;

	if (!scratch || !current)
		return TC_ACT_SHOT;
	rule = &scratch->route.rule;
	*rule = route->rule;
	node = rule->lease;
	to = bpf_map_lookup_elem(&destinations, &node);
	if (!to)
		return TC_ACT_SHOT;
	unknown = bpf_ntohl(packet->header.ack_seq) == rule->iss + 1;
	enter(&route->account, packet);
	if (rule->follows)
		follow(packet, route, rule, true);
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

/*
 * Whoever deletes an express route, or makes it another connection's, has to have claimed it:
 * no two do.
 */
static __always_inline bool claim(struct btcp_route *route)
{
	return !__sync_val_compare_and_swap(&route->rule.claimed, 0, 1);
}

static __always_inline void unclaim(struct btcp_route *route)
{
	if (route)
		route->rule.claimed = 0;
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
	if (!origin || !set || !set->count)
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
	return bpf_map_lookup_elem(&routes, &packet->key);
}

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
	/* Else the old connection has said its last. */
	if (route && !(route->rule.express & BTCP_FRONT && route->account.closing))
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

/* -- the back-end -------------------------------------------------------------------------- */

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
				     const struct btcp_record *record)
{
	const __u32 node = record->node;
	const struct btcp_destination *from = bpf_map_lookup_elem(&destinations, &node);
	struct btcp_route *route;

	if (!from || !(from->key[0] | from->key[1]) || !is_true(from->key, packet, record))
		return disbelieve(skb, packet);
	route = bpf_map_lookup_elem(&routes, &packet->key);
	if (!route || !(route->rule.express & BTCP_FRONT) || !is_of(&route->rule, packet))
		return TC_ACT_SHOT;
	bpf_map_delete_elem(&routes, &packet->key);
	if (!end_at(skb, packet, packet->end - sizeof(*record)))
		return TC_ACT_SHOT;
	count(BTCP_REGAINED);
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
		.rcv_tsecr = bpf_ntohl(arrival->tsecr),
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
	return !bpf_map_update_elem(&routes, &outbound, route, BPF_ANY);
}

/* Replace some words of the TCP header. */
static __always_inline long replace(struct __sk_buff *skb, const struct packet *packet, __u32 at,
				    const __be32 *old, const __be32 *new, __u32 words)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < words; i++)
		sum = changed(sum, old[i], new[i]);
	return bpf_skb_store_bytes(skb, packet->tcp + at, new, 4 * words, 0) |
	       bpf_l4_csum_replace(skb, packet->tcp + 16, 0, fold(sum), 0);
}

#define SEQ_AT 4
#define FLAGS_AT 12
#define OPTIONS_AT 20
#define FLAGS_MASK 0x003f0000
#define FOUR_NOPS 0x01010101

/*
 * An old connection of the same ends is in TIME-WAIT: a reset with the number that it expects
 * ends it, and the packet comes again behind the reset.  Without timestamps, for those that the
 * client keeps for another node's address prove nothing here.
 */
static __always_inline int cure(struct __sk_buff *skb, const struct packet *packet,
				const struct arrival *arrival, __u32 expected)
{
	const __be32 stamps[3] = { bpf_htonl(LEAD_TIMESTAMPS), arrival->tsval, arrival->tsecr };
	const __be32 nops[3] = { FOUR_NOPS, FOUR_NOPS, FOUR_NOPS };
	const __be32 seq = packet->header.seq, right = bpf_htonl(expected);
	__be32 flags, reset;
	long failed = bpf_skb_load_bytes(skb, packet->tcp + FLAGS_AT, &flags, sizeof(flags));

	reset = (flags & ~bpf_htonl(FLAGS_MASK)) | bpf_htonl((__u32)FLAG_RST << 16);
	failed |= replace(skb, packet, SEQ_AT, &seq, &right, 1);
	failed |= replace(skb, packet, FLAGS_AT, &flags, &reset, 1);
	if (arrival->timestamps)
		failed |= replace(skb, packet, OPTIONS_AT, stamps, nops, 3);
	if (failed)
		return TC_ACT_SHOT;
	count(BTCP_CURED);
	skb->mark = BTCP_MARK_CURE;
	bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
	failed |= replace(skb, packet, SEQ_AT, &right, &seq, 1);
	failed |= replace(skb, packet, FLAGS_AT, &reset, &flags, 1);
	if (arrival->timestamps)
		failed |= replace(skb, packet, OPTIONS_AT, nops, stamps, 3);
	if (failed)
		return TC_ACT_SHOT;
	skb->mark = BTCP_MARK_CURED;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

enum standing_here { MINE, FREE, TAKEN };

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
	return outbound->account.closing ? FREE : TAKEN;
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

/* Hand the beginning of a connection to the local TCP. outbound, inbound: of an old one. */
static __always_inline int begin(struct __sk_buff *skb, struct packet *packet,
				 struct arrival *arrival, const __u64 *secret, bool joined,
				 struct btcp_route *outbound, struct btcp_route *inbound)
{
	struct bpf_sock *socket = local_socket(skb, packet);
	__u32 expected;
	bool adopted;

	if (!socket)
		return give_back(skb, packet, &arrival->record, secret, joined);
	if (socket->state == BPF_TCP_TIME_WAIT && skb->mark != BTCP_MARK_CURED &&
	    expected_by(socket, &expected)) {
		bpf_sk_release(socket);
		return cure(skb, packet, arrival, expected);
	}
	adopted = socket->state == BPF_TCP_LISTEN && claim_both(outbound, inbound);
	if (adopted && !adopt_arrival(skb, socket, arrival)) {
		unclaim(outbound);
		unclaim(inbound);
		adopted = false;
	}
	bpf_sk_release(socket);
	if (!adopted)
		return give_back(skb, packet, &arrival->record, secret, joined);
	if (outbound && outbound->account.closing != BTCP_OVER)
		count(BTCP_ENDED); /* it was in TIME-WAIT for us, too */
	if (!end_at(skb, packet, packet->end - sizeof(arrival->record)) ||
	    !install(packet, arrival, joined))
		return TC_ACT_SHOT;
	count(BTCP_ADOPTED);
	return PASS;
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
		return take_back(skb, &packet, record);
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
		count(BTCP_ENDED);
		bpf_map_delete_elem(&routes, &reversed);
		if (!joined)
			bpf_map_delete_elem(&routes, &packet.key);
		return give_back(skb, &packet, record, front->key, joined);
	}
	if (!current->adopts || !in_time(front->lease) || !in_time(0) ||
	    !read_arrival(skb, &packet, arrival))
		return give_back(skb, &packet, record, front->key, joined);
	return begin(skb, &packet, arrival, front->key, joined, outbound, inbound);
}

/* -- the end ------------------------------------------------------------------------------- */

static __always_inline bool is_this(const struct btcp_route *route, const struct btcp_done *done)
{
	return route->rule.express & BTCP_EXPRESS && route->rule.iss == done->iss &&
	       route->rule.first == done->first;
}

static __always_inline void reap(const struct btcp_key *key, const struct btcp_done *done)
{
	struct btcp_route *route = bpf_map_lookup_elem(&routes, key);

	if (!route || !is_this(route, done) || !claim(route))
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
	reap(&key, found);
	if (reaping->both) {
		reverse(&reversed, &key);
		reap(&reversed, found);
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
