/* liburing, with what its older releases lack (include/uapi/linux/io_uring.h). */
#ifndef ZC_URING_H
#define ZC_URING_H

#include <errno.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* liburing 2.3 declares io_uring_register_restrictions and io_uring_enable_rings, but its library has neither.
 * Returns 0 or -errno. */
static inline int zc_uring_register(struct io_uring *ring, unsigned opcode, const void *argument, unsigned count) {
    return syscall(__NR_io_uring_register, ring->ring_fd, opcode, argument, count) < 0 ? -errno : 0;
}

#endif
