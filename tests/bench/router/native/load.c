/* The load source: keeps CONNECTIONS requests or streams running, and notes how long they and their tokens take.

   load --request FILE --connections N [--tokens N] [--ramp S] [--warmup S] --seconds S PORT...

   FILE holds one request, head and body, which is sent again and again over kept-alive connections to 127.0.0.1, spread
   over the ports. With --tokens answers are streams of pods.c, each with that many tokens, numbered and stamped; without,
   whole bodies. Connections begin one after another during the ramp; measured is the window of --seconds that begins
   --warmup after it. Lines of JSON on standard output mark the window: {"event": "begin"}, {"event": "end"}, {"event":
   "result", ...}. The load goes on until standard input ends, so that one can look at what runs under it.

   Everything is checked: status, framing, that each token comes once and in order, the end of each stream. What is wrong
   is counted by kind, and its connection is made anew. Nothing here is retried quietly. */
#include "wire.h"
#include <fcntl.h>
#include <getopt.h>

#define MOST_PORTS 64
#define MOST_HEAD 16384
#define RECONNECT_NS 10000000u

enum error { CONNECT, STATUS, CLOSED, FRAMING, TOKENS, UNFINISHED, ERRORS };
static const char *const error_names[ERRORS] = {"connect", "status", "closed", "framing", "tokens", "unfinished"};

struct connection {
	int fd; /* -1 while it is to be made */
	uint16_t port;
	enum { CONNECTING, WAITING, RECEIVING } state;
	size_t written;
	bool writing, done, head_close;
	uint64_t begin_ns, sent_ns;
	struct body body;
	size_t body_bytes;
	uint32_t tokens;
	struct buffer part; /* of a head, then of a line */
};

static struct {
	const char *request;
	size_t request_bytes;
	size_t connections;
	uint32_t tokens;
	double ramp_seconds, warmup_seconds, seconds;
	uint16_t ports[MOST_PORTS];
	size_t port_count;
} plan;

static int epoll;
static struct connection *connections;
static bool measuring;
static uint64_t errors[ERRORS], responses, chunks, tokens, bytes;
static struct samples latency, ttft, token_latency;

static uint64_t next_begin_ns = NEVER; /* of connections that are to be made */

static void disconnect(struct connection *connection, uint64_t begin_ns) {
	if (connection->fd >= 0) close(connection->fd);
	connection->fd = -1;
	connection->begin_ns = begin_ns;
	if (begin_ns < next_begin_ns) next_begin_ns = begin_ns;
}

static void fail(struct connection *connection, enum error error) {
	errors[error]++;
	disconnect(connection, now_ns() + RECONNECT_NS);
}

/* --- sending --------------------------------------------------------------------------------------------------- */

static void mind_output(struct connection *connection, bool waits) {
	if (waits != connection->writing) watch(epoll, EPOLL_CTL_MOD, connection->fd, waits ? EPOLLIN | EPOLLOUT : EPOLLIN, connection);
	connection->writing = waits;
}

static void write_request(struct connection *connection) {
	ssize_t sent = send(connection->fd, plan.request + connection->written, plan.request_bytes - connection->written, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		fail(connection, CLOSED);
		return;
	}
	if (sent > 0) connection->written += (size_t)sent;
	mind_output(connection, connection->written < plan.request_bytes);
}

static void begin_request(struct connection *connection) {
	connection->state = WAITING;
	connection->written = connection->body_bytes = connection->part.length = 0;
	connection->tokens = 0;
	connection->done = false;
	connection->sent_ns = now_ns();
	write_request(connection);
}

static void begin_connection(struct connection *connection) {
	struct sockaddr_in address = loopback(connection->port);
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0) die("socket");
	no_delay(connection->fd);
	connection->state = CONNECTING;
	connection->writing = true;
	watch(epoll, EPOLL_CTL_ADD, connection->fd, EPOLLIN | EPOLLOUT, connection);
	if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail(connection, CONNECT);
}

static void connected(struct connection *connection) {
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) fail(connection, CONNECT);
	else begin_request(connection);
}

/* Make the connections that are due. */
static void begin_connections(uint64_t now) {
	if (next_begin_ns > now) return;
	next_begin_ns = NEVER;
	for (struct connection *each = connections; each < connections + plan.connections; each++) {
		if (each->fd >= 0) continue;
		if (each->begin_ns <= now) begin_connection(each);
		if (each->fd < 0 && each->begin_ns < next_begin_ns) next_begin_ns = each->begin_ns;
	}
}

