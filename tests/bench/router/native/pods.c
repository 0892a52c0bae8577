/* Mock pods: OpenAI servers that cost next to nothing, so that what is measured is the router before them.

   pods COUNT listens on COUNT free ports of 127.0.0.1 and prints them: {"ports": [...]}. It obeys lines on its standard
   input, and ends with it:

     pace TOKENS_PER_SECOND spread|bursts   for streams that begin from now on; bursts: all streams of a pod get their
                                            tokens at the same moments, as from an engine that computes batches
     stats                                  prints what was done since the last stats, as one line of JSON

   A stream gets its head, the chunk with the role and its first token at once, each in a write of its own, then a token
   per interval. Tokens keep to their schedule whatever the client does: what a socket does not take waits here, with
   the time at which it should have gone. How late tokens were, against that schedule, is in the stats. */
#include "wire.h"

#define MOST_PODS 64
#define FIELDS_WITHIN 2048 /* of either end of a body: where its members stand, around a prompt of any size */

struct list {
	struct connection *first, *last;
};

struct pod {
	int listener;
	uint16_t port;
	uint64_t requests;
	struct list streams; /* those of bursts */
	uint64_t tick_ns;
};

struct connection {
	void *kind; /* CONNECTION */
	int fd;
	struct pod *pod;
	struct buffer in, out, content;
	size_t decoded; /* of `in`: how far a chunked body was */
	struct body body;
	bool streaming, usage, writing;
	uint32_t sent, tokens;
	uint64_t due_ns, period_ns;
	struct list *list;
	struct connection *previous, *next;
	char id[48];
	char chunk[512]; /* of a token; only stamp and number change */
	size_t chunk_bytes, stamp_at;
};

/* What a pointer from epoll leads to begins with one of these. */
static char CONNECTION, LISTENER, CONTROL;

struct listener {
	void *kind;
	struct pod *pod;
};

static int epoll;
static struct pod pods[MOST_PODS];
static size_t pod_count;
static uint64_t period_ns = 1000000000u / 30;
static bool bursts;
static struct list spread;
static uint64_t open_streams, tokens_sent, aborted, next_id;
static struct samples lateness;

static void list_add(struct list *list, struct connection *connection) {
	connection->list = list;
	connection->previous = list->last;
	connection->next = NULL;
	*(list->last ? &list->last->next : &list->first) = connection;
	list->last = connection;
}

static void list_remove(struct connection *connection) {
	struct list *list = connection->list;
	*(connection->previous ? &connection->previous->next : &list->first) = connection->next;
	*(connection->next ? &connection->next->previous : &list->last) = connection->previous;
	connection->list = NULL;
}

/* --- writing --------------------------------------------------------------------------------------------------- */

static void mind_output(struct connection *connection) {
	bool waits = connection->out.length > 0;
	if (waits != connection->writing) watch(epoll, EPOLL_CTL_MOD, connection->fd, waits ? EPOLLIN | EPOLLOUT : EPOLLIN, connection);
	connection->writing = waits;
}

/* A connection that fails here is closed when epoll tells of it. */
static void put(struct connection *connection, const char *data, size_t length) {
	ssize_t sent = 0;
	if (!connection->out.length) sent = send(connection->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0) sent = 0;
	if ((size_t)sent == length) return;
	buffer_append(&connection->out, data + sent, length - (size_t)sent);
	mind_output(connection);
}

static void flush(struct connection *connection) {
	ssize_t sent = send(connection->fd, connection->out.data, connection->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent > 0) buffer_drop(&connection->out, (size_t)sent);
	mind_output(connection);
}

static void put_whole(struct connection *connection, const char *status, const char *type, const char *content) {
	char answer[2048];
	int length = snprintf(answer, sizeof answer,
		"HTTP/1.1 %s\r\nserver: uvicorn\r\ncontent-length: %zu\r\ncontent-type: %s\r\n\r\n%s", status, strlen(content), type, content);
	put(connection, answer, (size_t)length);
}

/* --- streams --------------------------------------------------------------------------------------------------- */

static size_t add_event(char *to, size_t room, const char *event) {
	return (size_t)snprintf(to, room, "%zx\r\n%s\n\n\r\n", strlen(event) + 2, event);
}

static void event_of(struct connection *connection, char *to, size_t room, const char *choices, const char *rest) {
	snprintf(to, room, "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":%ld,\"model\":\"bench\",\"choices\":[%s]%s}",
		connection->id, (long)time(NULL), choices, rest);
}

