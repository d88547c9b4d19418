/* A disk that forgets what was not fsynced, and that fails on purpose: an LD_PRELOAD shim for one process.
 *
 * For every file under WARIFU_DISK_ROOT each change is written down in WARIFU_DISK_JOURNAL, old bytes and new, before it is made. An fsync of the file
 * ends what is written down of it. The process may be killed at any instant: what the journal then holds is what a power cut may take away, and the
 * driver takes it away (chaos-tests/src/preload). Faults are asked for through the file `control` in the journal's directory, which both sides map
 * or read; its layout is that of `struct control`.
 *
 * In the journal's directory:
 *   control      the driver's wishes and the shim's counters
 *   names        created, removed and renamed files, a line each, and what was fsynced since
 *   INODE.data   a hard link to each file, so that it is found under whatever name and an inode number is never used again
 *   INODE.undo   changes of its content that are not durable: records as `struct record`, each followed by its old and its new bytes
 *
 * WARIFU_DISK_EXCEPT names one file under the root that is left alone, such as the one that the process prints to.
 *
 * A real fsync is not made: durable is what this file says. Directories come and go unseen. Writes through a shared mapping cannot be seen; they are
 * counted in `unseen`, and the driver refuses a run with any. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILTER_BYTES 64

/* Kinds of faults; the driver has the same numbers. */
enum fault {
    NO_FAULT = 0,
    SYNC_FAILS = 1,      /* fsync says EIO, and what was written is lost, as a kernel drops pages that it could not write */
    SYNC_FAILS_KEPT = 2, /* fsync says EIO, and yet it is on disk */
    SYNC_SLOW = 3,
    CUT_BEFORE_SYNC = 4, /* the process dies at an fsync that did not happen */
    CUT_AFTER_SYNC = 5,  /* the process dies at an fsync that happened and that it never heard of */
    WRITE_FULL = 6,      /* ENOSPC */
    WRITE_FAILS = 7,     /* EIO, and nothing is written */
    WRITE_TORN = 8,      /* EIO, and half of it is written */
};

struct control {
    _Atomic uint64_t fault;
    _Atomic uint64_t countdown; /* the fault is at the fsync that brings it to zero, or in the writes that lead to that fsync */
    _Atomic uint64_t sticky;    /* not once, but from then on */
    _Atomic uint64_t slow_millis;
    char filter[FILTER_BYTES]; /* only files whose path has this in it */
    _Atomic uint64_t fired;
    _Atomic uint64_t syncs;
    _Atomic uint64_t writes;
    _Atomic uint64_t unseen;
    _Atomic uint64_t matched; /* fsyncs of files that the filter lets through */
};

enum kind { WRITTEN = 1, RESIZED = 2, SYNCED = 3, LOST = 4 };

struct record {
    uint64_t kind;
    uint64_t offset; /* of a write; the new length of a resized file */
    uint64_t old_len;
    uint64_t new_len;
    uint64_t file_len; /* before */
};

struct watched {
    struct watched *next;
    dev_t device;
    ino_t inode;
    int data, undo;
    int lost;  /* an fsync failed: its records stay until the driver has read them */
    int named; /* a name of it may not be durable */
    char path[PATH_MAX];
    pthread_mutex_t lock;
};

#define BUCKETS 256
static struct watched *table[BUCKETS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char root[PATH_MAX], journal[PATH_MAX], except[PATH_MAX];
static size_t root_len;
static int names = -1;
static struct control *control;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);

static void die(const char *what) {
    dprintf(2, "disk shim: %s: %s\n", what, strerror(errno));
    abort();
}

static void start(void) {
    real_write = REAL(write);
    real_pwrite = REAL(pwrite);
    real_open = REAL(open);
    real_openat = REAL(openat);
    const char *from = getenv("WARIFU_DISK_ROOT"), *to = getenv("WARIFU_DISK_JOURNAL");
    if (!from || !to) return;
    const char *not = getenv("WARIFU_DISK_EXCEPT");
    snprintf(except, sizeof except, "%s", not ? not : "");
    if (!realpath(from, root) || !realpath(to, journal)) die("a directory of its environment");
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/control", journal);
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) die(path);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) die(path);
    close(fd);
    snprintf(path, sizeof path, "%s/names", journal);
    names = real_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (names < 0) die(path);
    root_len = strlen(root);
}

