/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What kernel and daemon share.  btcp/datapath/ebpf/abi.py describes the same
 * layouts; a test compares every size and offset.
 *
 * Addresses and ports are in network order; all else is in the host's.  IPv4
 * addresses are mapped (RFC 4291, 2.5.5.2), so one table serves both families.
 */
#ifndef BTCP_ABI_H
#define BTCP_ABI_H

#include <linux/types.h>

#define BTCP_MARK 0xb7c9u /* of packets that the daemon sends itself */

/*
 * To be raised with every change of what a map that outlives the daemon means: of the
 * structures below, or of btcp/handoff/memo.py.  A daemon takes over only its own.
 */
#define BTCP_ABI 1

struct btcp_end {
	__be32 address[4];
	__be16 port;
	__u16 zero; /* keys are compared octet by octet: no padding may be left open */
};

struct btcp_key {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
};

/* How to rewrite the packets of one direction; see btcp/handoff/splice.py. */
struct btcp_rule {
	struct btcp_key to;
	__u32 seq;
	__u32 ack;
	__u32 tsval;
	__u32 tsecr;
	__s8 shift;	/* of the window: left, or right if negative */
	__u8 punt;	/* packets with any of these TCP flags go up to the daemon */
	__u8 local;	/* to the local TCP, else to the network */
	__u8 rewrites;	/* 0: packets pass as they are */
	__u32 awaits;	/* what the local TCP acknowledges once it has the request */
	__u8 admitting;	/* until it does so, all else goes up; then BTCP_TAKEN is reported */
	__u8 follows;	/* FINs of both directions, and reports them */
	__u8 lease;	/* no response begins when this one is over; 0: none is needed */
	__u8 zero;
};

/* What the kernel has to say of it; see btcp/handoff/route.py. */
struct btcp_account {
	__u64 used;	/* CLOCK_MONOTONIC, ns */
	__u64 packets;
	__u64 octets;
	__u32 ack;
	__u32 end;
	__u32 fin;	/* the sequence number after the FIN that passed */
	__u8 progress;
	__u8 closing;	/* a FIN passed, of this direction or of the other */
	__u8 fin_seen;	/* of this direction */
	__u8 fin_acked;	/* of the other direction, by this one */
};

struct btcp_route {
	struct btcp_rule rule;
	struct btcp_account account;
};

/* How the packets of a route that come up to the daemon are to be chosen from now on. */
struct btcp_amendment {
	struct btcp_key key;
	__u32 punt;
};

/* What a connection is to be like that the kernel makes of its first packet. */
struct btcp_adoption {
	__u32 tsval;	/* the client's latest */
	__u32 tsecr;	/* the largest TSval that was sent to the client */
	__u16 mss;	/* the client's */
	__u8 own_scale;
	__u8 client_scale;
	__u8 scaling;
	__u8 sack;
	__u8 timestamps;
	__u8 taken;	/* by the kernel's program: the connection is made */
};

/* What clients are promised; see btcp/handoff/cookie.py. */
struct btcp_promise {
	__u64 until;	/* CLOCK_MONOTONIC, ns: thereafter nobody may be there to keep it */
	__u64 secret[2];
	__u16 mss_v4;
	__u16 mss_v6;
	__u16 window;
	__u8 scale;
	__u8 scaling;
	__u8 sack;
	__u8 timestamps;
	__u8 zero[6];
};

enum btcp_report {
	BTCP_TAKEN,	/* the local TCP has the request */
	BTCP_FIN,	/* the first FIN passed */
	BTCP_CLOSED,	/* both were acknowledged */
};

/* What happened to a flow of which nothing came up. */
struct btcp_event {
	struct btcp_key key;	/* of the local TCP's packets */
	__u32 report;
	__u32 client_fin;
	__u32 server_fin;
	__u64 octets;		/* of the response */
} __attribute__((packed));

#define BTCP_LEASES 256

/*
 * What the program on the device says of a packet that goes up, by the source address
 * of its frame.  A frame that comes with such an address gets another one.
 */
#define BTCP_SAYS 5		/* octets that all of them begin with */
#define BTCP_FIRST 1		/* the first octets of a connection that it established */
#define BTCP_LATER 2		/* of such a connection; its beginning it does not know */

/* What the daemon wants the next one to know of a flow; see btcp/handoff/memo.py. */
struct btcp_memo {
	__u8 octets[64];
};

/* Who made the maps. */
struct btcp_identity {
	__u64 epoch;
	__u32 abi;	/* BTCP_ABI */
	__u32 starts;	/* daemons that have had them before */
	__u8 secret[32];	/* of initial sequence numbers and timestamps */
};

struct btcp_settings {
	__u32 tap;	/* index of the device that leads up to the daemon */
};

enum btcp_counter {
	BTCP_FORWARDED,	/* rewritten and sent on */
	BTCP_ADMITTED,	/* rewritten or not, passed up to the local TCP */
	BTCP_SENT,	/* of the local TCP, rewritten and sent */
	BTCP_PUNTED,	/* passed up to the daemon */
	BTCP_GUARDED,	/* of the local TCP, from a listener's address: dropped */
	BTCP_ODD,	/* of a route, but not rewritable: dropped */
	BTCP_ANSWERED,	/* SYNs, answered with a cookie */
	BTCP_ESTABLISHED,	/* ACKs of such an answer that say nothing else: dropped */
	BTCP_UNREPORTED,	/* no room for an event */
	BTCP_COUNTERS,
};

#endif
