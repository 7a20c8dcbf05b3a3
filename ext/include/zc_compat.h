/* What an older liburing or kernel header may not know, by number; and the checks of the nogil code.
 * Headers decide what we can say, the probe at run time decides what we may ask. */
#ifndef ZC_COMPAT_H
#define ZC_COMPAT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* `assert` in a noexcept nogil function prints and goes on; this one stops. */
#define zc_assert(condition)                                                              \
    do {                                                                                  \
        if (__builtin_expect(!(condition), 0)) {                                          \
            fprintf(stderr, "zchttpd: %s:%d: broken invariant: %s\n", __FILE__, __LINE__, \
                    #condition);                                                          \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

/* Costly checks: the debug build only (-Ddebug_checks=true). */
#ifdef ZC_DEBUG
#define zc_check(condition) zc_assert(condition)
#else
#define zc_check(condition) ((void)0)
#endif

#define zc_likely(condition) __builtin_expect(!!(condition), 1)
#define zc_unlikely(condition) __builtin_expect(!!(condition), 0)

/* Linux 6.1; older ones answer EINVAL. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Cells that two threads share. */
static inline uint64_t zc_load(const uint64_t *cell) { return __atomic_load_n(cell, __ATOMIC_ACQUIRE); }
static inline void zc_store(uint64_t *cell, uint64_t value) { __atomic_store_n(cell, value, __ATOMIC_RELEASE); }
static inline void zc_add(uint64_t *cell, uint64_t value) { __atomic_fetch_add(cell, value, __ATOMIC_RELAXED); }

#endif
