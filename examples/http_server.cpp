// SPDX-License-Identifier: Apache-2.0
//
// An HTTP/1.1 server in which every connection is a job.
//
//   GET /            a line of text
//   GET /delay/<ms>  the same, that many milliseconds later (0 to 60000)
//   GET /stats       what the runtime and the server count, as JSON
//
//   c++ -std=c++20 -O2 http_server.cpp -ljobswitch -o http_server
//   ./http_server --port 8080 --threads 2
//
// The text runs from what is below to what rests on it; the place to start
// reading is connection_run(), the place to start changing request_answer().
//
// How it works. Each thread runs one loop around epoll_wait(), and starts a
// job for every connection it accepts. connection_run() is that job, written
// as if its calls could block: read a request, answer it, again. Where a call
// really would block (EAGAIN), or a request asks for a delay, the job notes in
// its slot what it waits for and pauses, and the loop goes on with others. The
// loop resumes it when epoll has what it waits for; the runtime keeps the
// deadlines, and the loop resumes by the ready ring those that have come.
//
// Three rules keep that sound, and carry over to any server built this way:
//
//   Name jobs by slot and generation. The event that epoll hands back holds
//   both. A connection may end while another event for it lies further on in
//   the same batch, and its slot or descriptor may even be in use again by
//   then: the generation differs, and the event is dropped. So no job is
//   resumed after its end.
//
//   Try first, pause on EAGAIN. A socket is registered once, edge-triggered,
//   for both directions, and tells each thing once. What it tells while the
//   job waits for something else need not be acted on: the job will try the
//   call anyhow. Where a job waits without a call to try (a delay here), the
//   loop must keep what was told: see Slot.
//
//   Keep over a pause only what is yours. While a job is paused every other
//   job of the thread may run. What lies on the job's own stack is safe, and
//   so are the loop and its slots, which are made once and never move. A view
//   into the input buffer is not: the next read moves the bytes. So a request
//   is parsed into values, never into views.
//
// Memory. The buffers of a connection, 8 KiB in and 2 KiB out, lie on its
// job's stack of 64 KiB, of which only the pages that were touched cost
// memory: an idle connection holds 12 KiB of it (8, if this file is compiled
// without -fstack-clash-protection and no request was long), beside what the
// kernel takes for a socket. When a crowd has gone, the loop tells the pool to
// give the memory of idle stacks back. Nothing is allocated for a request but
// the text of /stats.
//
// Wakes. The loop knows by itself when a socket is ready, so it resumes those
// jobs directly. It is different when something else knows: another thread, a
// device, a library with completions of its own. Such a job would hand its
// handle (jobswitch_get_current_job) to that thread and pause, and the thread
// calls jobswitch_wake(job) when it is done. The loop need not be changed: the
// job comes by the ready ring, whose descriptor is in the epoll set, as jobs
// with a deadline and those that gave up their turn do. A wake that comes
// before the pause is not lost; one that comes too late does nothing, or wakes
// a job that then waits for something else: so connection_pause() looks.

#include <jobswitch/jobswitch.h>

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using std::string_view;

// ---- bounds -----------------------------------------------------------------

constexpr size_t IN_BYTES = 8192;  // the longest request head; see 431
constexpr size_t OUT_BYTES = 2048; // several pipelined answers in one send
constexpr size_t HEAD_BYTES = 512; // the longest head of an answer
constexpr uint32_t DELAY_MAX_MS = 60000;
constexpr int64_t LINGER_MS = 5000;       // see connection_linger()
constexpr int64_t ACCEPT_RETRY_MS = 100;  // see loop_accept()
constexpr int64_t TRIM_AFTER_MS = 1000;   // see loop_trim()
constexpr size_t TRIM_KEEP = 64;
constexpr int ACCEPTS_PER_TURN = 64;      // then the connections get theirs
constexpr int READS_PER_TURN = 16;        // then other connections get theirs
constexpr int EVENTS_PER_TURN = 512;
constexpr size_t STATS_BYTES = 1536;      // of /stats, for each thread
constexpr int64_t NEVER_MS = INT64_MAX;
constexpr uint64_t NEVER_NS = UINT64_MAX;
constexpr int64_t NS_PER_MS = 1000000;
constexpr size_t RESUMES_PER_TURN = 512;  // of the ready ring

struct Options {
    std::string host = "127.0.0.1";
    uint64_t port = 8080;
    uint64_t threads = 1;
    uint64_t max_connections = 10000; // of each thread
    uint64_t idle_timeout_ms = 60000;
    uint64_t header_timeout_ms = 10000;
    uint64_t transfer_timeout_ms = 30000;
    uint64_t stop_timeout_ms = 5000;
    uint64_t max_body_bytes = 1 << 20;
};

// ---- what a loop keeps ------------------------------------------------------

// What a paused job waits for.
enum class Waits : uint8_t {
    nothing, // it is running, or there is no job
    request, // the first byte of a request: the connection is idle
    input,   // more bytes of a request
    output,  // room to send
    delay,   // time
    turn,    // the others of the thread, which have theirs first
};

// Why it was resumed.
enum class Wake : uint8_t {
    ready,   // try again
    timeout, // the deadline has passed
    gone,    // the client hung up during a delay
    stop,    // the server stops: end now, without another pause
};

// What the loop knows of a connection; the rest lies on the job's stack.
struct Slot {
    jobswitch_job *job = nullptr;
    uint32_t generation = 0; // counts the connections that had the slot
    uint32_t next_free = 0;
    Waits waits_for = Waits::nothing;
    Wake wake = Wake::ready;
    bool readable = false; // a read is worth trying
    bool hung_up = false;  // the client's end, or an error, is to be read
    bool broken = false;   // nothing can be sent any more
};

enum Count : size_t {
    REQUESTS,
    REQUESTS_REFUSED,
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_OPEN,
    CONNECTIONS_REFUSED,
    ACCEPTS_PAUSED,
    JOB_STARTS,
    JOB_PAUSES,
    JOB_RESUMES,
    JOB_FINISHES,
    JOB_FAILURES,
    COUNTS
};

constexpr std::array<const char *, COUNTS> count_names = {
    "requests",             // answered
    "requests_refused",     // of them, those that broke the rules of HTTP
    "connections_accepted", //
    "connections_open",     // now
    "connections_refused",  // with 503: no job to be had
    "accepts_paused",       // for want of descriptors or memory
    "job_starts",           //
    "job_pauses",           //
    "job_resumes",          //
    "job_finishes",         //
    "job_failures",         // jobswitch_start_job() answered JOBSWITCH_ERR
};

struct Server;

