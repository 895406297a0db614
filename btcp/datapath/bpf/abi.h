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
#define BTCP_MARK_CURE 0xb7cau /* of a reset that takes an old connection out of TIME-WAIT */
#define BTCP_MARK_CURED 0xb7cbu /* of the packet that follows it */

/*
 * To be raised with every change of what a map that outlives the daemon means: of the
 * structures below, or of btcp/handoff/memo.py.  A daemon takes over only its own.
 */
#define BTCP_ABI 2

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
	union {
		__u32 awaits;	/* what the local TCP acknowledges once it has the request */
		__u32 claimed;	/* BTCP_EXPRESS: somebody is about to delete or to replace it */
	};
	__u8 admitting;	/* until it does so, all else goes up; then BTCP_TAKEN is reported */
	__u8 follows;	/* FINs of both directions, and reports them */
	/* No response begins when this one is over; 0: none is needed. BTCP_FRONT: whose it is. */
	__u8 lease;
	__u8 express;	/* BTCP_EXPRESS and the like; see docs/decisions/express.md */
	/*
	 * Of an express connection: our initial sequence number, and that of the client's first
	 * octet.  The first alone is once in 32,768 times that of the connection before, which
	 * came from the same port.
	 */
	__u32 iss;
	__u32 first;
};

/*
 * Octets by which a client's packet may be off the account of its direction and still move it: the
 * largest window in use, for a client that lost all of one is that far ahead.
 */
#define BTCP_REACH (1u << 24)

#define BTCP_EXPRESS 1	/* made by the kernel's programs; the core does not know it */
#define BTCP_FRONT 2	/* the client's packets at the front-end */
#define BTCP_JOINED 4	/* front-end and back-end are this very node */
#define BTCP_OVER 2	/* of an express connection, and counted so */
#define BTCP_HOLDS 8	/* until the response begins, the request is not acknowledged */

/* What the kernel has to say of it; see btcp/handoff/route.py. */
struct btcp_account {
	__u64 used;	/* CLOCK_MONOTONIC, ns */
	__u64 packets;
	__u64 octets;
	__u32 ack;
	__u32 end;
	__u32 fin;	/* the sequence number after the FIN that passed */
	__u8 progress;
	__u8 closing;	/* a FIN passed, of this direction or of the other; or BTCP_OVER */
	__u8 fin_seen;	/* of this direction */
	__u8 fin_acked;	/* of the other direction, by this one: enum btcp_acked */
};

