/* What slabs have summed, added up in one order: a sum over a batch must not depend on the number of threads.
 *
 *     for each run of the result                         shared out to threads
 *         for each slab: total += the slab's part
 */
#include "sums.h"
#include "pool.h"
#include "simd.h"

#define RUN 4096 /* floats of an item */

typedef struct {
    const float *parts;
    long slabs, count;
    float *total;
} Sums;

static void add_run(const void *task, long item, float *scratch) {
    (void)scratch;
    const Sums *t = task;
    const long first = item * RUN, many = min_of(RUN, t->count - first);
    float *total = t->total + first;
    memcpy(total, t->parts + first, 4 * many);
    for (long slab = 1; slab < t->slabs; slab++)
        for (long i = 0; i < many; i++) total[i] += t->parts[slab * t->count + first + i];
}

int add_up(const float *parts, long slabs, long count, float *total) {
    const Sums task = {parts, slabs, count, total};
    return share_out(add_run, &task, ceil_div(count, RUN), 0);
}