// All that one thread works with. Only `counts` and `published` are read by
// other threads.
struct Loop {
    explicit Loop(Server &its_server);
    ~Loop();
    Loop(const Loop &) = delete;
    Loop &operator=(const Loop &) = delete;

    Server &server;
    int epoll = -1;
    int stopper = -1; // an eventfd: the server is to stop
    int listener = -1;
    int64_t now_ms = 0;                    // of this turn of the loop
    int64_t listener_retry_ms = NEVER_MS;  // NEVER_MS: it is listened to
    int64_t stop_at_ms = NEVER_MS;
    int64_t trim_at_ms = NEVER_MS;
    bool stopping = false; // no new requests
    bool failed = false;   // set before the thread ends, read after
    int last_error = JOBSWITCH_E_NONE; // the last that was told
    uint32_t open = 0;                 // connections
    uint32_t free_slot = 0;
    std::vector<Slot> slots; // never grows: references to slots stay good
    std::array<char, 64> date_line{};
    size_t date_bytes = 0;
    int64_t date_until_ms = 0;

    // One writer: a plain add on values that others may read while it goes on.
    std::array<std::atomic<uint64_t>, COUNTS> counts{};
    // The runtime tells a thread's stats to that thread only, so each loop
    // leaves a copy here before it sleeps.
    std::mutex published_lock;
    jobswitch_stats published{};
};

struct Server {
    Options options;
    std::vector<std::unique_ptr<Loop>> loops;
};

void count_add(Loop &loop, Count which, uint64_t n = 1)
{
    auto &count = loop.counts[which];
    count.store(count.load(std::memory_order_relaxed) + n,
                std::memory_order_relaxed);
}

int64_t clock_ms()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// A slot together with its generation, as epoll carries it.
uint64_t slot_name(const Loop &loop, uint32_t index)
{
    return uint64_t{loop.slots[index].generation} << 32 | index;
}

constexpr uint64_t LISTENER_NAME = UINT64_MAX;
constexpr uint64_t STOPPER_NAME = UINT64_MAX - 1;
constexpr uint64_t READY_NAME = UINT64_MAX - 2;

// ---- the job's side: a connection, in blocking style ------------------------

struct ConnectionArgs {
    Loop *loop;
    uint32_t slot;
    int socket;
};

// Lies on the job's stack. With the buffers in this order the small members
// and the start of `in` share a page with the frames of the functions that are
// called, and `out` shares one with the job's first frames.
struct Connection {
    explicit Connection(const ConnectionArgs &args)
        : loop(*args.loop), slot(args.slot), socket(args.socket)
    {
    }
    // A job that ends, for whatever reason, closes its socket. The server
    // stops by letting its jobs end, so destructors can be relied on.
    ~Connection() { close(socket); }
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;

    Loop &loop;
    const uint32_t slot;
    const int socket;
    int reads = 0; // in this turn
    uint32_t in_begin = 0, in_end = 0;
    uint32_t out_end = 0;
    char in[IN_BYTES];
    char out[OUT_BYTES];
};

// Gives the thread to others until `waits_for` comes true, or the deadline
// passes, or the server stops.
Wake connection_pause(Connection &c, Waits waits_for, int64_t deadline_ms)
{
    Loop &loop = c.loop;
    Slot &slot = loop.slots[c.slot];
    slot.waits_for = waits_for;
    int answer;
    if (waits_for == Waits::turn) {
        slot.wake = Wake::ready;
        jobswitch_wake(jobswitch_get_current_job()); // behind all others
        answer = jobswitch_pause_job();
    } else {
        const uint64_t deadline_ns =
            deadline_ms == NEVER_MS
                ? NEVER_NS
                : static_cast<uint64_t>(deadline_ms * NS_PER_MS);
        // Whoever has what it waits for says so in the slot. A deadline that
        // was overtaken may have left a wake behind, which comes now.
        do
            answer = jobswitch_pause_until(deadline_ns);
        while (answer == 1 && slot.waits_for != Waits::nothing);
    }
    slot.waits_for = Waits::nothing;
    if (answer == 0)
        return Wake::stop; // it cannot pause, so it must not go on either
    c.reads = 0;
    return answer == JOBSWITCH_EXPIRED ? Wake::timeout : slot.wake;
}

// Sends all of it, however slowly the client takes it.
bool connection_send(Connection &c, string_view data)
{
    int64_t deadline_ms = 0;
    while (!data.empty()) {
        const ssize_t sent =
            send(c.socket, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            data.remove_prefix(static_cast<size_t>(sent));
        } else if (errno == EAGAIN) {
            if (deadline_ms == 0)
                deadline_ms =
                    c.loop.now_ms +
                    static_cast<int64_t>(
                        c.loop.server.options.transfer_timeout_ms);
            if (connection_pause(c, Waits::output, deadline_ms) != Wake::ready)
                return false;
        } else if (errno != EINTR) {
            return false; // EPIPE, ECONNRESET: the client has gone
        }
    }
    return true;
}

bool connection_flush(Connection &c)
{
    const string_view data(c.out, c.out_end);
    c.out_end = 0;
    return connection_send(c, data);
}

// Adds to what the next flush sends.
bool connection_write(Connection &c, string_view data)
{
    if (data.size() > OUT_BYTES - c.out_end && !connection_flush(c))
        return false;
    if (data.size() > OUT_BYTES)
        return connection_send(c, data);
    c.out_end +=
        static_cast<uint32_t>(data.copy(c.out + c.out_end, data.size()));
    return true;
}

enum class Received { data, timeout, gone };

// Adds what has come to `in`, which must have room, and waits for it if
// necessary. Answers that are not sent yet go out before.
Received connection_receive(Connection &c, Waits waits_for, int64_t deadline_ms)
{
    if (!connection_flush(c))
        return Received::gone;
    if (c.in_begin > 0) {
        memmove(c.in, c.in + c.in_begin, c.in_end - c.in_begin);
        c.in_end -= c.in_begin;
        c.in_begin = 0;
    }
    Slot &slot = c.loop.slots[c.slot];
    for (;;) {
        Wake wake = Wake::ready;
        if (!slot.readable)
            wake = connection_pause(c, waits_for, deadline_ms);
        else if (++c.reads > READS_PER_TURN)
            wake = connection_pause(c, Waits::turn, NEVER_MS);
        if (wake == Wake::timeout)
            return Received::timeout;
        if (wake != Wake::ready)
            return Received::gone;

        const size_t room = IN_BYTES - c.in_end;
        const ssize_t got = recv(c.socket, c.in + c.in_end, room, 0);
        if (got > 0) {
            // A short read has emptied the socket: what comes later makes an
            // event of its own, and a read now would only say EAGAIN. But if
            // the client's end has been announced, no more events will come.
            if (static_cast<size_t>(got) < room && !slot.hung_up)
                slot.readable = false;
            c.in_end += static_cast<uint32_t>(got);
            return Received::data;
        }
        if (got == 0)
            return Received::gone;
        if (errno == EAGAIN)
            slot.readable = false;
        else if (errno != EINTR)
            return Received::gone;
    }
}

