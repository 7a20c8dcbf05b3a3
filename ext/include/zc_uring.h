/* liburing, with what its older releases lack defined by number (include/uapi/linux/io_uring.h). */
#ifndef ZC_URING_H
#define ZC_URING_H

#include <liburing.h>

#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#endif

#endif
