/* SPDX-License-Identifier: MIT */
/* The arithmetic of the kernel's part, for tests to call. */
#include "rewrite.h"

int shim_rewrite_options(__be32 *options, __u32 words, const struct btcp_rule *rule, bool has_ack,
			 __u32 *difference)
{
	__u64 sum = 0;
	int edges = rewrite_options(options, words, rule, has_ack, &sum);

	*difference = fold(sum);
	return edges;
}

__u16 shim_shifted_window(__u16 window, __s8 shift)
{
	return shifted_window(window, shift);
}

/* What the change of so many words adds to a checksum's sum. */
__u32 shim_difference(const __be32 *from, const __be32 *to, __u32 words)
{
	__u64 sum = 0;

	for (__u32 word = 0; word < words; word++)
		sum = changed(sum, from[word], to[word]);
	return fold(sum);
}
