/* Builds for tests count what the machine allocates, can have an allocation fail, and can overwrite memory that nobody may
 * read any more. Others know nothing of it. */
#ifndef ZC_MEMORY_H
#define ZC_MEMORY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t until_failure; /* allocations that still succeed before one fails; negative: none is to fail */
    int64_t live;
    uint64_t failures;
    int poison; /* a byte to overwrite with, or 0 */
} zc_memory;

#ifdef ZC_TEST_HOOKS
static inline int zc_memory_refuses(zc_memory *memory) {
    if (memory->until_failure < 0 || memory->until_failure-- > 0) return 0;
    memory->failures++;
    return 1;
}
#define zc_memory_count(memory, change) ((void)((memory)->live += (change)))
/* In a server: ZC_POISON=219. */
static inline int zc_memory_poison(void) {
    const char *wanted = getenv("ZC_POISON");
    return wanted == NULL ? 0 : atoi(wanted);
}
static inline void zc_memory_overwrite(zc_memory *memory, void *base, size_t size) {
    if (memory->poison) memset(base, memory->poison, size);
}
#else
#define zc_memory_poison() 0
#define zc_memory_overwrite(memory, base, size) ((void)(memory), (void)(base), (void)(size))
#define zc_memory_refuses(memory) ((void)(memory), 0)
#define zc_memory_count(memory, change) ((void)(memory), (void)(change))
#endif

#endif