// Closing a socket with unread bytes makes the kernel send a reset, which may
// overtake the answer on its way to the client. So after the last answer: say
// that it was the last, then read and drop until the client hangs up too.
void connection_linger(Connection &c)
{
    if (!connection_flush(c) || shutdown(c.socket, SHUT_WR) != 0)
        return;
    const int64_t deadline_ms = c.loop.now_ms + LINGER_MS;
    do
        c.in_begin = c.in_end = 0;
    while (c.loop.now_ms < deadline_ms &&
           connection_receive(c, Waits::input, deadline_ms) == Received::data);
}

// Waits for the time alone; false if it should not go on after it.
bool connection_delay(Connection &c, uint32_t delay_ms)
{
    if (!connection_flush(c))
        return false;
    // loop.now_ms is as old as this turn of the loop, and both clocks are
    // whole milliseconds: never answer early.
    const int64_t deadline_ms = clock_ms() + delay_ms + 1;
    if (c.loop.slots[c.slot].broken)
        return false; // that was told before, and will not be told again
    return connection_pause(c, Waits::delay, deadline_ms) == Wake::timeout;
}

// ---- requests ---------------------------------------------------------------

enum class Route { root, delay, delay_bad, stats, unknown, method_refused };

struct Request {
    Route route = Route::unknown;
    uint32_t delay_ms = 0;
    bool head_only = false;
    bool http_1_0 = false;
    bool keep_alive = false;
    bool expects_continue = false;
    uint64_t body_bytes = 0;
};

constexpr int ACCEPTED = 0;     // or the status to refuse a request with
constexpr int CLIENT_GONE = -1; // or no longer wanted: nothing to answer

// The bytes of names: methods and header fields.
constexpr std::array<bool, 256> token_bytes = [] {
    std::array<bool, 256> is{};
    for (const char byte : string_view(
             "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
             "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        is[static_cast<unsigned char>(byte)] = true;
    return is;
}();

bool token_is_valid(string_view text)
{
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char b) {
        return token_bytes[static_cast<unsigned char>(b)];
    });
}

// `lower` is in lower case.
bool text_is(string_view text, string_view lower)
{
    return text.size() == lower.size() &&
           std::equal(text.begin(), text.end(), lower.begin(),
                      [](char a, char b) {
                          return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b;
                      });
}

