// SPDX-License-Identifier: Apache-2.0
//
// The drop-in under libssl: a TLS server of two threads, whose 64 connections each are all
// paused at once; woken by descriptors and by callbacks, from an engine's thread and from
// timers; and connections that are freed while they are paused. The engine is
// pausing_engine.c, the clients are tls_clients.c.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <openssl/async.h>
#include <openssl/engine.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

// (Behind the C++ headers: it makes macros of their words.)
extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
}

extern "C" void pausing_engine_settings(void);
extern "C" int pausing_engine_bind(ENGINE *engine);

// libcrypto is no sanitizer's: it synchronises where none sees it. What a connection holds
// that is freed while its job is paused, the job's frames had: nobody can free that.
extern "C" const char *__tsan_default_options() { return "ignore_noninstrumented_modules=1"; }
extern "C" const char *__lsan_default_suppressions()
{
    return "leak:libcrypto.so\nleak:libssl.so\n";
}

namespace {

constexpr int connections_at_once = 64, threads_count = 2;

SSL_CTX *context;

void need(bool good, const char *what)
{
    if (!good) { // also from threads, where CMocka cannot be told
        perror(what);
        abort();
    }
}
#define NEED(condition) need(condition, #condition)

// ---- a server ------------------------------------------------------------------------

enum class Wake { DESCRIPTOR, CALLBACK };

struct Server;
struct Connection {
    Server *server;
    SSL *ssl;
    int fd;
    bool paused = false, accepted = false, requested = false, done = false;
};

struct Server {
    Wake wake;
    bool give_up; // free each round's connections once all of them are paused
    int total;
    int listener = -1, epoll = -1, port = 0;
    std::vector<std::unique_ptr<Connection>> connections;
    int paused_now = 0, paused_most = 0, served = 0, given_up = 0;
    // What callbacks say, from the engine's thread.
    int woken_fd = -1;
    std::mutex lock;
    std::deque<Connection *> woken;

    void watch(int fd, uint32_t events, void *what, int operation)
    {
        epoll_event event = {events, {.ptr = what}};
        NEED(epoll_ctl(epoll, operation, fd, &event) == 0);
    }
    void open()
    {
        sockaddr_in address = {};
        socklen_t size = sizeof address;
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        epoll = epoll_create1(EPOLL_CLOEXEC);
        woken_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        NEED(listener >= 0 && epoll >= 0 && woken_fd >= 0);
        NEED(bind(listener, reinterpret_cast<sockaddr *>(&address), size) == 0);
        NEED(listen(listener, 256) == 0);
        NEED(getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size) == 0);
        port = ntohs(address.sin_port);
        watch(listener, EPOLLIN, &listener, EPOLL_CTL_ADD);
        watch(woken_fd, EPOLLIN, &woken_fd, EPOLL_CTL_ADD);
    }
    void close_all()
    {
        close(listener);
        close(epoll);
        close(woken_fd);
    }
};

int callback_called(SSL *, void *connection)
{
    auto c = static_cast<Connection *>(connection);
    const uint64_t one = 1;
    {
        const std::lock_guard<std::mutex> hold(c->server->lock);
        c->server->woken.push_back(c);
    }
    NEED(write(c->server->woken_fd, &one, sizeof one) == sizeof one);
    return 1;
}

void connection_close(Connection &c)
{
    SSL_free(c.ssl);
    close(c.fd);
    c.done = true;
}

void connection_paused(Connection &c)
{
    Server &s = *c.server;
    if (s.wake == Wake::DESCRIPTOR) {
        size_t added = 0, deleted = 0;
        NEED(SSL_get_changed_async_fds(c.ssl, nullptr, &added, nullptr, &deleted) == 1);
        std::vector<OSSL_ASYNC_FD> fds(added + 1), gone(deleted + 1);
        NEED(SSL_get_changed_async_fds(c.ssl, fds.data(), &added, gone.data(), &deleted) == 1);
        for (size_t i = 0; i < added; i++)
            s.watch(fds[i], EPOLLIN, &c, EPOLL_CTL_ADD);
    }
    if (c.paused)
        return; // it was resumed in vain
    c.paused = true;
    s.watch(c.fd, 0, &c, EPOLL_CTL_MOD);
    if (++s.paused_now > s.paused_most)
        s.paused_most = s.paused_now;
}

