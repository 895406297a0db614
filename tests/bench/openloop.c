/* SPDX-License-Identifier: MIT */
/*
 * Requests at fixed times, each on a connection of its own, however long the answers take: who
 * waits for one answer before the next request does not see what others would have waited
 * ("coordinated omission").  So a request's time runs from when it was due.
 *
 * Arguments: requests per second, seconds, then ADDRESS PORT PATH for each target, which are
 * asked in turn.  Prints the microseconds until the last octet of each answer, one a line, and
 * then "errors N".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 8192		/* requests under way */
#define TARGETS 16
#define PATIENCE 3000000000LL	/* ns, for the last answers */
#define BATCH 64

struct target {
	struct sockaddr_in address;
	char request[512];
	size_t size;
};

struct request {
	int fd;
	long long due;
	long long last;		/* when its latest octet came */
	const struct target *target;
	size_t received;
	char head[16];		/* as much as says whether it succeeded */
};

static struct target targets[TARGETS];
static struct request requests[MOST];
static struct request *idle[MOST];
static int idle_count, under_way, poller;
static long errors;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void end(struct request *one, int failed)
{
	static const char OK[] = "HTTP/1.1 200 ";

	close(one->fd);
	idle[idle_count++] = one;
	under_way--;
	if (failed || one->received < sizeof OK - 1 || memcmp(one->head, OK, sizeof OK - 1))
		errors++;
	else
		printf("%lld\n", (one->last - one->due) / 1000);
}

static void begin(const struct target *target, long long due)
{
	struct epoll_event event = {.events = EPOLLOUT};
	struct request *one;
	int on = 1;

	if (!idle_count) {
		errors++;
		return;
	}
	one = idle[--idle_count];
	memset(one, 0, sizeof *one);
	one->due = due;
	one->target = target;
	under_way++;
	one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (one->fd < 0) {
		end(one, 1);
		return;
	}
	setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	event.data.ptr = one;
	if ((connect(one->fd, (const struct sockaddr *)&target->address, sizeof target->address) &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event))
		end(one, 1);
}

static void ask(struct request *one)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
	const struct target *target = one->target;

	if (send(one->fd, target->request, target->size, MSG_NOSIGNAL) != (ssize_t)target->size ||
	    epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event))
		end(one, 1);
}

static void hear(struct request *one)
{
	static char octets[1 << 16];
	ssize_t size;

	while ((size = read(one->fd, octets, sizeof octets)) > 0) {
		one->last = now();
		if (one->received < sizeof one->head) {
			size_t room = sizeof one->head - one->received;

			memcpy(one->head + one->received, octets, (size_t)size < room ? (size_t)size : room);
		}
		one->received += size;
	}
	if (!size)
		end(one, 0);
	else if (errno != EAGAIN)
		end(one, 1);
}

static void turn(long long until)
{
	struct epoll_event events[BATCH];
	long long left = until - now();
	struct timespec wait;
	int count, number;

	if (left < 0)
		left = 0;
	wait.tv_sec = left / 1000000000LL;
	wait.tv_nsec = left % 1000000000LL;
	count = epoll_pwait2(poller, events, BATCH, &wait, NULL);
	for (number = 0; number < count; number++) {
		struct request *one = events[number].data.ptr;

		if (events[number].events & EPOLLIN)
			hear(one);
		else if (events[number].events & (EPOLLERR | EPOLLHUP))
			end(one, 1);
		else
			ask(one);
	}
}

static void read_target(struct target *target, char **words)
{
	target->address.sin_family = AF_INET;
	target->address.sin_port = htons(atoi(words[1]));
	if (inet_pton(AF_INET, words[0], &target->address.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", words[0]);
		exit(2);
	}
	target->size = snprintf(target->request, sizeof target->request,
				"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
				words[2], words[0]);
}

int main(int argc, char **argv)
{
	long long interval, due, start, last, patience;
	int count = (argc - 3) / 3, number;
	long sent = 0;

	if (argc < 6 || (argc - 3) % 3 || count > TARGETS || atof(argv[1]) <= 0) {
		fprintf(stderr, "openloop RATE SECONDS (ADDRESS PORT PATH)...\n");
		return 2;
	}
	for (number = 0; number < count; number++)
		read_target(&targets[number], argv + 3 + 3 * number);
	for (number = 0; number < MOST; number++)
		idle[idle_count++] = &requests[number];
	prctl(PR_SET_TIMERSLACK, 1UL);
	poller = epoll_create1(0);
	interval = 1e9 / atof(argv[1]);
	start = due = now() + interval;
	last = start + (long long)(1e9 * atof(argv[2]));
	while (due < last) {
		turn(due);
		if (now() >= due) {
			begin(&targets[sent++ % count], due);
			due += interval;
		}
	}
	patience = now() + PATIENCE;
	while (under_way && now() < patience)
		turn(patience);
	printf("errors %ld\n", errors + under_way);
	return 0;
}
