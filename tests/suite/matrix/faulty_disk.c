/* For tests: makes one disk of one process fail, or sync slowly, from one moment to the next.
 *
 * What it is to do stands in the file TEST_DISK_ORDERS names, which the test may write to at any time:
 * an errno that every write, sync and opening for writing gets (0: none), the same for reads, and how
 * many milliseconds a sync takes longer. The disk is the file system that TEST_DISK names. strace could
 * do the same, but would slow down every other call of the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct orders {
  volatile int32_t writes, reads, sync_ms;
  /* How often it was obeyed. */
  volatile int32_t struck;
};
static struct orders *orders;
static dev_t disk;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("TEST_DISK_ORDERS"), *at = getenv("TEST_DISK");
  struct stat found;
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0 || !at || stat(at, &found)) _exit(98);
  void *mapped = mmap(0, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) _exit(98);
  disk = found.st_dev;
  orders = mapped;
}

/* Whether the call is to fail with that error. */
static int strikes(int fd, int32_t error) {
  struct stat found;
  if (!error || fstat(fd, &found) || found.st_dev != disk) return 0;
  __sync_fetch_and_add(&orders->struck, 1);
  errno = error;
  return 1;
}

static void hold_up(int fd) {
  struct stat found;
  int32_t ms = orders ? orders->sync_ms : 0;
  if (!ms || fstat(fd, &found) || found.st_dev != disk) return;
  __sync_fetch_and_add(&orders->struck, 1);
  /* No longer than it is so ordered. */
  struct timespec step = {0, 10000000};
  for (int32_t held = 0; held < ms && orders->sync_ms; held += 10) nanosleep(&step, 0);
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define WRITES (orders ? orders->writes : 0)
#define READS (orders ? orders->reads : 0)
#define WRAPPED(type, name, error, parameters, arguments) \
  type name parameters { \
    REAL(name); \
    return strikes(fd, error) ? -1 : real arguments; \
  }

WRAPPED(ssize_t, write, WRITES, (int fd, const void *from, size_t size), (fd, from, size))
WRAPPED(ssize_t, pwrite, WRITES, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRAPPED(ssize_t, pwrite64, WRITES, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
WRAPPED(ssize_t, writev, WRITES, (int fd, const struct iovec *from, int count), (fd, from, count))
WRAPPED(int, ftruncate, WRITES, (int fd, off_t size), (fd, size))
WRAPPED(int, ftruncate64, WRITES, (int fd, off64_t size), (fd, size))
WRAPPED(int, fallocate, WRITES, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size))
WRAPPED(int, fallocate64, WRITES, (int fd, int mode, off64_t from, off64_t size), (fd, mode, from, size))
WRAPPED(ssize_t, read, READS, (int fd, void *to, size_t size), (fd, to, size))
WRAPPED(ssize_t, pread, READS, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
WRAPPED(ssize_t, pread64, READS, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))

#define SYNCED(name, parameters, arguments) \
  int name parameters { \
    REAL(name); \
    hold_up(fd); \
    return strikes(fd, WRITES) ? -1 : real arguments; \
  }

SYNCED(fsync, (int fd), (fd))
SYNCED(fdatasync, (int fd), (fd))
SYNCED(sync_file_range, (int fd, off64_t from, off64_t size, unsigned flags), (fd, from, size, flags))

/* Whether what is opened for writing lies in a directory of the disk. */
static int refused(const char *path, int flags) {
  char copy[4096];
  struct stat found;
  if (!WRITES || (flags & O_ACCMODE) == O_RDONLY || strlen(path) >= sizeof copy) return 0;
  strcpy(copy, path);
  char *name = strrchr(copy, '/');
  if (!name) return 0;
  *name = 0;
  if (stat(copy, &found) || found.st_dev != disk) return 0;
  __sync_fetch_and_add(&orders->struck, 1);
  errno = WRITES;
  return 1;
}

#define OPENED(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = va_arg(rest, mode_t); \
    va_end(rest); \
    return refused(path, flags) ? -1 : real(path, flags, mode); \
  }
OPENED(open)
OPENED(open64)
