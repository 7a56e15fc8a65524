// SPDX-License-Identifier: Apache-2.0
//
// jobswitch-openssl PROGRAM ARGUMENTS...: runs a program with the drop-in in the place of
// OpenSSL's own jobs, by LD_PRELOAD. The dynamic linker says nothing where that does not
// take hold, so this finds out first: it has the linker bind the program's symbols without
// running it, as ldd does, and looks where the names of jobs lead.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

// As env(1) and its like have it.
enum { refused = 125, not_executed = 126, not_found = 127 };

static const char usage[] =
    "usage: jobswitch-openssl [--check] PROGRAM [ARGUMENT]...\n"
    "Runs PROGRAM with OpenSSL's ASYNC jobs taken from jobswitch.\n"
    "  --check    says what of PROGRAM uses such jobs, and does not run it\n"
    "  --help     says this\n"
    "  --version  says which version this is\n"
    "JOBSWITCH_STACK_BYTES=N        a job's stack has N bytes (65536)\n"
    "JOBSWITCH_OPENSSL_REPORT=FILE  each process of PROGRAM adds a line about jobs to FILE\n";

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int code, const char *format,
                                                                 ...)
{
    va_list words;
    va_start(words, format);
    fputs("jobswitch-openssl: ", stderr);
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    exit(code);
}

// ---- files --------------------------------------------------------------------------------

struct file {
    const char *path;
    const char *bytes;
    size_t size;
    struct stat status;
};

static bool file_open(struct file *f, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = fstat(fd, &f->status) == 0 && S_ISREG(f->status.st_mode);
    f->path = path;
    f->size = good ? (size_t)f->status.st_size : 0;
    f->bytes = f->size ? mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0) : "";
    close(fd);
    return good && f->bytes != MAP_FAILED;
}

static void file_close(struct file *f)
{
    if (f->size)
        munmap((void *)f->bytes, f->size);
}

static bool file_is_elf(const struct file *f)
{
    return f->size >= sizeof(ElfW(Ehdr)) && memcmp(f->bytes, ELFMAG, SELFMAG) == 0;
}

// Its dynamic linker; NULL: it has none. Of an ELF file for this kind of machine.
static const char *file_interpreter(const struct file *f)
{
    const ElfW(Ehdr) *header = (const void *)f->bytes;
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phoff > f->size ||
        header->e_phnum > (f->size - header->e_phoff) / sizeof(ElfW(Phdr)))
        return NULL;
    const ElfW(Phdr) *part = (const void *)(f->bytes + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (part[i].p_type == PT_INTERP && part[i].p_filesz && part[i].p_offset < f->size &&
            part[i].p_filesz <= f->size - part[i].p_offset &&
            !f->bytes[part[i].p_offset + part[i].p_filesz - 1])
            return f->bytes + part[i].p_offset;
    return NULL;
}

// OpenSSL's own jobs are in this file: their functions tell the error queue which file of
// OpenSSL's source they came from.
static bool file_has_jobs(const struct file *f)
{
    static const char name[] = "crypto/async/async.c";
    return memmem(f->bytes, f->size, name, sizeof name) != NULL;
}

// ---- what can be seen of a program ----------------------------------------------------------

// As the shell would find it. The caller frees it.
static char *program_find(const char *name)
{
    if (strchr(name, '/'))
        return strdup(name);
    const char *from = getenv("PATH");
    for (from = from ? from : "/bin:/usr/bin"; *from;) {
        size_t length = strcspn(from, ":");
        char *path = NULL;
        struct stat status;
        if (asprintf(&path, "%.*s%s%s", (int)length, from, length ? "/" : "", name) < 0)
            break;
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0)
            return path;
        free(path);
        from += length + (from[length] == ':');
    }
    fail(not_found, "%s: not found", name);
}

// For a script, what runs it: into `path`.
static bool script_interpreter(const struct file *f, char path[PATH_MAX])
{
    if (f->size < 3 || memcmp(f->bytes, "#!", 2) != 0)
        return false;
    size_t at = 2, length = 0;
    while (at < f->size && (f->bytes[at] == ' ' || f->bytes[at] == '\t'))
        at++;
    while (at < f->size && length < PATH_MAX - 1 && !memchr(" \t\r\n", f->bytes[at], 4))
        path[length++] = f->bytes[at++];
    path[length] = '\0';
    return length > 0;
}

