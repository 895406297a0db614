/* SPDX-License-Identifier: MIT */
/* The reader of requests, for tests to call. */
#include "request.h"

struct shim_reading {
	struct reading reading;
	__u8 host[BTCP_HOST];
};

/* Whether these octets begin with a head that is read. */
int shim_read(const __u8 *octets, __u32 size, struct shim_reading *found)
{
	struct reading *reading = &found->reading;

	for (__u32 at = 0; at < size && at < MAX_HEAD && !is_over(reading); at++)
		read_octet(reading, at, octets[at], found->host);
	return reading->state == COMPLETE;
}
