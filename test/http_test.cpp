// SPDX-License-Identifier: Apache-2.0
//
// Tests examples/http_server.cpp from outside: runs the binary and talks to it
// over raw sockets, as well-behaved and as ill-behaved clients do.
//
// Environment:
//   HTTP_SERVER          path of the server's binary; without it: skipped (77)
//   HTTP_SERVER_WRAPPER  words put before it, such as "valgrind -q"
//   TEST_SCALE           divides the numbers of connections (default 1)
//
// Time is never asserted from above but with room for a busy machine. What a
// test waits for it waits for up to PATIENCE_MS.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include <cmocka.h>
}

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace std::string_literals;

static constexpr int PATIENCE_MS = 60000;
static constexpr size_t HEAD_MAX = 8192; // of a request, the server's bound

static int64_t now_ms()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(int ms)
{
    usleep(static_cast<useconds_t>(ms) * 1000);
}

// A number of connections, scaled down where the server runs slowly.
static int scaled(int count, int least)
{
    const char *scale = getenv("TEST_SCALE");
    const int divisor = scale ? atoi(scale) : 1;
    return std::max(least, count / std::max(divisor, 1));
}

// ---- the server -------------------------------------------------------------

struct Server {
    pid_t pid = 0;
    int out = -1;
    int port = 0;
    std::string text; // all of its standard output so far
};

static Server common; // most tests share it
static Server own;    // of a test that needs options of its own

static std::vector<std::string> command_words(
    const std::vector<std::string> &args)
{
    std::vector<std::string> words;
    const char *wrapper = getenv("HTTP_SERVER_WRAPPER");
    std::string rest = wrapper ? wrapper : "";
    while (!rest.empty()) {
        const size_t end = std::min(rest.find(' '), rest.size());
        if (end > 0)
            words.push_back(rest.substr(0, end));
        rest.erase(0, end + 1);
    }
    words.push_back(getenv("HTTP_SERVER"));
    words.insert(words.end(), args.begin(), args.end());
    return words;
}

// What a server may use at most; 0: as much as the test may.
struct Limits {
    rlim_t descriptors = 0;
    rlim_t address_space_bytes = 0;
};

static void limit_set(decltype(RLIMIT_AS) resource, rlim_t most)
{
    const rlimit limit = {most, most};
    if (most > 0 && setrlimit(resource, &limit) != 0)
        _exit(1);
}

// Its standard output, and with `errors` standard error too, goes to *out.
static pid_t server_fork(const std::vector<std::string> &args, int *out,
                         bool errors, const Limits &limits)
{
    const std::vector<std::string> words = command_words(args);
    std::vector<char *> argv;
    for (const std::string &word : words)
        argv.push_back(const_cast<char *>(word.c_str()));
    argv.push_back(nullptr);

    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fflush(stdout);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // whatever becomes of the tests
        if (getppid() != parent)
            _exit(1);
        dup2(ends[1], STDOUT_FILENO);
        if (errors)
            dup2(ends[1], STDERR_FILENO);
        limit_set(RLIMIT_NOFILE, limits.descriptors);
        limit_set(RLIMIT_AS, limits.address_space_bytes);
        execvp(argv[0], argv.data());
        perror(argv[0]);
        _exit(127);
    }
    close(ends[1]);
    *out = ends[0];
    return pid;
}

// Exit status, or 1000 + the signal that killed it.
static int process_wait(pid_t pid)
{
    const int64_t deadline = now_ms() + PATIENCE_MS;
    for (;;) {
        int status = 0;
        const pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status)
                                     : 1000 + WTERMSIG(status);
        if (now_ms() > deadline) {
            print_error("the server does not end\n");
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return 1000 + SIGKILL;
        }
        sleep_ms(2);
    }
}

static bool output_read(int out, std::string &text)
{
    pollfd ready = {out, POLLIN, 0};
    char bytes[4096];
    if (poll(&ready, 1, PATIENCE_MS) != 1)
        return false;
    const ssize_t got = read(out, bytes, sizeof bytes);
    if (got > 0)
        text.append(bytes, static_cast<size_t>(got));
    return got > 0;
}

static bool server_start(Server &server, std::vector<std::string> args,
                         const Limits &limits = {})
{
    args.insert(args.begin(), {"--port", "0"});
    server.text.clear();
    server.pid = server_fork(args, &server.out, false, limits);
    while (server.text.find('\n') == std::string::npos)
        if (!output_read(server.out, server.text))
            return false;
    return sscanf(server.text.c_str(), "listening on http://127.0.0.1:%d/\n",
                  &server.port) == 1;
}

static int server_stop(Server &server, int signal = SIGTERM)
{
    kill(server.pid, signal);
    while (output_read(server.out, server.text))
        ;
    close(server.out);
    const int status = process_wait(server.pid);
    server.pid = 0;
    return status;
}

// What is sent while the server is halted, it will find all at once.
static void server_halt(const Server &server)
{
    int status = 0;
    kill(server.pid, SIGSTOP);
    assert_int_equal(waitpid(server.pid, &status, WUNTRACED), server.pid);
    assert_true(WIFSTOPPED(status));
}

static void server_continue(const Server &server)
{
    kill(server.pid, SIGCONT);
}

// ---- a client ---------------------------------------------------------------

struct Client {
    int socket = -1;
    std::string unread; // what came beyond the answer that was read
};

struct Answer {
    int status = 0; // 0: none came
    std::string head, body;
};

static std::vector<int> sockets; // all that a test opened; closed after it

static Client client_open(const Server &server = common)
{
    Client client;
    client.socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client.socket >= 0);
    sockets.push_back(client.socket);
    const int on = 1;
    const timeval patience = {PATIENCE_MS / 1000, 0};
    setsockopt(client.socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(client.socket, SOL_SOCKET, SO_RCVTIMEO, &patience,
               sizeof patience);
    setsockopt(client.socket, SOL_SOCKET, SO_SNDTIMEO, &patience,
               sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server.port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(client.socket, reinterpret_cast<sockaddr *>(&address),
                sizeof address) != 0)
        fail_msg("connect: %s", strerror(errno));
    return client;
}

static void client_close(Client &client)
{
    sockets.erase(std::find(sockets.begin(), sockets.end(), client.socket));
    close(client.socket);
    client.socket = -1;
}

