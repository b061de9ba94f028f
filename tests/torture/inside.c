/* Preloaded into processes, this does to them from within what a file says that INSIDE names, and that may change at any
 * time: numbers of 64 bits.
 *
 * - The first sets their wall clock, by so many seconds. Only that one: what runs on is not touched, as when root sets it.
 * - When the second has changed, a process whose number is the third closes as many descriptors as the fourth says, which
 *   follow.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct wanted {
	int64_t step;
	int64_t turn;
	int64_t process;
	int64_t number;
	int64_t descriptors[64];
};
static const volatile struct wanted *wanted;
static int64_t done;

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
	done = wanted->turn;
}

static void detach(void)
{
	for (int64_t place = 0; wanted->process == getpid() && place < wanted->number; place++)
		close((int)wanted->descriptors[place]);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int failed = (int)syscall(SYS_clock_gettime, id, now);

	if (!wanted)
		return failed;
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		now->tv_sec += wanted->step;
	if (done != wanted->turn) {
		done = wanted->turn;
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
