/* What pods.c and load.c share: time, buffers, HTTP/1.1 framing, samples. Linux only. */
#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NEVER UINT64_MAX
#define MOST_EVENTS 1024

/* Where the text of a token carries when it was sent: "@", 19 digits of CLOCK_MONOTONIC in ns, ",", its number in the
   stream with 6 digits. Nothing else in a chunk has an "@". */
#define STAMP '@'
#define STAMP_DIGITS 19
#define NUMBER_DIGITS 6

_Noreturn static inline void die(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Timers of this process fire when they are due, not up to 50 us later; and where pods and load share a core, each asks
   for slices of 0.1 ms, so that neither keeps a token waiting for the 3 ms that are usual. The kernel may refuse (it can
   since 6.12): then latencies are as good as the scheduler makes them, and `direct` shows how good. */
static inline void be_punctual(void) {
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t slice_ns, deadline, period;
	} attributes = {.size = sizeof attributes, .nice = getpriority(PRIO_PROCESS, 0), .slice_ns = 100000};
	prctl(PR_SET_TIMERSLACK, 1UL);
	syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static inline int wait_until(int epoll, struct epoll_event *events, uint64_t due_ns) {
	struct timespec timeout = {0, 0};
	uint64_t now = now_ns();
	if (due_ns > now) {
		timeout.tv_sec = (time_t)((due_ns - now) / 1000000000u);
		timeout.tv_nsec = (long)((due_ns - now) % 1000000000u);
	}
	int count = epoll_pwait2(epoll, events, MOST_EVENTS, due_ns == NEVER ? NULL : &timeout, NULL);
	if (count < 0 && errno != EINTR) die("epoll_pwait2");
	return count < 0 ? 0 : count;
}

static inline void watch(int epoll, int operation, int fd, uint32_t events, void *who) {
	struct epoll_event event = {.events = events, .data.ptr = who};
	if (epoll_ctl(epoll, operation, fd, &event) < 0) die("epoll_ctl");
}

static inline void no_delay(int fd) {
	int on = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) die("TCP_NODELAY");
}