enum btcp_acked {
	BTCP_ACKED = 1,
	BTCP_TOLD = 2,	/* of the packets to the client: somebody has told that it is over */
	BTCP_DOUBTED = 4,	/* likewise: the daemon was told of a doubtful reset */
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

enum btcp_why {
	BTCP_BOTH_CLOSED,
	BTCP_RESET_BY_CLIENT,
	BTCP_RESET_BY_SERVER,
	BTCP_DOUBTFUL,	/* not over: the client sent a reset that the local TCP may believe later */
};

/* An express connection that is over, by the key of a route of it. */
struct btcp_done {
	struct btcp_key key;
	__u32 iss;
	__u32 first;
};

struct btcp_ending {
	struct btcp_done own;		/* of the local TCP's packets */
	struct btcp_done client;	/* of the client's packets at the front-end */
	__u16 front;			/* number of its lease */
	__u16 why;
};

/* Of what is in the table of those that are over. */
struct btcp_reaping {
	__u32 count;
	__u32 both;	/* routes of both directions */
	__u32 node;	/* only those that were handed to this one; 0: whosever */
};

#define BTCP_REAPED 1024 /* at once */

#define BTCP_LEASES 256

/* -- express: which node a request goes to, in the kernel; see docs/decisions/express.md -- */

#define BTCP_PATH 252	/* octets of a path that are looked at: with the scope, an LPM trie's most */
#define BTCP_HOST 64
#define BTCP_TURNS 64
#define BTCP_NODES 256

/* Where a path prefix counts: a host, a host and all below it, or everywhere else. */
struct btcp_prefix {
	__u32 bits;		/* of what follows; so wants a BPF_MAP_TYPE_LPM_TRIE */
	__u32 scope;
	__u8 path[BTCP_PATH];
};

/* A replica set: whose turn it is. */
struct btcp_turns {
	__u32 count;		/* 0: the daemon decides */
	__u32 cursor;
	__u8 node[BTCP_TURNS];	/* numbers of destinations */
};

#define BTCP_BY_V4 1
#define BTCP_BY_V6 2

/* A back-end, for its front-end. */
struct btcp_destination {
	__u64 key[2];		/* of the records that it gets from us */
	__be32 v4[4];		/* mapped */
	__be32 v6[4];
	__u8 reach;		/* BTCP_BY_V4 and BTCP_BY_V6: it can be handed to now */
	__u8 own;		/* it is this very node */
	__u8 zero[6];
};

/* A front-end, for its back-end. */
struct btcp_front {
	__u64 key[2];
	__u32 lease;
	__u32 zero;
};

struct btcp_plan {
	__u64 own;		/* digest of this node's name, as back-ends know it */
	__u32 scope;		/* for hosts that are not in the table; 0: the daemon decides */
	__u32 hosts;		/* there are some in the table */
	__u32 adopts;		/* this node takes connections that others hand to it */
	__u32 decides;		/* this node hands off */
	__u32 head;		/* octets that a request head may have */
	__u32 records;		/* the daemon wants to hear of each connection that is handed off */
};

enum btcp_handed_kind {
	BTCP_HANDED_OFF,
	BTCP_HANDED_BACK,	/* by the back-end: the daemon hands it off */
};

/*
 * A connection that was handed off, for the daemon's records; behind it, of one handed off, the
 * head of its request, to the empty line.
 */
struct btcp_handed {
	struct btcp_done client;	/* of the client's packets */
	__u16 set;		/* whose turn it was: the replica set's number */
	__u8 node;		/* the back-end's number */
	__u8 kind;
	__u64 at;		/* CLOCK_MONOTONIC, ns */
};

/*
 * A client that has completed the handshake and has not asked for anything yet.  Without a
 * handshake of its own, the back-end's TCP has no other sample of the round-trip time to begin
 * with.
 */
struct btcp_measured {
	__u32 iss;	/* the front-end's initial sequence number */
	__u32 first;	/* the sequence number of the client's first octet */
	__u32 rtt;	/* ms; BTCP_UNMEASURED */
};

enum btcp_record_kind {
	BTCP_OF_BEGINNING = 1,	/* the packet has the first octets of the request */
	BTCP_OF_REST,		/* it has not */
	BTCP_OF_RETURN,		/* the beginning, back from a node that does not take it */
};

/*
 * The handoff, as the last octets of the packet's data on its way to the back-end, which takes
 * them off again.  The 16-bit words add up to nothing, so the checksum changes by the length
 * alone.
 */
struct btcp_record {
	__be32 magic;
	__u8 kind;
	__u8 node;		/* the back-end's number at the front-end */
	__be16 port;		/* that the client connected to */
	__be32 address[4];	/* likewise */
	__u64 front;		/* digest of the front-end's name */
	__u64 tag;		/* SipHash of it all, and of the packet's numbers */
	__u8 scale;		/* of the window that was promised */
	__u8 holds;		/* BTCP_HOLDS, or 0 */
	__u16 rtt;		/* ms, of the client's handshake; 0 if it is less or not known */
	__u16 zero;
	__u16 balance;
} __attribute__((packed, aligned(4)));

#define BTCP_MAGIC 0x42544350u

/*
 * What the program on the device says of a packet that goes up, by the source address
 * of its frame.  A frame that comes with such an address gets another one.
 */
#define BTCP_SAYS 5		/* octets that all of them begin with */
/*
 * The first octets of a connection that it established; the last two octets of the frame's
 * destination are the round-trip time in ms, in network order, BTCP_UNMEASURED if it is not known.
 */
#define BTCP_FIRST 1
#define BTCP_UNMEASURED 0xffff
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

/* Programs that others end in. */
enum btcp_program {
	BTCP_MEET,
	BTCP_PLAIN,
	BTCP_DECIDE,	/* these two are there if this node hands off, and adopts, in the kernel */
	BTCP_RECEIVE,
	BTCP_PROGRAMS,
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
	BTCP_EXPRESSED,		/* connections handed off */
	BTCP_DECLINED,		/* connections whose request the daemon has to look at */
	BTCP_ADOPTED,		/* connections that this node has from another, or from itself */
	BTCP_RETURNED,		/* packets sent back to their front-end */
	BTCP_REGAINED,		/* connections that came back to their front-end */
	BTCP_FORGED,		/* records that are no peer's: dropped */
	BTCP_OVERTOOK,		/* packets of connections that are not here yet: dropped */
	BTCP_CURED,		/* old connections taken out of TIME-WAIT */
	BTCP_LATE,		/* responses that must not begin now: dropped */
	BTCP_HELD,		/* acknowledgments of requests that may still go elsewhere: dropped */
	BTCP_ENDED,		/* express connections that are over */
	BTCP_UNRECORDED,	/* no room to tell the daemon of a connection handed off */
	BTCP_PROBED,		/* keep-alive probes of clients that wait, answered */
	BTCP_DAMAGED,		/* packets that would begin a connection, with a wrong checksum: dropped */
	BTCP_COUNTERS,
};

#endif
