/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The plainest kind of HTTP request head, read octet by octet: whatever is the least bit
 * unusual is left to the daemon, see btcp/content/http.py.  So this may know less than the
 * daemon does, but what it knows it must know the same.
 */
#ifndef BTCP_REQUEST_H
#define BTCP_REQUEST_H

#include <stdbool.h>

#include "abi.h"

#define MAX_HEAD 2048	/* octets that are looked at; a power of two */
#define MAX_METHOD 6	/* of letters: DELETE; neither CONNECT nor OPTIONS, which may have no path */
#define MAX_PORT 5

enum reading_state {
	IN_METHOD,
	AT_TARGET,
	IN_PATH,
	IN_QUERY,
	IN_VERSION,
	AT_LINE,
	IN_NAME,
	IN_VALUE,
	AT_HOST,
	IN_HOST,
	IN_LITERAL,
	AFTER_LITERAL,
	IN_PORT,
	AT_LINE_END,
	AT_HEAD_END,
	COMPLETE,
	ODD,
};

struct reading {
	__u32 state;
	__u32 count;	/* of octets in this part */
	__u32 before;	/* the octet before this one */
	__u32 path;	/* where the path begins */
	__u32 path_end;
	__u32 is_host;	/* the name so far is that of the Host field */
	__u32 host_size;
	__u32 literal;	/* it is an address in brackets */
};

