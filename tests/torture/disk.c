/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that does what it is told, for LD_PRELOAD: it is slow, full or broken, and it loses power.
 * It stands between the process and the files below $AVOCET_DISK_FOLDER; tests/lib/disk.py tells it
 * what to do by a file that both have mapped, $AVOCET_DISK_CONTROL.
 *
 * Calls that change a file and calls that send to a socket are numbered as they come. At number
 * `crash_at` the process kills itself, before the call or in the middle of it. With `loses` it
 * first takes back what was written and not synced: of each page of 512 bytes either what was there
 * at the last sync or what is there now, by chance; the length likewise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { PAGE = 512, MAX_FDS = 65536, MAX_FILES = 64, SHELVES = 4096 };

/* In this order in tests/lib/disk.py. */
struct control {
	_Atomic int64_t quota;    /* bytes that files may still grow by; < 0: no limit */
	_Atomic int64_t fails;    /* fsync fails with EIO */
	_Atomic int64_t delay_us; /* of each fsync */
	_Atomic int64_t crash_at; /* at this call; 0: never */
	_Atomic int64_t is_torn;  /* the call is done by half */
	_Atomic int64_t loses;    /* what was not synced */
	_Atomic int64_t seed;
	_Atomic int64_t calls; /* how many there were */
	_Atomic int64_t syncs;
	_Atomic int64_t cut_now; /* the next call is the last */
};

struct page {
	struct page *next;
	int64_t number;
	size_t len; /* what there was of it */
	uint8_t data[PAGE];
};

struct file {
	dev_t dev;
	ino_t ino;
	int fd; /* of our own, for reading and taking back */
	int64_t synced_size;
	struct page *pages[SHELVES]; /* as they were at the last sync, by number */
};

static struct control own_control, *control = &own_control;
static const char *folder;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[MAX_FILES];
static _Atomic int file_of[MAX_FDS]; /* number in files + 1 */
static int file_count;

static struct {
	int (*open)(const char *, int, ...);
	int (*close)(int);
	ssize_t (*pwrite)(int, const void *, size_t, off_t);
	ssize_t (*write)(int, const void *, size_t);
	int (*ftruncate)(int, off_t);
	int (*fsync)(int);
	int (*unlink)(const char *);
	int (*fallocate)(int, off_t, off_t);
	ssize_t (*writev)(int, const struct iovec *, int);
	ssize_t (*sendmsg)(int, const struct msghdr *, int);
	ssize_t (*send)(int, const void *, size_t, int);
	int (*statvfs)(const char *, struct statvfs *);
} real;

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv("AVOCET_DISK_CONTROL");
	int fd;

	*(void **)&real.open = dlsym(RTLD_NEXT, "open");
	*(void **)&real.close = dlsym(RTLD_NEXT, "close");
	*(void **)&real.pwrite = dlsym(RTLD_NEXT, "pwrite");
	*(void **)&real.write = dlsym(RTLD_NEXT, "write");
	*(void **)&real.ftruncate = dlsym(RTLD_NEXT, "ftruncate");
	*(void **)&real.fsync = dlsym(RTLD_NEXT, "fsync");
	*(void **)&real.unlink = dlsym(RTLD_NEXT, "unlink");
	*(void **)&real.fallocate = dlsym(RTLD_NEXT, "posix_fallocate");
	*(void **)&real.writev = dlsym(RTLD_NEXT, "writev");
	*(void **)&real.sendmsg = dlsym(RTLD_NEXT, "sendmsg");
	*(void **)&real.send = dlsym(RTLD_NEXT, "send");
	*(void **)&real.statvfs = dlsym(RTLD_NEXT, "statvfs");
	own_control.quota = -1;
	folder = getenv("AVOCET_DISK_FOLDER");
	if (path == NULL || folder == NULL) {
		return;
	}
	fd = real.open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		void *memory =
		    mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		control = memory != MAP_FAILED ? memory : control;
		(void)real.close(fd);
	}
}

/* --- chance --- */

static uint64_t
draw(void)
{
	static _Atomic uint64_t state;
	uint64_t z = atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15)) +
		     (uint64_t)atomic_load(&control->seed) * UINT64_C(0xd1342543de82ef95);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* --- the end --- */

