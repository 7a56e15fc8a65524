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

// Where a part of an ELF file for this kind of machine lies; NULL: it has none.
static const char *file_part(const struct file *f, uint32_t type, size_t *size)
{
    const ElfW(Ehdr) *header = (const void *)f->bytes;
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phoff > f->size ||
        header->e_phnum > (f->size - header->e_phoff) / sizeof(ElfW(Phdr)))
        return NULL;
    const ElfW(Phdr) *part = (const void *)(f->bytes + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (part[i].p_type == type && part[i].p_filesz && part[i].p_offset < f->size &&
            part[i].p_filesz <= f->size - part[i].p_offset) {
            *size = part[i].p_filesz;
            return f->bytes + part[i].p_offset;
        }
    return NULL;
}

// Its dynamic linker; NULL: it has none.
static const char *file_interpreter(const struct file *f)
{
    size_t size;
    const char *path = file_part(f, PT_INTERP, &size);
    return path && !path[size - 1] ? path : NULL;
}

// A library whose references to its own functions cannot lead elsewhere.
static bool file_is_symbolic(const struct file *f)
{
    size_t size;
    const ElfW(Dyn) *entry = (const void *)file_part(f, PT_DYNAMIC, &size);
    for (size_t i = 0; entry && i < size / sizeof *entry && entry[i].d_tag != DT_NULL; i++)
        if (entry[i].d_tag == DT_SYMBOLIC ||
            (entry[i].d_tag == DT_FLAGS && (entry[i].d_un.d_val & DF_SYMBOLIC)))
            return true;
    return false;
}

static bool file_has(const struct file *f, const char *text, size_t size)
{
    return memmem(f->bytes, f->size, text, size) != NULL;
}

// OpenSSL's own jobs are in this file: their functions tell the error queue which file of
// OpenSSL's source they came from.
static bool file_has_jobs(const struct file *f)
{
    static const char name[] = "crypto/async/async.c";
    return file_has(f, name, sizeof name);
}