// What the kernel runs when it is told to run that. `path` has room for PATH_MAX.
static void program_open(struct file *f, const char *name, char *path)
{
    for (int depth = 0; depth < 5; depth++) {
        if (!file_open(f, name))
            fail(errno == ENOENT ? not_found : refused, "%s: cannot be looked at: %s", name,
                 errno ? strerror(errno) : "not a file");
        if (file_is_elf(f))
            return;
        char interpreter[PATH_MAX];
        if (!script_interpreter(f, interpreter))
            fail(refused, "%s: is neither a program nor a script", name);
        file_close(f);
        name = strcpy(path, interpreter);
    }
    fail(refused, "%s: a script of a script of a script", name);
}

// Why nothing can be preloaded; or there is no reason.
static void program_refuse(const struct file *program)
{
    struct file own;
    const struct stat *s = &program->status;
    if (!file_open(&own, "/proc/self/exe") || !file_is_elf(&own))
        fail(refused, "/proc/self/exe: cannot be looked at");
    const ElfW(Ehdr) *mine = (const void *)own.bytes, *its = (const void *)program->bytes;
    if (its->e_ident[EI_CLASS] != mine->e_ident[EI_CLASS] ||
        its->e_ident[EI_DATA] != mine->e_ident[EI_DATA] || its->e_machine != mine->e_machine)
        fail(refused, "%s: is for another kind of CPU than this library", program->path);
    const char *linker = file_interpreter(program), *own_linker = file_interpreter(&own);
    if (!linker)
        fail(refused, "%s: is statically linked, so that nothing can be put before OpenSSL",
             program->path);
    if (!own_linker || strcmp(basename(linker), basename(own_linker)) != 0)
        fail(refused, "%s: is for another C library than this library (%s, not %s)",
             program->path, linker, own_linker ? own_linker : "none");
    if (((s->st_mode & S_ISUID) && s->st_uid != geteuid()) ||
        ((s->st_mode & S_ISGID) && s->st_gid != getegid()))
        fail(refused, "%s: is setuid or setgid: the system lets nothing be preloaded",
             program->path);
    if (geteuid() != 0 && getxattr(program->path, "security.capability", NULL, 0) > 0)
        fail(refused, "%s: has file capabilities: the system lets nothing be preloaded",
             program->path);
    if (file_has_jobs(program))
        fail(refused, "%s: has an OpenSSL of its own built in, which nothing can stand before",
             program->path);
    file_close(&own);
}

// ---- what the dynamic linker makes of it ------------------------------------------------------

// In the child: binds everything, runs nothing. Two streams into one: the list of
// libraries, and what was bound to what.
__attribute__((noreturn)) static void trace(const char *program, const char *preload, int out)
{
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    setenv("LD_PRELOAD", preload, 1);
    setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
    setenv("LD_WARN", "yes", 1);
    setenv("LD_BIND_NOW", "yes", 1);
    setenv("LD_DEBUG", "bindings", 1);
    unsetenv("LD_DEBUG_OUTPUT");
    execl(program, program, (char *)NULL);
    _exit(not_executed);
}

// Between `before`, which is looked for, and `after`; ends there with a 0.
static char *between(char *line, const char *before, const char *after)
{
    char *from = strstr(line, before);
    char *to = from ? strstr(from += strlen(before), after) : NULL;
    if (!to)
        return NULL;
    *to = '\0';
    return from;
}