/* --- receiving ------------------------------------------------------------------------------------------------- */

/* A line of server-sent events; false where it is none that a stream of ours has. */
static bool take_line(struct connection *connection, const char *line, size_t length, uint64_t now) {
	if (!length) return true;
	if (connection->done || length < 6 || memcmp(line, "data: ", 6)) return false;
	chunks += measuring;
	if (length >= 12 && !memcmp(line + 6, "[DONE]", 6)) {
		connection->done = true;
		return true;
	}
	const char *stamp = memchr(line, STAMP, length);
	if (!stamp) return true;
	uint64_t sent_ns, number;
	if (stamp + 1 + STAMP_DIGITS + 1 + NUMBER_DIGITS > line + length || !read_digits(stamp + 1, STAMP_DIGITS, &sent_ns) ||
		!read_digits(stamp + 1 + STAMP_DIGITS + 1, NUMBER_DIGITS, &number) || number != connection->tokens)
		return false;
	if (measuring) {
		tokens++;
		sample(&token_latency, now - sent_ns);
		if (!number) sample(&ttft, now - connection->sent_ns);
	}
	connection->tokens++;
	return true;
}

/* Data of a stream's body; a line may come in parts. */
static bool take_events(struct connection *connection, const char *data, size_t length, uint64_t now) {
	const char *end = data + length, *line_end;
	while ((line_end = memchr(data, '\n', (size_t)(end - data)))) {
		bool good;
		if (connection->part.length) {
			buffer_append(&connection->part, data, (size_t)(line_end - data));
			good = take_line(connection, connection->part.data, connection->part.length, now);
			connection->part.length = 0;
		} else {
			good = take_line(connection, data, (size_t)(line_end - data), now);
		}
		if (!good) return false;
		data = line_end + 1;
	}
	if (data < end) buffer_append(&connection->part, data, (size_t)(end - data));
	return true;
}

static void end_response(struct connection *connection, uint64_t now) {
	if (plan.tokens && !connection->done) {
		fail(connection, UNFINISHED);
		return;
	}
	if (plan.tokens ? connection->tokens != plan.tokens : !connection->body_bytes) {
		fail(connection, TOKENS);
		return;
	}
	if (measuring) {
		responses++;
		sample(&latency, now - connection->sent_ns);
	}
	if (connection->head_close) disconnect(connection, now);
	else begin_request(connection);
}

/* Data of a head and the beginning of a body; returns what follows the head, NULL where that is not known yet. */
static const char *take_head(struct connection *connection, const char *data, size_t length) {
	struct head head;
	size_t before = connection->part.length;
	buffer_append(&connection->part, data, length);
	if (!parse_head(connection->part.data, connection->part.length, &head)) {
		if (connection->part.length > MOST_HEAD) fail(connection, FRAMING);
		return NULL;
	}
	connection->part.length = 0;
	if (strncmp(head.first_line, "HTTP/1.1 200", 12)) {
		fail(connection, STATUS);
		return NULL;
	}
	if (!head.chunked && !head.has_length) {
		fail(connection, FRAMING);
		return NULL;
	}
	connection->head_close = head.close;
	connection->body = body_of(&head);
	connection->state = RECEIVING;
	return data + (head.bytes - before);
}

