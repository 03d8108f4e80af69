/* The least that reading streams costs on this machine: wait, receive with the kernel's stamp, look for the end.

   floor_client PORT STREAMS RAMP_S SECONDS [tls]

   Each stream asks again as soon as its answer has ended. Prints a JSON object: Unix s of the begin and the end of the
   measured time, which follows the ramp, and the CPU s, reads and answers within it. It goes on for a while after that,
   so that the target has logged whatever it sent in that time. Built and read by benchmarks.floor. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#define MAX_STREAMS 20000
#define READ_BYTES 65536
#define STAMPED 35 /* SO_TIMESTAMPNS */

static const char BODY[] =
    "{\"model\":\"known-timing\",\"messages\":[{\"role\":\"user\",\"content\":\"word word word word\"}],"
    "\"max_tokens\":100,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
static char request[1024];
static int request_bytes;
static char received[READ_BYTES], plain[READ_BYTES];
static long reads, answers;
static long long latest_stamp_ns;

struct stream {
    int fd;
#ifdef WITH_TLS
    SSL *session;
    BIO *incoming, *outgoing;
#endif
};
static struct stream streams[MAX_STREAMS];

static double now_on(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

struct moment {
    double at, cpu_s;
    long reads, answers;
};

static struct moment moment_now(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    return (struct moment){now_on(CLOCK_REALTIME), cpu, reads, answers};
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put(int fd, const char *data, int size)
{
    if (write(fd, data, size) != size)
        fail("write");
}

#ifdef WITH_TLS
static SSL_CTX *context;

static void flush_outgoing(struct stream *s)
{
    static char out[READ_BYTES];
    int size;
    while ((size = BIO_read(s->outgoing, out, sizeof out)) > 0)
        put(s->fd, out, size);
}

static void shake_hands(struct stream *s)
{
    s->session = SSL_new(context);
    s->incoming = BIO_new(BIO_s_mem());
    s->outgoing = BIO_new(BIO_s_mem());
    SSL_set_bio(s->session, s->incoming, s->outgoing);
    SSL_set_connect_state(s->session);
    while (SSL_do_handshake(s->session) != 1) {
        flush_outgoing(s);
        ssize_t size = read(s->fd, received, sizeof received);
        if (size <= 0)
            fail("handshake");
        BIO_write(s->incoming, received, (int)size);
    }
    flush_outgoing(s);
}
#endif

static void ask(struct stream *s)
{
#ifdef WITH_TLS
    if (s->session) {
        SSL_write(s->session, request, request_bytes);
        flush_outgoing(s);
        return;
    }
#endif
    put(s->fd, request, request_bytes);
}

static void open_stream(struct stream *s, int port, int events)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(s->fd, SOL_SOCKET, STAMPED, &on, sizeof on);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef WITH_TLS
    if (context)
        shake_hands(s);
#endif
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(events, EPOLL_CTL_ADD, s->fd, &wanted);
    ask(s);
}

static void take_stamp(struct msghdr *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (control) {
        struct timespec at;
        memcpy(&at, CMSG_DATA(control), sizeof at);
        latest_stamp_ns = at.tv_sec * 1000000000LL + at.tv_nsec;
    }
}

static void look(struct stream *s, const char *data, size_t size)
{
    if (memmem(data, size, "[DONE]", 6)) {
        answers++;
        ask(s);
    }
}

static void take(struct stream *s)
{
    char control[64];
    struct iovec into = {received, sizeof received};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(s->fd, &message, 0);
    if (size <= 0)
        return;
    reads++;
    take_stamp(&message);
#ifdef WITH_TLS
    if (s->session) {
        int told;
        BIO_write(s->incoming, received, (int)size);
        while ((told = SSL_read(s->session, plain, sizeof plain)) > 0) {
            look(s, plain, told);
            if (!BIO_pending(s->incoming) && !SSL_pending(s->session))
                break;
        }
        return;
    }
#endif
    look(s, received, size);
}

int main(int count, char **arguments)
{
    if (count < 5)
        return 2;
    int port = atoi(arguments[1]), wanted = atoi(arguments[2]), open = 0, events = epoll_create1(0);
    double ramp_s = atof(arguments[3]), end_s = ramp_s + atof(arguments[4]), elapsed = 0;
    if (wanted > MAX_STREAMS)
        return 2;
    if (count > 5) {
#ifdef WITH_TLS
        context = SSL_CTX_new(TLS_client_method());
#else
        return 3;
#endif
    }
    request_bytes = snprintf(request, sizeof request,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s", sizeof BODY - 1, BODY);
    double began = now_on(CLOCK_MONOTONIC);
    struct moment begin = {0}, end = {0};
    static struct epoll_event ready[1024];
    while ((elapsed = now_on(CLOCK_MONOTONIC) - began) < end_s + 0.6 * ramp_s) {
        while (open < wanted && open < elapsed / (ramp_s / 2) * wanted)
            open_stream(&streams[open++], port, events);
        if (!begin.at && elapsed >= ramp_s)
            begin = moment_now();
        if (!end.at && elapsed >= end_s)
            end = moment_now();
        int found = epoll_wait(events, ready, 1024, open < wanted ? 1 : 50);
        for (int i = 0; i < found; i++)
            take(ready[i].data.ptr);
    }
    printf("{\"begin\": %.6f, \"end\": %.6f, \"cpu_s\": %.6f, \"reads\": %ld, \"answers\": %ld}\n", begin.at, end.at,
        end.cpu_s - begin.cpu_s, end.reads - begin.reads, end.answers - begin.answers);
    return latest_stamp_ns == 0;
}