// As far as it goes. Each call of libssl runs in a job.
void connection_run(Connection &c)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    char request[1024];
    Server &s = *c.server;
    while (!c.done) {
        const int result = !c.accepted    ? SSL_accept(c.ssl)
                           : !c.requested ? SSL_read(c.ssl, request, sizeof request)
                                          : SSL_write(c.ssl, answer, sizeof answer - 1);
        const int error = SSL_get_error(c.ssl, result);
        if (error == SSL_ERROR_WANT_ASYNC) {
            connection_paused(c);
            return;
        }
        if (c.paused) {
            c.paused = false;
            s.paused_now--;
            s.watch(c.fd, EPOLLIN, &c, EPOLL_CTL_MOD);
        }
        if (error == SSL_ERROR_WANT_READ)
            return;
        NEED(error == SSL_ERROR_NONE);
        if (!c.accepted) {
            c.accepted = true;
        } else if (!c.requested) {
            c.requested = true;
        } else {
            SSL_shutdown(c.ssl);
            connection_close(c);
            s.served++;
        }
    }
}

void server_accept(Server &s)
{
    for (;;) {
        const int fd = accept4(s.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        auto c = std::make_unique<Connection>();
        c->server = &s;
        c->fd = fd;
        c->ssl = SSL_new(context);
        NEED(c->ssl && SSL_set_fd(c->ssl, fd));
        SSL_set_mode(c->ssl, SSL_MODE_ASYNC);
        SSL_set_accept_state(c->ssl);
        if (s.wake == Wake::CALLBACK)
            NEED(SSL_set_async_callback(c->ssl, callback_called) &&
                 SSL_set_async_callback_arg(c->ssl, c.get()));
        s.watch(fd, EPOLLIN, c.get(), EPOLL_CTL_ADD);
        s.connections.push_back(std::move(c));
        connection_run(*s.connections.back());
    }
}

void server_run_woken(Server &s)
{
    uint64_t count;
    NEED(read(s.woken_fd, &count, sizeof count) == sizeof count);
    std::deque<Connection *> woken;
    {
        const std::lock_guard<std::mutex> hold(s.lock);
        woken.swap(s.woken);
    }
    for (Connection *c : woken)
        connection_run(*c);
}

void server_serve(Server &s)
{
    while (s.served + s.given_up < s.total) {
        epoll_event events[64];
        const int ready = epoll_wait(s.epoll, events, 64, 60000);
        NEED(ready > 0);
        for (int i = 0; i < ready; i++) {
            void *const what = events[i].data.ptr;
            if (what == &s.listener)
                server_accept(s);
            else if (what == &s.woken_fd)
                server_run_woken(s);
            else
                connection_run(*static_cast<Connection *>(what));
        }
        if (s.give_up && s.paused_now == connections_at_once) {
            for (auto &c : s.connections)
                if (!c->done) {
                    connection_close(*c);
                    s.given_up++;
                }
            s.paused_now = 0;
        }
        // (Not while a callback may name them, or an event.)
        if (s.wake == Wake::DESCRIPTOR)
            std::erase_if(s.connections, [](const auto &c) { return c->done; });
    }
    ASYNC_cleanup_thread();
}

// ---- and its clients -------------------------------------------------------------------

pid_t clients_start(int port, int count)
{
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    NEED(length > 0);
    path[length] = '\0';
    std::string program(path);
    program.replace(program.rfind('/') + 1, std::string::npos, "tls_clients");
    std::string words[] = {program, std::to_string(port), std::to_string(count),
                           std::to_string(connections_at_once), "0"};
    char *argv[6] = {};
    for (size_t i = 0; i < 5; i++)
        argv[i] = words[i].data();
    pid_t pid;
    NEED(posix_spawn(&pid, program.c_str(), nullptr, nullptr, argv, environ) == 0);
    return pid;
}

int descriptors_open()
{
    int count = 0;
    DIR *const dir = opendir("/proc/self/fd");
    NEED(dir != nullptr);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

// The engine answers nobody before so many have asked.
void engine_answers(const char *together)
{
    setenv("PAUSING_TOGETHER", together, 1);
    pausing_engine_settings();
}
constexpr const char *all_of_them = "128", *nobody = "1000000", *everybody = "1";
static_assert(threads_count * connections_at_once == 128);

// Each thread serves its clients, at_once of them in each round.
void serve(Wake wake, int rounds, bool give_up, const char *together)
{
    engine_answers(together);
    const int before = descriptors_open();
    Server servers[threads_count];
    std::vector<std::thread> threads;
    pid_t clients[threads_count];
    for (int i = 0; i < threads_count; i++) {
        servers[i].wake = wake;
        servers[i].give_up = give_up;
        servers[i].total = rounds * connections_at_once;
        servers[i].open();
        clients[i] = clients_start(servers[i].port, servers[i].total);
    }
    for (Server &s : servers)
        threads.emplace_back([&s] { server_serve(s); });
    for (std::thread &t : threads)
        t.join();
    for (int i = 0; i < threads_count; i++) {
        int status = 0;
        if (give_up) // they wait for an answer, or were told that there is none
            kill(clients[i], SIGTERM);
        assert_int_equal(waitpid(clients[i], &status, 0), clients[i]);
        if (!give_up)
            assert_int_equal(status, 0);
        assert_int_equal(servers[i].served + servers[i].given_up, servers[i].total);
        if (together != everybody)
            assert_int_equal(servers[i].paused_most, connections_at_once);
        else
            assert_true(servers[i].paused_most > 0);
    }
    for (Server &s : servers)
        s.close_all();
    if (give_up)
        engine_answers(everybody); // too late
    for (int tries = 0; tries < 3000 && descriptors_open() > before; tries++)
        usleep(10000); // (until it has let go of its own)
    assert_int_equal(descriptors_open(), before);
}

// ---- the tests ---------------------------------------------------------------------------

int rounds()
{
    const char *scale = getenv("TEST_SCALE");
    return scale && atoi(scale) > 1 ? 2 : 8;
}

void test_thread_wakes_by_descriptor(void **)
{
    setenv("PAUSING_ENGINE", "thread", 1);
    serve(Wake::DESCRIPTOR, rounds(), false, all_of_them);
}

void test_thread_wakes_by_callback(void **)
{
    setenv("PAUSING_ENGINE", "thread", 1);
    serve(Wake::CALLBACK, rounds(), false, all_of_them);
}

void test_timer_wakes(void **)
{
    setenv("PAUSING_ENGINE", "timer", 1);
    serve(Wake::DESCRIPTOR, rounds(), false, everybody);
}

// The engine answers when nobody waits any more.
void give_up(Wake wake)
{
    setenv("PAUSING_ENGINE", "thread", 1);
    serve(wake, 1, true, nobody);
    serve(wake, 1, false, all_of_them);
}
void test_freed_while_paused_by_descriptor(void **) { give_up(Wake::DESCRIPTOR); }
void test_freed_while_paused_by_callback(void **) { give_up(Wake::CALLBACK); }

// ---- certificates --------------------------------------------------------------------------

int context_open(void **)
{
    ENGINE *const engine = ENGINE_new();
    NEED(engine && pausing_engine_bind(engine) && ENGINE_set_default_RSA(engine));
    ENGINE_free(engine);
    EVP_PKEY *const pkey = EVP_RSA_gen(2048);
    X509 *const cert = X509_new();
    NEED(pkey && cert);
    X509_NAME *const name = X509_get_subject_name(cert);
    NEED(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char *>("localhost"), -1, -1,
                                    0));
    NEED(X509_set_issuer_name(cert, name) && X509_set_pubkey(cert, pkey));
    NEED(X509_gmtime_adj(X509_getm_notBefore(cert), 0) &&
         X509_gmtime_adj(X509_getm_notAfter(cert), 86400));
    NEED(X509_sign(cert, pkey, EVP_sha256()));
    context = SSL_CTX_new(TLS_server_method());
    NEED(context && SSL_CTX_use_certificate(context, cert) &&
         SSL_CTX_use_PrivateKey(context, pkey));
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    X509_free(cert);
    EVP_PKEY_free(pkey);
    return 0;
}
int context_close(void **)
{
    SSL_CTX_free(context);
    return 0;
}

} // namespace

int main()
{
    setbuf(stdout, nullptr);
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_wakes_by_descriptor),
        cmocka_unit_test(test_thread_wakes_by_callback),
        cmocka_unit_test(test_timer_wakes),
        cmocka_unit_test(test_freed_while_paused_by_descriptor),
        cmocka_unit_test(test_freed_while_paused_by_callback),
    };
    return cmocka_run_group_tests(tests, context_open, context_close);
}
