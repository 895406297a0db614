/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the express programs go by: the daemon writes it, see btcp/datapath/ebpf/express.py; and
 * whose a route is.
 */
#ifndef BTCP_TABLES_H
#define BTCP_TABLES_H

#include "abi.h"
#include "maps.h"
#include "parse.h"
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

/* Which connections were handed off, each struct btcp_handed with its head. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} handed SEC(".maps");

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
	__u32 size;		/* of the head */
	struct btcp_handed handed;	/* and right behind it: see tell() */
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

/*
 * Tell the daemon of a connection, with so many octets of scratch->head.  It comes for what there
 * is every now and then: to wake it for each would cost more than the rest.
 */
static __always_inline void tell(struct scratch *scratch, const struct packet *packet, __u8 kind,
				 __u8 node, __u64 head)
{
	struct btcp_handed *told = &scratch->handed;

	asm volatile("" : "+r"(head));
	if (head > MAX_HEAD)
		return;
	told->client.key = packet->key;
	told->client.iss = bpf_ntohl(packet->header.ack_seq) - 1;
	told->client.first = bpf_ntohl(packet->header.seq);
	told->node = node;
	told->kind = kind;
	told->at = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(&handed, told, sizeof(*told) + head, BPF_RB_NO_WAKEUP))
		count(BTCP_UNRECORDED);
}

/* Whether a packet is the beginning of the connection that a route is of. */
static __always_inline bool is_of(const struct btcp_rule *rule, const struct packet *packet)
{
	return rule->iss == bpf_ntohl(packet->header.ack_seq) - 1 &&
	       rule->first == bpf_ntohl(packet->header.seq);
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

#endif