string_view text_trim(string_view text)
{
    const size_t first = text.find_first_not_of(" \t");
    if (first == string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Digits and nothing else. What is too large for a number becomes the largest.
bool number_parse(string_view text, uint64_t &number)
{
    const char *const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc::result_out_of_range)
        number = UINT64_MAX;
    return error != std::errc::invalid_argument && rest == end;
}

int target_parse(string_view target, Request &request)
{
    for (const char byte : target)
        if (byte <= ' ' || byte >= 0x7f || byte == '#')
            return 400;
    if (target.size() > 7 && text_is(target.substr(0, 7), "http://")) {
        // As a proxy would write it. The host is ours, whatever it says.
        target.remove_prefix(7);
        const size_t path = target.find_first_of("/?");
        if (path == 0)
            return 400;
        target.remove_prefix(std::min(path, target.size()));
        if (target.empty() || target[0] == '?')
            target = "/";
    }
    if (request.route == Route::method_refused)
        return ACCEPTED;
    if (target.empty() || target[0] != '/')
        return 400;

    target = target.substr(0, target.find('?'));
    constexpr string_view delay = "/delay/";
    if (target == "/") {
        request.route = Route::root;
    } else if (target == "/stats") {
        request.route = Route::stats;
    } else if (target.starts_with(delay)) {
        uint64_t delay_ms = 0;
        target.remove_prefix(delay.size());
        const bool is_good =
            number_parse(target, delay_ms) && delay_ms <= DELAY_MAX_MS;
        request.route = is_good ? Route::delay : Route::delay_bad;
        request.delay_ms = is_good ? static_cast<uint32_t>(delay_ms) : 0;
    } else {
        request.route = Route::unknown;
    }
    return ACCEPTED;
}

int request_line_parse(string_view line, Request &request)
{
    const size_t method_end = line.find(' ');
    if (method_end == string_view::npos)
        return 400;
    const size_t target_end = line.find(' ', method_end + 1);
    if (target_end == string_view::npos)
        return 400;
    const string_view method = line.substr(0, method_end);
    const string_view target =
        line.substr(method_end + 1, target_end - method_end - 1);
    const string_view version = line.substr(target_end + 1);

    const auto is_digit = [](char byte) { return byte >= '0' && byte <= '9'; };
    if (!token_is_valid(method) || target.empty() || version.size() != 8 ||
        !version.starts_with("HTTP/") || !is_digit(version[5]) ||
        version[6] != '.' || !is_digit(version[7]))
        return 400;
    if (version[5] != '1')
        return 505;
    request.http_1_0 = version[7] == '0';
    request.keep_alive = !request.http_1_0;
    request.head_only = method == "HEAD";
    if (method != "GET" && method != "HEAD")
        request.route = Route::method_refused;
    return target_parse(target, request);
}

void connection_field_parse(string_view value, bool &close, bool &keep_alive)
{
    while (!value.empty()) {
        const size_t comma = std::min(value.find(','), value.size());
        const string_view option = text_trim(value.substr(0, comma));
        close |= text_is(option, "close");
        keep_alive |= text_is(option, "keep-alive");
        value.remove_prefix(std::min(comma + 1, value.size()));
    }
}

// `head` is lines that end in CRLF. Strict where a proxy in front could read
// the same bytes as other requests than this server does: a request whose
// length is not beyond doubt is refused, and its connection closed.
int head_parse(string_view head, Request &request)
{
    unsigned hosts = 0, lengths = 0, codings = 0;
    bool close = false, keep_alive = false;

    size_t line_end = head.find('\n');
    const int refusal =
        request_line_parse(head.substr(0, line_end - 1), request);
    if (refusal != ACCEPTED)
        return refusal;
    for (head.remove_prefix(line_end + 1); !head.empty();
         head.remove_prefix(line_end + 1)) {
        line_end = head.find('\n');
        const string_view line = head.substr(0, line_end - 1);
        const size_t colon = line.find(':');
        // A name that is a token has no space before the colon, and a line
        // that continues the one before it has no name.
        if (colon == string_view::npos ||
            !token_is_valid(line.substr(0, colon)))
            return 400;
        const string_view name = line.substr(0, colon);
        const string_view value = text_trim(line.substr(colon + 1));
        for (const char byte : value)
            if ((static_cast<unsigned char>(byte) < ' ' && byte != '\t') ||
                byte == 0x7f)
                return 400;

        if (text_is(name, "host")) {
            hosts++;
            if (value.find_first_of(" \t,/?#@\\") != string_view::npos)
                return 400;
        } else if (text_is(name, "content-length")) {
            lengths++;
            if (!number_parse(value, request.body_bytes))
                return 400;
        } else if (text_is(name, "transfer-encoding")) {
            codings++;
        } else if (text_is(name, "connection")) {
            connection_field_parse(value, close, keep_alive);
        } else if (text_is(name, "expect")) {
            if (!text_is(value, "100-continue"))
                return 417;
            request.expects_continue = !request.http_1_0;
        }
    }
    if (close)
        request.keep_alive = false;
    else if (keep_alive)
        request.keep_alive = true;

    if (hosts > 1 || (hosts == 0 && !request.http_1_0))
        return 400;
    if (lengths > 1 || (lengths > 0 && codings > 0) ||
        (codings > 0 && request.http_1_0))
        return 400;
    if (codings > 0)
        return 501;
    return ACCEPTED;
}

// The length of the head at the start of `text`, or 0 while it is incomplete.
// `line` and `scanned` carry the state from call to call, so that a head that
// comes byte by byte is looked at once.
struct HeadScan {
    size_t line = 0;    // where the current line starts
    size_t scanned = 0; // what was looked at before
    bool malformed = false;

    size_t length(string_view text)
    {
        while (scanned < text.size()) {
            const size_t end = text.find('\n', scanned);
            scanned = std::min(end, text.size() - 1) + 1;
            if (end == string_view::npos)
                return 0;
            if (end == line || text[end - 1] != '\r') {
                malformed = true;
                return 0;
            }
            if (end == line + 1)
                return scanned;
            line = scanned;
        }
        return 0;
    }
};

// Reads a request's head, and its body, which no route here wants.
int request_receive(Connection &c, Request &request)
{
    const Options &options = c.loop.server.options;
    const auto text = [&c] {
        return string_view(c.in + c.in_begin, c.in_end - c.in_begin);
    };
    const auto deadline = [&c](uint64_t timeout_ms) {
        return c.loop.now_ms + static_cast<int64_t>(timeout_ms);
    };

    HeadScan scan;
    size_t head_bytes = 0;
    bool blank_seen = false;
    Waits waits_for = Waits::request;
    int64_t deadline_ms = deadline(options.idle_timeout_ms);
    for (;;) {
        head_bytes = scan.length(text());
        if (head_bytes == 2 && !blank_seen) {
            // Some clients send an empty line too many after a body.
            c.in_begin += 2;
            scan = {};
            blank_seen = true;
            continue;
        }
        if (scan.malformed || head_bytes == 2)
            return 400;
        if (head_bytes > 0)
            break;
        if (text().size() == IN_BYTES)
            return scan.line == 0 ? 414 : 431;
        if (waits_for == Waits::request && !text().empty()) {
            waits_for = Waits::input;
            deadline_ms = deadline(options.header_timeout_ms);
        }
        switch (connection_receive(c, waits_for, deadline_ms)) {
        case Received::data:
            break;
        case Received::timeout:
            return waits_for == Waits::request ? CLIENT_GONE : 408;
        case Received::gone:
            return CLIENT_GONE;
        }
    }

    const int refusal = head_parse(text().substr(0, head_bytes - 2), request);
    c.in_begin += static_cast<uint32_t>(head_bytes);
    if (refusal != ACCEPTED)
        return refusal;
    if (request.body_bytes > options.max_body_bytes)
        return 413;
    if (request.expects_continue && request.body_bytes > 0 && text().empty() &&
        !connection_write(c, "HTTP/1.1 100 Continue\r\n\r\n"))
        return CLIENT_GONE;

    deadline_ms = deadline(options.transfer_timeout_ms);
    for (uint64_t left = request.body_bytes;;) {
        const uint64_t here = std::min<uint64_t>(left, text().size());
        c.in_begin += static_cast<uint32_t>(here);
        left -= here;
        if (left == 0)
            return ACCEPTED;
        switch (connection_receive(c, Waits::input, deadline_ms)) {
        case Received::data:
            break;
        case Received::timeout:
            return 408;
        case Received::gone:
            return CLIENT_GONE;
        }
    }
}

// ---- answers ----------------------------------------------------------------

// Text in memory of a fixed size. What does not fit is left out, and noted.
struct Text {
    Text(char *memory, size_t bytes) : start(memory), at(memory), room(bytes) {}

    Text &operator<<(string_view text)
    {
        if (text.size() > room) {
            overflowed = true;
        } else {
            at += text.copy(at, text.size());
            room -= text.size();
        }
        return *this;
    }
    Text &operator<<(uint64_t number)
    {
        char digits[20];
        const auto result = std::to_chars(digits, digits + 20, number);
        return *this << string_view(
                   digits, static_cast<size_t>(result.ptr - digits));
    }
    string_view view() const
    {
        return {start, static_cast<size_t>(at - start)};
    }

    char *start, *at;
    size_t room;
    bool overflowed = false;
};

string_view status_text(int status)
{
    switch (status) {
    case 200: return "200 OK";
    case 400: return "400 Bad Request";
    case 404: return "404 Not Found";
    case 405: return "405 Method Not Allowed";
    case 408: return "408 Request Timeout";
    case 413: return "413 Content Too Large";
    case 414: return "414 URI Too Long";
    case 417: return "417 Expectation Failed";
    case 431: return "431 Request Header Fields Too Large";
    case 501: return "501 Not Implemented";
    case 505: return "505 HTTP Version Not Supported";
    default: return "500 Internal Server Error";
    }
}

// From here on request.keep_alive says what the client was told.
bool response_write(Connection &c, Request &request, int status,
                    string_view body, string_view type = "text/plain",
                    string_view fields = {})
{
    if (OUT_BYTES - c.out_end < HEAD_BYTES && !connection_flush(c))
        return false;
    request.keep_alive &= !c.loop.stopping;
    Text head(c.out + c.out_end, HEAD_BYTES);
    head << "HTTP/1.1 " << status_text(status) << "\r\n"
         << string_view(c.loop.date_line.data(), c.loop.date_bytes)
         << "Content-Type: " << type << "\r\nContent-Length: " << body.size()
         << "\r\n" << fields;
    if (!request.keep_alive)
        head << "Connection: close\r\n";
    else if (request.http_1_0)
        head << "Connection: keep-alive\r\n";
    head << "\r\n";
    c.out_end += static_cast<uint32_t>(head.view().size());
    count_add(c.loop, REQUESTS);
    return request.head_only || connection_write(c, body);
}

// All counted fields of jobswitch_stats, by name.
template <typename Visit> void stats_visit(Visit visit)
{
    visit("jobs_idle", &jobswitch_stats::jobs_idle);
    visit("jobs_paused", &jobswitch_stats::jobs_paused);
    visit("jobs_running", &jobswitch_stats::jobs_running);
    visit("jobs_started", &jobswitch_stats::jobs_started);
    visit("jobs_finished", &jobswitch_stats::jobs_finished);
    visit("jobs_discarded", &jobswitch_stats::jobs_discarded);
    visit("stacks_mapped", &jobswitch_stats::stacks_mapped);
    visit("stack_bytes_resident_max",
          &jobswitch_stats::stack_bytes_resident_max);
    visit("descriptors_open", &jobswitch_stats::descriptors_open);
}

// Leaves this thread's stats where other threads can read them.
void stats_publish(Loop &loop)
{
    jobswitch_stats stats{};
    stats.size = sizeof stats;
    if (jobswitch_get_stats(&stats)) {
        const std::lock_guard lock(loop.published_lock);
        loop.published = stats;
    }
}

struct Tally {
    std::array<uint64_t, COUNTS> counts{};
    jobswitch_stats stats{};
};

Tally tally_of(Loop &loop)
{
    Tally tally;
    for (size_t i = 0; i < COUNTS; i++)
        tally.counts[i] = loop.counts[i].load(std::memory_order_relaxed);
    const std::lock_guard lock(loop.published_lock);
    tally.stats = loop.published;
    return tally;
}

void tally_add(Tally &sum, const Tally &tally)
{
    for (size_t i = 0; i < COUNTS; i++)
        sum.counts[i] += tally.counts[i];
    stats_visit([&](const char *, auto member) {
        sum.stats.*member += tally.stats.*member;
    });
    if (!sum.stats.guard_method)
        sum.stats.guard_method = tally.stats.guard_method;
}

void tally_write(Text &text, const Tally &tally)
{
    const char *comma = "";
    text << "{\"server\":{";
    for (size_t i = 0; i < COUNTS; i++) {
        text << comma << "\"" << count_names[i] << "\":" << tally.counts[i];
        comma = ",";
    }
    comma = "";
    text << "},\"runtime\":{";
    stats_visit([&](const char *name, auto member) {
        text << comma << "\"" << name << "\":" << tally.stats.*member;
        comma = ",";
    });
    const char *guard = tally.stats.guard_method;
    text << ",\"guard_method\":\"" << (guard ? guard : "none") << "\"}}";
}

bool stats_answer(Connection &c, Request &request)
{
    Server &server = c.loop.server;
    stats_publish(c.loop); // the others did before they went to sleep

    // The heap, since this grows with the threads and a stack does not. It is
    // held over a pause if the client is slow; the job's end frees it.
    const size_t bytes = STATS_BYTES * (server.loops.size() + 1);
    const std::unique_ptr<char[]> memory(new (std::nothrow) char[bytes]);
    if (!memory)
        return response_write(c, request, 500, "out of memory\n");
    Text text(memory.get(), bytes);
    Tally sum;
    const char *comma = "";
    text << "{\"threads\":[";
    for (const auto &loop : server.loops) {
        const Tally tally = tally_of(*loop);
        tally_add(sum, tally);
        text << comma;
        tally_write(text, tally);
        comma = ",";
    }
    text << "],\"total\":";
    tally_write(text, sum);
    text << "}\n";
    if (text.overflowed)
        return response_write(c, request, 500, "the stats are too long\n");
    return response_write(c, request, 200, text.view(), "application/json",
                          "Cache-Control: no-store\r\n");
}

// False if there is nobody to answer any more.
bool request_answer(Connection &c, Request &request)
{
    switch (request.route) {
    case Route::root:
        return response_write(c, request, 200, "Hello from a job.\n");
    case Route::delay: {
        if (!connection_delay(c, request.delay_ms))
            return false;
        char body[64];
        Text text(body, sizeof body);
        text << "Hello after " << uint64_t{request.delay_ms} << " ms.\n";
        return response_write(c, request, 200, text.view());
    }
    case Route::delay_bad:
        return response_write(c, request, 400,
                              "a delay is a number from 0 to 60000\n");
    case Route::stats:
        return stats_answer(c, request);
    case Route::method_refused:
        return response_write(c, request, 405, "GET and HEAD only\n",
                              "text/plain", "Allow: GET, HEAD\r\n");
    case Route::unknown:
        break;
    }
    return response_write(c, request, 404, "no such page\n");
}

void connection_serve(Connection &c)
{
    count_add(c.loop, JOB_STARTS);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = slot_name(c.loop, c.slot);
    if (epoll_ctl(c.loop.epoll, EPOLL_CTL_ADD, c.socket, &event) != 0)
        return;

    for (;;) {
        Request request;
        const int refusal = request_receive(c, request);
        if (refusal == CLIENT_GONE)
            return;
        if (refusal != ACCEPTED) {
            // What follows on the connection may be anything.
            request.keep_alive = false;
            count_add(c.loop, REQUESTS_REFUSED);
            if (!response_write(c, request, refusal, status_text(refusal)))
                return;
        } else if (!request_answer(c, request)) {
            return;
        }
        if (!request.keep_alive)
            break;
    }
    connection_linger(c);
}

// The job. What it returns tells the loop whose it was. No exception may leave it (nor
// does anything in it throw): its caller's frames are on another stack.
int connection_run(void *args) noexcept
{
    Connection c(*static_cast<const ConnectionArgs *>(args));
    connection_serve(c);
    return static_cast<int>(c.slot);
}

// ---- the loop's side --------------------------------------------------------

void listener_resume(Loop &loop)
{
    if (loop.listener_retry_ms == NEVER_MS || loop.listener < 0)
        return;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = LISTENER_NAME;
    if (epoll_ctl(loop.epoll, EPOLL_CTL_ADD, loop.listener, &event) == 0)
        loop.listener_retry_ms = NEVER_MS;
    else
        loop.listener_retry_ms = loop.now_ms + ACCEPT_RETRY_MS;
}

void slot_release(Loop &loop, uint32_t index)
{
    Slot &slot = loop.slots[index];
    slot.job = nullptr;
    slot.generation++; // events still under way are no longer for this slot
    slot.waits_for = Waits::nothing;
    slot.next_free = loop.free_slot;
    loop.free_slot = index;
    loop.open--;
    count_add(loop, CONNECTIONS_OPEN, static_cast<uint64_t>(-1));
    loop.trim_at_ms = loop.now_ms + TRIM_AFTER_MS;
    listener_resume(loop); // there is a descriptor to be had again
}

[[noreturn]] void die(const char *what, const char *why)
{
    fprintf(stderr, "http_server: %s: %s\n", what, why);
    abort();
}

void loop_resume(Loop &loop, uint32_t index, Wake wake)
{
    Slot &slot = loop.slots[index];
    slot.waits_for = Waits::nothing;
    slot.wake = wake;
    int ret = 0;
    count_add(loop, JOB_RESUMES);
    switch (jobswitch_start_job(&slot.job, &ret, nullptr, nullptr, 0)) {
    case JOBSWITCH_PAUSE:
        count_add(loop, JOB_PAUSES);
        break;
    case JOBSWITCH_FINISH:
        count_add(loop, JOB_FINISHES);
        slot_release(loop, index);
        break;
    default:
        // A paused job of this thread can be resumed: no shortage of anything
        // can prevent that. To go on would leave a connection without a job.
        die("a job cannot be resumed",
            jobswitch_error_string(jobswitch_last_error()));
    }
}

// There is no job for it, so nothing here may wait.
void connection_refuse(Loop &loop, int socket)
{
    static constexpr string_view answer =
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: text/plain\r\n"
        "Content-Length: 21\r\n"
        "Retry-After: 1\r\n"
        "Connection: close\r\n"
        "\r\n"
        "too many connections\n";
    char unread[IN_BYTES];
    count_add(loop, CONNECTIONS_REFUSED);
    // What connection_linger() does well, as well as can be done at once.
    (void)!recv(socket, unread, sizeof unread, 0);
    (void)!send(socket, answer.data(), answer.size(), MSG_NOSIGNAL);
    shutdown(socket, SHUT_WR);
    close(socket);
}

void connection_start(Loop &loop, int socket)
{
    const uint32_t index = loop.free_slot;
    Slot &slot = loop.slots[index];
    loop.free_slot = slot.next_free;
    slot.readable = true; // so it is tried
    slot.hung_up = false;
    slot.broken = false;
    loop.open++;
    count_add(loop, CONNECTIONS_OPEN);

    ConnectionArgs args = {&loop, index, socket}; // the job gets a copy
    int ret = 0;
    switch (jobswitch_start_job(&slot.job, &ret, connection_run, &args,
                                sizeof args)) {
    case JOBSWITCH_PAUSE:
        count_add(loop, JOB_PAUSES);
        return;
    case JOBSWITCH_FINISH:
        count_add(loop, JOB_FINISHES);
        break;
    case JOBSWITCH_NO_JOBS:
        connection_refuse(loop, socket);
        break;
    default:
        // A shortage of memory, most likely, and it may pass. Say it once.
        count_add(loop, JOB_FAILURES);
        if (jobswitch_last_error() != loop.last_error) {
            loop.last_error = jobswitch_last_error();
            fprintf(stderr, "http_server: no job for a connection: %s\n",
                    jobswitch_error_string(loop.last_error));
        }
        connection_refuse(loop, socket);
    }
    slot_release(loop, index);
}

void loop_accept(Loop &loop)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        const int socket = accept4(loop.listener, nullptr, nullptr,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket >= 0) {
            count_add(loop, CONNECTIONS_ACCEPTED);
            connection_start(loop, socket);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            // The connection stays in the queue and the listener readable:
            // to go on listening would be to spin. Look again when one of
            // this loop's connections has ended, or after a while, since the
            // shortage may be another's.
            count_add(loop, ACCEPTS_PAUSED);
            epoll_ctl(loop.epoll, EPOLL_CTL_DEL, loop.listener, nullptr);
            loop.listener_retry_ms = loop.now_ms + ACCEPT_RETRY_MS;
            return;
        default:
            // ECONNABORTED and other ends of that one connection.
            break;
        }
    }
}

