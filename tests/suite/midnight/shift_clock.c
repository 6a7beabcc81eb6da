/* For tests: moves the wall clock of one process, the boot clock not.
 *
 * Reads the shift, 8 bytes of milliseconds, from the file TEST_CLOCK_SHIFT names, which the test may write
 * to at any time. A program that asks the kernel's vDSO without the C library is reached too: the
 * vDSO's clock_gettime is overwritten in this process's private copy. One that asks the C library's gettimeofday, as
 * Redis does, asks this one. x86-64 only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define MILLISECOND 1000000LL
static volatile int64_t *shift;

static void add(int64_t ms, struct timespec *t) {
  int64_t ns = t->tv_nsec + (ms % 1000) * MILLISECOND;
  int64_t borrowed = ns < 0 ? -1 : ns / SECOND;
  t->tv_sec += ms / 1000 + borrowed;
  t->tv_nsec = ns - borrowed * SECOND;
}

static long shifted(clockid_t id, struct timespec *t) {
  long failed;
  register long result asm("rax") = SYS_clock_gettime;
  asm volatile("syscall" : "+r"(result) : "D"((long)id), "S"(t) : "rcx", "r11", "memory");
  failed = result;
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) add(shift ? *shift : 0, t);
  return failed;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  struct timespec at;
  (void)zone;
  shifted(CLOCK_REALTIME, &at);
  t->tv_sec = at.tv_sec;
  t->tv_usec = at.tv_nsec / 1000;
  return 0;
}

/* The kernel waits by its own clock. A wait until an hour that is over by that would end at once, again and again: the
 * allocator's threads, which ask for the time and wait until some later one, would take all processors. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
  static int (*waits)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  struct timespec unshifted = *until;
  if (!waits) *(void **)&waits = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  add(shift ? -*shift : 0, &unshifted);
  return waits(cond, mutex, &unshifted);
}

/* Where the vDSO has the function of that name; 0 if nowhere. */
static unsigned char *find(unsigned char *vdso, const char *name) {
  Elf64_Ehdr *head = (Elf64_Ehdr *)vdso;
  Elf64_Phdr *part = (Elf64_Phdr *)(vdso + head->e_phoff);
  Elf64_Dyn *dynamic = 0;
  Elf64_Sym *symbols = 0;
  char *strings = 0;
  size_t strings_size = 0;
  uint64_t base = (uint64_t)vdso;
  for (int i = 0; i < head->e_phnum; i++) {
    if (part[i].p_type == PT_LOAD) base = (uint64_t)vdso + part[i].p_offset - part[i].p_vaddr;
    if (part[i].p_type == PT_DYNAMIC) dynamic = (Elf64_Dyn *)(vdso + part[i].p_offset);
  }
  for (; dynamic && dynamic->d_tag; dynamic++) {
    if (dynamic->d_tag == DT_SYMTAB) symbols = (Elf64_Sym *)(base + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_STRTAB) strings = (char *)(base + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_STRSZ) strings_size = dynamic->d_un.d_val;
  }
  if (!symbols || !strings) return 0;
  /* The names follow the symbols. */
  for (Elf64_Sym *s = symbols; (char *)(s + 1) <= strings; s++)
    if (s->st_name < strings_size && !strcmp(strings + s->st_name, name)) return (unsigned char *)(base + s->st_value);
  return 0;
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("TEST_CLOCK_SHIFT");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *mapped = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  unsigned char *vdso = (unsigned char *)getauxval(AT_SYSINFO_EHDR);
  unsigned char *target = vdso && mapped != MAP_FAILED ? find(vdso, "__vdso_clock_gettime") : 0;
  if (!target) _exit(97);
  shift = mapped;
  unsigned char jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* mov rax, …; jmp rax */
  uint64_t to = (uint64_t)shifted;
  memcpy(jump + 2, &to, 8);
  unsigned char *page = (unsigned char *)((uint64_t)target & ~4095UL);
  if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC)) {
    if (mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC)) _exit(98);
  }
  memcpy(target, jump, sizeof jump);
}
