// SPDX-License-Identifier: Apache-2.0
//
// Wait contexts: the descriptors that a job waits for, and which of them are new. Knows no
// jobs but by name.
//
// The first functions belong to the thread whose job it is, as with OpenSSL; callback and
// status may be asked for and set by an engine's own thread.
#include <cerrno>
#include <cstdlib>
#include <poll.h>
#include <sys/stat.h>

#include "api.h"

namespace {

struct descriptor {
    descriptor *next; // the one added before
    const void *key;
    int fd;
    void *data;
    async_cleanup_fn cleanup;
    bool added, deleted; // in this period
    dev_t device;        // what was behind fd when it was added
    ino_t inode;
};

} // namespace

struct async_wait_ctx_st {
    descriptor *descriptors; // the newest first
    size_t added, deleted;
    std::atomic<ASYNC_callback_fn> callback;
    std::atomic<void *> callback_arg;
    std::atomic<int> status;
    std::atomic<unsigned> paused; // jobs
    std::atomic<ASYNC_JOB *> last_paused;
};

ASYNC_WAIT_CTX *ASYNC_WAIT_CTX_new()
{
    return static_cast<ASYNC_WAIT_CTX *>(calloc(1, sizeof(ASYNC_WAIT_CTX)));
}

// What the job waits for has come. A descriptor that was closed does not say so, nor does
// another file that has its number now: a pipe, a socket or a file is told apart by its
// inode, while all eventfds and timerfds have the same.
static bool is_woken(const descriptor &d)
{
    struct stat now;
    pollfd one = {d.fd, POLLIN, 0};
    return !d.deleted && fstat(d.fd, &now) == 0 && now.st_dev == d.device &&
           now.st_ino == d.inode && poll(&one, 1, 0) > 0;
}

void ASYNC_WAIT_CTX_free(ASYNC_WAIT_CTX *ctx)
{
    if (!ctx)
        return;
    bool woken = false;
    const unsigned paused = ctx->paused.load(std::memory_order_acquire);
    if (ctx->descriptors) {
        const cancel_off off; // a cleanup function may well close its descriptor
        if (paused)
            for (descriptor *d = ctx->descriptors; d; d = d->next)
                woken |= is_woken(*d);
        while (descriptor *d = ctx->descriptors) {
            ctx->descriptors = d->next;
            if (!d->deleted && d->cleanup)
                d->cleanup(ctx, d->key, d->fd, d->data);
            free(d);
        }
    }
    if (paused)
        job_abandon(ctx, paused, ctx->last_paused.load(std::memory_order_relaxed), woken);
    free(ctx);
}

int ASYNC_WAIT_CTX_set_wait_fd(ASYNC_WAIT_CTX *ctx, const void *key, int fd, void *data,
                               async_cleanup_fn cleanup)
{
    auto d = ctx ? static_cast<descriptor *>(malloc(sizeof(descriptor))) : nullptr;
    if (!d)
        return 0;
    const int keep = errno;
    struct stat now;
    if (fstat(fd, &now) != 0) {
        now = {};
        errno = keep;
    }
    *d = {ctx->descriptors, key, fd, data, cleanup, true, false, now.st_dev, now.st_ino};
    ctx->descriptors = d;
    ctx->added++;
    return 1;
}

int ASYNC_WAIT_CTX_get_fd(ASYNC_WAIT_CTX *ctx, const void *key, int *fd, void **data)
{
    for (descriptor *d = ctx ? ctx->descriptors : nullptr; d; d = d->next)
        if (d->key == key && !d->deleted) {
            *fd = d->fd;
            *data = d->data;
            return 1;
        }
    return 0;
}

int ASYNC_WAIT_CTX_get_all_fds(ASYNC_WAIT_CTX *ctx, int *fds, size_t *count)
{
    *count = 0;
    for (descriptor *d = ctx ? ctx->descriptors : nullptr; d; d = d->next)
        if (!d->deleted) {
            if (fds)
                fds[*count] = d->fd;
            ++*count;
        }
    return ctx != nullptr;
}

int ASYNC_WAIT_CTX_get_changed_fds(ASYNC_WAIT_CTX *ctx, int *added, size_t *added_count,
                                   int *deleted, size_t *deleted_count)
{
    *added_count = ctx ? ctx->added : 0;
    *deleted_count = ctx ? ctx->deleted : 0;
    for (descriptor *d = ctx ? ctx->descriptors : nullptr; d; d = d->next) {
        if (deleted && d->deleted)
            *deleted++ = d->fd;
        if (added && d->added)
            *added++ = d->fd;
    }
    return ctx != nullptr;
}

int ASYNC_WAIT_CTX_clear_fd(ASYNC_WAIT_CTX *ctx, const void *key)
{
    if (!ctx)
        return 0;
    for (descriptor **at = &ctx->descriptors; descriptor *d = *at; at = &d->next) {
        if (d->key != key || d->deleted)
            continue;
        if (d->added) { // nobody has been told of it
            *at = d->next;
            free(d);
            ctx->added--;
        } else {
            d->deleted = true;
            ctx->deleted++;
        }
        return 1;
    }
    return 0;
}

// (Counted by the job's thread alone; read by the one that frees it.)
void wait_ctx_job_paused(ASYNC_WAIT_CTX *ctx, ASYNC_JOB *job)
{
    ctx->last_paused.store(job, std::memory_order_relaxed);
    ctx->paused.store(ctx->paused.load(std::memory_order_relaxed) + 1,
                      std::memory_order_release);
}

void wait_ctx_job_resumed(ASYNC_WAIT_CTX *ctx)
{
    ctx->paused.store(ctx->paused.load(std::memory_order_relaxed) - 1,
                      std::memory_order_release);
    if (!ctx->added && !ctx->deleted)
        return;
    ctx->added = ctx->deleted = 0;
    for (descriptor **at = &ctx->descriptors; descriptor *d = *at;) {
        d->added = false;
        if (d->deleted) {
            *at = d->next;
            free(d);
        } else {
            at = &d->next;
        }
    }
}

int ASYNC_WAIT_CTX_set_callback(ASYNC_WAIT_CTX *ctx, ASYNC_callback_fn callback, void *arg)
{
    if (!ctx)
        return 0;
    ctx->callback_arg.store(arg, std::memory_order_relaxed);
    ctx->callback.store(callback, std::memory_order_release);
    return 1;
}

int ASYNC_WAIT_CTX_get_callback(ASYNC_WAIT_CTX *ctx, ASYNC_callback_fn *callback, void **arg)
{
    ASYNC_callback_fn set = ctx ? ctx->callback.load(std::memory_order_acquire) : nullptr;
    if (!set)
        return 0;
    *callback = set;
    *arg = ctx->callback_arg.load(std::memory_order_relaxed);
    return 1;
}

int ASYNC_WAIT_CTX_set_status(ASYNC_WAIT_CTX *ctx, int status)
{
    if (ctx)
        ctx->status.store(status, std::memory_order_release);
    return ctx != nullptr;
}

int ASYNC_WAIT_CTX_get_status(ASYNC_WAIT_CTX *ctx)
{
    return ctx ? ctx->status.load(std::memory_order_acquire) : 0;
}
