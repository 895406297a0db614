/* SPDX-License-Identifier: MIT */
/* The arithmetic of the kernel's handshake, for tests to call. */
#define __noinline __attribute__((noinline)) /* as in bpf_helpers.h */

#include "cookie.h"

__u64 shim_siphash(const __u64 *secret, const __u64 *words, __u32 count)
{
	return siphash(secret, words, count);
}

__u32 shim_cookie(const __u64 *secret, const struct btcp_key *key, __u32 slot, __u32 agreed,
		  __u32 irs)
{
	return cookie(secret, key, slot, agreed, irs);
}

int shim_standing(const __u64 *secret, const struct btcp_key *key, __u32 slot, __u32 acknowledged,
		  __u32 irs)
{
	return standing(secret, key, slot, acknowledged, irs);
}

__u32 shim_timestamp(const __u64 *secret, const struct btcp_key *key, __u64 now)
{
	return timestamp(secret, key, now);
}

__u32 shim_mss_number(__u32 mss)
{
	return mss_number(mss);
}