static __always_inline __u32 lower(__u32 c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static __always_inline bool is_digit(__u32 c)
{
	return c >= '0' && c <= '9';
}

static __always_inline bool is_of_name(__u32 c)
{
	const __u32 small = lower(c);

	return (small >= 'a' && small <= 'z') || is_digit(c) || c == '-' || c == '_';
}

/* RFC 9110, 5.6.2. */
static __always_inline bool is_token(__u32 c)
{
	const __u64 low = 0x03ff6cfa00000000ULL, high = 0x57ffffffc7fffffeULL;

	return c < 64 ? low >> c & 1 : c < 128 ? high >> (c - 64) & 1 : 0;
}

static __always_inline void enter_state(struct reading *reading, __u32 state)
{
	reading->state = state;
	reading->count = 0;
}

/* In a path nothing may be that resolves to something else; see btcp/content/path.py. */
static __always_inline void read_path(struct reading *reading, __u32 at, __u32 c)
{
	if (c == ' ' || c == '?') {
		reading->path_end = at;
		enter_state(reading, c == ' ' ? IN_VERSION : IN_QUERY);
	} else if (c <= ' ' || c > '~' || c == '%' || c == '#' ||
		   (reading->before == '/' && (c == '/' || c == '.'))) {
		reading->state = ODD;
	}
}

static __always_inline void read_name(struct reading *reading, __u32 c)
{
	const __u32 name = 'h' | 'o' << 8 | 's' << 16 | (__u32)'t' << 24;

	if (c == ':') {
		reading->is_host &= reading->count == 4;
		enter_state(reading, reading->is_host ? AT_HOST : IN_VALUE);
		if (reading->is_host && reading->host_size)
			reading->state = ODD; /* a second one */
		return;
	}
	if (!is_token(c)) {
		reading->state = ODD;
		return;
	}
	if (reading->count >= 4 || lower(c) != (name >> (8 * (reading->count & 3)) & 0xff))
		reading->is_host = 0;
	reading->count++;
}

/* host: room for BTCP_HOST octets, all zero. */
static __always_inline void read_host(struct reading *reading, __u32 c, __u8 *host)
{
	if (c == '.' ? reading->before != '.' && reading->host_size : is_of_name(c)) {
		if (reading->host_size >= BTCP_HOST - 1) {
			reading->state = ODD;
			return;
		}
		host[reading->host_size & (BTCP_HOST - 1)] = lower(c);
		reading->host_size++;
		reading->state = IN_HOST;
	} else if (!reading->host_size || reading->before == '.') {
		reading->state = ODD; /* nothing, or a name that is not in its one spelling */
	} else if (c == ':') {
		enter_state(reading, IN_PORT);
	} else {
		enter_state(reading, c == '\r' ? AT_LINE_END : ODD);
	}
}

/* "[", then what an address is made of, then "]". */
static __always_inline void read_literal(struct reading *reading, __u32 c)
{
	const __u32 small = lower(c);

	if (c == ']')
		reading->state = reading->host_size ? AFTER_LITERAL : ODD;
	else if (is_digit(c) || (small >= 'a' && small <= 'f') || c == ':' || c == '.')
		reading->host_size++;
	else
		reading->state = ODD;
}

static __always_inline void read_port(struct reading *reading, __u32 c)
{
	if (c == '\r')
		enter_state(reading, AT_LINE_END);
	else if (!is_digit(c) || ++reading->count >= MAX_PORT) /* five may be too much */
		reading->state = ODD;
}

static __always_inline __u32 of_version(__u32 at)
{
	const __u64 first = 'H' | 'T' << 8 | 'T' << 16 | (__u64)'P' << 24 | (__u64)'/' << 32 |
			    (__u64)'1' << 40 | (__u64)'.' << 48 | (__u64)'1' << 56;

	return at < 8 ? first >> (8 * (at & 7)) & 0xff : '\r';
}

/*
 * Read one more octet, c, which is the one with this index.
 */
static __always_inline void read_octet(struct reading *reading, __u32 at, __u32 c, __u8 *host)
{
	switch (reading->state) {
	case IN_METHOD:
		if (c == ' ' && reading->count)
			enter_state(reading, AT_TARGET);
		else if (c < 'A' || c > 'Z' || ++reading->count > MAX_METHOD)
			reading->state = ODD;
		break;
	case AT_TARGET:
		reading->path = at;
		enter_state(reading, c == '/' ? IN_PATH : ODD);
		break;
	case IN_PATH:
		read_path(reading, at, c);
		break;
	case IN_QUERY:
		if (c == ' ')
			enter_state(reading, IN_VERSION);
		else if (c < ' ' || c > '~' || c == '#')
			reading->state = ODD;
		break;
	case IN_VERSION:
		if (c != of_version(reading->count))
			reading->state = ODD;
		else if (++reading->count == 9)
			enter_state(reading, AT_LINE_END);
		break;
	case AT_LINE_END:
	case AT_HEAD_END:
		if (c != '\n')
			reading->state = ODD;
		else if (reading->state == AT_LINE_END)
			enter_state(reading, AT_LINE);
		else /* there must be a host, once */
			reading->state = reading->host_size ? COMPLETE : ODD;
		break;
	case AT_LINE:
		if (c == '\r') {
			enter_state(reading, AT_HEAD_END);
			break;
		}
		reading->is_host = 1;
		enter_state(reading, c == ':' ? ODD : IN_NAME);
		if (c != ':')
			read_name(reading, c);
		break;
	case IN_NAME:
		read_name(reading, c);
		break;
	case IN_VALUE:
		if (c == '\r')
			enter_state(reading, AT_LINE_END);
		else if ((c < ' ' && c != '\t') || c == 0x7f)
			reading->state = ODD;
		break;
	case AT_HOST:
		if (c == '[') {
			reading->literal = 1;
			reading->state = IN_LITERAL;
		} else if (c != ' ' && c != '\t') {
			read_host(reading, c, host);
		}
		break;
	case IN_LITERAL:
		read_literal(reading, c);
		break;
	case AFTER_LITERAL:
		enter_state(reading, c == ':' ? IN_PORT : c == '\r' ? AT_LINE_END : ODD);
		break;
	case IN_HOST:
		read_host(reading, c, host);
		break;
	case IN_PORT:
		read_port(reading, c);
		break;
	default:
		break;
	}
	reading->before = c;
}

static __always_inline bool is_over(const struct reading *reading)
{
	return reading->state >= COMPLETE;
}

#endif