void event_handle(Loop &loop, const epoll_event &event)
{
    const uint32_t index = static_cast<uint32_t>(event.data.u64);
    if (event.data.u64 != slot_name(loop, index))
        return; // that connection has ended
    Slot &slot = loop.slots[index];
    slot.broken |= (event.events & (EPOLLHUP | EPOLLERR)) != 0;
    slot.hung_up |= slot.broken || (event.events & EPOLLRDHUP);
    slot.readable |= slot.hung_up || (event.events & EPOLLIN);

    switch (slot.waits_for) {
    case Waits::request:
    case Waits::input:
        if (slot.readable)
            loop_resume(loop, index, Wake::ready);
        break;
    case Waits::output:
        if (slot.broken || (event.events & EPOLLOUT))
            loop_resume(loop, index, Wake::ready);
        break;
    case Waits::delay:
        if (slot.broken)
            loop_resume(loop, index, Wake::gone);
        break;
    case Waits::turn:
    case Waits::nothing:
        break;
    }
}

// Jobs that are woken: their deadlines have come, or they gave up their turn. Those
// that are woken meanwhile wait for the next turn of the loop.
void ready_run(Loop &loop)
{
    std::array<jobswitch_outcome, RESUMES_PER_TURN> outcomes;
    const size_t count =
        jobswitch_resume_ready(outcomes.data(), outcomes.size());
    count_add(loop, JOB_RESUMES, count);
    for (size_t i = 0; i < count; i++) {
        switch (outcomes[i].answer) {
        case JOBSWITCH_PAUSE:
            count_add(loop, JOB_PAUSES);
            break;
        case JOBSWITCH_FINISH:
            count_add(loop, JOB_FINISHES);
            slot_release(loop, static_cast<uint32_t>(outcomes[i].ret));
            break;
        default:
            die("a job cannot be resumed",
                jobswitch_error_string(jobswitch_last_error()));
        }
    }
}

