/* Builds for tests count what the machine allocates, and can have an allocation fail. Others know nothing of it. */
#ifndef ZC_MEMORY_H
#define ZC_MEMORY_H

#include <stdint.h>

typedef struct {
    int64_t until_failure; /* allocations that still succeed before one fails; negative: none is to fail */
    int64_t live;
    uint64_t failures;
} zc_memory;

#ifdef ZC_TEST_HOOKS
static inline int zc_memory_refuses(zc_memory *memory) {
    if (memory->until_failure < 0 || memory->until_failure-- > 0) return 0;
    memory->failures++;
    return 1;
}
#define zc_memory_count(memory, change) ((void)((memory)->live += (change)))
#else
#define zc_memory_refuses(memory) ((void)(memory), 0)
#define zc_memory_count(memory, change) ((void)(memory), (void)(change))
#endif

#endif
