/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the kernel has for connections that are made without a handshake.
 */
#ifndef BTCP_ADOPT_H
#define BTCP_ADOPT_H

#include "localtcp.h"
#include "parse.h"

/* As the kernel has it in its BTF. */
struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

/* Only the name matters; but it has to be a whole type to match the kernel's. */
struct sock {
};

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct bpf_tcp_req_attrs *attrs, int attrs__sz) __ksym;

#endif