static int active(void) {
    pthread_once(&once, start);
    return root_len > 0;
}

static int under_root(const char *path) {
    return strncmp(path, root, root_len) == 0 && path[root_len] == '/' && strcmp(path, except) != 0;
}

/* The path of an open file; removed files end with " (deleted)". */
static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, out, PATH_MAX - 1);
    if (len < 0) return 0;
    out[len] = 0;
    return 1;
}

/* The path of a name that may not exist, with its directory resolved. */
static int resolved(int dir, const char *path, char *out) {
    char whole[2 * PATH_MAX], parent[2 * PATH_MAX], real_parent[PATH_MAX];
    if (path[0] == '/' || dir == AT_FDCWD) {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        char base[PATH_MAX];
        if (!path_of(dir, base)) return 0;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    snprintf(parent, sizeof parent, "%s", whole);
    char *slash = strrchr(parent, '/');
    const char *name = slash ? slash + 1 : whole;
    if (slash == parent) slash[1] = 0;
    else if (slash) *slash = 0;
    if (!realpath(slash ? parent : ".", real_parent)) return 0;
    return snprintf(out, PATH_MAX, "%s/%s", real_parent, name) < PATH_MAX;
}

static void note_name(const char *format, ...) {
    char line[3 * PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (real_write(names, line, (size_t)len) != len) die("names");
}

static void whole_write(int fd, const void *bytes, size_t len) {
    const char *from = bytes;
    while (len > 0) {
        ssize_t done = real_write(fd, from, len);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) die("the journal");
        from += done;
        len -= (size_t)done;
    }
}

/* Takes off a record that an earlier process had begun when it was killed; its change was not made. Says whether an fsync failed there. */
static int end_whole(int fd) {
    struct stat stat;
    if (fstat(fd, &stat)) die("the journal");
    off_t at = 0;
    int lost = 0;
    for (;;) {
        struct record record;
        if (at + (off_t)sizeof record > stat.st_size || pread(fd, &record, sizeof record, at) != sizeof record) break;
        off_t next = at + (off_t)(sizeof record + record.old_len + record.new_len);
        if (next > stat.st_size) break;
        lost |= record.kind == LOST;
        at = next;
    }
    if (at != stat.st_size && REAL(ftruncate)(fd, at)) die("the journal");
    return lost;
}

/* Begins to watch a file, if it is not watched yet. The table's lock is held. */
static struct watched *watch(const struct stat *stat, const char *path) {
    struct watched **bucket = &table[stat->st_ino % BUCKETS];
    for (struct watched *one = *bucket; one; one = one->next)
        if (one->inode == stat->st_ino && one->device == stat->st_dev) return one;
    struct watched *one = calloc(1, sizeof *one);
    if (!one) die("memory");
    char data[PATH_MAX + 32], undo[PATH_MAX + 32];
    snprintf(data, sizeof data, "%s/%llu.data", journal, (unsigned long long)stat->st_ino);
    snprintf(undo, sizeof undo, "%s/%llu.undo", journal, (unsigned long long)stat->st_ino);
    if (REAL(link)(path, data) && errno != EEXIST) die(path);
    one->data = real_open(data, O_RDWR | O_CLOEXEC);
    one->undo = real_open(undo, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (one->data < 0 || one->undo < 0) die(data);
    one->lost = end_whole(one->undo);
    one->named = 1;
    one->device = stat->st_dev;
    one->inode = stat->st_ino;
    snprintf(one->path, sizeof one->path, "%s", path);
    pthread_mutex_init(&one->lock, NULL);
    one->next = *bucket;
    *bucket = one;
    return one;
}

static struct watched *watch_path(const char *path) {
    struct stat stat;
    if (lstat(path, &stat) || !S_ISREG(stat.st_mode)) return NULL;
    pthread_mutex_lock(&table_lock);
    struct watched *one = watch(&stat, path);
    pthread_mutex_unlock(&table_lock);
    return one;
}

/* The watched file behind a descriptor, if it is one. */
static struct watched *watched(int fd) {
    struct stat stat;
    if (!active() || fstat(fd, &stat) || !S_ISREG(stat.st_mode)) return NULL;
    pthread_mutex_lock(&table_lock);
    struct watched *one = table[stat.st_ino % BUCKETS];
    while (one && (one->inode != stat.st_ino || one->device != stat.st_dev)) one = one->next;
    char path[PATH_MAX];
    if (!one && stat.st_nlink > 0 && path_of(fd, path) && under_root(path)) one = watch(&stat, path);
    pthread_mutex_unlock(&table_lock);
    return one;
}

static int matches(const char *path) { return !control->filter[0] || strstr(path, control->filter); }

static void fire(void) {
    if (!control->sticky) control->fault = NO_FAULT;
    control->fired++;
}

/* Whether this write fails, and how. */
static enum fault write_fault(const char *path) {
    enum fault fault = (enum fault)control->fault;
    if (fault < WRITE_FULL || control->countdown > 1 || !matches(path)) return NO_FAULT;
    fire();
    return fault;
}

/* What happens at this fsync. */
static enum fault sync_fault(const char *path) {
    control->syncs++;
    if (!matches(path)) return NO_FAULT;
    control->matched++;
    enum fault fault = (enum fault)control->fault;
    if (fault == NO_FAULT) return NO_FAULT;
    if (control->countdown > 1) {
        control->countdown--;
        return NO_FAULT;
    }
    if (fault >= WRITE_FULL) return NO_FAULT;
    fire();
    return fault;
}

static void note(struct watched *file, enum kind kind, uint64_t offset, const void *old, uint64_t old_len, const void *new, uint64_t new_len,
                 uint64_t file_len) {
    struct record record = {kind, offset, old_len, new_len, file_len};
    char *bytes = malloc(sizeof record + old_len + new_len);
    if (!bytes) die("memory");
    memcpy(bytes, &record, sizeof record);
    memcpy(bytes + sizeof record, old, old_len);
    memcpy(bytes + sizeof record + old_len, new, new_len);
    whole_write(file->undo, bytes, sizeof record + old_len + new_len);
    free(bytes);
}

static uint64_t length(struct watched *file) {
    struct stat stat;
    if (fstat(file->data, &stat)) die(file->path);
    return (uint64_t)stat.st_size;
}

/* Writes down, then writes. The file's lock is held. */
static ssize_t noted_write(struct watched *file, int fd, const void *bytes, size_t len, off_t offset) {
    control->writes++;
    enum fault fault = write_fault(file->path);
    if (fault == WRITE_FULL || fault == WRITE_FAILS) {
        errno = fault == WRITE_FULL ? ENOSPC : EIO;
        return -1;
    }
    if (fault == WRITE_TORN) len /= 2;
    uint64_t file_len = length(file), at = (uint64_t)offset, there = at < file_len ? file_len - at : 0;
    if (there > len) there = len;
    char *old = malloc(there ? there : 1);
    if (!old || pread(file->data, old, there, offset) != (ssize_t)there) die(file->path);
    note(file, WRITTEN, at, old, there, bytes, len, file_len);
    free(old);
    ssize_t done = real_pwrite(fd, bytes, len, offset);
    if (fault == WRITE_TORN) {
        errno = EIO;
        return -1;
    }
    return done;
}

/* A write where the descriptor stands, or at the end. */
static ssize_t noted_append(struct watched *file, int fd, const void *bytes, size_t len) {
    int flags = fcntl(fd, F_GETFL);
    off_t offset = flags & O_APPEND ? (off_t)length(file) : lseek(fd, 0, SEEK_CUR);
    ssize_t done = noted_write(file, fd, bytes, len, offset);
    if (done > 0) lseek(fd, offset + done, SEEK_SET);
    return done;
}

static int noted_resize(struct watched *file, int fd, off_t len) {
    uint64_t file_len = length(file), new_len = (uint64_t)len;
    if (new_len > file_len) {
        enum fault fault = write_fault(file->path);
        if (fault != NO_FAULT) {
            errno = fault == WRITE_FULL ? ENOSPC : EIO;
            return -1;
        }
    }
    uint64_t cut = new_len < file_len ? file_len - new_len : 0;
    char *old = malloc(cut ? cut : 1);
    if (!old || pread(file->data, old, cut, len) != (ssize_t)cut) die(file->path);
    note(file, RESIZED, new_len, old, cut, NULL, 0, file_len);
    free(old);
    return REAL(ftruncate)(fd, len);
}

static char *joined(const struct iovec *parts, int count, size_t *len) {
    *len = 0;
    for (int i = 0; i < count; i++) *len += parts[i].iov_len;
    char *bytes = malloc(*len ? *len : 1), *to = bytes;
    if (!bytes) die("memory");
    for (int i = 0; i < count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
    return bytes;
}

static int sync_directory(int fd) {
    char path[PATH_MAX];
    if (path_of(fd, path) && (under_root(path) || strcmp(path, root) == 0)) {
        pthread_mutex_lock(&names_lock);
        note_name("D %s\n", path);
        pthread_mutex_unlock(&names_lock);
        return 0;
    }
    return REAL(fsync)(fd);
}

static void make_durable(struct watched *file) {
    if (file->lost) note(file, SYNCED, 0, NULL, 0, NULL, 0, length(file));
    else if (REAL(ftruncate)(file->undo, 0)) die("the journal");
    if (file->named) {
        pthread_mutex_lock(&names_lock);
        note_name("F %llu\n", (unsigned long long)file->inode);
        pthread_mutex_unlock(&names_lock);
        file->named = 0;
    }
}

static int sync_file(int fd, int (*otherwise)(int)) {
    struct stat stat;
    if (!active() || fstat(fd, &stat)) return otherwise(fd);
    if (S_ISDIR(stat.st_mode)) return sync_directory(fd);
    struct watched *file = watched(fd);
    if (!file) return otherwise(fd);
    int outcome = 0;
    pthread_mutex_lock(&file->lock);
    switch (sync_fault(file->path)) {
    case SYNC_FAILS:
        note(file, LOST, 0, NULL, 0, NULL, 0, length(file));
        file->lost = 1;
        errno = EIO;
        outcome = -1;
        break;
    case SYNC_FAILS_KEPT:
        make_durable(file);
        errno = EIO;
        outcome = -1;
        break;
    case SYNC_SLOW: {
        struct timespec pause = {(time_t)(control->slow_millis / 1000), (long)(control->slow_millis % 1000) * 1000000};
        nanosleep(&pause, NULL);
        make_durable(file);
        break;
    }
    case CUT_BEFORE_SYNC:
        kill(getpid(), SIGKILL);
        pause();
        break;
    case CUT_AFTER_SYNC:
        make_durable(file);
        kill(getpid(), SIGKILL);
        pause();
        break;
    default:
        make_durable(file);
    }
    pthread_mutex_unlock(&file->lock);
    return outcome;
}

/* Opens a file that may be made or emptied by it. */
static int noted_open(int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    int makes = (flags & O_CREAT) != 0, empties = (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY;
    if (!active() || (!makes && !empties) || (flags & O_TMPFILE) == O_TMPFILE || !resolved(dir, path, whole) || !under_root(whole))
        return real_openat(dir, path, flags, mode);
    pthread_mutex_lock(&names_lock);
    struct stat stat;
    int existed = lstat(whole, &stat) == 0;
    if (!existed && makes && control->fault == WRITE_FULL && write_fault(whole) != NO_FAULT) {
        pthread_mutex_unlock(&names_lock);
        errno = ENOSPC;
        return -1;
    }
    int fd = real_openat(dir, path, flags & ~O_TRUNC, mode);
    int failure = errno;
    struct watched *file = fd < 0 ? NULL : watch_path(whole);
    if (file && !existed) {
        note_name("C %llu %s\n", (unsigned long long)file->inode, whole);
        file->named = 1;
    }
    pthread_mutex_unlock(&names_lock);
    if (file && existed && empties) {
        pthread_mutex_lock(&file->lock);
        int outcome = length(file) == 0 ? 0 : noted_resize(file, fd, 0);
        failure = errno;
        pthread_mutex_unlock(&file->lock);
        if (outcome) {
            close(fd);
            fd = -1;
        }
    }
    errno = failure;
    return fd;
}

static int noted_unlink(int dir, const char *path, int flags) {
    int (*otherwise)(int, const char *, int) = REAL(unlinkat);
    char whole[PATH_MAX];
    if (!active() || (flags & AT_REMOVEDIR) || !resolved(dir, path, whole) || !under_root(whole)) return otherwise(dir, path, flags);
    pthread_mutex_lock(&names_lock);
    struct watched *file = watch_path(whole);
    int outcome = otherwise(dir, path, flags), failure = errno;
    if (outcome == 0 && file) note_name("U %llu %s\n", (unsigned long long)file->inode, whole);
    pthread_mutex_unlock(&names_lock);
    errno = failure;
    return outcome;
}

static int noted_rename(int old_dir, const char *old, int new_dir, const char *new, unsigned flags) {
    int (*otherwise)(int, const char *, int, const char *, unsigned) = REAL(renameat2);
    char from[PATH_MAX], to[PATH_MAX];
    if (!active() || !resolved(old_dir, old, from) || !resolved(new_dir, new, to) || !under_root(from) || !under_root(to))
        return otherwise(old_dir, old, new_dir, new, flags);
    pthread_mutex_lock(&names_lock);
    struct watched *file = watch_path(from), *replaced = watch_path(to);
    int outcome = otherwise(old_dir, old, new_dir, new, flags), failure = errno;
    if (outcome == 0 && file) {
        note_name("R %llu %llu %s\t%s\n", (unsigned long long)file->inode, replaced ? (unsigned long long)replaced->inode : 0ULL, from, to);
        file->named = 1;
        snprintf(file->path, sizeof file->path, "%s", to);
    }
    pthread_mutex_unlock(&names_lock);
    errno = failure;
    return outcome;
}

static int noted_link(int old_dir, const char *old, int new_dir, const char *new, int flags) {
    int (*otherwise)(int, const char *, int, const char *, int) = REAL(linkat);
    char to[PATH_MAX];
    if (!active() || !resolved(new_dir, new, to) || !under_root(to)) return otherwise(old_dir, old, new_dir, new, flags);
    pthread_mutex_lock(&names_lock);
    int outcome = otherwise(old_dir, old, new_dir, new, flags), failure = errno;
    struct watched *file = outcome ? NULL : watch_path(to);
    if (file) {
        note_name("C %llu %s\n", (unsigned long long)file->inode, to);
        file->named = 1;
    }
    pthread_mutex_unlock(&names_lock);
    errno = failure;
    return outcome;
}

/* ---- what is interposed ---- */

#define MODE_ARGUMENT                                                                                                                      \
    mode_t mode = 0;                                                                                                                       \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                                                                                \
        va_list arguments;                                                                                                                 \
        va_start(arguments, flags);                                                                                                        \
        mode = va_arg(arguments, mode_t);                                                                                                  \
        va_end(arguments);                                                                                                                 \
    }                                                                                                                                      \
    active();

int open(const char *path, int flags, ...) {
    MODE_ARGUMENT
    return noted_open(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE_ARGUMENT
    return noted_open(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int dir, const char *path, int flags, ...) {
    MODE_ARGUMENT
    return noted_open(dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...) {
    MODE_ARGUMENT
    return noted_open(dir, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

ssize_t write(int fd, const void *bytes, size_t len) {
    struct watched *file = watched(fd);
    if (!file) return real_write(fd, bytes, len);
    pthread_mutex_lock(&file->lock);
    ssize_t done = noted_append(file, fd, bytes, len);
    int failure = errno;
    pthread_mutex_unlock(&file->lock);
    errno = failure;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct watched *file = watched(fd);
    if (!file) return REAL(writev)(fd, parts, count);
    size_t len;
    char *bytes = joined(parts, count, &len);
    ssize_t done = write(fd, bytes, len);
    int failure = errno;
    free(bytes);
    errno = failure;
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    struct watched *file = watched(fd);
    if (!file) return real_pwrite(fd, bytes, len, offset);
    pthread_mutex_lock(&file->lock);
    ssize_t done = noted_write(file, fd, bytes, len, offset);
    int failure = errno;
    pthread_mutex_unlock(&file->lock);
    errno = failure;
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset) { return pwrite(fd, bytes, len, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    struct watched *file = watched(fd);
    if (!file) return REAL(pwritev)(fd, parts, count, offset);
    size_t len;
    char *bytes = joined(parts, count, &len);
    ssize_t done = pwrite(fd, bytes, len, offset);
    int failure = errno;
    free(bytes);
    errno = failure;
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    if (!watched(fd)) return REAL(pwritev2)(fd, parts, count, offset, flags);
    return offset == -1 ? writev(fd, parts, count) : pwritev(fd, parts, count, offset);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) {
    return pwritev2(fd, parts, count, offset, flags);
}

int ftruncate(int fd, off_t len) {
    struct watched *file = watched(fd);
    if (!file) return REAL(ftruncate)(fd, len);
    pthread_mutex_lock(&file->lock);
    int outcome = noted_resize(file, fd, len), failure = errno;
    pthread_mutex_unlock(&file->lock);
    errno = failure;
    return outcome;
}

int ftruncate64(int fd, off64_t len) { return ftruncate(fd, len); }

int fallocate(int fd, int mode, off_t offset, off_t len) {
    struct watched *file = watched(fd);
    if (!file) return REAL(fallocate)(fd, mode, offset, len);
    if (mode != 0) {
        /* Punched holes and the like: callers have another way for file systems that cannot. */
        errno = EOPNOTSUPP;
        return -1;
    }
    pthread_mutex_lock(&file->lock);
    int outcome = (uint64_t)(offset + len) > length(file) ? noted_resize(file, fd, offset + len) : 0, failure = errno;
    pthread_mutex_unlock(&file->lock);
    errno = failure;
    return outcome;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len) { return fallocate(fd, mode, offset, len); }

int posix_fallocate(int fd, off_t offset, off_t len) {
    if (!watched(fd)) return REAL(posix_fallocate)(fd, offset, len);
    return fallocate(fd, 0, offset, len) ? errno : 0;
}

int posix_fallocate64(int fd, off64_t offset, off64_t len) { return posix_fallocate(fd, offset, len); }

int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

/* Promises nothing about a power cut. */
int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags) {
    return watched(fd) ? 0 : REAL(sync_file_range)(fd, offset, len, flags);
}

int unlink(const char *path) { return noted_unlink(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return noted_unlink(dir, path, flags); }
int rename(const char *old, const char *new) { return noted_rename(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int old_dir, const char *old, int new_dir, const char *new) { return noted_rename(old_dir, old, new_dir, new, 0); }
int renameat2(int old_dir, const char *old, int new_dir, const char *new, unsigned flags) {
    return noted_rename(old_dir, old, new_dir, new, flags);
}
int link(const char *old, const char *new) { return noted_link(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags) { return noted_link(old_dir, old, new_dir, new, flags); }

/* Copies inside the kernel pass by the journal; callers have another way for file systems that cannot. */
ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t len, unsigned flags) {
    if (watched(out)) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(copy_file_range)(in, in_offset, out, out_offset, len, flags);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t len) {
    if (watched(out)) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(sendfile)(out, in, offset, len);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t len) { return sendfile(out, in, offset, len); }

ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t len, unsigned flags) {
    if (watched(out)) {
        errno = EINVAL;
        return -1;
    }
    return REAL(splice)(in, in_offset, out, out_offset, len, flags);
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset) {
    void *(*otherwise)(void *, size_t, int, int, int, off_t) = REAL(mmap);
    if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && root_len > 0 && watched(fd)) control->unseen++;
    return otherwise(address, len, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t offset) {
    return mmap(address, len, protection, flags, fd, offset);
}
