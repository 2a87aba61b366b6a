/* A volume on which one system call fails, loaded with LD_PRELOAD: ODD_CALL fails with the number ODD_ERROR wherever
   the path of its file holds ODD_PATH; without one, everywhere, and fsync for folders only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static int odd(const char *call, int file, const char *name) {
    const char *wanted = getenv("ODD_CALL"), *part = getenv("ODD_PATH");
    char link[64], path[8192];
    if (!wanted || strcmp(wanted, call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, 4096);
    if (length < 0) length = 0;
    snprintf(path + length, sizeof path - length, "/%s", name);
    if (part && !strstr(path, part)) return 0;
    errno = atoi(getenv("ODD_ERROR"));
    return 1;
}

int fsync(int file) {
    struct stat found;
    int counts = getenv("ODD_PATH") || (!fstat(file, &found) && S_ISDIR(found.st_mode));
    return counts && odd("fsync", file, "") ? -1 : NEXT(int (*)(int), "fsync")(file);
}
int fchmod(int file, mode_t mode) {
    return odd("fchmod", file, "") ? -1 : NEXT(int (*)(int, mode_t), "fchmod")(file, mode);
}
int flock(int file, int operation) {
    return odd("flock", file, "") ? -1 : NEXT(int (*)(int, int), "flock")(file, operation);
}
int unlinkat(int folder, const char *name, int flags) {
    return odd("unlink", folder, name) ? -1 : NEXT(int (*)(int, const char *, int), "unlinkat")(folder, name, flags);
}
int renameat(int from, const char *old, int to, const char *new) {
    if (odd("rename", to, new)) return -1;
    return NEXT(int (*)(int, const char *, int, const char *), "renameat")(from, old, to, new);
}
ssize_t write(int file, const void *data, size_t size) {
    return odd("write", file, "") ? -1 : NEXT(ssize_t (*)(int, const void *, size_t), "write")(file, data, size);
}
ssize_t read(int file, void *data, size_t size) {
    return odd("read", file, "") ? -1 : NEXT(ssize_t (*)(int, void *, size_t), "read")(file, data, size);
}
