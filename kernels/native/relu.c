/* Rectifiers, their backward rules, and the sum of two arrays.
 *
 *     y = max(x, 0)            leaky: slope·x where x ≤ 0                                bits: x > 0
 *     dx = 1[x > 0]·dy         guided: 1[x > 0]·1[dy > 0]·dy    deconvnet: 1[dy > 0]·dy    leaky: slope·dy where x ≤ 0
 *
 *     for each item: some blocks                                                        shared out to threads
 *         for each block of 512 numbers, seen as 32 rows of 16
 *             row k gives bit k of 16 words, and takes it from there on the way back
 *
 * One bit a number is kept, and no bit is ever moved from one lane of a vector to another. The last block is done in a
 * copy that is filled up. NaN stays NaN, and counts as not positive.
 */
#include "pool.h"
#include "simd.h"

#define WORDS 16 /* of a block */
#define BLOCK (32 * WORDS)
#define ITEM 32 /* blocks */

typedef enum { GRADIENT, GUIDED, DECONVNET, LEAKY } Rule;

typedef struct {
    const float *x, *b;
    float *y;
    uint32_t *bits;
    long n;
    float slope;
    int rule;
} Task;

INLINE void forward_block(const float *x, float *y, uint32_t *bits, float slope, int leaky) {
    for (int i = 0; i < WORDS; i += LANES) {
        ivec words = {0};
        for (int k = 0; k < 32; k++) {
            const vec a = load(x + k * WORDS + i);
            words |= (a > 0) & (int32_t)(1u << k);
            store(y + k * WORDS + i, leaky ? choose(a > 0, a, a * slope) : positive(a));
        }
        if (bits) memcpy(bits + i, &words, sizeof words);
    }
}

INLINE void backward_block(const float *dy, float *dx, const uint32_t *bits, float slope, Rule rule) {
    for (int i = 0; i < WORDS; i += LANES) {
        ivec words = {0};
        if (rule != DECONVNET) memcpy(&words, bits + i, sizeof words);
        for (int k = 0; k < 32; k++) {
            const ivec passed = (words & (int32_t)(1u << k)) != 0;
            const vec g = load(dy + k * WORDS + i), up = rule == GUIDED || rule == DECONVNET ? positive(g) : g;
            const vec through = rule == LEAKY ? choose(passed, g, g * slope) : keep(passed, up);
            store(dx + k * WORDS + i, rule == DECONVNET ? up : through);
        }
    }
}

INLINE void block(const Task *t, long at, int forward, Rule rule) {
    float from[BLOCK], to[BLOCK];
    const long start = at * BLOCK, many = min_of(BLOCK, t->n - start);
    uint32_t *bits = t->bits ? t->bits + at * WORDS : NULL;
    const float *x = t->x + start;
    float *y = t->y + start;
    if (many < BLOCK) {
        memset(from, 0, sizeof from);
        memcpy(from, x, 4 * many);
        x = from, y = to;
    }
    if (forward) forward_block(x, y, bits, t->slope, rule == LEAKY);
    else backward_block(x, y, bits, t->slope, rule);
    if (many < BLOCK) memcpy(t->y + start, to, 4 * many);
}

#define FOR_EACH_BLOCK for (long at = item * ITEM; at < min_of(ceil_div(t->n, BLOCK), (item + 1) * ITEM); at++)

static void forward_blocks(const void *task, long item, float *scratch) {
    const Task *t = task;
    (void)scratch;
    if (t->rule == LEAKY) FOR_EACH_BLOCK block(t, at, 1, LEAKY);
    else FOR_EACH_BLOCK block(t, at, 1, GRADIENT);
}

static void backward_blocks(const void *task, long item, float *scratch) {
    const Task *t = task;
    (void)scratch;
    if (t->rule == GRADIENT) FOR_EACH_BLOCK block(t, at, 0, GRADIENT);
    else if (t->rule == GUIDED) FOR_EACH_BLOCK block(t, at, 0, GUIDED);
    else if (t->rule == DECONVNET) FOR_EACH_BLOCK block(t, at, 0, DECONVNET);
    else FOR_EACH_BLOCK block(t, at, 0, LEAKY);
}

static void sign_blocks(const void *task, long item, float *scratch) {
    const Task *t = task;
    (void)scratch;
    FOR_EACH_BLOCK {
        const long many = min_of(BLOCK, t->n - at * BLOCK);
        uint32_t words[WORDS] = {0};
        for (int k = 0; k < many / WORDS; k++)
            for (int i = 0; i < WORDS; i++) words[i] |= (t->x[at * BLOCK + k * WORDS + i] > 0 ? 1u : 0u) << k;
        for (long rest = many / WORDS * WORDS; rest < many; rest++)
            words[rest % WORDS] |= (t->x[at * BLOCK + rest] > 0 ? 1u : 0u) << (rest / WORDS);
        memcpy(t->bits + at * WORDS, words, sizeof words);
    }
}

/* The bits alone, of numbers that another kernel has computed. */
int relu_signs(const float *x, uint32_t *bits, long n) {
    const Task t = {.x = x, .bits = bits, .n = n};
    return share_out(sign_blocks, &t, ceil_div(n, ITEM * BLOCK), 0);
}

/* bits: 16 words a block, the last one included, or NULL where there will be no backward pass. leaky: 0 or 1. */
int relu_forward(const float *x, float *y, uint32_t *bits, long n, float slope, int leaky) {
    const Task t = {x, NULL, y, bits, n, slope, leaky ? LEAKY : GRADIENT};
    return share_out(forward_blocks, &t, ceil_div(n, ITEM * BLOCK), 0);
}

/* rule: 0 gradient, 1 guided, 2 deconvnet, 3 leaky. */
int relu_backward(const float *dy, const uint32_t *bits, float *dx, long n, float slope, int rule) {
    const Task t = {dy, NULL, dx, (uint32_t *)bits, n, slope, rule};
    return share_out(backward_blocks, &t, ceil_div(n, ITEM * BLOCK), 0);
}

static void add_part(const void *task, long item, float *scratch) {
    const Task *t = task;
    const float *a = t->x, *b = t->b;
    float *y = t->y;
    (void)scratch;
    for (long i = item * ITEM * BLOCK; i < min_of(t->n, (item + 1) * ITEM * BLOCK); i++) y[i] = a[i] + b[i];
}

/* y = a + b; y may be a or b. */
int add(const float *a, const float *b, float *y, long n) {
    const Task t = {.x = a, .b = b, .y = y, .n = n};
    return share_out(add_part, &t, ceil_div(n, ITEM * BLOCK), 0);
}
