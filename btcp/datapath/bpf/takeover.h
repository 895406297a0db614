/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * No program looks into these three.  They are bound to one so that they live as long as it
 * is attached: the next daemon finds them there.
 */
#ifndef BTCP_TAKEOVER_H
#define BTCP_TAKEOVER_H

#include "abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct btcp_key);
	__type(value, struct btcp_memo);
} memos SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct btcp_identity);
} identity SEC(".maps");

/* Whose leases they are: a digest of the front-end's name. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BTCP_LEASES);
	__type(key, __u32);
	__type(value, __u64);
} fronts SEC(".maps");

#endif