// Idle connections are closed now; those with a request have until stop_at_ms.
void loop_stop(Loop &loop)
{
    if (loop.stopping)
        return;
    loop.stopping = true;
    loop.stop_at_ms =
        loop.now_ms +
        static_cast<int64_t>(loop.server.options.stop_timeout_ms);
    loop_accept(loop); // clients that got through before the listener closes
    close(loop.listener);
    loop.listener = -1;
    loop.listener_retry_ms = NEVER_MS;
    for (uint32_t i = 0; i < loop.slots.size(); i++)
        if (loop.slots[i].waits_for == Waits::request)
            loop_resume(loop, i, Wake::stop);
}

void loop_stop_now(Loop &loop)
{
    for (uint32_t i = 0; i < loop.slots.size(); i++)
        if (loop.slots[i].waits_for != Waits::nothing)
            loop_resume(loop, i, Wake::stop);
}

// As jobs end, the pool now and then gives back by itself what it has not used
// for a while. When no more end it does not get to that: so, when none has
// ended for a while, it is told to. (That takes a microsecond or a few for each
// stack.)
void loop_trim(Loop &loop)
{
    jobswitch_trim_thread(TRIM_KEEP);
    loop.trim_at_ms = NEVER_MS;
}

int loop_timeout_ms(const Loop &loop)
{
    int64_t next_ms = std::min(
        {loop.listener_retry_ms, loop.stop_at_ms, loop.trim_at_ms});
    const uint64_t deadline_ns = jobswitch_next_deadline();
    if (deadline_ns != NEVER_NS) // epoll_wait() takes whole milliseconds
        next_ms = std::min(next_ms, static_cast<int64_t>(
                                        deadline_ns / NS_PER_MS + 1));
    if (next_ms == NEVER_MS)
        return -1;
    return static_cast<int>(
        std::clamp<int64_t>(next_ms - loop.now_ms, 0, 60000));
}

