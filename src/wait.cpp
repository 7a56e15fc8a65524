// SPDX-License-Identifier: Apache-2.0
#include "wait.h"

#include <cerrno>
#include <sys/mman.h>

#include "event.h"
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
static constexpr uint64_t fork_one = 1 << 7;
static constexpr uint64_t forks_mask = 0xf80;
static constexpr uint64_t pin = 1 << 12;
static constexpr uint64_t pins_mask = 0xfffff000;
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

// Locked. What has been kept by the parent of this process is its, too.
static void cache_settle(wait_cache &cache)
{
    if (cache.forks_kept == cache.forks)
        return;
    cache.forks_kept = cache.forks;
    for (; cache.count; cache.open--)
        event_close(cache.fds[--cache.count]);
}

void wait_cache_close(wait_cache &cache)
{
    lock_scope scope(cache.guard);
    for (; cache.count; cache.open--)
        event_close(cache.fds[--cache.count]);
    if (cache.fds)
        munmap(cache.fds, cache.capacity * sizeof(int));
    cache.fds = nullptr;
    cache.capacity = 0;
}

static bool cache_grow(wait_cache &cache)
{
    // Mapped, not from malloc: a leak checker does not look in here.
    size_t bytes = cache.capacity * sizeof(int);
    void *fds = bytes ? mremap(cache.fds, bytes, bytes * 2, MREMAP_MAYMOVE)
                      : mmap(nullptr, first_cache_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fds == MAP_FAILED)
        return false;
    cache.fds = static_cast<int *>(fds);
    cache.capacity = bytes ? cache.capacity * 2 : first_cache_bytes / sizeof(int);
    return true;
}

// Locked. forks: as the descriptor was made or last renewed.
static void cache_put(wait_cache &cache, int fd, uint32_t forks)
{
    cache_settle(cache);
    if (forks == cache.forks && (cache.count < cache.capacity || cache_grow(cache))) {
        cache.fds[cache.count++] = fd;
        return;
    }
    event_close(fd);
    cache.open--;
}

// Locked. A descriptor that is not readable, or -1.
static int cache_take(wait_cache &cache, int *reason)
{
    cache_settle(cache);
    if (cache.count)
        return cache.fds[--cache.count];
    int fd = event_open(false, reason);
    if (fd >= 0)
        cache.open++;
    return fd;
}

bool wait_begin(wait_state &state)
{
    uint64_t word = state.word.load(std::memory_order_acquire);
    if (word & (resting | retired | queued))
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
    return state.word.load(std::memory_order_relaxed) & queued;
}

bool wait_has_ended(uint64_t word, uint32_t generation)
{
    if (generation == 0 || generation > wait_generation_most)
        return false;
    uint32_t now = wait_generation(word);
    return generation < now || (word & repeated) || ((word & retired) && generation == now);
}

// The word that begins the next generation.
static uint64_t next_word(uint64_t word, bool last)
{
    uint64_t stays = word & (generation_mask | queued | repeated);
    if (last)
        return stays | retired;
    if (wait_generation(word) == wait_generation_most)
        return (stays & queued) | repeated | next_generation;
    return stays + next_generation;
}

// After the last generation none follows, so no handle comes twice.
static bool is_last(uint64_t word)
{
    return wait_generation(word) == wait_generation_most && !wait_generations_repeat;
}

bool wait_end(wait_state &state, wait_cache &cache)
{
    const uint32_t forks = cache.forks;
    uint64_t word = state.word.load(std::memory_order_acquire);
    uint64_t next;
    do {
        next = next_word(word, is_last(word));
        if (word & pins_mask)
            next |= (word & (pins_mask | forks_mask | has_fd)) | resting;
    } while (!change(state, word, next));
    if (next & resting) {
        cache.open -= bool(word & has_fd); // whoever is inside closes it
        return false;
    }
    if (word & has_fd) {
        int fd = state.fd.load(std::memory_order_relaxed);
        if (word & woken) {
            event_use use(fd);
            if (cache.forks == forks)
                event_clear(fd);
        }
        lock_scope scope(cache.guard);
        cache_put(cache, fd, forks);
    }
    return !(next & (retired | queued));
}

