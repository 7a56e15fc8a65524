// SPDX-License-Identifier: Apache-2.0
#include "wait.h"

#include <cerrno>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jobswitch/jobswitch.h"
#include "layout.h"

static constexpr uint64_t woken = 1;
static constexpr uint64_t has_fd = 2;
static constexpr uint64_t resting = 4;
static constexpr uint64_t retired = 8;
static constexpr uint64_t queued = 16;
static constexpr uint64_t known = 32;
static constexpr uint64_t repeated = 64;
static_assert((woken | known) == JS_WAIT_ENDING);
static constexpr uint64_t pin = 1 << 8;
static constexpr uint64_t pins_mask = 0xffffff00;
static constexpr uint64_t next_generation = uint64_t(1) << 32;
static constexpr size_t first_cache_bytes = 65536; // of any page size

static constexpr uint64_t generation_mask = ~uint64_t(0) << 32;

// ---- announcing to a tool ------------------------------------------------------

static std::atomic<void (*)(void *)> tool_acquire, tool_release;

void wait_announce(void (*acquire)(void *), void (*release)(void *))
{
    tool_acquire = acquire;
    tool_release = release;
}

static void acquired(wait_state &state)
{
    if (auto acquire = tool_acquire.load(std::memory_order_relaxed))
        acquire(&state.word);
}

// One step of the protocol. Before it lies what the caller did, behind it what
// others did.
static bool change(wait_state &state, uint64_t &word, uint64_t next)
{
    if (auto release = tool_release.load(std::memory_order_relaxed))
        release(&state.word);
    if (!state.word.compare_exchange_weak(word, next, std::memory_order_acq_rel))
        return false;
    acquired(state);
    return true;
}

// ---- descriptors ---------------------------------------------------------------

static void make_readable(int fd)
{
    uint64_t one = 1;
    // EAGAIN: the counter is at its end, so it is readable.
    (void)!write(fd, &one, sizeof one);
}

static void make_unreadable(int fd)
{
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
}

void wait_cache_init(wait_cache &cache)
{
    cache.lock = PTHREAD_MUTEX_INITIALIZER;
    cache.fds = nullptr;
    cache.count = cache.capacity = 0;
    cache.open = 0;
    cache.shared = false;
}

void wait_cache_close(wait_cache &cache)
{
    pthread_mutex_lock(&cache.lock);
    for (size_t i = 0; i < cache.count; i++)
        close(cache.fds[i]);
    cache.open -= cache.count;
    if (cache.fds)
        munmap(cache.fds, cache.capacity * sizeof(int));
    cache.fds = nullptr;
    cache.count = cache.capacity = 0;
    pthread_mutex_unlock(&cache.lock);
}

// Locked.
static void cache_put(wait_cache &cache, int fd)
{
    if (cache.count == cache.capacity) {
        // Mapped, not from malloc: a leak checker does not look in here.
        size_t bytes = cache.capacity * sizeof(int);
        void *fds = bytes ? mremap(cache.fds, bytes, bytes * 2, MREMAP_MAYMOVE)
                          : mmap(nullptr, bytes = first_cache_bytes,
                                 PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fds == MAP_FAILED) {
            close(fd);
            cache.open--;
            return;
        }
        size_t capacity = cache.capacity ? cache.capacity * 2
                                         : first_cache_bytes / sizeof(int);
        cache.fds = static_cast<int *>(fds);
        cache.capacity = capacity;
    }
    cache.fds[cache.count++] = fd;
}

// Locked. A descriptor that is not readable, or -1.
static int cache_take(wait_cache &cache, int *reason)
{
    if (cache.count)
        return cache.fds[--cache.count];
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd >= 0)
        cache.open++;
    else
        *reason = errno == EMFILE || errno == ENFILE
                      ? JOBSWITCH_E_NO_DESCRIPTORS
                      : JOBSWITCH_E_NO_MEMORY;
    return fd;
}

bool wait_begin(wait_state &state)
{
    uint64_t word = state.word.load(std::memory_order_acquire);
    if (word & (resting | retired))
        return false;
    // A generation of 0 is none: zeroed memory matches no handle.
    if (wait_generation(word) == 0)
        state.word.store(next_generation, std::memory_order_release);
    return true;
}

bool wait_retired(const wait_state &state)
{
    return state.word.load(std::memory_order_relaxed) & retired;
}

bool wait_known(uint64_t word, uint32_t generation)
{
    return wait_generation(word) == generation && (word & (known | retired)) == known;
}

bool wait_queued(const wait_state &state)
{
    return state.word.load(std::memory_order_acquire) & queued;
}

bool wait_has_ended(uint64_t word, uint32_t generation)
{
    if (generation == 0 || generation > wait_generation_most)
        return false;
    uint32_t now = wait_generation(word);
    return generation < now || (word & repeated) || ((word & retired) && generation == now);
}

// What goes over to the next generation, with that.
static uint64_t next_word(uint64_t word, bool last)
{
    uint64_t stays = word & (generation_mask | queued | repeated);
    if (last)
        return stays | retired;
    if (wait_generation(word) == wait_generation_most)
        return (stays & queued) | repeated | next_generation;
    return stays + next_generation;
}

