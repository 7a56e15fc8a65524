// SPDX-License-Identifier: Apache-2.0
//
// tls_clients PORT COUNT AT_ONCE VANISH_EVERY
//
// Loads a TLS server on the loopback: COUNT connections, AT_ONCE of them at a time, by
// turns of TLS 1.2 and 1.3, each with a handshake of its own. Each sends a request and
// reads an answer that begins with "HTTP/1.1 200". Every VANISH_EVERY-th (0: none) goes
// away in the middle of the handshake instead, in one of several ways. Prints a line of
// numbers; the exit code is 0 if none failed but those that were to vanish.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Each does nothing more from there on: its socket is closed by a reset.
enum vanish {
    VANISH_NOT,
    VANISH_IN_HELLO,          // half of it was sent
    VANISH_AFTER_HELLO,       // at once, before the server has read it
    VANISH_SOON_AFTER_HELLO,  // the server is at its key operation
    VANISH_AT_SERVERS_FLIGHT, // which is left unread
    VANISH_AFTER_OWN_FLIGHT,  // TLS 1.2: the server has not finished
    VANISH_WAYS
};

struct client {
    SSL *ssl; // NULL: free
    int fd;
    enum vanish vanish;
    int steps; // of the handshake so far
    bool requested;
    int64_t gone_at_us; // once it is known
};

static int port, count, at_once, vanish_every;
static int opened, done, vanished, failed;
static int epoll;
static SSL_CTX *contexts[2];

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "tls_clients: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void client_close(struct client *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
}

static void client_vanish(struct client *c)
{
    const struct linger at_once_gone = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once_gone, sizeof at_once_gone);
    client_close(c);
    vanished++;
}

static void client_fail(struct client *c, const char *where)
{
    if (failed++ < 5) {
        fprintf(stderr, "tls_clients: failed in %s: %s (%s)\n", where, strerror(errno), SSL_get_version(c->ssl));
        ERR_print_errors_fp(stderr);
    }
    client_close(c);
}

static void client_open(struct client *c)
{
    static const unsigned char half_hello[] = {22, 3, 1, 2, 0, 1, 0, 1};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int number = opened++;
    memset(c, 0, sizeof *c);
    c->ssl = SSL_new(contexts[number & 1]);
    // (Connecting waits for a place in the server's backlog.)
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!c->ssl || c->fd < 0)
        die("a client");
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        client_fail(c, "connect");
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    fcntl(c->fd, F_SETFL, O_NONBLOCK); // from the connection on
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll_ctl");

    // So that each way comes with each version.
    if (vanish_every && number % vanish_every == vanish_every - 1)
        c->vanish = 1 + number / vanish_every / 2 % (VANISH_WAYS - 1);
    if (c->vanish == VANISH_IN_HELLO) {
        if (send(c->fd, half_hello, sizeof half_hello, MSG_NOSIGNAL) != sizeof half_hello)
            die("send");
        client_vanish(c);
    }
}

static bool client_waits(struct client *c, int result)
{
    return SSL_get_error(c->ssl, result) == SSL_ERROR_WANT_READ;
}

// What it sends is short, so that it only ever waits for the server.
static void client_run(struct client *c)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ERR_clear_error();
    errno = 0;
    if (c->gone_at_us || (c->vanish == VANISH_AT_SERVERS_FLIGHT && c->steps == 1)) {
        client_vanish(c);
        return;
    }
    if (!c->requested) {
        // It may take several steps to read a flight, each of them without an answer:
        // SSL_get_state says whether the own one went out.
        const int result = SSL_do_handshake(c->ssl);
        c->steps++;
        if (result != 1 && !client_waits(c, result)) {
            client_fail(c, "the handshake");
            return;
        }
        if (c->vanish == VANISH_AFTER_HELLO) {
            client_vanish(c);
            return;
        }
        if (c->vanish == VANISH_SOON_AFTER_HELLO) {
            c->gone_at_us = now_us() + 100 + opened % 7 * 200;
            return;
        }
        const OSSL_HANDSHAKE_STATE state = SSL_get_state(c->ssl);
        if (c->vanish == VANISH_AFTER_OWN_FLIGHT &&
            (result == 1 || state == TLS_ST_CW_FINISHED || state == TLS_ST_CR_SESSION_TICKET)) {
            client_vanish(c);
            return;
        }
        if (result != 1)
            return;
        if (SSL_write(c->ssl, request, sizeof request - 1) != sizeof request - 1) {
            client_fail(c, "the request");
            return;
        }
        c->requested = true;
    }
    char answer[4096];
    const int got = SSL_read(c->ssl, answer, sizeof answer);
    if (got <= 0) {
        if (!client_waits(c, got))
            client_fail(c, "the answer");
        return;
    }
    if (got < 12 || memcmp(answer, "HTTP/1.1 200", 12) != 0) {
        client_fail(c, "what was answered");
        return;
    }
    SSL_shutdown(c->ssl);
    client_close(c);
    done++;
}

static void client_start(struct client *c)
{
    client_open(c);
    if (c->ssl)
        client_run(c);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: tls_clients PORT COUNT AT_ONCE VANISH_EVERY\n");
        return 2;
    }
    port = atoi(argv[1]);
    count = atoi(argv[2]);
    at_once = atoi(argv[3]);
    vanish_every = atoi(argv[4]);
    struct client *clients = calloc((size_t)at_once, sizeof *clients);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || epoll < 0)
        die("memory");
    for (int i = 0; i < 2; i++) {
        const int version = i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        contexts[i] = SSL_CTX_new(TLS_client_method());
        // (No certificate authority is asked, but signatures are verified all the same.)
        if (!contexts[i] || !SSL_CTX_set_min_proto_version(contexts[i], version) ||
            !SSL_CTX_set_max_proto_version(contexts[i], version))
            die("SSL_CTX_new");
        SSL_CTX_set_session_cache_mode(contexts[i], SSL_SESS_CACHE_OFF);
    }

    const int64_t start_us = now_us();
    int64_t last_us = start_us;
    int at_work = 1;
    for (int ended = 0; opened < count || at_work > 0;) {
        const int64_t us = now_us();
        at_work = 0;
        bool soon = false;
        for (int i = 0; i < at_once; i++) {
            struct client *c = &clients[i];
            if (c->ssl && c->gone_at_us && us >= c->gone_at_us)
                client_vanish(c);
            if (!c->ssl && opened < count)
                client_start(c);
            at_work += c->ssl != NULL;
            soon |= c->ssl && c->gone_at_us;
        }
        if (done + vanished + failed > ended) {
            ended = done + vanished + failed;
            last_us = us;
        }
        if (us - last_us > 20 * 1000000) {
            fprintf(stderr, "tls_clients: %d connections stand still\n", at_work);
            failed += at_work;
            break;
        }
        struct epoll_event events[64];
        const int ready = epoll_wait(epoll, events, 64, soon || at_work < at_once ? 1 : 100);
        for (int i = 0; i < ready; i++)
            if (((struct client *)events[i].data.ptr)->ssl)
                client_run(events[i].data.ptr);
    }
    printf("done %d vanished %d failed %d seconds %.2f\n", done, vanished, failed,
           (double)(now_us() - start_us) / 1e6);
    for (int i = 0; i < at_once; i++)
        if (clients[i].ssl)
            client_close(&clients[i]);
    free(clients);
    for (int i = 0; i < 2; i++)
        SSL_CTX_free(contexts[i]);
    return failed == 0 && done + vanished == count ? 0 : 1;
}