// What a resting state becomes once nobody is inside any more.
static uint64_t rested_word(uint64_t word)
{
    return word & (generation_mask | retired | queued | repeated);
}

// Takes back the pin that was set with `pinned`: in the same generation, or while that
// rests. After a fork in between there is no such pin.
static void unpin(wait_state &state, uint64_t pinned, uint64_t mark)
{
    uint64_t word = state.word.load(std::memory_order_relaxed);
    uint64_t next;
    int closes;
    do {
        bool same = !((word ^ pinned) & (generation_mask | retired));
        bool after = (word & resting) &&
                     !((word ^ next_word(pinned, is_last(pinned))) & (generation_mask | retired));
        // (32 forks, each in the child of the one before, look like none.)
        bool counts = (same || after) && !((word ^ pinned) & forks_mask) && (word & pins_mask);
        if (!counts && !(same && mark))
            return;
        // The mark and the pin go in one step: with no pins left, the mark is true. So does
        // the rest with its last pin, for a child of a fork that found it after the close
        // would close that number once more.
        next = (same ? word | mark : word) - (counts ? pin : 0);
        closes = -1;
        if ((next & resting) && !(next & pins_mask)) {
            if (next & has_fd)
                closes = state.fd.load(std::memory_order_relaxed);
            next = rested_word(next);
        }
    } while (!change(state, word, next));
    if (closes >= 0)
        event_close(closes);
}

// Pinned.
static void call_descriptor(const wait_state &state, const wait_owner &owner,
                            void (*call)(int fd))
{
    event_use use(state.fd.load(std::memory_order_relaxed));
    if (!owner.ready.orphaned)
        call(use.fd);
}

bool wait_wake(wait_state &state, uint32_t generation, wait_owner &owner, uint32_t entry)
{
    // All that the owner's processor may have is asked for at once, not one after the other.
    __builtin_prefetch(&state.word, 1);
    ready_prefetch(owner.ready);
    uint64_t word = state.word.load(std::memory_order_acquire);
    uint64_t next;
    do {
        if (wait_generation(word) != generation || (word & retired))
            return false;
        // Also where it is marked already: only a write to the word makes
        // what was written before the wake visible to whoever clears it.
        next = word & has_fd ? (word | woken | known) + pin : word | woken | queued | known;
        if ((word & has_fd) && owner.ready.orphaned)
            return false;
    } while (!change(state, word, next));
    if (!(word & has_fd)) {
        if (!(word & queued))
            ready_push(owner.ready, entry);
        return true;
    }
    int keep = errno;
    call_descriptor(state, owner, event_set);
    unpin(state, next, woken);
    errno = keep;
    return true;
}

bool wait_clear(wait_state &state, uint32_t generation, wait_owner &owner)
{
    uint64_t word = state.word.load(std::memory_order_acquire);
    uint64_t next;
    do {
        if (wait_generation(word) != generation || (word & retired))
            return false;
        next = word & ~woken;
        if (word & has_fd)
            next += pin;
        if ((word & has_fd) && owner.ready.orphaned)
            return false;
    } while (!change(state, word, next));
    if (!(word & has_fd))
        return true;
    int keep = errno;
    call_descriptor(state, owner, event_clear);
    unpin(state, next, 0);
    errno = keep;
    return true;
}

