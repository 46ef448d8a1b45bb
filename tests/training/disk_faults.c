/* Errors of the disk at chosen calls: preloaded, it stands between a process and the C library.
 *
 * faults_begin(folder, first, last, number) counts the calls on the folder and on what it holds from 1 on; calls
 * first to last fail with the error of that number, or write only half if it is 0. A failed close closes.
 * faults_end() gives how many calls there were; faults_calls() names them, one a line.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static char folder[PATH_MAX], opened[DESCRIPTORS][PATH_MAX], names[1 << 20];
static size_t written;
static long calls, first, last;
static int number;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void faults_begin(const char *path, long from, long to, int error) {
    snprintf(folder, sizeof folder, "%s", path);
    calls = 0, written = 0, names[0] = 0;
    first = from, last = to, number = error;
}

long faults_end(void) {
    folder[0] = 0;
    memset(opened, 0, sizeof opened);
    return calls;
}

const char *faults_calls(void) { return names; }

/* Counts a call; whether it is one of those that fail. */
static int chosen(const char *call, const char *path) {
    size_t length = strlen(folder);
    if (!length || !path || strncmp(path, folder, length)) return 0;
    pthread_mutex_lock(&lock);
    long count = ++calls;
    written += snprintf(names + written, sizeof names - written, "%s %s\n", call, path);
    if (written >= sizeof names) written = sizeof names - 1;
    pthread_mutex_unlock(&lock);
    return first <= count && count <= last;
}

static int fails(const char *call, const char *path) {
    if (!chosen(call, path) || !number) return 0;
    errno = number;
    return 1;
}

static const char *path_of(int descriptor) {
    return descriptor >= 0 && descriptor < DESCRIPTORS ? opened[descriptor] : NULL;
}

static int remember(int descriptor, const char *path) {
    if (folder[0] && descriptor >= 0 && descriptor < DESCRIPTORS)
        snprintf(opened[descriptor], PATH_MAX, "%s", path);
    return descriptor;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = va_arg(rest, mode_t);                                                        \
        va_end(rest);                                                                              \
        REAL(name);                                                                                \
        return fails("open", path) ? -1 : remember(real(path, flags, mode), path);                 \
    }
OPEN(open)
OPEN(open64)

#define OPEN_STREAM(name)                                                                          \
    FILE *name(const char *path, const char *mode) {                                               \
        REAL(name);                                                                                \
        return fails("open", path) ? NULL : real(path, mode);                                      \
    }
OPEN_STREAM(fopen)
OPEN_STREAM(fopen64)

DIR *opendir(const char *path) {
    REAL(opendir);
    return fails("opendir", path) ? NULL : real(path);
}

#define ON_PATH(name, types, arguments)                                                            \
    int name types {                                                                               \
        REAL(name);                                                                                \
        return fails(#name, path) ? -1 : real arguments;                                           \
    }
ON_PATH(rename, (const char *path, const char *new), (path, new))
ON_PATH(unlink, (const char *path), (path))
ON_PATH(rmdir, (const char *path), (path))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(access, (const char *path, int mode), (path, mode))
ON_PATH(chmod, (const char *path, mode_t mode), (path, mode))
ON_PATH(stat, (const char *path, struct stat *about), (path, about))
ON_PATH(lstat, (const char *path, struct stat *about), (path, about))
ON_PATH(stat64, (const char *path, struct stat64 *about), (path, about))
ON_PATH(lstat64, (const char *path, struct stat64 *about), (path, about))

int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
    REAL(utimensat);
    return fails("utimensat", path) ? -1 : real(at, path, times, flags);
}

#define ON_DESCRIPTOR(result, name, types, arguments)                                              \
    result name types {                                                                            \
        REAL(name);                                                                                \
        return fails(#name, path_of(file)) ? -1 : real arguments;                                  \
    }
ON_DESCRIPTOR(ssize_t, read, (int file, void *data, size_t size), (file, data, size))
ON_DESCRIPTOR(int, fdatasync, (int file), (file))
ON_DESCRIPTOR(int, fchmod, (int file, mode_t mode), (file, mode))
ON_DESCRIPTOR(int, ftruncate, (int file, off_t size), (file, size))
ON_DESCRIPTOR(int, ftruncate64, (int file, off64_t size), (file, size))
ON_DESCRIPTOR(int, fstat, (int file, struct stat *about), (file, about))
ON_DESCRIPTOR(int, fstat64, (int file, struct stat64 *about), (file, about))

/* A lock that cannot be opened again would outlive the command, which otherwise ends with its process. */
int flock(int file, int operation) {
    REAL(flock);
    return operation != LOCK_UN && fails("flock", path_of(file)) ? -1 : real(file, operation);
}

/* Data is never written for good here, which saves time. */
int fsync(int file) { return fails("fsync", path_of(file)) ? -1 : 0; }

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    if (chosen("write", path_of(file))) {
        if (number) return errno = number, -1;
        size -= size / 2;
    }
    return real(file, data, size);
}

int close(int file) {
    REAL(close);
    int failed = fails("close", path_of(file)), cause = errno;
    if (path_of(file)) opened[file][0] = 0;
    int result = real(file);
    return failed ? (errno = cause, -1) : result;
}
