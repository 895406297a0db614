/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#ifndef BTCP_MAPS_H
#define BTCP_MAPS_H

#include "abi.h"

/*
 * Two entries for each flow on each node.  Preallocated, so that an entry can be
 * had whenever there is one; the daemon sets the size before it loads.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct btcp_key);
	__type(value, struct btcp_route);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct btcp_end);
	__type(value, __u32);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BTCP_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Until when each front-end may be waiting for us; 0: the daemon is awake. CLOCK_MONOTONIC, ns. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BTCP_LEASES);
	__type(key, __u32);
	__type(value, __u64);
} leases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct btcp_promise);
} promises SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Which express connections are over. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} endings SEC(".maps");

/* Set before the program is loaded, constant thereafter. */
const volatile struct btcp_settings settings;

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
}

#endif