static void
take_back(struct file *file)
{
	struct stat status;

	/* Mostly all or nothing of a file, as a disk's cache does; else a mixture. */
	unsigned share = draw() % 3 == 0 ? 0 : draw() % 2 == 0 ? 100 : 50;

	for (int i = 0; i < SHELVES; i++) {
		for (struct page *page = file->pages[i]; page != NULL; page = page->next) {
			if (draw() % 100 < share && page->len != 0) {
				(void)real.pwrite(
				    file->fd, page->data, page->len, page->number * PAGE);
			}
		}
	}
	if (fstat(file->fd, &status) == 0 && status.st_size > file->synced_size &&
	    draw() % 100 < share) {
		(void)real.ftruncate(file->fd, file->synced_size);
	}
}

static void __attribute__((noreturn)) die(void)
{
	if (atomic_load(&control->loses) != 0) {
		for (int i = 0; i < file_count; i++) {
			take_back(&files[i]);
		}
	}
	(void)kill(getpid(), SIGKILL);
	for (;;) {
		(void)pause();
	}
}

/* Counts the call. True: the process dies in it. Under the lock. */
static bool
count(void)
{
	int64_t number = atomic_fetch_add(&control->calls, 1) + 1;
	int64_t at = atomic_load(&control->crash_at);

	return (at != 0 && number >= at) || atomic_load(&control->cut_now) != 0;
}

/* --- files --- */

static struct file *
find(int fd)
{
	int number = fd >= 0 && fd < MAX_FDS ? atomic_load(&file_of[fd]) : 0;

	return number != 0 ? &files[number - 1] : NULL;
}

static void
note(int fd, const char *path)
{
	struct stat status;
	int i = 0;

	if (folder == NULL || fd < 0 || fd >= MAX_FDS ||
	    strncmp(path, folder, strlen(folder)) != 0 || fstat(fd, &status) != 0 ||
	    !S_ISREG(status.st_mode)) {
		return;
	}
	(void)pthread_mutex_lock(&lock);
	while (i < file_count && (files[i].dev != status.st_dev || files[i].ino != status.st_ino)) {
		i++;
	}
	if (i == file_count && i < MAX_FILES) {
		files[i] = (struct file){.dev = status.st_dev,
		    .ino = status.st_ino,
		    .fd = real.open(path, O_RDWR | O_CLOEXEC),
		    .synced_size = status.st_size};
		file_count++;
	}
	if (i < MAX_FILES) {
		atomic_store(&file_of[fd], i + 1);
	}
	(void)pthread_mutex_unlock(&lock);
}

static void
forget_pages(struct file *file)
{
	for (int i = 0; i < SHELVES; i++) {
		while (file->pages[i] != NULL) {
			struct page *page = file->pages[i];

			file->pages[i] = page->next;
			free(page);
		}
	}
}

static void
keep(struct file *file, int64_t start, int64_t end)
{
	for (int64_t number = start / PAGE; number * PAGE < end; number++) {
		struct page **shelf = &file->pages[number % SHELVES], *page = *shelf;
		ssize_t n;

		while (page != NULL && page->number != number) {
			page = page->next;
		}
		if (page != NULL) {
			continue;
		}
		page = malloc(sizeof(*page));
		n = pread(file->fd, page->data, PAGE, number * PAGE);
		page->number = number;
		page->len = n > 0 ? (size_t)n : 0;
		page->next = *shelf;
		*shelf = page;
	}
}

/* False: there is no room. */
static bool
grow(struct file *file, int64_t end)
{
	int64_t quota = atomic_load(&control->quota);
	struct stat status;

	if (quota < 0 || fstat(file->fd, &status) != 0 || end <= status.st_size) {
		return true;
	}
	if (end - status.st_size > quota) {
		return false;
	}
	atomic_store(&control->quota, quota - (end - status.st_size));
	return true;
}

static ssize_t
write_at(int fd, struct file *file, const void *data, size_t n, off_t offset)
{
	ssize_t written;

	(void)pthread_mutex_lock(&lock);
	if (atomic_load(&control->loses) != 0) {
		keep(file, offset, offset + (off_t)n);
	}
	if (count()) {
		if (atomic_load(&control->is_torn) != 0) {
			(void)real.pwrite(fd, data, n / 2, offset);
		}
		die();
	}
	if (grow(file, offset + (int64_t)n)) {
		written = real.pwrite(fd, data, n, offset);
	} else {
		errno = ENOSPC;
		written = -1;
	}
	(void)pthread_mutex_unlock(&lock);
	return written;
}

EXPORT int
open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	int fd;

	if ((flags & (O_CREAT | __O_TMPFILE)) != 0) {
		va_list args;

		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	fd = real.open(path, flags, mode);
	note(fd, path);
	return fd;
}

EXPORT int open64(const char *, int, ...) __attribute__((alias("open")));