bool wait_end(wait_state &state, wait_cache &cache)
{
    uint64_t word = state.word.load(std::memory_order_acquire);
    for (;;) {
        // After the last generation none follows, so no handle comes twice.
        bool last = wait_generation(word) == wait_generation_most && !wait_generations_repeat;
        uint64_t next = next_word(word, last);
        if (word & pins_mask)
            next |= (word & (pins_mask | has_fd)) | resting;
        if (!change(state, word, next))
            continue;
        if (next & resting)
            return false;
        if (word & has_fd) {
            int fd = state.fd.load(std::memory_order_relaxed);
            if ((word & woken) && !cache.shared)
                make_unreadable(fd);
            pthread_mutex_lock(&cache.lock);
            cache_put(cache, fd);
            pthread_mutex_unlock(&cache.lock);
        }
        return !last;
    }
}

// Of the current generation, or after it while it rests.
static void unpin(wait_state &state, wait_cache &cache, uint64_t mark)
{
    // The mark and the pin go in one step: with no pins left, the mark is true.
    uint64_t word = state.word.load(std::memory_order_relaxed);
    uint64_t next;
    do
        next = (word & resting ? word : word | mark) - pin;
    while (!change(state, word, next));
    if (!(next & resting) || (next & pins_mask))
        return;
    if (next & has_fd) {
        close(state.fd.load(std::memory_order_relaxed));
        cache.open--;
    }
    // Nobody else touches a resting state without pins, but who takes it from the ring.
    state.word.fetch_and(generation_mask | retired | queued | repeated, std::memory_order_release);
}

bool wait_wake(wait_state &state, uint32_t generation, wait_owner &owner, uint32_t entry)
{
    uint64_t word = state.word.load(std::memory_order_acquire);
    for (;;) {
        if (wait_generation(word) != generation || (word & retired))
            return false;
        if (!(word & has_fd)) {
            // Also where it is marked already: only a write to the word makes
            // what was written before the wake visible to whoever clears it.
            if (change(state, word, word | woken | queued | known)) {
                if (!(word & queued))
                    ready_push(owner.ready, entry);
                return true;
            }
        } else if (change(state, word, (word | woken | known) + pin)) {
            break;
        }
    }
    int keep = errno;
    make_readable(state.fd.load(std::memory_order_relaxed));
    unpin(state, owner.descriptors, woken);
    errno = keep;
    return true;
}

bool wait_clear(wait_state &state, uint32_t generation, wait_owner &owner)
{
    uint64_t word = state.word.load(std::memory_order_acquire);
    for (;;) {
        if (wait_generation(word) != generation || (word & retired))
            return false;
        uint64_t next = word & ~woken;
        if (word & has_fd)
            next += pin;
        if (change(state, word, next))
            break;
    }
    if (!(word & has_fd))
        return true;
    int keep = errno;
    make_unreadable(state.fd.load(std::memory_order_relaxed));
    unpin(state, owner.descriptors, 0);
    errno = keep;
    return true;
}

// Locked, and pinned: nobody else attaches, and no other generation comes.
static int attach_descriptor(wait_state &state, uint32_t generation,
                             wait_cache &cache, int *reason)
{
    int fd = cache_take(cache, reason);
    if (fd < 0)
        return -1;
    // Nobody reads the number before has_fd is set.
    state.fd.store(fd, std::memory_order_relaxed);
    bool readable = false;
    uint64_t word = state.word.load(std::memory_order_acquire);
    while (wait_generation(word) == generation && !(word & retired)) {
        // It must be as woken says before anybody can see it.
        if (readable != bool(word & woken)) {
            readable = word & woken;
            (readable ? make_readable : make_unreadable)(fd);
        }
        if (change(state, word, word | has_fd))
            return fd;
    }
    if (readable)
        make_unreadable(fd);
    cache_put(cache, fd);
    *reason = JOBSWITCH_E_FINISHED;
    return -1;
}

int wait_descriptor(wait_state &state, uint32_t generation, wait_owner &owner,
                    int *reason)
{
    wait_cache &cache = owner.descriptors;
    int fd = -1;
    pthread_mutex_lock(&cache.lock);
    uint64_t word = state.word.load(std::memory_order_acquire);
    for (;;) {
        if (wait_generation(word) != generation || (word & retired)) {
            *reason = JOBSWITCH_E_FINISHED;
            break;
        }
        if (word & has_fd) {
            acquired(state);
            fd = state.fd.load(std::memory_order_relaxed);
            break;
        }
        if (change(state, word, word + pin)) {
            fd = attach_descriptor(state, generation, cache, reason);
            unpin(state, cache, 0);
            break;
        }
    }
    pthread_mutex_unlock(&cache.lock);
    return fd;
}

bool wait_take(wait_state &state)
{
    uint64_t word = state.word.load(std::memory_order_relaxed);
    for (;;) {
        bool taken = (word & woken) && !(word & (has_fd | resting | retired));
        if (change(state, word, word & ~(taken ? queued | woken : queued)))
            return taken;
    }
}