static void send_token(struct connection *connection) {
	write_digits(connection->chunk + connection->stamp_at, STAMP_DIGITS, now_ns());
	write_digits(connection->chunk + connection->stamp_at + STAMP_DIGITS + 1, NUMBER_DIGITS, connection->sent++);
	put(connection, connection->chunk, connection->chunk_bytes);
	tokens_sent++;
}

static bool serve(struct connection *connection);

static void end_stream(struct connection *connection) {
	char event[512], usage[160], end[2048];
	if (connection->list) list_remove(connection);
	connection->streaming = false;
	open_streams--;
	event_of(connection, event, sizeof event, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}", "");
	size_t length = add_event(end, sizeof end, event);
	if (connection->usage) {
		snprintf(usage, sizeof usage, ",\"usage\":{\"prompt_tokens\":256,\"total_tokens\":%u,\"completion_tokens\":%u}",
			256 + connection->tokens, connection->tokens);
		event_of(connection, event, sizeof event, "", usage);
		length += add_event(end + length, sizeof end - length, event);
	}
	length += add_event(end + length, sizeof end - length, "data: [DONE]");
	length += (size_t)snprintf(end + length, sizeof end - length, "0\r\n\r\n");
	put(connection, end, length);
	while (!connection->streaming && serve(connection)) continue;
}

static void skip_ticks(struct pod *pod) {
	for (uint64_t now = now_ns(); pod->tick_ns <= now;) pod->tick_ns += period_ns;
}

static void begin_stream(struct connection *connection, uint32_t tokens, bool usage) {
	static const char head[] = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
	static const char role[] = "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}";
	static const char token[] = "{\"index\":0,\"delta\":{\"content\":\"@0000000000000000000,000000\"},\"logprobs\":null,\"finish_reason\":null}";
	char event[512], chunk[600];
	connection->streaming = true;
	connection->usage = usage;
	connection->tokens = tokens;
	connection->sent = 0;
	open_streams++;
	put(connection, head, sizeof head - 1);
	event_of(connection, event, sizeof event, role, "");
	put(connection, chunk, add_event(chunk, sizeof chunk, event));
	event_of(connection, event, sizeof event, token, "");
	connection->chunk_bytes = add_event(connection->chunk, sizeof connection->chunk, event);
	connection->stamp_at = (size_t)((char *)memchr(connection->chunk, STAMP, connection->chunk_bytes) - connection->chunk) + 1;
	send_token(connection);
	if (connection->sent == tokens) {
		end_stream(connection);
		return;
	}
	connection->period_ns = period_ns;
	connection->due_ns = now_ns() + period_ns;
	if (bursts && !connection->pod->streams.first) skip_ticks(connection->pod);
	list_add(bursts ? &connection->pod->streams : &spread, connection);
}

static void next_token(struct connection *connection, uint64_t due_ns) {
	uint64_t now = now_ns();
	sample(&lateness, now > due_ns ? now - due_ns : 0);
	send_token(connection);
	if (connection->sent == connection->tokens) end_stream(connection);
}

/* All streams have the same interval, so those that were served last are due last: a queue is in the order of time, but
   for as much as tokens are late. Returns when the next token is due. */
static uint64_t send_spread(uint64_t now) {
	for (size_t left = open_streams; left && spread.first && spread.first->due_ns <= now; left--) {
		struct connection *connection = spread.first;
		uint64_t due_ns = connection->due_ns;
		list_remove(connection);
		connection->due_ns += connection->period_ns;
		list_add(&spread, connection);
		next_token(connection, due_ns);
	}
	return spread.first ? spread.first->due_ns : NEVER;
}

static uint64_t send_bursts(uint64_t now) {
	uint64_t due_ns = NEVER;
	for (struct pod *pod = pods; pod < pods + pod_count; pod++) {
		if (!pod->streams.first) continue;
		if (pod->tick_ns <= now) {
			struct connection *next;
			for (struct connection *each = pod->streams.first; each; each = next) {
				next = each->next;
				next_token(each, pod->tick_ns);
			}
			skip_ticks(pod);
		}
		if (pod->tick_ns < due_ns) due_ns = pod->tick_ns;
	}
	return due_ns;
}

/* --- requests -------------------------------------------------------------------------------------------------- */

/* The value of a member that stands within the first or the last bytes of a JSON body; NULL where there is none. */
static const char *member(const char *content, size_t length, const char *name) {
	size_t part = length < 2 * FIELDS_WITHIN ? length : FIELDS_WITHIN;
	const char *found = memmem(content, part, name, strlen(name));
	if (!found) found = memmem(content + length - part, part, name, strlen(name));
	if (!found) return NULL;
	found += strlen(name);
	return found + strspn(found, ": ");
}