EXPORT int
close(int fd)
{
	if (fd >= 0 && fd < MAX_FDS) {
		atomic_store(&file_of[fd], 0);
	}
	return real.close(fd);
}

EXPORT ssize_t
pwrite(int fd, const void *data, size_t n, off_t offset)
{
	struct file *file = find(fd);

	return file != NULL ? write_at(fd, file, data, n, offset)
			    : real.pwrite(fd, data, n, offset);
}

EXPORT ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));

EXPORT int
ftruncate(int fd, off_t size)
{
	struct file *file = find(fd);
	struct stat status;
	int result;

	if (file == NULL) {
		return real.ftruncate(fd, size);
	}
	(void)pthread_mutex_lock(&lock);
	if (atomic_load(&control->loses) != 0 && fstat(fd, &status) == 0 && size < status.st_size) {
		keep(file, size, status.st_size);
	}
	if (count()) {
		die();
	}
	result = real.ftruncate(fd, size);
	(void)pthread_mutex_unlock(&lock);
	return result;
}

EXPORT int ftruncate64(int, off64_t) __attribute__((alias("ftruncate")));

EXPORT int
fsync(int fd)
{
	struct file *file = find(fd);
	int64_t delay_us = atomic_load(&control->delay_us);
	struct stat status;
	int result = 0;

	if (file == NULL) {
		return real.fsync(fd);
	}
	if (delay_us != 0) {
		struct timespec time = {delay_us / 1000000, delay_us % 1000000 * 1000};

		(void)nanosleep(&time, NULL);
	}
	(void)pthread_mutex_lock(&lock);
	atomic_fetch_add(&control->syncs, 1);
	if (count()) {
		die();
	}
	if (atomic_load(&control->fails) != 0) {
		errno = EIO;
		result = -1;
	} else if (fstat(fd, &status) == 0) {
		/* The process alone dies: what it has written the kernel keeps. */
		file->synced_size = status.st_size;
		forget_pages(file);
	}
	(void)pthread_mutex_unlock(&lock);
	return result;
}

EXPORT int fdatasync(int) __attribute__((alias("fsync")));

EXPORT int
unlink(const char *path)
{
	struct stat status;
	int result;

	if (folder == NULL || strncmp(path, folder, strlen(folder)) != 0) {
		return real.unlink(path);
	}
	(void)pthread_mutex_lock(&lock);
	if (count()) {
		die();
	}
	if (stat(path, &status) == 0 && atomic_load(&control->quota) >= 0) {
		atomic_fetch_add(&control->quota, status.st_size);
	}
	result = real.unlink(path);
	(void)pthread_mutex_unlock(&lock);
	return result;
}

EXPORT int
posix_fallocate(int fd, off_t offset, off_t n)
{
	struct file *file = find(fd);
	int result;

	if (file == NULL) {
		return real.fallocate(fd, offset, n);
	}
	(void)pthread_mutex_lock(&lock);
	if (count()) {
		die();
	}
	result = grow(file, offset + n) ? real.fallocate(fd, offset, n) : ENOSPC;
	(void)pthread_mutex_unlock(&lock);
	return result;
}

EXPORT int posix_fallocate64(int, off64_t, off64_t) __attribute__((alias("posix_fallocate")));

EXPORT int
statvfs(const char *path, struct statvfs *out)
{
	int result = real.statvfs(path, out);
	int64_t quota = atomic_load(&control->quota);

	if (result == 0 && quota >= 0 && folder != NULL &&
	    strncmp(path, folder, strlen(folder)) == 0) {
		out->f_bavail = (fsblkcnt_t)quota / out->f_frsize;
	}
	return result;
}

EXPORT int statvfs64(const char *, struct statvfs64 *) __attribute__((alias("statvfs")));

/* --- sockets: a crash before something leaves --- */

static void
leave(int fd)
{
	struct stat status;

	if (folder == NULL || fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) {
		return;
	}
	(void)pthread_mutex_lock(&lock);
	if (count()) {
		die();
	}
	(void)pthread_mutex_unlock(&lock);
}

EXPORT ssize_t
write(int fd, const void *data, size_t n)
{
	leave(fd);
	return real.write(fd, data, n);
}

EXPORT ssize_t
writev(int fd, const struct iovec *data, int n)
{
	leave(fd);
	return real.writev(fd, data, n);
}

EXPORT ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	leave(fd);
	return real.sendmsg(fd, message, flags);
}

EXPORT ssize_t
send(int fd, const void *data, size_t n, int flags)
{
	leave(fd);
	return real.send(fd, data, n, flags);
}