// A libcrypto that blocks pauses while it holds a lock, as only 1.1.0 does, and by its own
// ASYNC_block_pause: a job of another library would pause with the lock held.
static bool file_blocks_own_jobs(const struct file *f)
{
    static const char version[] = "OpenSSL 1.1.0", later[] = "OPENSSL_1_1_1";
    return file_is_elf(f) && file_has(f, version, strlen(version)) &&
           !file_has(f, later, strlen(later)) && file_is_symbolic(f);
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

// The first line of a script without its "#!"; NULL: it is none. The caller frees it.
static char *script_line(const struct file *f)
{
    if (f->size < 3 || memcmp(f->bytes, "#!", 2) != 0)
        return NULL;
    const char *end = memchr(f->bytes, '\n', f->size);
    return strndup(f->bytes + 2, (end ? (size_t)(end - f->bytes) : f->size) - 2);
}

// What runs a script, by its first line; NULL: it names nothing. Of `env NAME` that is what
// NAME means. The caller frees it.
static char *script_interpreter(char *line)
{
    static const char blanks[] = " \t\r";
    char *rest, *word = strtok_r(line, blanks, &rest);
    if (!word)
        return NULL;
    if (strcmp(basename(word), "env") == 0) {
        char *name = strtok_r(NULL, blanks, &rest);
        if (name && strcmp(name, "-S") == 0)
            name = strtok_r(NULL, blanks, &rest);
        while (name && strchr(name, '='))
            name = strtok_r(NULL, blanks, &rest);
        if (name && *name != '-') // with other options, env itself is looked at
            return program_find(name);
    }
    return strdup(word);
}

// What the kernel runs when it is told to run that; says so of a script, if that is asked for.
static void program_open(struct file *f, const char *name, bool say)
{
    for (int depth = 0; depth < 5; depth++) {
        errno = 0;
        if (!file_open(f, name))
            fail(errno == ENOENT ? not_found : refused, "%s: cannot be looked at: %s", name,
                 errno ? strerror(errno) : "not a file");
        if (file_is_elf(f))
            return;
        char *line = script_line(f), *interpreter = line ? script_interpreter(line) : NULL;
        if (!interpreter)
            fail(refused, "%s: is neither a program nor a script", name);
        if (say)
            printf("%s: is a script, run by %s\n", name, interpreter);
        file_close(f);
        free(line);
        name = interpreter; // in use until the end
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

// The last place of a text in another, or NULL.
static char *last_of(char *in, const char *text)
{
    char *found = NULL;
    for (char *at = in; (at = strstr(at, text)); at++)
        found = at;
    return found;
}

// A line of LD_DEBUG=bindings:
//   PID: binding file FROM [NAMESPACE] to TO [NAMESPACE]: normal symbol `NAME' [VERSION]
// Paths may have blanks, brackets and even parts of such a line in them, and a newline leaves
// the beginning of FROM on the line before. So the line is read from its end. Returns NAME,
// and leaves in the line what comes before the last namespace; NULL: it is no such line.
static char *binding_read(char *line)
{
    char *name = last_of(line, " symbol `");
    if (!name)
        return NULL;
    *name = '\0';
    name += strlen(" symbol `");
    name[strcspn(name, "'")] = '\0';
    char *namespace = last_of(line, " [");
    if (!namespace)
        return NULL;
    *namespace = '\0';
    return name;
}

static bool binding_leads_to(const char *binding, const char *path)
{
    static const char before[] = "] to ";
    size_t length = strlen(binding), behind = strlen(path), all = strlen(before) + behind;
    return length >= all && strncmp(binding + length - all, before, strlen(before)) == 0 &&
           strcmp(binding + length - behind, path) == 0;
}

static bool binding_comes_from(const char *binding, const char *path)
{
    const char *from = strstr(binding, "binding file ");
    size_t length = strlen(path);
    return from && strncmp(from += strlen("binding file "), path, length) == 0 &&
           strncmp(from + length, " [", 2) == 0;
}

// For a person. (Where a path has parts of such a line, it may be cut at the wrong place.)
static char *binding_text(char *binding, const char *name)
{
    char *from = strstr(binding, "binding file "), *to = last_of(binding, "] to "), *text = NULL;
    if (!from || !to)
        return strdup(name);
    *to = '\0';
    char *namespace = last_of(from, " [");
    if (namespace)
        *namespace = '\0';
    return asprintf(&text, "%s of %s is taken from %s", name, from + strlen("binding file "),
                    to + strlen("] to ")) < 0 ? NULL : text;
}

// A line of the list of libraries: "\tNAME => PATH (0xADDRESS)", or without NAME where that is
// a path itself. Returns PATH, or NULL.
static char *object_read(char *line)
{
    char *path = strstr(line, " => "), *end = last_of(line, " (0x");
    path = path ? path + strlen(" => ") : line + (line[0] == '\t');
    if (!end || end < path || *path != '/')
        return NULL;
    *end = '\0';
    return path;
}

// Looks at a library that the program loads.
static void object_look(const char *program, const char *path, char **built_in)
{
    struct file f;
    if (!file_open(&f, path))
        return;
    const bool is_libcrypto = strncmp(basename(path), "libcrypto.", 10) == 0;
    if (is_libcrypto && file_blocks_own_jobs(&f))
        fail(refused, "%s: %s is OpenSSL 1.1.0 linked with -Bsymbolic, whose blocks of pauses "
             "nothing can stand before", program, path);
    if (!*built_in && !is_libcrypto && file_has_jobs(&f))
        *built_in = strdup(path);
    file_close(&f);
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
        char *object, *symbol = binding_read(line);
        if (symbol) {
            if (strncmp(symbol, "ASYNC_", 6) != 0)
                continue;
            references++;
            if (!binding_leads_to(line, library) && !binding_comes_from(line, library) && !astray)
                astray = binding_text(line, symbol);
        } else if (strstr(line, "LD_PRELOAD cannot be preloaded")) {
            line[strcspn(line, "\n")] = '\0';
            free(trouble);
            trouble = strdup(line);
        } else if ((object = object_read(line))) {
            objects++;
            if (strcmp(object, library) != 0)
                object_look(program, object, &built_in);
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

    char *library = library_find(), *name = program_find(argv[at]);
    struct file program;
    program_open(&program, name, check);
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