// Locked, and pinned: nobody else attaches, and no other generation comes.
static int attach_descriptor(wait_state &state, uint32_t generation, wait_owner &owner,
                             int *reason)
{
    wait_cache &cache = owner.descriptors;
    uint32_t forks = cache.forks;
    int fd = cache_take(cache, reason);
    if (fd < 0)
        return -1;
    event_use use(fd);
    // Nobody reads the number before has_fd is set.
    state.fd.store(fd, std::memory_order_relaxed);
    bool readable = false;
    uint64_t word = state.word.load(std::memory_order_acquire);
    while (wait_generation(word) == generation && !(word & retired) && !owner.ready.orphaned) {
        if (cache.forks != forks) {
            // A signal handler has called fork(), in whose child this goes on. (If it does
            // that later, the word is another, or the owner is not there.)
            forks = cache.forks;
            readable = false;
            if (!event_reopen(fd, readable)) {
                cache.open--;
                *reason = JOBSWITCH_E_NO_DESCRIPTORS;
                return -1;
            }
        }
        // It must be as woken says before anybody can see it.
        if (readable != bool(word & woken)) {
            readable = word & woken;
            (readable ? event_set : event_clear)(fd);
        }
        if (change(state, word, word | has_fd)) {
            if (owner.ready.orphaned)
                break;
            return fd;
        }
    }
    // Not kept: the owner may have closed the cache, and be gone.
    event_close(fd);
    cache.open--;
    *reason = owner.ready.orphaned ? JOBSWITCH_E_WRONG_THREAD : JOBSWITCH_E_FINISHED;
    return -1;
}

int wait_descriptor(wait_state &state, uint32_t generation, wait_owner &owner,
                    int *reason)
{
    if (owner.ready.orphaned) {
        *reason = JOBSWITCH_E_WRONG_THREAD;
        return -1;
    }
    wait_cache &cache = owner.descriptors;
    lock_scope scope(cache.guard);
    uint64_t word = state.word.load(std::memory_order_acquire);
    for (;;) {
        if (wait_generation(word) != generation || (word & retired)) {
            *reason = JOBSWITCH_E_FINISHED;
            return -1;
        }
        if (word & has_fd) {
            acquired(state);
            return state.fd.load(std::memory_order_relaxed);
        }
        const uint64_t pinned = word + pin;
        if (change(state, word, pinned)) {
            int fd = attach_descriptor(state, generation, owner, reason);
            unpin(state, pinned, 0);
            return fd;
        }
    }
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

void wait_take_late(wait_state &state)
{
    uint64_t word = state.word.load(std::memory_order_relaxed);
    while (!(word & known))
        if (change(state, word, word & ~queued))
            return;
}

// ---- fork ------------------------------------------------------------------------

void wait_owner_forked(wait_owner &owner)
{
    owner.descriptors.forks++;
    ready_forked(owner.ready);
}

// Of a state whose last waker is not there to do it. Returns the state's word.
static uint64_t leave_rest(wait_state &state, uint64_t word)
{
    if (word & has_fd)
        event_close(state.fd.load(std::memory_order_relaxed));
    word = rested_word(word);
    state.word.store(word, std::memory_order_relaxed);
    return word;
}

// The calling thread may itself be at any step of a call for this state, and go on with it
// when its signal handler, which has called fork(), returns.
void wait_forked(wait_state &state, wait_owner &owner)
{
    uint64_t word = state.word.load(std::memory_order_relaxed);
    if (!(word & (pins_mask | has_fd)))
        return;
    int fd = state.fd.load(std::memory_order_relaxed);
    if (word & resting) {
        leave_rest(state, word);
        return;
    }
    if ((word & has_fd) && !event_reopen(fd, word & woken)) {
        // As if it had none; a wake is the ring's to tell, then.
        word = (word & ~has_fd) | (word & woken ? queued : 0);
        owner.descriptors.open--;
    }
    uint64_t forks = (word + fork_one) & forks_mask;
    state.word.store((word & ~(pins_mask | forks_mask)) | forks, std::memory_order_relaxed);
}

void wait_abandoned(wait_state &state, bool has_entry)
{
    uint64_t word = state.word.load(std::memory_order_relaxed);
    if (word & resting)
        word = leave_rest(state, word);
    if (!has_entry)
        state.word.store(word & ~queued, std::memory_order_relaxed);
}

bool wait_is_late(const wait_state &state)
{
    return state.word.load(std::memory_order_relaxed) & (queued | resting);
}

void wait_owner_orphaned(wait_owner &owner)
{
    ready_orphaned(owner.ready);
}