static bool is_true(const char *value) { return value && !strncmp(value, "true", 4); }

static void answer_chat(struct connection *connection, const char *content, size_t length) {
	const char *tokens = member(content, length, "\"max_tokens\"");
	if (!tokens) tokens = member(content, length, "\"max_completion_tokens\""); /* a router may write the newer name */
	connection->pod->requests++;
	snprintf(connection->id, sizeof connection->id, "chatcmpl-%032llx", (unsigned long long)(0x9e3779b97f4a7c15u * ++next_id));
	if (is_true(member(content, length, "\"stream\""))) {
		begin_stream(connection, tokens && atoi(tokens) > 0 ? (uint32_t)atoi(tokens) : 16, is_true(member(content, length, "\"include_usage\"")));
		return;
	}
	char answer[1024];
	snprintf(answer, sizeof answer,
		"{\"id\":\"%s\",\"object\":\"chat.completion\",\"created\":%ld,\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
		"\"assistant\",\"content\":\"The quick brown fox jumps over the lazy dog.\",\"refusal\":null,\"tool_calls\":[]},\"logprobs\":null,"
		"\"finish_reason\":\"stop\",\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":256,\"total_tokens\":266,\"completion_tokens\":10,"
		"\"prompt_tokens_details\":null}}", connection->id, (long)time(NULL));
	put_whole(connection, "200 OK", "application/json", answer);
}

static void answer(struct connection *connection, const struct head *head, const char *content, size_t length) {
	const char *line = head->first_line;
	if (!strncmp(line, "POST /v1/chat/completions ", 26) && length) answer_chat(connection, content, length);
	else if (!strncmp(line, "GET /health ", 12)) put_whole(connection, "200 OK", "text/plain", "");
	else if (!strncmp(line, "GET /v1/models ", 15))
		put_whole(connection, "200 OK", "application/json",
			"{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"created\":0,\"owned_by\":\"vllm\",\"root\":\"bench\",\"parent\":null,\"max_model_len\":131072}]}");
	else if (!strncmp(line, "GET /metrics ", 13))
		put_whole(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8",
			"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"bench\"} 0\n"
			"# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name=\"bench\"} 0\n"
			"# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{model_name=\"bench\"} 0\n");
	else put_whole(connection, "404 Not Found", "application/json", "{\"detail\":\"Not Found\"}");
}

/* Answer the request at the front of what was read; false where it is not complete. */
static bool serve(struct connection *connection) {
	struct buffer *in = &connection->in;
	struct head head;
	if (!in->length || !parse_head(in->data, in->length, &head)) return false;
	if (!head.chunked) {
		size_t bytes = head.bytes + head.content_length;
		if (in->length < bytes) return false;
		answer(connection, &head, in->data + head.bytes, head.content_length);
		buffer_drop(in, bytes);
		return true;
	}
	if (!connection->decoded) {
		connection->decoded = head.bytes;
		connection->body = body_of(&head);
	}
	const char *at = in->data + connection->decoded, *piece;
	size_t length;
	while ((piece = body_next(&connection->body, &at, in->data + in->length, &length))) buffer_append(&connection->content, piece, length);
	connection->decoded = (size_t)(at - in->data);
	if (connection->body.state == BROKEN) shutdown(connection->fd, SHUT_RDWR);
	if (connection->body.state != ENDED) return false;
	buffer_append(&connection->content, "", 1);
	connection->content.length--;
	answer(connection, &head, connection->content.data, connection->content.length);
	buffer_drop(in, connection->decoded);
	connection->decoded = connection->content.length = 0;
	return true;
}

/* --- connections ----------------------------------------------------------------------------------------------- */

static void close_connection(struct connection *connection) {
	if (connection->streaming) {
		if (connection->list) list_remove(connection);
		open_streams--;
		aborted++;
	}
	close(connection->fd);
	buffer_free(&connection->in);
	buffer_free(&connection->out);
	buffer_free(&connection->content);
	free(connection);
}

static void read_connection(struct connection *connection) {
	static const char preface[] = "PRI * HTTP/2.0\r\n"; /* of a router that tries HTTP/2: no answer is an answer */
	struct buffer *in = &connection->in;
	char *room = buffer_reserve(in, 16384);
	ssize_t got = recv(connection->fd, room, in->capacity - in->length - 1, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (got > 0) in->length += (size_t)got;
	in->data[in->length] = 0; /* so that no search for a member's value leaves the buffer */
	if (got <= 0 || !strncmp(in->data, preface, sizeof preface - 1)) {
		close_connection(connection);
		return;
	}
	while (!connection->streaming && serve(connection)) continue;
}

static void accept_connection(struct pod *pod) {
	int fd = accept4(pod->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) return;
	struct connection *connection = calloc(1, sizeof *connection);
	if (!connection) die("memory");
	connection->kind = &CONNECTION;
	connection->fd = fd;
	connection->pod = pod;
	no_delay(fd);
	watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, connection);
}