// The Date field of all answers of a second. (Made here rather than when the
// first of them is written: printing takes more stack than a job should.)
void date_line_make(Loop &loop)
{
    static constexpr const char *days[] = {"Sun", "Mon", "Tue", "Wed",
                                           "Thu", "Fri", "Sat"};
    static constexpr const char *months[] = {"Jan", "Feb", "Mar", "Apr",
                                             "May", "Jun", "Jul", "Aug",
                                             "Sep", "Oct", "Nov", "Dec"};
    timespec now;
    tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    const int bytes = snprintf(
        loop.date_line.data(), loop.date_line.size(),
        "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[utc.tm_wday],
        utc.tm_mday, months[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour,
        utc.tm_min, utc.tm_sec);
    loop.date_bytes =
        std::min(static_cast<size_t>(bytes), loop.date_line.size() - 1);
    loop.date_until_ms = loop.now_ms + 1000 - now.tv_nsec / 1000000;
}

void loop_run(Loop &loop)
{
    std::array<epoll_event, EVENTS_PER_TURN> events;
    while (!loop.stopping || loop.open > 0) {
        stats_publish(loop);
        const int count = epoll_wait(loop.epoll, events.data(),
                                     EVENTS_PER_TURN, loop_timeout_ms(loop));
        if (count < 0 && errno != EINTR)
            die("epoll_wait", strerror(errno));
        loop.now_ms = clock_ms();
        if (loop.date_until_ms <= loop.now_ms)
            date_line_make(loop);
        bool accept = false, stop = false;
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == LISTENER_NAME)
                accept = true;
            else if (events[i].data.u64 == STOPPER_NAME)
                stop = true;
            else if (events[i].data.u64 != READY_NAME)
                event_handle(loop, events[i]);
        }
        ready_run(loop);
        if (accept) // now that ended connections have made room
            loop_accept(loop);
        if (loop.listener_retry_ms <= loop.now_ms)
            listener_resume(loop);
        if (loop.trim_at_ms <= loop.now_ms)
            loop_trim(loop);
        if (stop)
            loop_stop(loop);
        if (loop.stop_at_ms <= loop.now_ms)
            loop_stop_now(loop);
    }
}

void loop_thread(Loop &loop)
{
    // The pool's limit is the limit of connections: one that is too many gets
    // JOBSWITCH_NO_JOBS from jobswitch_start_job().
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.max_jobs = loop.server.options.max_connections;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = READY_NAME;
    if (jobswitch_init_thread_with(&options) &&
        epoll_ctl(loop.epoll, EPOLL_CTL_ADD, jobswitch_get_ready_fd(),
                  &event) == 0) {
        loop.now_ms = clock_ms();
        loop_run(loop);
        stats_publish(loop);
        jobswitch_cleanup_thread();
    } else {
        fprintf(stderr, "http_server: no jobs for a thread: %s\n",
                jobswitch_error_string(jobswitch_last_error()));
        loop.failed = true;
        kill(getpid(), SIGTERM); // main() waits for that
    }
}

[[noreturn]] void fail(const std::string &what)
{
    throw std::runtime_error(what + ": " + strerror(errno));
}

Loop::Loop(Server &its_server)
    : server(its_server), epoll(epoll_create1(EPOLL_CLOEXEC)),
      stopper(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
    if (epoll < 0 || stopper < 0)
        fail("no descriptors for a loop");
    // One more than there can be jobs, so that it is the pool that says no.
    // All memory that depends on the number of connections is taken here.
    slots.resize(server.options.max_connections + 1);
    for (uint32_t i = 0; i < slots.size(); i++)
        slots[i].next_free = i + 1;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET; // told once, never read
    event.data.u64 = STOPPER_NAME;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, stopper, &event) != 0)
        fail("epoll_ctl");
}

Loop::~Loop()
{
    for (const int descriptor : {epoll, stopper, listener})
        if (descriptor >= 0)
            close(descriptor);
}

// ---- setting up -------------------------------------------------------------

union Address {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
};

socklen_t address_bytes(const Address &address)
{
    return address.any.sa_family == AF_INET6 ? sizeof address.v6
                                             : sizeof address.v4;
}

bool address_parse(const Options &options, Address &address)
{
    address = {};
    const in_port_t port = htons(static_cast<uint16_t>(options.port));
    if (inet_pton(AF_INET, options.host.c_str(), &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = port;
        return true;
    }
    if (inet_pton(AF_INET6, options.host.c_str(), &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = port;
        return true;
    }
    return false;
}

int listener_open(const Address &address, bool shared)
{
    const int on = 1;
    const int listener = socket(address.any.sa_family,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0)
        fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (shared)
        setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    // Linux hands this down to the connections. Answers are sent whole.
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, &address.any, address_bytes(address)) != 0 ||
        listen(listener, 4096) != 0) {
        const int error = errno;
        close(listener);
        errno = error;
        fail("cannot listen");
    }
    return listener;
}

