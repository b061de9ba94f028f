/* Preloaded into processes, this does to them from within what a file says that INSIDE names, and that may change at any
 * time: two numbers of 64 bits.
 *
 * - The first sets their wall clock, by so many seconds. Only that one: what runs on is not touched, as when root sets it.
 * - Whenever the second has changed, a process closes its descriptors of perf events, which detaches programs of the
 *   kernel.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 256

struct wanted {
	int64_t step;
	int64_t detachments;
};
static const volatile struct wanted *wanted;
static int64_t detached;

__attribute__((constructor)) static void find(void)
{
	const char *path = getenv("INSIDE");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (file < 0)
		return;
	void *seen = mmap(NULL, sizeof(*wanted), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (seen == MAP_FAILED)
		return;
	wanted = seen;
	detached = wanted->detachments;
}

static void detach(void)
{
	/* Not by /proc/self/fd: a process that has changed its user may not look there. */
	for (int descriptor = 3; descriptor < MOST_DESCRIPTORS; descriptor++) {
		uint64_t id;

		if (!ioctl(descriptor, PERF_EVENT_IOC_ID, &id))
			close(descriptor);
	}
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int failed = (int)syscall(SYS_clock_gettime, id, now);

	if (!wanted)
		return failed;
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		now->tv_sec += wanted->step;
	if (detached != wanted->detachments) {
		detached = wanted->detachments;
		detach();
	}
	return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec exact;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &exact);
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *now)
{
	struct timespec exact;

	clock_gettime(CLOCK_REALTIME, &exact);
	if (now)
		*now = exact.tv_sec;
	return exact.tv_sec;
}