// How many references there are to OpenSSL's jobs. All of them lead to the library.
static unsigned program_trace(const char *program, const char *preload, const char *library)
{
    int ends[2];
    pid_t child = pipe2(ends, O_CLOEXEC) == 0 ? fork() : -1;
    if (child == 0)
        trace(program, preload, ends[1]);
    if (child < 0)
        fail(refused, "%s: cannot be tried: %s", program, strerror(errno));
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    char *line = NULL, *astray = NULL, *built_in = NULL, *trouble = NULL;
    size_t room = 0;
    unsigned references = 0, objects = 0;
    while (in && getline(&line, &room, in) > 0) {
        char *from = strstr(line, "binding file "), *symbol, *to, *lies;
        if (from) {
            // binding file FROM [0] to TO [0]: normal symbol `NAME' [VERSION]
            symbol = strstr(from, "symbol `");
            if (!symbol || strncmp(symbol += strlen("symbol `"), "ASYNC_", 6) != 0)
                continue;
            symbol[strcspn(symbol, "'")] = '\0';
            to = between(strstr(from, " to "), " to ", " [");
            from = between(from, "binding file ", " [");
            if (!from || !to)
                continue;
            references++;
            if (strcmp(to, library) != 0 && strcmp(from, library) != 0 && !astray &&
                asprintf(&astray, "%s of %s is taken from %s", symbol, from, to) < 0)
                break;
        } else if (strstr(line, "LD_PRELOAD cannot be preloaded")) {
            line[strcspn(line, "\n")] = '\0';
            free(trouble);
            trouble = strdup(line);
        } else if ((lies = between(line, " => ", " (0x"))) {
            struct file f;
            objects++;
            if (!built_in && strncmp(basename(lies), "libcrypto.", 10) != 0 &&
                strcmp(lies, library) != 0 && file_open(&f, lies)) {
                if (file_has_jobs(&f))
                    built_in = strdup(lies);
                file_close(&f);
            }
        }
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (trouble && strstr(trouble, library))
        fail(refused, "%s", trouble);
    if (!in || !objects || status != 0)
        fail(refused, "%s: the dynamic linker does not say what it would load (%s %d)", program,
             WIFSIGNALED(status) ? "signal" : "exit code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (astray)
        fail(refused, "%s: it does not take hold: %s", program, astray);
    if (!references && built_in)
        fail(refused, "%s: %s has an OpenSSL of its own built in, which nothing can stand before",
             program, built_in);
    fclose(in);
    free(line);
    free(trouble);
    free(built_in);
    return references;
}

// ---- the program ------------------------------------------------------------------------------

// Where the drop-in lies that this program was linked with.
static char *library_find(void)
{
    void *library = dlopen("libjobswitch-openssl.so.1", RTLD_LAZY | RTLD_NOLOAD);
    struct link_map *map = NULL;
    char *path = library && dlinfo(library, RTLD_DI_LINKMAP, &map) == 0
                     ? realpath(map->l_name, NULL) : NULL;
    if (!path)
        fail(refused, "the library is not to be found");
    if (strpbrk(path, ": \t\n"))
        fail(refused, "%s: what is preloaded must not have a blank or a colon in its path", path);
    return path;
}

int main(int argc, char **argv)
{
    bool check = false;
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--check") == 0) {
            check = true;
        } else if (strcmp(argv[at], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        } else if (strcmp(argv[at], "--version") == 0) {
            puts("jobswitch-openssl " LAUNCHER_VERSION);
            return 0;
        } else if (strcmp(argv[at], "--") == 0) {
            at++;
            break;
        } else {
            fail(refused, "no option %s; try --help", argv[at]);
        }
    }
    if (at >= argc)
        fail(refused, "no program is named; try --help");

    char *library = library_find(), *name = program_find(argv[at]), path[PATH_MAX];
    struct file program;
    program_open(&program, name, path);
    program_refuse(&program);
    if (access(name, X_OK) != 0)
        fail(not_executed, "%s: %s", name, strerror(errno));
    // Behind what is there already: a sanitizer's library wants to come first.
    const char *others = getenv("LD_PRELOAD");
    char *preload = NULL;
    if (asprintf(&preload, "%s%s%s", others ? others : "", others && *others ? ":" : "",
                 library) < 0)
        fail(refused, "no memory");
    unsigned references = program_trace(program.path, preload, library);
    if (check) {
        if (references)
            printf("%s: %u references to OpenSSL's jobs, all of them to %s\n", program.path,
                   references, library);
        else
            printf("%s: does not use OpenSSL's jobs when it starts; what it loads later gets "
                   "those of %s\n", program.path, library);
        return 0;
    }
    setenv("LD_PRELOAD", preload, 1);
    execv(name, &argv[at]);
    fail(errno == ENOENT ? not_found : not_executed, "%s: %s", name, strerror(errno));
}