static inline struct sockaddr_in loopback(uint16_t port) {
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* Digits of a fixed width: several times as fast as printf, which would be a large part of sending a token. */
static inline void write_digits(char *to, int width, uint64_t value) {
	for (int i = width - 1; i >= 0; i--, value /= 10) to[i] = (char)('0' + value % 10);
}

/* False where one is not a digit. */
static inline bool read_digits(const char *from, int width, uint64_t *value) {
	*value = 0;
	for (int i = 0; i < width; i++) {
		if (from[i] < '0' || from[i] > '9') return false;
		*value = *value * 10 + (uint64_t)(from[i] - '0');
	}
	return true;
}

/* --- bytes that wait ------------------------------------------------------------------------------------------- */

struct buffer {
	char *data;
	size_t length, capacity;
};

static inline char *buffer_reserve(struct buffer *buffer, size_t more) {
	if (buffer->length + more > buffer->capacity) {
		size_t capacity = buffer->capacity ? buffer->capacity : 1024;
		while (capacity < buffer->length + more) capacity *= 2;
		buffer->data = realloc(buffer->data, capacity);
		if (!buffer->data) die("memory");
		buffer->capacity = capacity;
	}
	return buffer->data + buffer->length;
}

static inline void buffer_append(struct buffer *buffer, const char *data, size_t length) {
	memcpy(buffer_reserve(buffer, length), data, length);
	buffer->length += length;
}

static inline void buffer_drop(struct buffer *buffer, size_t front) {
	buffer->length -= front;
	if (buffer->length) memmove(buffer->data, buffer->data + front, buffer->length);
}

static inline void buffer_free(struct buffer *buffer) {
	free(buffer->data);
	*buffer = (struct buffer){0};
}

/* --- HTTP/1.1 heads -------------------------------------------------------------------------------------------- */

struct head {
	size_t bytes; /* with the empty line */
	const char *first_line;
	size_t content_length;
	bool has_length, chunked, close;
};

/* Parse what a connection has sent so far; false while the head is not complete. */
static inline bool parse_head(const char *data, size_t length, struct head *head) {
	const char *end = memmem(data, length, "\r\n\r\n", 4);
	if (!end) return false;
	*head = (struct head){.bytes = (size_t)(end - data) + 4, .first_line = data};
	for (const char *line = memchr(data, '\n', head->bytes) + 1; line < end + 2; line = memchr(line, '\n', (size_t)(end + 4 - line)) + 1) {
		if (!strncasecmp(line, "content-length:", 15)) {
			head->has_length = true;
			head->content_length = strtoull(line + 15, NULL, 10);
		} else if (!strncasecmp(line, "transfer-encoding: chunked", 26)) {
			head->chunked = true;
		} else if (!strncasecmp(line, "connection: close", 17)) {
			head->close = true;
		}
	}
	return true;
}

/* --- HTTP/1.1 bodies ------------------------------------------------------------------------------------------- */

struct body {
	enum { COUNTED, SIZE, EXTENSION, CHUNK, CHUNK_CR, CHUNK_LF, TRAILER, ENDED, BROKEN } state;
	size_t left;
	unsigned digits; /* of a chunk's size; in the trailer: of its current line */
};

static inline struct body body_of(const struct head *head) {
	if (head->chunked) return (struct body){.state = SIZE};
	return (struct body){.state = head->content_length ? COUNTED : ENDED, .left = head->content_length};
}

/* One byte of what stands between the data of chunks. */
static inline void body_step(struct body *body, char byte) {
	int digit = byte >= '0' && byte <= '9' ? byte - '0' : (byte | 32) >= 'a' && (byte | 32) <= 'f' ? (byte | 32) - 'a' + 10 : -1;
	switch (body->state) {
	case SIZE:
		if (digit >= 0 && body->digits < 8) {
			body->left = body->left * 16 + (size_t)digit;
			body->digits++;
		} else {
			body->state = body->digits && (byte == '\r' || byte == ';') ? EXTENSION : BROKEN;
		}
		break;
	case EXTENSION:
		if (byte == '\n') body->state = body->left ? CHUNK : TRAILER;
		body->digits = 0;
		break;
	case CHUNK_CR:
		body->state = byte == '\r' ? CHUNK_LF : BROKEN;
		break;
	case CHUNK_LF:
		body->state = byte == '\n' ? SIZE : BROKEN;
		break;
	case TRAILER:
		if (byte == '\n' && body->digits == 0) body->state = ENDED;
		else if (byte == '\n') body->digits = 0;
		else if (byte != '\r') body->digits++;
		break;
	default:
		body->state = BROKEN;
	}
}

/* The next piece of a body's data between *at and end, which *at then stands behind; NULL where there is none, because
   more has to be read, or the body has ended or is broken. */
static inline const char *body_next(struct body *body, const char **at, const char *end, size_t *length) {
	while (*at < end && body->state < ENDED) {
		if (body->state != COUNTED && body->state != CHUNK) {
			body_step(body, *(*at)++);
			continue;
		}
		const char *piece = *at;
		*length = (size_t)(end - piece) < body->left ? (size_t)(end - piece) : body->left;
		*at += *length;
		body->left -= *length;
		if (!body->left) body->state = body->state == COUNTED ? ENDED : CHUNK_CR;
		return piece;
	}
	return NULL;
}

/* --- samples of times ------------------------------------------------------------------------------------------ */

struct samples {
	uint64_t *ns;
	size_t count, capacity;
};

static inline void sample(struct samples *samples, uint64_t ns) {
	if (samples->count == samples->capacity) {
		samples->capacity = samples->capacity ? samples->capacity * 2 : 1 << 16;
		samples->ns = realloc(samples->ns, samples->capacity * sizeof *samples->ns);
		if (!samples->ns) die("memory");
	}
	samples->ns[samples->count++] = ns;
}

static inline int compare_ns(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Print them as a member of a JSON object; with no samples every figure is null. Forgets them. */
static inline void print_samples(const char *name, struct samples *samples) {
	static const struct { const char *name; double share; } figures[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
	qsort(samples->ns, samples->count, sizeof *samples->ns, compare_ns);
	printf(",\"%s\":{\"count\":%zu", name, samples->count);
	for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
		if (!samples->count) {
			printf(",\"%s\":null", figures[i].name);
			continue;
		}
		size_t rank = (size_t)(figures[i].share * (double)samples->count);
		if (rank >= samples->count) rank = samples->count - 1;
		printf(",\"%s\":%.4f", figures[i].name, (double)samples->ns[rank] / 1e6);
	}
	printf("}");
	samples->count = 0;
}

#endif
