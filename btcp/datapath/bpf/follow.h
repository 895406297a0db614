/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * When a connection is over, and who hears of it.
 */
#ifndef BTCP_FOLLOW_H
#define BTCP_FOLLOW_H

#include "checksum.h"
#include "handshake.h"
#include "localtcp.h"
#include "maps.h"
#include "parse.h"

#define FLAG_ENDING 0x07 /* SYN, FIN, RST: each takes up, or ends, sequence space */

/* Octets by which a client's FIN may be ahead of what a local TCP had that is gone. */
#define FIN_REACH (1 << 22)

static __always_inline __u8 flags_of(const struct packet *packet)
{
	return ((const __u8 *)&packet->header)[13];
}

static __always_inline __u32 end_of_data(const struct packet *packet)
{
	const __u8 flags = flags_of(packet);

	return bpf_ntohl(packet->header.seq) + packet->end - packet->data + (flags & 1) +
	       (flags >> 1 & 1);
}

static __always_inline bool at_or_after(__u32 number, __u32 other)
{
	return (__s32)(number - other) >= 0;
}

static __always_inline void report(struct btcp_event *event)
{
	if (bpf_ringbuf_output(&events, event, sizeof(*event), 0))
		count(BTCP_UNREPORTED);
}

static __always_inline void reverse(struct btcp_key *to, const struct btcp_key *from)
{
	__builtin_memcpy(to->source, from->destination, sizeof(to->source));
	__builtin_memcpy(to->destination, from->source, sizeof(to->destination));
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
}

static __always_inline void report_end(enum btcp_report what, const struct btcp_key *key,
				       const struct btcp_account *server,
				       const struct btcp_account *client)
{
	struct btcp_event event = {
		.key = *key,
		.report = what,
		.client_fin = client->fin,
		.server_fin = server->fin,
		.octets = server->octets,
	};

	report(&event);
}

/*
 * Report to the daemon that an express connection is over, or may be: it tells the front-end, and
 * frees both halves.  opposite: the flow entry of the other direction, with this key.
 */
static __always_inline void report_express(enum btcp_why why, const struct btcp_key *reversed,
					const struct packet *packet, const struct btcp_rule *rule,
					const struct btcp_route *opposite, bool from_client)
{
	const struct btcp_rule *to_client = from_client ? &opposite->rule : rule;
	struct btcp_ending ending = {
		.own = { from_client ? *reversed : packet->key, to_client->iss, to_client->first },
		.client.iss = to_client->iss,
		.client.first = to_client->first,
		.front = to_client->lease,
		.why = why,
	};

	reverse(&ending.client.key, &to_client->to);
	if (why != BTCP_DOUBTFUL)
		count(BTCP_ENDED);
	if (bpf_ringbuf_output(&endings, &ending, sizeof(ending), 0))
		count(BTCP_UNREPORTED);
}

/*
 * Set a bit of fin_acked; false if it was set before.  Packets of both directions pass at the same
 * time, on two processors: with an ordinary store each could miss what the other has just written,
 * and both would leave it to the other to tell that the connection is over.  An atomic operation
 * whose result is used is a full barrier; there are none for less than 32 bits.
 */
static __always_inline bool set_acked(struct btcp_account *account, enum btcp_acked bit)
{
	__u32 *word = (__u32 *)&account->progress;
	const __u32 mask = bpf_htonl(bit); /* fin_acked is the last of its four octets */

	_Static_assert(__builtin_offsetof(struct btcp_account, fin_acked) ==
			       __builtin_offsetof(struct btcp_account, progress) + 3,
		       "fin_acked is not the last octet of a word");
	return !(__sync_fetch_and_or(word, mask) & mask);
}

enum belief {
	DISBELIEVED,
	BELIEVED,
	NOBODYS, /* the local TCP has no such connection */
};

/*
 * Whether the local TCP believes this packet, which has a RST or a FIN.
 *
 * key: of the packet as the local TCP gets it; end: the sequence number after the packet.
 */
static __noinline enum belief believed_locally(struct __sk_buff *skb, const struct btcp_key *key,
					       const struct tcphdr *header, __u32 end, bool v6)
{
	enum belief belief = NOBODYS;
	struct bpf_sock *socket;
	struct tcp_sock *tcp;
	__u32 state, expected;

	if (!key || !header)
		return DISBELIEVED;
	socket = find_socket(skb, key, v6);
	if (!socket)
		return NOBODYS;
	state = socket->state;
	if (state == BPF_TCP_TIME_WAIT) {
		belief = expected_by(socket, &expected) && bpf_ntohl(header->seq) == expected ?
				 BELIEVED :
				 DISBELIEVED;
	} else if (state != BPF_TCP_LISTEN && state != BPF_TCP_NEW_SYN_RECV) {
		tcp = bpf_skc_to_tcp_sock(socket);
		if (tcp && header->rst)
			belief = is_reset_of(tcp, state, bpf_ntohl(header->seq));
		else if (tcp)
			belief = is_fin_of(tcp, end, bpf_ntohl(header->ack_seq));
	}
	bpf_sk_release(socket);
	return belief;
}