// Without a FIN: the server gets a reset.
static void client_reset(Client &client)
{
    const linger at_once = {1, 0};
    setsockopt(client.socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    client_close(client);
}

static bool client_send(Client &client, std::string_view data)
{
    while (!data.empty()) {
        const ssize_t sent =
            send(client.socket, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
}

static bool client_receive(Client &client)
{
    char bytes[16384];
    const ssize_t got = recv(client.socket, bytes, sizeof bytes, 0);
    if (got > 0)
        client.unread.append(bytes, static_cast<size_t>(got));
    return got > 0;
}

// Whether the server has closed the connection, and sent nothing before that.
static bool client_at_end(Client &client)
{
    char byte;
    return client.unread.empty() && recv(client.socket, &byte, 1, 0) == 0;
}

static std::string field_of(const Answer &answer, const std::string &name)
{
    const size_t at = answer.head.find("\r\n" + name + ": ");
    if (at == std::string::npos)
        return "";
    const size_t value = at + name.size() + 4;
    return answer.head.substr(value, answer.head.find("\r\n", value) - value);
}

static Answer answer_read(Client &client, bool with_body = true)
{
    Answer answer;
    size_t head_end;
    while ((head_end = client.unread.find("\r\n\r\n")) == std::string::npos)
        if (!client_receive(client))
            return answer;
    answer.head = client.unread.substr(0, head_end + 4);
    client.unread.erase(0, head_end + 4);
    int status = 0;
    if (sscanf(answer.head.c_str(), "HTTP/1.1 %d ", &status) != 1)
        return answer;
    if (with_body && status >= 200) {
        const std::string length = field_of(answer, "Content-Length");
        if (length.empty())
            return answer;
        const size_t bytes = strtoul(length.c_str(), nullptr, 10);
        while (client.unread.size() < bytes)
            if (!client_receive(client))
                return answer;
        answer.body = client.unread.substr(0, bytes);
        client.unread.erase(0, bytes);
    }
    answer.status = status;
    return answer;
}

static std::string request_of(const std::string &target,
                              const std::string &fields = "",
                              const std::string &method = "GET")
{
    return method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields +
           "\r\n";
}

static Answer ask(Client &client, const std::string &target)
{
    client_send(client, request_of(target));
    return answer_read(client);
}

// ---- /stats -----------------------------------------------------------------

// A number of the stats, of all threads together.
static uint64_t stat_of(const std::string &stats, const char *part,
                        const char *name)
{
    size_t at = stats.find("\"total\":");
    if (at != std::string::npos)
        at = stats.find("\""s + part + "\":{", at);
    if (at != std::string::npos)
        at = stats.find("\""s + name + "\":", at);
    if (at == std::string::npos)
        fail_msg("no %s.%s in %s", part, name, stats.c_str());
    return strtoull(stats.c_str() + stats.find(':', at) + 1, nullptr, 10);
}

static std::string stats_ask(const Server &server = common)
{
    Client client = client_open(server);
    const Answer answer = ask(client, "/stats");
    assert_int_equal(answer.status, 200);
    client_close(client);
    return answer.body;
}

// Asks until the server has `others` connections besides the one that asks,
// all of them waiting. (It may hear of a client's end after it has answered
// the next client.) Returns how often it asked, or 0 if it never came true.
static int stats_settle(const Server &server, int others, std::string &stats)
{
    const uint64_t count = static_cast<uint64_t>(others);
    const int64_t deadline = now_ms() + PATIENCE_MS;
    for (int asked = 1; now_ms() < deadline; asked++) {
        stats = stats_ask(server);
        if (stat_of(stats, "server", "connections_open") == count + 1 &&
            stat_of(stats, "runtime", "jobs_paused") == count &&
            stat_of(stats, "runtime", "jobs_running") == 1)
            return asked;
        sleep_ms(10);
    }
    print_error("it did not come to %d: %.999s\n", others, stats.c_str());
    return 0;
}

static bool clients_are_gone(const Server &server, std::string &stats)
{
    return stats_settle(server, 0, stats) > 0;
}

static int descriptors_of(pid_t pid)
{
    DIR *folder = opendir(("/proc/" + std::to_string(pid) + "/fd").c_str());
    if (!folder)
        return -1;
    int count = 0;
    while (const dirent *entry = readdir(folder))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

// Whether `text` from `at` on is one JSON value; moves `at` behind it.
static bool json_skip(std::string_view text, size_t &at)
{
    const auto next_is = [&](char byte) {
        const bool is = at < text.size() && text[at] == byte;
        at += is;
        return is;
    };
    if (next_is('"')) {
        while (at < text.size() && text[at] >= ' ' && text[at] != '"' &&
               text[at] != '\\')
            at++;
        return next_is('"');
    }
    if (at < text.size() && text[at] >= '0' && text[at] <= '9') {
        const size_t end = std::min(
            text.find_first_not_of("0123456789", at), text.size());
        const bool good = text[at] != '0' || end == at + 1;
        at = end;
        return good;
    }
    const bool object = next_is('{');
    if (!object && !next_is('['))
        return false;
    const char close = object ? '}' : ']';
    if (next_is(close))
        return true;
    do {
        if (object && (at >= text.size() || text[at] != '"' ||
                       !json_skip(text, at) || !next_is(':')))
            return false;
        if (!json_skip(text, at))
            return false;
    } while (next_is(','));
    return next_is(close);
}

// ---- the tests: what a well-behaved client gets -----------------------------

static void answers_root(void **)
{
    Client client = client_open();
    const Answer answer = ask(client, "/");
    assert_int_equal(answer.status, 200);
    assert_string_equal(field_of(answer, "Content-Type").c_str(), "text/plain");
    assert_int_equal(field_of(answer, "Date").size(),
                     strlen("Tue, 01 Jan 2030 00:00:00 GMT"));
    assert_string_equal(field_of(answer, "Connection").c_str(), "");
    assert_string_equal(answer.body.c_str(), "Hello from a job.\n");
}

static void keeps_a_connection(void **)
{
    Client client = client_open();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(client, "/").status, 200);
        assert_int_equal(ask(client, "/nothing").status, 404);
        assert_int_equal(ask(client, "/delay/1").status, 200);
    }
    const std::string stats = ask(client, "/stats").body;
    assert_true(stat_of(stats, "server", "requests") >= 60);
}

static void closes_when_asked(void **)
{
    Client client = client_open();
    client_send(client, request_of("/", "Connection: close\r\n"));
    const Answer answer = answer_read(client);
    assert_int_equal(answer.status, 200);
    assert_string_equal(field_of(answer, "Connection").c_str(), "close");
    assert_true(client_at_end(client));

    client = client_open();
    client_send(client, request_of("/", "connection: x,\tCLOSE ,y\r\n"));
    assert_int_equal(answer_read(client).status, 200);
    assert_true(client_at_end(client));
}

static void speaks_http_1_0(void **)
{
    Client client = client_open();
    client_send(client, "GET / HTTP/1.0\r\n\r\n");
    Answer answer = answer_read(client);
    assert_int_equal(answer.status, 200);
    assert_string_equal(field_of(answer, "Connection").c_str(), "close");
    assert_true(client_at_end(client));

    client = client_open();
    for (int i = 0; i < 2; i++) {
        client_send(client, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        answer = answer_read(client);
        assert_int_equal(answer.status, 200);
        assert_string_equal(field_of(answer, "Connection").c_str(),
                            "keep-alive");
    }
}

static void accepts_unusual_requests(void **)
{
    const std::string good[] = {
        "GET / HTTP/1.1\r\nhOST:localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\t localhost:80 \t\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET /?a=b/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://example.org HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://example.org?x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.9\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \xe4\t~\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\nabc",
    };
    Client client = client_open();
    for (const std::string &request : good) {
        client_send(client, request);
        const Answer answer = answer_read(client);
        if (answer.status != 200 || answer.body != "Hello from a job.\n")
            fail_msg("%d for:\n%s", answer.status, request.c_str());
    }
}

static void answers_head(void **)
{
    Client client = client_open();
    for (const char *target : {"/", "/delay/1", "/stats"}) {
        client_send(client, request_of(target, "", "HEAD"));
        const Answer answer = answer_read(client, false);
        assert_int_equal(answer.status, 200);
        assert_true(atoi(field_of(answer, "Content-Length").c_str()) > 0);
        // had a body come, it would be taken for the next answer
        assert_int_equal(ask(client, "/").status, 200);
        assert_true(client.unread.empty());
    }
    client_send(client, request_of("/nothing", "", "HEAD"));
    assert_int_equal(answer_read(client, false).status, 404);
}

static void refuses_methods(void **)
{
    Client client = client_open();
    for (const char *method : {"POST", "PUT", "DELETE", "PATCH", "get", "X"}) {
        client_send(client,
                    request_of("/", "Content-Length: 3\r\n", method) + "abc");
        const Answer answer = answer_read(client);
        assert_int_equal(answer.status, 405);
        assert_string_equal(field_of(answer, "Allow").c_str(), "GET, HEAD");
    }
    client_send(client, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(answer_read(client).status, 405);
    client_send(client, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(answer_read(client).status, 405);
    assert_int_equal(ask(client, "/").status, 200);
}

static void bounds_delays(void **)
{
    Client client = client_open();
    for (const char *target :
         {"/delay/60001", "/delay/", "/delay/x", "/delay/-1", "/delay/+1",
          "/delay/1x", "/delay/1/", "/delay/1%30", "/delay/0x10",
          "/delay/4294967297", "/delay/18446744073709551617",
          "/delay/999999999999999999999999999"})
        if (ask(client, target).status != 400)
            fail_msg("no 400 for %s", target);
    assert_int_equal(ask(client, "/delay").status, 404);
    assert_string_equal(ask(client, "/delay/0").body.c_str(),
                        "Hello after 0 ms.\n");
    const int64_t start = now_ms();
    assert_string_equal(ask(client, "/delay/30?x").body.c_str(),
                        "Hello after 30 ms.\n");
    assert_true(now_ms() - start >= 29); // whole milliseconds, cut off
}

static void delays_side_by_side(void **)
{
    const int count = scaled(100, 20), delay_ms = 200;
    std::vector<Client> clients;
    for (int i = 0; i < count; i++)
        clients.push_back(client_open());
    const int64_t start = now_ms();
    for (Client &client : clients)
        client_send(client, request_of("/delay/200"));
    for (Client &client : clients)
        assert_string_equal(answer_read(client).body.c_str(),
                            "Hello after 200 ms.\n");
    const int64_t took = now_ms() - start;
    assert_true(took >= delay_ms - 1);
    assert_true(took < int64_t{count} * delay_ms * 3 / 4);
}

// ---- the tests: how requests are cut into packets ---------------------------

static void answers_pipelined_requests_in_order(void **)
{
    const int count = 50;
    std::string requests;
    for (int i = 0; i < count; i++)
        requests += i % 10 == 9
                        ? request_of("/", "Content-Length: 4\r\n") + "GET "
                        : request_of("/delay/" + std::to_string(i % 9));
    Client client = client_open();
    client_send(client, requests);
    for (int i = 0; i < count; i++) {
        const Answer answer = answer_read(client);
        const std::string expected =
            i % 10 == 9 ? "Hello from a job.\n"
                        : "Hello after " + std::to_string(i % 9) + " ms.\n";
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.body.c_str(), expected.c_str());
    }

    // More than a buffer holds, in and out, so that a request lies across its
    // end; and answers stop with the request that says so.
    const int many = 2000;
    requests.clear();
    for (int i = 0; i < many; i++) // of all lengths
        requests += request_of(i % 3 ? "/" : "/nothing",
                               "X: " + std::string(i % 97, 'x') + "\r\n");
    requests += request_of("/", "Connection: close\r\n") + request_of("/");
    client = client_open();
    client_send(client, requests);
    for (int i = 0; i < many; i++)
        assert_int_equal(answer_read(client).status, i % 3 ? 200 : 404);
    assert_int_equal(answer_read(client).status, 200);
    assert_true(client_at_end(client));
}

static void takes_requests_in_two_parts(void **)
{
    const std::string request =
        request_of("/delay/0", "Content-Length: 5\r\n") + "01\r\n4";
    Client client = client_open();
    for (size_t cut = 1; cut < request.size(); cut++) {
        client_send(client, std::string_view(request).substr(0, cut));
        sleep_ms(1); // most likely the server reads the parts separately
        client_send(client, std::string_view(request).substr(cut));
        const Answer answer = answer_read(client);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.body.c_str(), "Hello after 0 ms.\n");
    }
    assert_true(client.unread.empty());
}

static void takes_requests_byte_by_byte(void **)
{
    Client client = client_open();
    const std::string requests =
        "\r\n" + request_of("/delay/3") + request_of("/");
    for (size_t i = 0; i < requests.size(); i++) {
        client_send(client, std::string_view(requests).substr(i, 1));
        usleep(500);
    }
    assert_string_equal(answer_read(client).body.c_str(),
                        "Hello after 3 ms.\n");
    assert_string_equal(answer_read(client).body.c_str(),
                        "Hello from a job.\n");
}

// Sends until all is sent or both sides' buffers are full, and until no more
// comes back: by then the server waits with an answer half sent, if there are
// answers enough. Returns how much was sent.
static size_t client_overfill(Client &client, std::string_view data)
{
    size_t done = 0;
    int unread_bytes = 0;
    for (int waits = 0; waits < 20; waits++) {
        const ssize_t sent = send(client.socket, data.data() + done,
                                  data.size() - done,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
        const int before = unread_bytes;
        ioctl(client.socket, FIONREAD, &unread_bytes);
        if (sent > 0)
            done += static_cast<size_t>(sent);
        if (sent > 0 || unread_bytes != before)
            waits = 0;
        sleep_ms(2);
    }
    return done;
}

static void answers_clients_that_read_late(void **)
{
    std::string requests;
    for (int i = 0; i < 6000; i++)
        requests += request_of("/stats"); // the longest answer
    Client client = client_open();
    const int few_bytes = 131072; // and the server's kernel holds 4 MiB
    setsockopt(client.socket, SOL_SOCKET, SO_RCVBUF, &few_bytes,
               sizeof few_bytes);
    const size_t sent = client_overfill(client, requests);
    // Every request that was sent whole is answered. (The FIN stands behind
    // the rest of the last one.)
    const size_t whole = sent / request_of("/stats").size();
    shutdown(client.socket, SHUT_WR);
    for (size_t i = 0; i < whole; i++)
        if (answer_read(client).status != 200)
            fail_msg("%zu of %zu answers", i, whole);
    assert_true(client_at_end(client));
}

static void answers_after_half_close(void **)
{
    Client client = client_open();
    client_send(client, request_of("/delay/20") + request_of("/"));
    shutdown(client.socket, SHUT_WR);
    assert_string_equal(answer_read(client).body.c_str(),
                        "Hello after 20 ms.\n");
    assert_string_equal(answer_read(client).body.c_str(),
                        "Hello from a job.\n");
    assert_true(client_at_end(client));

    // all of it at once, and on a connection that was waiting
    for (const char *target : {"/", "/delay/20"}) {
        client = client_open();
        assert_int_equal(ask(client, "/").status, 200);
        server_halt(common);
        client_send(client, request_of(target));
        shutdown(client.socket, SHUT_WR);
        server_continue(common);
        assert_int_equal(answer_read(client).status, 200);
        assert_true(client_at_end(client));
    }
}

static void bears_half_requests(void **)
{
    const std::string request =
        request_of("/", "Content-Length: 5\r\n") + "0123";
    for (size_t cut = 0; cut <= request.size(); cut++) {
        Client client = client_open();
        client_send(client, std::string_view(request).substr(0, cut));
        shutdown(client.socket, SHUT_WR);
        if (!client_at_end(client))
            fail_msg("no end after %zu bytes", cut);
        client_close(client);
    }
}

// ---- the tests: what must be refused ----------------------------------------

struct Refusal {
    int status;
    std::string request;
};

static const std::string GET_LINE = "GET / HTTP/1.1\r\nHost: a\r\n";

// Each is followed by a good request, which must not be answered: after a
// request that is not understood nobody knows where the next one starts.
static void expect_refusals(const std::vector<Refusal> &refusals)
{
    for (const Refusal &refusal : refusals) {
        Client client = client_open();
        const bool sent =
            client_send(client, refusal.request + request_of("/"));
        const Answer answer = answer_read(client);
        if (answer.status != refusal.status ||
            field_of(answer, "Connection") != "close" || !client_at_end(client))
            fail_msg("%d (not %d), close %s, then '%s', for:\n%s",
                     answer.status, refusal.status,
                     field_of(answer, "Connection").c_str(),
                     client.unread.c_str(), refusal.request.c_str());
        // The server takes all of it, for to close with bytes unread would be
        // to reset, which could overtake the answer.
        int left_bytes = 1, error = 0;
        socklen_t size = sizeof error;
        for (int i = 0; i < 1000 && left_bytes > 0; i++) {
            ioctl(client.socket, SIOCOUTQ, &left_bytes);
            usleep(i < 5 ? 0 : 1000);
        }
        getsockopt(client.socket, SOL_SOCKET, SO_ERROR, &error, &size);
        if (!sent || error)
            fail_msg("%s, for:\n%.200s", strerror(error),
                     refusal.request.c_str());
        client_close(client);
    }
}

static void refuses_malformed_requests(void **)
{
    const std::string rest = "\r\nHost: a\r\n\r\n";
    std::vector<Refusal> refusals = {
        // request lines
        {400, "GET" + rest},
        {400, "GET /" + rest},
        {400, " GET / HTTP/1.1" + rest},
        {400, "\tGET / HTTP/1.1" + rest},
        {400, "GET  / HTTP/1.1" + rest},
        {400, "GET /  HTTP/1.1" + rest},
        {400, "GET / HTTP/1.1 " + rest},
        {400, "GET\t/\tHTTP/1.1" + rest},
        {400, "GET / / HTTP/1.1" + rest},
        {400, " / HTTP/1.1" + rest},
        {400, "G(T / HTTP/1.1" + rest},
        {400, "G\xc3T / HTTP/1.1" + rest},
        {400, "G\0T / HTTP/1.1"s + rest},
        {400, "\x16\x03\x01\x02 / x" + rest},
        {400, "GET x HTTP/1.1" + rest},
        {400, "GET * HTTP/1.1" + rest},
        {400, "GET a:80 HTTP/1.1" + rest},
        {400, "GET ftp://a/ HTTP/1.1" + rest},
        {400, "GET http:// HTTP/1.1" + rest},
        {400, "GET http:///x HTTP/1.1" + rest},
        {400, "GET /#x HTTP/1.1" + rest},
        {400, "GET /\x01 HTTP/1.1" + rest},
        {400, "GET /\0 HTTP/1.1"s + rest},
        {400, "GET /\x7f HTTP/1.1" + rest},
        {400, "GET /\xc3\xa4 HTTP/1.1" + rest},
        {400, "GET / HTTP" + rest},
        {400, "GET / HTTP/" + rest},
        {400, "GET / HTTP/1" + rest},
        {400, "GET / HTTP/1." + rest},
        {400, "GET / HTTP/1.x" + rest},
        {400, "GET / HTTP/x.1" + rest},
        {400, "GET / HTTP/1,1" + rest},
        {400, "GET / HTTP/1.10" + rest},
        {400, "GET / HTTP/11" + rest},
        {400, "GET / http/1.1" + rest},
        {400, "GET / HTTPS/1.1" + rest},
        {400, "GET / HTTX/1.1" + rest},
        {505, "GET / HTTP/2.0" + rest},
        {505, "GET / HTTP/0.9" + rest},
        {505, "PRI * HTTP/2.0\r\n\r\n"},
        // ends of lines
        {400, "GET / HTTP/1.1\n\n"},
        {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
        {400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"},
        {400, "\n" + GET_LINE + "\r\n"},
        {400, "\r\n\r\n" + GET_LINE + "\r\n"},
        // fields
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, GET_LINE + "Host: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: me@a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
        {400, GET_LINE + " folded\r\n\r\n"},
        {400, GET_LINE + "\tfolded: x\r\n\r\n"},
        {400, GET_LINE + "no colon\r\n\r\n"},
        {400, GET_LINE + ": no name\r\n\r\n"},
        {400, GET_LINE + "two words: x\r\n\r\n"},
        {400, GET_LINE + "X\x01: x\r\n\r\n"},
        {400, GET_LINE + "X: a\x01z\r\n\r\n"},
        {400, GET_LINE + "X: a\0z\r\n\r\n"s},
        {400, GET_LINE + "X: a\rz\r\n\r\n"},
        {400, GET_LINE + "X: a\x7fz\r\n\r\n"},
        {417, GET_LINE + "Expect: miracles\r\n\r\n"},
    };
    expect_refusals(refusals);
}

static void refuses_doubtful_lengths(void **)
{
    const std::string hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    expect_refusals({
        {400, GET_LINE + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n" +
                  hidden},
        {400, GET_LINE + "Content-Length: 5\r\nContent-Length: 0\r\n\r\n" +
                  hidden},
        {400, GET_LINE + "Content-Length: 5, 5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: 5 5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: +5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: -5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: 0x5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: 5.0\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: 5;\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: five\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length:\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length : 5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: 5\r\n 5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: \v5\r\n\r\n" + hidden},
        {400, GET_LINE + "Content-Length: 5\0\r\n\r\n"s + hidden},
        {413, GET_LINE + "Content-Length: 1048577\r\n\r\n" + hidden},
        {413, GET_LINE + "Content-Length: 18446744073709551616\r\n\r\n" +
                  hidden},
        {413, GET_LINE + "Content-Length: " + std::string(50, '9') +
                  "\r\n\r\n" + hidden},
        {400, GET_LINE +
                  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" +
                  "0\r\n\r\n" + hidden},
        {400, GET_LINE +
                  "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" +
                  "0\r\n\r\n" + hidden},
        {400, GET_LINE +
                  "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n" +
                  hidden},
        {400, GET_LINE + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
        {400, GET_LINE + "Transfer-Encoding:\v chunked\r\n\r\n0\r\n\r\n"},
        {400, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
              "0\r\n\r\n"},
        {501, GET_LINE + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {501, GET_LINE + "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {501, GET_LINE + "Transfer-Encoding: gzip\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\nHost: a\r\n"
              "Transfer-Encoding: chunked\r\n\r\n" +
                  hidden},
    });
}

static void refuses_long_heads(void **)
{
    const std::string start = GET_LINE + "X: ";
    const auto request_of_bytes = [&start](size_t bytes) {
        return start + std::string(bytes - start.size() - 4, 'x') + "\r\n\r\n";
    };
    Client client = client_open();
    client_send(client, request_of_bytes(HEAD_MAX));
    assert_int_equal(answer_read(client).status, 200);
    client_send(client, request_of_bytes(HEAD_MAX)); // as the second one too
    assert_int_equal(answer_read(client).status, 200);

    expect_refusals({
        {431, request_of_bytes(HEAD_MAX + 1)},
        {431, request_of_bytes(20000)},
        {431, request_of_bytes(2000000)},
        {414, "GET /" + std::string(HEAD_MAX, 'x') + " HTTP/1.1\r\n\r\n"},
    });
}

// ---- the tests: bodies ------------------------------------------------------

static void drops_bodies(void **)
{
    const std::string hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    Client client = client_open();
    for (const size_t bytes : {hidden.size(), size_t(100000), size_t(1048576)}) {
        std::string body = hidden;
        while (body.size() < bytes)
            body += hidden;
        body.resize(bytes);
        const std::string length =
            "Content-Length: " + std::to_string(bytes) + "\r\n";
        client_send(client, request_of("/", length) + body);
        assert_int_equal(answer_read(client).status, 200);
        client_send(client, request_of("/", length, "POST") + body);
        assert_int_equal(answer_read(client).status, 405);
        client_send(client, request_of("/", length, "HEAD") + body);
        assert_int_equal(answer_read(client, false).status, 200);
    }
    assert_int_equal(ask(client, "/").status, 200);
    assert_true(client.unread.empty());
}

static void tells_to_continue(void **)
{
    const std::string fields =
        "Content-Length: 5\r\nExpect: 100-Continue\r\n";
    Client client = client_open();
    client_send(client, request_of("/", fields, "POST"));
    assert_int_equal(answer_read(client).status, 100);
    client_send(client, "01234");
    assert_int_equal(answer_read(client).status, 405);

    // not for a body that is refused
    client_send(client, request_of("/", "Content-Length: 1048577\r\n"
                                        "Expect: 100-continue\r\n"));
    assert_int_equal(answer_read(client).status, 413);
    assert_true(client_at_end(client));
}

// ---- the tests: clients that fail -------------------------------------------

static void bears_resets(void **)
{
    const std::string stages[] = {
        "", "GET / HT", request_of("/"), request_of("/delay/60000"),
        request_of("/", "Content-Length: 100\r\n") + "x",
        request_of("/delay/60000") + request_of("/"),
    };
    const int count = scaled(40, 4);
    for (int i = 0; i < count; i++)
        for (const std::string &stage : stages) {
            Client client = client_open();
            client_send(client, stage);
            if (i % 2)
                sleep_ms(1); // else it may not even have been accepted
            client_reset(client);
        }
    // The reset is told at the same time as the request. (After a FIN it makes
    // the server's send fail with EPIPE, not ECONNRESET.)
    for (const bool with_fin : {false, true})
        for (const std::string &stage : stages) {
            Client client = client_open();
            assert_int_equal(ask(client, "/").status, 200);
            server_halt(common);
            client_send(client, stage);
            if (with_fin)
                shutdown(client.socket, SHUT_WR);
            client_reset(client);
            server_continue(common);
        }
    // That includes those that reset while their request was delayed for a
    // minute: they are not kept for that long.
    std::string stats;
    assert_true(clients_are_gone(common, stats));
}

static void ends_slow_clients(void **)
{
    assert_true(server_start(own, {"--header-timeout-ms", "200",
                                   "--transfer-timeout-ms", "200"}));
    Client half = client_open(own);
    client_send(half, "GET / HTTP/1.1\r\nHost:");
    Client body = client_open(own);
    client_send(body, request_of("/", "Content-Length: 10\r\n") + "abc");
    Client second = client_open(own);
    client_send(second, request_of("/") + "GET");
    assert_int_equal(answer_read(half).status, 408);
    assert_true(client_at_end(half));
    assert_int_equal(answer_read(body).status, 408);
    assert_true(client_at_end(body));
    assert_int_equal(answer_read(second).status, 200);
    assert_int_equal(answer_read(second).status, 408);
    assert_true(client_at_end(second));

    // A byte now and then does not make the time longer.
    Client dripping = client_open(own);
    pollfd answered = {dripping.socket, POLLIN, 0};
    const int64_t deadline = now_ms() + PATIENCE_MS;
    const std::string line = GET_LINE + "X: " + std::string(4000, 'x');
    for (size_t i = 0; i < line.size() && now_ms() < deadline; i++) {
        client_send(dripping, line.substr(i, 1));
        if (poll(&answered, 1, 15) == 1)
            break;
    }
    assert_true(answered.revents & POLLIN); // before the drip ended
    assert_int_equal(answer_read(dripping).status, 408);
    for (Client *client : {&half, &body, &second, &dripping})
        client_close(*client); // which the server waits for
    assert_int_equal(server_stop(own), 0);
}

static void ends_idle_clients(void **)
{
    assert_true(server_start(own, {"--idle-timeout-ms", "200"}));
    Client silent = client_open(own);
    int status = 0;
    Client served;
    // (A slow machine may take longer to ask than the server waits.)
    for (const int64_t deadline = now_ms() + PATIENCE_MS;
         status != 200 && now_ms() < deadline;) {
        served = client_open(own);
        status = ask(served, "/").status;
        sleep_ms(20);
        if (status == 200) // a later deadline than the first
            status = ask(served, "/").status;
    }
    assert_int_equal(status, 200);
    // There is no request to answer.
    assert_true(client_at_end(silent));
    assert_true(client_at_end(served));
    assert_int_equal(server_stop(own), 0);
}

static void ends_clients_that_do_not_read(void **)
{
    assert_true(server_start(own, {"--transfer-timeout-ms", "200"}));
    Client client = client_open(own);
    std::string requests;
    for (int i = 0; i < 100; i++)
        requests += request_of("/stats");
    // Until the buffers of both sides are full, and the server gives up.
    bool ended = false;
    const int64_t deadline = now_ms() + PATIENCE_MS;
    while (!ended && now_ms() < deadline) {
        const ssize_t sent = send(client.socket, requests.data(),
                                  requests.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        ended = sent < 0 && errno != EAGAIN;
        if (sent < 0)
            sleep_ms(5);
    }
    assert_true(ended);
    std::string stats;
    assert_true(clients_are_gone(own, stats));
    assert_int_equal(server_stop(own), 0);
}

// ---- the tests: many clients ------------------------------------------------

static void serves_beside_idle_connections(void **)
{
    rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int count = scaled(2000, 100);
    if (static_cast<rlim_t>(count) + 100 > limit.rlim_cur)
        count = static_cast<int>(limit.rlim_cur) - 100;
    assert_true(count >= 50);

    std::vector<Client> idle;
    for (int i = 0; i < count; i++)
        idle.push_back(client_open());
    Client active = client_open();
    assert_int_equal(ask(active, "/").status, 200);
    assert_int_equal(ask(active, "/delay/10").status, 200);
    const std::string stats = ask(active, "/stats").body;
    assert_true(stat_of(stats, "runtime", "jobs_paused") >=
                static_cast<uint64_t>(count));
    // and they are alive, all of them
    for (Client &client : idle)
        client_send(client, request_of("/"));
    for (Client &client : idle)
        assert_int_equal(answer_read(client).status, 200);
}

static void gives_memory_back(void **)
{
    std::vector<Client> crowd;
    for (int i = 0; i < scaled(300, 100); i++) {
        crowd.push_back(client_open());
        assert_int_equal(ask(crowd.back(), "/").status, 200);
    }
    Client last = client_open();
    const char *const name = "stack_bytes_resident_max";
    const uint64_t most =
        stat_of(ask(last, "/stats").body, "runtime", name);
    for (Client &client : crowd)
        client_close(client);
    // That takes a while without an end of a connection, so it is this one
    // that asks.
    const int64_t deadline = now_ms() + PATIENCE_MS;
    uint64_t bytes = most;
    while (bytes > most * 3 / 4 && now_ms() < deadline) {
        sleep_ms(20);
        bytes = stat_of(ask(last, "/stats").body, "runtime", name);
    }
    assert_true(bytes <= most * 3 / 4);
}

static void refuses_too_many_connections(void **)
{
    assert_true(server_start(own, {"--max-connections", "5"}));
    std::vector<Client> clients;
    for (int i = 0; i < 5; i++) {
        clients.push_back(client_open(own));
        assert_int_equal(ask(clients.back(), "/").status, 200);
    }
    for (int i = 0; i < 3; i++) {
        Client refused = client_open(own);
        const Answer answer = answer_read(refused);
        assert_int_equal(answer.status, 503);
        assert_string_equal(field_of(answer, "Connection").c_str(), "close");
        assert_true(client_at_end(refused));
    }
    assert_int_equal(ask(clients[0], "/").status, 200);
    const std::string stats = ask(clients[0], "/stats").body;
    assert_int_equal(stat_of(stats, "server", "connections_refused"), 3);
    assert_int_equal(stat_of(stats, "server", "connections_open"), 5);

    // When one goes there is room for one again.
    client_close(clients[1]);
    int status = 0;
    for (const int64_t deadline = now_ms() + PATIENCE_MS;
         status != 200 && now_ms() < deadline; sleep_ms(5)) {
        Client next = client_open(own);
        status = ask(next, "/").status;
        client_close(next);
    }
    assert_int_equal(status, 200);
    assert_int_equal(server_stop(own), 0);
}

static void waits_for_descriptors(void **)
{
    if (getenv("HTTP_SERVER_WRAPPER")) {
        print_message("skipped: the wrapper may need descriptors itself\n");
        skip();
    }
    const int limit = 40;
    Limits limits;
    limits.descriptors = limit;
    assert_true(server_start(own, {}, limits));
    Client first = client_open(own);
    assert_int_equal(ask(first, "/").status, 200);
    std::vector<Client> clients;
    const int64_t start = now_ms();
    for (int i = 0; i < limit + 20; i++) {
        clients.push_back(client_open(own));
        client_send(clients.back(), request_of("/"));
    }
    // It looks again each 100 ms; had it gone on listening, it would have met
    // the shortage thousands of times.
    std::string stats;
    uint64_t pauses = 0;
    while (pauses < 4 && now_ms() - start < PATIENCE_MS) {
        sleep_ms(20);
        stats = ask(first, "/stats").body;
        pauses = stat_of(stats, "server", "accepts_paused");
    }
    assert_true(pauses >= 4);
    assert_true(pauses <= static_cast<uint64_t>(now_ms() - start) / 100 + 5);
    assert_true(stat_of(stats, "server", "connections_open") < limit);
    for (Client &client : clients) { // those behind come as those before go
        assert_int_equal(answer_read(client).status, 200);
        client_close(client);
    }
    assert_int_equal(ask(first, "/").status, 200);
    assert_int_equal(server_stop(own), 0);
}

static void bears_a_lack_of_memory(void **)
{
    Limits limits;
    limits.address_space_bytes = 160 << 20;
    if (getenv("HTTP_SERVER_WRAPPER") || !server_start(own, {}, limits)) {
        print_message("skipped: the server does not start in 160 MiB\n");
        skip();
    }
    rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    const int most =
        static_cast<int>(std::min<rlim_t>(limit.rlim_cur - 100, 4000));

    // Until there is no memory for one more stack.
    std::vector<Client> clients;
    int status = 200;
    while (status == 200 && static_cast<int>(clients.size()) < most) {
        clients.push_back(client_open(own));
        status = ask(clients.back(), "/").status;
    }
    if (status == 200) {
        print_message("skipped: %d stacks fit in 160 MiB\n", most);
        skip();
    }
    // The answer may be lost with the reset that follows a refusal at once.
    assert_true(status == 503 || status == 0);
    // Those that have a job are served on,
    for (size_t i = 0; i < clients.size() - 1; i++)
        assert_int_equal(ask(clients[i], "/").status, 200);
    const std::string stats = ask(clients[0], "/stats").body;
    assert_int_equal(stat_of(stats, "server", "job_failures"), 1);
    assert_int_equal(stat_of(stats, "server", "connections_refused"), 1);
    // and when they go, others are.
    for (Client &client : clients)
        client_close(client);
    status = 0;
    for (const int64_t deadline = now_ms() + PATIENCE_MS;
         status != 200 && now_ms() < deadline; sleep_ms(5)) {
        Client next = client_open(own);
        status = ask(next, "/").status;
    }
    assert_int_equal(status, 200);
    assert_int_equal(server_stop(own), 0);
}

static void serves_from_several_threads(void **)
{
    assert_true(server_start(own, {"--threads", "3"}));
    const int count = scaled(200, 20);
    std::vector<Client> clients;
    for (int i = 0; i < count; i++) {
        clients.push_back(client_open(own));
        client_send(clients.back(),
                    request_of("/delay/5") + request_of("/stats"));
    }
    for (Client &client : clients) {
        assert_int_equal(answer_read(client).status, 200);
        const Answer answer = answer_read(client);
        assert_int_equal(answer.status, 200);
        client_close(client);
    }
    std::string stats;
    assert_true(clients_are_gone(own, stats));
    const uint64_t requests = stat_of(stats, "server", "requests");
    assert_true(requests >= 2 * static_cast<uint64_t>(count));
    // each thread's, which make the total
    size_t at = 0;
    assert_true(json_skip(stats, at));
    uint64_t sum = 0;
    int threads = 0;
    for (at = 0; (at = stats.find("\"requests\":", at)) <
                 stats.find("\"total\":");
         threads++)
        sum += strtoull(stats.c_str() + (at += strlen("\"requests\":")),
                        nullptr, 10);
    assert_int_equal(threads, 3);
    assert_int_equal(sum, requests);
    assert_int_equal(server_stop(own), 0);
}

// ---- the tests: looking in, and the end -------------------------------------

static void tells_stats(void **)
{
    std::string stats;
    assert_true(clients_are_gone(common, stats));
    const int descriptors = descriptors_of(common.pid);

    size_t at = 0;
    if (!json_skip(stats, at) || stats.substr(at) != "\n")
        fail_msg("not JSON at %zu: %s", at, stats.c_str());
    for (const char *name :
         {"jobs_idle", "jobs_paused", "jobs_running", "jobs_started",
          "jobs_finished", "jobs_discarded", "stacks_mapped",
          "stack_bytes_resident_max", "descriptors_open"})
        stat_of(stats, "runtime", name);
    assert_true(stats.find("\"guard_method\":\"") != std::string::npos);

    const int count = scaled(50, 10);
    std::vector<Client> clients;
    for (int i = 0; i < count; i++) {
        clients.push_back(client_open());
        assert_int_equal(ask(clients.back(), "/").status, 200);
    }
    std::string busy;
    const int asked = stats_settle(common, count, busy);
    assert_true(asked > 0);
    const uint64_t requests = stat_of(busy, "server", "requests") -
                              stat_of(stats, "server", "requests");
    assert_int_equal(requests, count + asked);
    for (Client &client : clients)
        client_close(client);

    // All is given back: jobs, and descriptors.
    assert_true(clients_are_gone(common, stats));
    assert_int_equal(stat_of(stats, "runtime", "jobs_started"),
                     stat_of(stats, "runtime", "jobs_finished") + 1);
    assert_int_equal(stat_of(stats, "runtime", "jobs_discarded"), 0);
    assert_int_equal(stat_of(stats, "server", "job_starts"),
                     stat_of(stats, "runtime", "jobs_started"));
    assert_int_equal(stat_of(stats, "server", "job_finishes"),
                     stat_of(stats, "runtime", "jobs_finished"));
    // A pause is counted when it returns, a resume before it is made, and the
    // job that counts here has resumed or has just been started.
    const uint64_t pauses = stat_of(stats, "server", "job_pauses");
    assert_int_equal(pauses, stat_of(stats, "server", "job_resumes"));
    assert_true(pauses >= static_cast<uint64_t>(count));
    // The socket of the last question may still be there, or be gone already.
    const int64_t deadline = now_ms() + PATIENCE_MS;
    while (descriptors_of(common.pid) > descriptors && now_ms() < deadline)
        sleep_ms(5);
    assert_true(descriptors_of(common.pid) <= descriptors);
}

static void stops_when_all_is_answered(void **)
{
    // The bound is too long to be reached, so the server ends because its
    // connections do.
    assert_true(server_start(own, {"--stop-timeout-ms", "3600000"}));
    std::vector<Client> idle;
    for (int i = 0; i < scaled(100, 10); i++) {
        idle.push_back(client_open(own));
        assert_int_equal(ask(idle.back(), "/").status, 200);
    }
    // The answer before a delay is sent when the delay begins.
    Client delayed = client_open(own);
    client_send(delayed, request_of("/") + request_of("/delay/300"));
    assert_int_equal(answer_read(delayed).status, 200);
    Client body = client_open(own);
    client_send(body, request_of("/", "Content-Length: 3\r\n"
                                      "Expect: 100-continue\r\n"));
    assert_int_equal(answer_read(body).status, 100);
    Client half = client_open(own);
    client_send(half, request_of("/") + "GET / HTTP/1.1\r\n");
    assert_int_equal(answer_read(half).status, 200);

    kill(own.pid, SIGTERM);
    for (Client &client : idle)
        assert_true(client_at_end(client));
    // What was asked before is answered, and says that it is the last.
    assert_string_equal(answer_read(delayed).body.c_str(),
                        "Hello after 300 ms.\n");
    assert_true(client_at_end(delayed));
    client_send(body, "abc" + request_of("/"));
    Answer answer = answer_read(body);
    assert_int_equal(answer.status, 200);
    assert_string_equal(field_of(answer, "Connection").c_str(), "close");
    assert_true(client_at_end(body));
    client_send(half, "Host: a\r\n\r\n");
    answer = answer_read(half);
    assert_int_equal(answer.status, 200);
    assert_string_equal(field_of(answer, "Connection").c_str(), "close");
    assert_true(client_at_end(half));
    client_close(delayed);
    client_close(body);
    client_close(half);

    assert_int_equal(server_stop(own), 0);
    assert_non_null(strstr(own.text.c_str(), "\nstopped: "));
    assert_non_null(strstr(own.text.c_str(), "connections_open 0,"));
    assert_non_null(strstr(own.text.c_str(), "jobs_left 0\n"));
}

static void stops_within_a_bound(void **)
{
    const std::vector<std::pair<int, std::vector<std::string>>> stops = {
        {SIGTERM, {"--stop-timeout-ms", "200", "--threads", "2"}},
        {SIGINT, {"--stop-timeout-ms", "0"}},
    };
    for (const auto &[signal, options] : stops) {
        assert_true(server_start(own, options));
        Client idle = client_open(own);
        Client half = client_open(own);
        client_send(half, "GET / HT");
        Client delayed = client_open(own);
        client_send(delayed, request_of("/") + request_of("/delay/60000"));
        assert_int_equal(answer_read(delayed).status, 200);
        Client full = client_open(own); // it never reads
        std::string requests;
        for (int i = 0; i < 6000; i++)
            requests += request_of("/stats");
        client_overfill(full, requests);

        assert_int_equal(server_stop(own, signal), 0);
        assert_true(client_at_end(idle));
        assert_int_equal(answer_read(half).status, 0);
        assert_int_equal(answer_read(delayed).status, 0);
        assert_non_null(strstr(own.text.c_str(), "connections_open 0,"));
        assert_non_null(strstr(own.text.c_str(), "jobs_left 0\n"));
    }
}

static int server_try(const std::vector<std::string> &args, std::string &text)
{
    int out = -1;
    const pid_t pid = server_fork(args, &out, true, {});
    text.clear();
    while (output_read(out, text))
        ;
    close(out);
    return process_wait(pid);
}

static void refuses_bad_options(void **)
{
    const std::vector<std::vector<std::string>> bad = {
        {"--port", "65536"},    {"--threads", "0"},
        {"--port", "x"},        {"--port", "-1"},
        {"--port", ""},         {"--port", "1 "},
        {"--threads", "65"},    {"--max-connections", "0"},
        {"--host", "nowhere"},  {"--idle-timeout-ms", "0"},
        {"--port"},             {"--no-such-option"},
        {"-x"},                 {"word"},
        {"--max-body-bytes", "99999999999999999999999"},
    };
    std::string text;
    for (size_t i = 0; i < bad.size(); i++) {
        if (i >= static_cast<size_t>(scaled(100, 5)))
            break;
        const int status = server_try(bad[i], text);
        if (status != 2 || text.find("--help") == std::string::npos)
            fail_msg("%d and '%s' for %s", status, text.c_str(),
                     bad[i][0].c_str());
    }
    assert_int_equal(server_try({"--help"}, text), 0);
    assert_non_null(strstr(text.c_str(), "--max-connections"));

    // A port that is in use, by listeners that share it among themselves too.
    assert_true(server_start(own, {"--threads", "2"}));
    for (const int port : {common.port, own.port})
        for (const char *threads : {"1", "2"}) {
            assert_int_equal(server_try({"--port", std::to_string(port),
                                         "--threads", threads},
                                        text),
                             1);
            assert_non_null(strstr(text.c_str(), "in use"));
        }
    assert_int_equal(server_stop(own), 0);
}

// The last of all: whatever the tests before did, it ends as it should.
static void stops_after_all(void **)
{
    std::string stats;
    assert_true(clients_are_gone(common, stats));
    assert_int_equal(server_stop(common), 0);
    assert_non_null(strstr(common.text.c_str(), "jobs_left 0\n"));
}

static int test_end(void **)
{
    for (const int socket : sockets)
        close(socket);
    sockets.clear();
    if (own.pid != 0) { // the test has failed
        kill(own.pid, SIGKILL);
        server_stop(own);
    }
    return 0;
}

static int group_start(void **)
{
    return server_start(common, {}) ? 0 : -1;
}

static int group_end(void **)
{
    if (common.pid != 0) {
        kill(common.pid, SIGKILL);
        server_stop(common);
    }
    return 0;
}

int main()
{
    if (!getenv("HTTP_SERVER")) {
        printf("http_test: skipped: HTTP_SERVER does not name the server\n");
        return 77;
    }
    const CMUnitTest tests[] = {
        cmocka_unit_test_teardown(answers_root, test_end),
        cmocka_unit_test_teardown(keeps_a_connection, test_end),
        cmocka_unit_test_teardown(closes_when_asked, test_end),
        cmocka_unit_test_teardown(speaks_http_1_0, test_end),
        cmocka_unit_test_teardown(accepts_unusual_requests, test_end),
        cmocka_unit_test_teardown(answers_head, test_end),
        cmocka_unit_test_teardown(refuses_methods, test_end),
        cmocka_unit_test_teardown(bounds_delays, test_end),
        cmocka_unit_test_teardown(delays_side_by_side, test_end),
        cmocka_unit_test_teardown(answers_pipelined_requests_in_order,
                                  test_end),
        cmocka_unit_test_teardown(takes_requests_in_two_parts, test_end),
        cmocka_unit_test_teardown(takes_requests_byte_by_byte, test_end),
        cmocka_unit_test_teardown(answers_clients_that_read_late, test_end),
        cmocka_unit_test_teardown(answers_after_half_close, test_end),
        cmocka_unit_test_teardown(bears_half_requests, test_end),
        cmocka_unit_test_teardown(refuses_malformed_requests, test_end),
        cmocka_unit_test_teardown(refuses_doubtful_lengths, test_end),
        cmocka_unit_test_teardown(refuses_long_heads, test_end),
        cmocka_unit_test_teardown(drops_bodies, test_end),
        cmocka_unit_test_teardown(tells_to_continue, test_end),
        cmocka_unit_test_teardown(bears_resets, test_end),
        cmocka_unit_test_teardown(ends_slow_clients, test_end),
        cmocka_unit_test_teardown(ends_idle_clients, test_end),
        cmocka_unit_test_teardown(ends_clients_that_do_not_read, test_end),
        cmocka_unit_test_teardown(serves_beside_idle_connections, test_end),
        cmocka_unit_test_teardown(gives_memory_back, test_end),
        cmocka_unit_test_teardown(refuses_too_many_connections, test_end),
        cmocka_unit_test_teardown(waits_for_descriptors, test_end),
        cmocka_unit_test_teardown(bears_a_lack_of_memory, test_end),
        cmocka_unit_test_teardown(serves_from_several_threads, test_end),
        cmocka_unit_test_teardown(tells_stats, test_end),
        cmocka_unit_test_teardown(stops_when_all_is_answered, test_end),
        cmocka_unit_test_teardown(stops_within_a_bound, test_end),
        cmocka_unit_test_teardown(refuses_bad_options, test_end),
        cmocka_unit_test_teardown(stops_after_all, test_end),
    };
    return cmocka_run_group_tests(tests, group_start, group_end);
}