// Gives each loop a listener of its own on one address; the kernel shares the
// connections out. With port 0 the first listener's port is taken for all.
uint16_t listeners_open(Server &server, Address address)
{
    const bool shared = server.loops.size() > 1;
    // Listeners that share a port would share it with another server's too,
    // which nobody means. One that does not share finds that out.
    if (shared)
        close(listener_open(address, false));
    for (auto &loop : server.loops) {
        loop->listener = listener_open(address, shared);
        loop->listener_retry_ms = 0; // not listened to yet
        socklen_t bytes = sizeof address;
        if (getsockname(loop->listener, &address.any, &bytes) != 0)
            fail("getsockname");
        listener_resume(*loop);
        if (loop->listener_retry_ms != NEVER_MS)
            fail("epoll_ctl");
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port
                                                   : address.v4.sin_port);
}

void descriptor_limit_raise()
{
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

struct NumberOption {
    const char *name;
    uint64_t Options::*value;
    uint64_t least, most;
    const char *help;
};

constexpr NumberOption number_options[] = {
    {"port", &Options::port, 0, 65535, "to listen on; 0: any, which is told"},
    {"threads", &Options::threads, 1, 64, "each with a loop of its own"},
    {"max-connections", &Options::max_connections, 1, 1000000,
     "of each thread; more get a 503"},
    {"idle-timeout-ms", &Options::idle_timeout_ms, 1, 86400000,
     "between requests"},
    {"header-timeout-ms", &Options::header_timeout_ms, 1, 86400000,
     "from a request's first byte to the end of its head"},
    {"transfer-timeout-ms", &Options::transfer_timeout_ms, 1, 86400000,
     "for a request's body, and for a client to take an answer"},
    {"stop-timeout-ms", &Options::stop_timeout_ms, 0, 86400000,
     "for requests under way when the server is stopped"},
    {"max-body-bytes", &Options::max_body_bytes, 0, 1u << 30,
     "of a request's body; more gets a 413"},
};

void help_print()
{
    const Options defaults;
    printf("usage: http_server [OPTION]...\n"
           "An HTTP/1.1 server in which every connection is a job.\n"
           "SIGINT or SIGTERM stops it.\n\n"
           "  --host ADDRESS             IPv4 or IPv6, in numbers [%s]\n",
           defaults.host.c_str());
    for (const NumberOption &option : number_options)
        printf("  --%s N%*s%s [%llu]\n", option.name,
               static_cast<int>(23 - strlen(option.name)), "", option.help,
               static_cast<unsigned long long>(defaults.*option.value));
    printf("  --help\n");
}

[[noreturn]] void usage_fail(const std::string &what)
{
    fprintf(stderr, "http_server: %s\nTry 'http_server --help'.\n",
            what.c_str());
    exit(2);
}

Options options_parse(int argc, char **argv, Address &address)
{
    constexpr int host_code = 1000, help_code = 1001;
    std::vector<option> names;
    for (size_t i = 0; i < std::size(number_options); i++)
        names.push_back({number_options[i].name, required_argument, nullptr,
                         static_cast<int>(i) + 1});
    names.push_back({"host", required_argument, nullptr, host_code});
    names.push_back({"help", no_argument, nullptr, help_code});
    names.push_back({});

    Options options;
    for (;;) {
        const int code = getopt_long(argc, argv, "", names.data(), nullptr);
        if (code == -1)
            break;
        if (code == '?') { // getopt_long() has said what is wrong
            fprintf(stderr, "Try 'http_server --help'.\n");
            exit(2);
        }
        if (code == help_code) {
            help_print();
            exit(0);
        }
        if (code == host_code) {
            options.host = optarg;
            continue;
        }
        const NumberOption &option = number_options[code - 1];
        uint64_t &value = options.*option.value;
        if (!number_parse(optarg, value) || value < option.least ||
            value > option.most)
            usage_fail(std::string("--") + option.name +
                       " takes a number from " + std::to_string(option.least) +
                       " to " + std::to_string(option.most) + ", not '" +
                       optarg + "'");
    }
    if (optind < argc)
        usage_fail(std::string("what is '") + argv[optind] + "'?");
    if (!address_parse(options, address))
        usage_fail("--host takes an IPv4 or IPv6 address, not '" +
                   options.host + "'");
    return options;
}

int server_run(const Options &options, const Address &address)
{
    signal(SIGPIPE, SIG_IGN); // whoever reads stdout may have gone
    // The threads inherit this, so that the signals are left to sigwait().
    sigset_t stop_signals;
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGINT);
    sigaddset(&stop_signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

    descriptor_limit_raise();
    if (!jobswitch_init(0, 0, 0))
        throw std::runtime_error(
            jobswitch_error_string(jobswitch_last_error()));

    Server server{options, {}};
    for (uint64_t i = 0; i < options.threads; i++)
        server.loops.push_back(std::make_unique<Loop>(server));
    const unsigned port = listeners_open(server, address);

    bool failed = false;
    std::vector<std::thread> threads;
    try {
        for (auto &loop : server.loops)
            threads.emplace_back(loop_thread, std::ref(*loop));
        const bool brackets = address.any.sa_family == AF_INET6;
        printf("listening on http://%s%s%s:%u/\n", brackets ? "[" : "",
               options.host.c_str(), brackets ? "]" : "", port);
        fflush(stdout);
        int which = 0;
        sigwait(&stop_signals, &which);
    } catch (const std::exception &error) { // no thread to be had
        fprintf(stderr, "http_server: %s\n", error.what());
        failed = true;
    }
    for (auto &loop : server.loops) {
        const uint64_t one = 1;
        failed |= write(loop->stopper, &one, sizeof one) != sizeof one;
    }
    for (std::thread &thread : threads)
        thread.join();

    Tally sum;
    for (const auto &loop : server.loops) {
        tally_add(sum, tally_of(*loop));
        failed |= loop->failed;
    }
    const uint64_t left = sum.stats.jobs_paused + sum.stats.jobs_running +
                          sum.counts[JOB_STARTS] - sum.counts[JOB_FINISHES];
    printf("stopped: ");
    for (size_t i = 0; i < COUNTS; i++)
        printf("%s %llu, ", count_names[i],
               static_cast<unsigned long long>(sum.counts[i]));
    printf("jobs_left %llu\n", static_cast<unsigned long long>(left));
    jobswitch_cleanup(0);
    return failed || left != 0 ? 1 : 0;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        Address address;
        const Options options = options_parse(argc, argv, address);
        return server_run(options, address);
    } catch (const std::exception &error) {
        fprintf(stderr, "http_server: %s\n", error.what());
        return 1;
    }
}