/*
 * Whether a client's packet ends the connection in the eyes of the local TCP, too; a packet that has
 * neither FIN nor RST is believed.  To be called before the packet is rewritten.
 */
static __always_inline enum belief believe(struct __sk_buff *skb, const struct packet *packet,
					   const struct btcp_rule *rule)
{
	if (!(flags_of(packet) & (FLAG_FIN | FLAG_RST)))
		return BELIEVED;
	if (!is_intact(skb, packet))
		return DISBELIEVED;
	return believed_locally(skb, &rule->to, &packet->header, end_of_data(packet), packet->v6);
}

/*
 * When is a connection over?  See btcp/handoff/teardown.py.  The numbers are those of the local
 * TCP, in both directions.
 */
static __always_inline void follow(const struct packet *packet, struct btcp_route *route,
				   const struct btcp_rule *rule, bool from_client,
				   enum belief belief)
{
	const bool joined = rule->express & BTCP_JOINED;
	const __u32 ack = bpf_ntohl(packet->header.ack_seq);
	const __u8 flags = flags_of(packet);
	struct btcp_account *client, *server, *other, *own = &route->account;
	struct btcp_route *opposite;
	struct btcp_key reversed;

	const bool reset = flags & FLAG_RST && rule->express;

	if (!(flags & FLAG_FIN) && !own->closing && !reset)
		return;
	/* Where front-end and back-end are one node, the client's packets have the key of their way in. */
	reverse(&reversed, joined ? &rule->to : &packet->key);
	opposite = bpf_map_lookup_elem(&routes, &reversed);
	if (!opposite)
		return;
	other = &opposite->account;
	client = from_client ? own : other;
	server = from_client ? other : own;
	if (reset) {
		if (from_client && belief == DISBELIEVED) {
			/*
			 * Segments before it may wait in a batch of the device or for a process that
			 * holds the socket, and make the number right.  The daemon looks later
			 * whether the socket is still there; once for a connection.
			 */
			if (set_acked(server, BTCP_DOUBTED))
				report_express(BTCP_DOUBTFUL, &reversed, packet, rule, opposite,
					       true);
			return;
		}
		if (from_client && belief == NOBODYS &&
		    bpf_ntohl(packet->header.seq) != server->ack)
			return;
		if (!set_acked(server, BTCP_TOLD))
			return;
		set_acked(own, BTCP_ACKED);
		set_acked(other, BTCP_ACKED);
		own->fin_seen = other->fin_seen = 1;
		own->closing = other->closing = BTCP_OVER;
		report_express(from_client ? BTCP_RESET_BY_CLIENT : BTCP_RESET_BY_SERVER, &reversed,
			    packet, rule, opposite, from_client);
		return;
	}
	if (from_client && flags & FLAG_FIN && !own->fin_seen &&
	    (belief == DISBELIEVED ||
	     (belief == NOBODYS && end_of_data(packet) - server->ack > FIN_REACH)))
		return;
	if (flags & FLAG_FIN && !own->fin_seen) {
		own->fin = end_of_data(packet);
		own->fin_seen = 1;
		other->closing = 1;
		if (!own->closing && !rule->express)
			report_end(BTCP_FIN, from_client ? &reversed : &packet->key, server, client);
		own->closing = 1;
	}
	/* Nothing follows a FIN: who acknowledges more than the local TCP's, is not the client. */
	if (!(flags & FLAG_ACK) || !other->fin_seen || own->fin_acked & BTCP_ACKED ||
	    !(from_client ? ack == other->fin : at_or_after(ack, other->fin)))
		return;
	if (!set_acked(own, BTCP_ACKED) || !(other->fin_acked & BTCP_ACKED) ||
	    !set_acked(server, BTCP_TOLD))
		return;
	if (rule->express) {
		own->closing = other->closing = BTCP_OVER;
		report_express(BTCP_BOTH_CLOSED, &reversed, packet, rule, opposite, from_client);
	} else {
		report_end(BTCP_CLOSED, from_client ? &reversed : &packet->key, server, client);
	}
}

#endif
