/* SPDX-License-Identifier: MIT */
/* Handoff records, for tests to call; what would call the kernel, they do not. */
/* preserve_access_index means something to clang and BPF alone. */
#pragma GCC diagnostic ignored "-Wattributes"

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "record.h"

static struct packet packet_of(const struct btcp_key *key, const __be32 *numbers)
{
	struct packet packet = { .key = *key };

	packet.header.seq = numbers[0];
	packet.header.ack_seq = numbers[1];
	return packet;
}

void shim_seal(struct btcp_record *record, const __u64 *secret, const struct btcp_key *key,
	       const __be32 *numbers)
{
	const struct packet packet = packet_of(key, numbers);

	seal(record, secret, key, &packet);
}

int shim_is_true(const struct btcp_record *record, const __u64 *secret, const struct btcp_key *key,
		 const __be32 *numbers)
{
	const struct packet packet = packet_of(key, numbers);

	return is_true(secret, &packet, record);
}