static void listen_on(struct pod *pod) {
	struct sockaddr_in address = loopback(0);
	socklen_t size = sizeof address;
	pod->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (pod->listener < 0 || bind(pod->listener, (struct sockaddr *)&address, size) < 0 || listen(pod->listener, 4096) < 0) die("listen");
	if (getsockname(pod->listener, (struct sockaddr *)&address, &size) < 0) die("getsockname");
	pod->port = ntohs(address.sin_port);
	struct listener *listener = calloc(1, sizeof *listener);
	if (!listener) die("memory");
	*listener = (struct listener){.kind = &LISTENER, .pod = pod};
	watch(epoll, EPOLL_CTL_ADD, pod->listener, EPOLLIN, listener);
}

/* --- control --------------------------------------------------------------------------------------------------- */

static void print_stats(void) {
	printf("{\"open_streams\":%llu,\"tokens\":%llu,\"aborted\":%llu,\"requests\":[", (unsigned long long)open_streams,
		(unsigned long long)tokens_sent, (unsigned long long)aborted);
	for (struct pod *pod = pods; pod < pods + pod_count; pod++) {
		printf("%s%llu", pod == pods ? "" : ",", (unsigned long long)pod->requests);
		pod->requests = 0;
	}
	printf("]");
	print_samples("late_ms", &lateness);
	printf("}\n");
	fflush(stdout);
	tokens_sent = aborted = 0;
}

static void set_pace(double tokens_per_second, bool in_bursts) {
	period_ns = (uint64_t)(1e9 / tokens_per_second);
	bursts = in_bursts;
	for (size_t i = 0; i < pod_count; i++) pods[i].tick_ns = now_ns() + period_ns * i / pod_count;
}

static void obey(char *line) {
	double tokens_per_second;
	char how[16];
	if (!strcmp(line, "stats")) {
		print_stats();
	} else if (sscanf(line, "pace %lf %15s", &tokens_per_second, how) == 2 && tokens_per_second > 0) {
		set_pace(tokens_per_second, !strcmp(how, "bursts"));
	} else {
		fprintf(stderr, "not a command: %s; say `pace TOKENS_PER_SECOND spread|bursts` or `stats`\n", line);
		exit(2);
	}
}

static void read_control(void) {
	static struct buffer lines;
	ssize_t got = read(STDIN_FILENO, buffer_reserve(&lines, 4096), 4096);
	if (got <= 0) exit(0);
	lines.length += (size_t)got;
	for (char *end; (end = memchr(lines.data, '\n', lines.length)); buffer_drop(&lines, (size_t)(end - lines.data) + 1)) {
		*end = 0;
		obey(lines.data);
	}
}

int main(int argc, char **argv) {
	static void *control = &CONTROL;
	pod_count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	if (pod_count < 1 || pod_count > MOST_PODS) {
		fprintf(stderr, "usage: pods COUNT, from 1 to %d\n", MOST_PODS);
		return 2;
	}
	epoll = epoll_create1(EPOLL_CLOEXEC);
	be_punctual();
	printf("{\"ports\":[");
	for (size_t i = 0; i < pod_count; i++) {
		listen_on(&pods[i]);
		printf("%s%u", i ? "," : "", pods[i].port);
	}
	printf("]}\n");
	fflush(stdout);
	watch(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &control);

	static struct epoll_event events[MOST_EVENTS];
	for (;;) {
		uint64_t now = now_ns();
		uint64_t spread_due_ns = send_spread(now), burst_due_ns = send_bursts(now);
		int count = wait_until(epoll, events, spread_due_ns < burst_due_ns ? spread_due_ns : burst_due_ns);
		for (int i = 0; i < count; i++) {
			void *kind = *(void **)events[i].data.ptr;
			struct connection *connection = events[i].data.ptr;
			if (kind == &CONTROL) read_control();
			else if (kind == &LISTENER) accept_connection(((struct listener *)events[i].data.ptr)->pod);
			else if (events[i].events & ~(uint32_t)EPOLLOUT) read_connection(connection); /* the end of a connection, too */
			else flush(connection);
		}
	}
}