static void receive(struct connection *connection) {
	static char data[1 << 18];
	ssize_t got = recv(connection->fd, data, sizeof data, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (got <= 0) {
		fail(connection, CLOSED);
		return;
	}
	uint64_t now = now_ns();
	const char *at = data, *end = data + got, *piece;
	size_t length;
	if (measuring) bytes += (uint64_t)got;
	if (connection->state == WAITING && !(at = take_head(connection, data, (size_t)got))) return;
	while ((piece = body_next(&connection->body, &at, end, &length))) {
		connection->body_bytes += length;
		if (plan.tokens && !take_events(connection, piece, length, now)) {
			fail(connection, TOKENS);
			return;
		}
	}
	if (connection->body.state == BROKEN || (connection->body.state == ENDED && at < end)) fail(connection, FRAMING);
	else if (connection->body.state == ENDED) end_response(connection, now);
}

/* --- the window ------------------------------------------------------------------------------------------------ */

static void say(const char *event) {
	printf("{\"event\":\"%s\"}\n", event);
	fflush(stdout);
}

static void print_result(double seconds) {
	size_t open = 0, waiting = 0;
	for (struct connection *each = connections; each < connections + plan.connections; each++) {
		open += each->fd >= 0 && each->state == RECEIVING;
		waiting += each->fd < 0 || each->state != RECEIVING;
	}
	printf("{\"event\":\"result\",\"seconds\":%.6f,\"responses\":%llu,\"chunks\":%llu,\"tokens\":%llu,\"bytes\":%llu,\"open\":%zu,\"waiting\":%zu,\"errors\":{",
		seconds, (unsigned long long)responses, (unsigned long long)chunks, (unsigned long long)tokens, (unsigned long long)bytes, open, waiting);
	for (int i = 0; i < ERRORS; i++) printf("%s\"%s\":%llu", i ? "," : "", error_names[i], (unsigned long long)errors[i]);
	printf("}");
	print_samples("latency_ms", &latency);
	print_samples("ttft_ms", &ttft);
	print_samples("token_ms", &token_latency);
	printf("}\n");
	fflush(stdout);
}

static void read_request(const char *path) {
	static struct buffer request;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	if (fd < 0) die(path);
	while ((got = read(fd, buffer_reserve(&request, 1 << 16), 1 << 16)) > 0) request.length += (size_t)got;
	if (got < 0) die(path);
	close(fd);
	plan.request = request.data;
	plan.request_bytes = request.length;
}

static bool parse_arguments(int argc, char **argv) {
	static const struct option options[] = {{"request", required_argument, NULL, 'r'}, {"connections", required_argument, NULL, 'c'},
		{"tokens", required_argument, NULL, 't'}, {"ramp", required_argument, NULL, 'a'}, {"warmup", required_argument, NULL, 'w'},
		{"seconds", required_argument, NULL, 's'}, {0}};
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (option == 'r') read_request(optarg);
		else if (option == 'c') plan.connections = strtoul(optarg, NULL, 10);
		else if (option == 't') plan.tokens = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 'a') plan.ramp_seconds = atof(optarg);
		else if (option == 'w') plan.warmup_seconds = atof(optarg);
		else if (option == 's') plan.seconds = atof(optarg);
		else return false;
	}
	for (; optind < argc && plan.port_count < MOST_PORTS; optind++) plan.ports[plan.port_count++] = (uint16_t)atoi(argv[optind]);
	return plan.request_bytes && plan.connections && plan.seconds > 0 && plan.port_count;
}

static void prepare(uint64_t start) {
	connections = calloc(plan.connections, sizeof *connections);
	if (!connections) die("memory");
	for (size_t i = 0; i < plan.connections; i++) {
		connections[i].fd = -1;
		connections[i].port = plan.ports[i % plan.port_count];
		connections[i].begin_ns = start + (uint64_t)(1e9 * plan.ramp_seconds * (double)i / (double)plan.connections);
	}
	next_begin_ns = start;
}

/* Say when the window begins and ends; returns when that is next. */
static uint64_t mind_window(uint64_t now, uint64_t start) {
	static uint64_t began, ended;
	uint64_t begin = start + (uint64_t)(1e9 * (plan.ramp_seconds + plan.warmup_seconds)), end = began + (uint64_t)(1e9 * plan.seconds);
	if (!began && now >= begin) {
		say("begin");
		measuring = true;
		began = now_ns();
		return began + (uint64_t)(1e9 * plan.seconds);
	}
	if (began && !ended && now >= end) {
		ended = now_ns();
		measuring = false;
		say("end");
		print_result((double)(ended - began) / 1e9);
	}
	return !began ? begin : !ended ? end : NEVER;
}

int main(int argc, char **argv) {
	static struct epoll_event events[MOST_EVENTS];
	if (!parse_arguments(argc, argv)) {
		fprintf(stderr, "usage: load --request FILE --connections N [--tokens N] [--ramp S] [--warmup S] --seconds S PORT...\n");
		return 2;
	}
	epoll = epoll_create1(EPOLL_CLOEXEC);
	be_punctual();
	uint64_t start = now_ns();
	prepare(start);
	watch(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
	for (;;) {
		uint64_t now = now_ns(), due_ns = mind_window(now, start);
		begin_connections(now);
		int count = wait_until(epoll, events, due_ns < next_begin_ns ? due_ns : next_begin_ns);
		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;
			if (!connection) return 0;
			if (connection->state == CONNECTING) connected(connection);
			else if (events[i].events & ~(uint32_t)EPOLLOUT) receive(connection);
			else write_request(connection);
		}
	}
}
