/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where the headers of a frame are.  What is not a whole, unfragmented TCP header
 * right behind IPv4 or IPv6 is none of ours.
 */
#ifndef BTCP_PARSE_H
#define BTCP_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stdbool.h>

#include "abi.h"

#define IP_FRAGMENT 0x3fff	/* more fragments, or not the first */
#define VLAN_ID 0x0fff
#define JUMBO 0xc2

struct packet {
	struct btcp_key key;
	__u32 ip;	/* offset of the IP header */
	__u32 tcp;	/* offset of the TCP header */
	__u32 data;	/* offset of the payload */
	__u32 end;	/* offset of the end, link-layer padding left out */
	bool v6;
	struct tcphdr header;
};

static __always_inline void map_ipv4(__be32 *to, __be32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

/* Never on a wire; it would be taken for the IPv4 address. */
static __always_inline bool is_mapped(const struct in6_addr *address)
{
	const __be32 *words = address->s6_addr32;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

static __always_inline bool parse_tcp(struct __sk_buff *skb, struct packet *packet)
{
	if (bpf_skb_load_bytes(skb, packet->tcp, &packet->header, sizeof(packet->header)))
		return false;
	packet->key.source_port = packet->header.source;
	packet->key.destination_port = packet->header.dest;
	packet->data = packet->tcp + packet->header.doff * 4;
	return packet->header.doff >= 5 && packet->data <= packet->end && packet->end <= skb->len;
}

/*
 * Where an IP packet ends.  A super-packet beyond 64 kB has no length in its header (BIG
 * TCP), but nor has it padding.
 */
static __always_inline __u32 end_of(const struct __sk_buff *skb, __u32 start, __be16 length)
{
	return !length && skb->gso_size ? skb->len : start + bpf_ntohs(length);
}

/* In IPv6 it has the header of RFC 2675 instead, until the device segments it. */
static __always_inline bool skip_jumbo(struct __sk_buff *skb, struct packet *packet)
{
	__u8 header[4]; /* next, length, option, its length; the jumbo length follows */

	if (!skb->gso_size || bpf_skb_load_bytes(skb, packet->tcp, header, sizeof(header)))
		return false;
	packet->tcp += 8;
	return header[0] == IPPROTO_TCP && !header[1] && header[2] == JUMBO && header[3] == 4;
}

/* Of a VLAN that has a device of its own, or none: such a frame only passes through here. */
static __always_inline bool is_of_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_ID;
}

static __always_inline bool parse(struct __sk_buff *skb, struct packet *packet)
{
	if (is_of_vlan(skb))
		return false;
	packet->ip = ETH_HLEN;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
			return false;
		if (ip.version != 4 || ip.protocol != IPPROTO_TCP || ip.ihl < 5 ||
		    ip.frag_off & bpf_htons(IP_FRAGMENT))
			return false;
		packet->v6 = false;
		packet->tcp = ETH_HLEN + ip.ihl * 4;
		packet->end = end_of(skb, ETH_HLEN, ip.tot_len);
		map_ipv4(packet->key.source, ip.saddr);
		map_ipv4(packet->key.destination, ip.daddr);
		return parse_tcp(skb, packet);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
			return false;
		if (ip.version != 6 || is_mapped(&ip.saddr) || is_mapped(&ip.daddr))
			return false;
		packet->v6 = true;
		packet->tcp = ETH_HLEN + sizeof(ip);
		packet->end = end_of(skb, packet->tcp, ip.payload_len);
		if (ip.nexthdr != IPPROTO_TCP &&
		    (ip.nexthdr != IPPROTO_HOPOPTS || ip.payload_len || !skip_jumbo(skb, packet)))
			return false;
		__builtin_memcpy(packet->key.source, &ip.saddr, 16);
		__builtin_memcpy(packet->key.destination, &ip.daddr, 16);
		return parse_tcp(skb, packet);
	}
	return false;
}

#endif
