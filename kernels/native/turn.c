/* Between channels first and channels last: (N, A, B) to (N, B, A).
 *
 *     for each picture, for each run of B: turn.h                                shared out to threads
 */
#include "turn.h"
#include "pool.h"

#define RUN 512 /* columns of an item */

typedef struct {
    const float *x;
    float *y;
    long a, b, runs;
} Turn;

static void turn_run(const void *task, long item, float *scratch) {
    (void)scratch;
    const Turn *t = task;
    const long start = item / t->runs * t->a * t->b, first = item % t->runs * RUN;
    turn_block(t->x + start + first, t->b, t->a, min_of(RUN, t->b - first), t->y + start + first * t->a, t->a);
}

int turn(const float *x, float *y, long pictures, long a, long b) {
    const Turn t = {x, y, a, b, ceil_div(b, RUN)};
    return share_out(turn_run, &t, pictures * t.runs, 0);
}
