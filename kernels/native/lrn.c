/* Local response normalization (Krizhevsky et al. 2012, section 3.3) with the exponent β = ¾ that all networks use.
 *
 *     u_c = k + a Σ_{j = c − before}^{c + after} x_j²          y_c = x_c · u_c^−¾                          a = α / size
 *     dx_c = dy_c · u_c^−¾ − 2·a·¾ · x_c · Σ_{j = c − after}^{c + before} dy_j · x_j · u_j^−1¾
 *
 *     for each item: some pixels                                                        shared out to threads
 *         for each pixel
 *             squares, with a border of zeros, to memory that stays in the cache
 *             for each channel: sum its neighbours, u, result
 *
 * u^−¾ is 1 / (√u · √√u): ten times faster than a power. u is not kept for the backward pass: reading it would cost as
 * much as computing it again. Plain loops: the compiler makes vectors of them.
 */
#include "pool.h"
#include "simd.h"

#include <math.h>

#define ITEM (16 * 1024) /* floats */

typedef struct {
    const float *x, *dy; /* dy: NULL on the way forward */
    float *result;
    long pixels, channels, size, many; /* many: pixels of an item */
    float a, k;
} Norm;

/* to[c] = start + factor · Σ of `size` numbers from row[c] on. */
INLINE void windows(const float *restrict row, float *restrict to, long channels, long size, float factor,
                    float start) {
    if (size == 5) { /* the usual one, in registers */
        for (long c = 0; c < channels; c++)
            to[c] = start + factor * (row[c] + row[c + 1] + row[c + 2] + row[c + 3] + row[c + 4]);
        return;
    }
    for (long c = 0; c < channels; c++) to[c] = row[c];
    for (long j = 1; j < size; j++)
        for (long c = 0; c < channels; c++) to[c] += row[c + j];
    for (long c = 0; c < channels; c++) to[c] = start + factor * to[c];
}

INLINE float power(float u) { return 1 / (sqrtf(u) * sqrtf(sqrtf(u))); } /* u^−¾ */

static void normalize(const void *task, long item, float *scratch) {
    const Norm *t = task;
    const long C = t->channels, before = t->size / 2, after = (t->size - 1) / 2, padded = C + t->size - 1;
    float *restrict squares = scratch, *restrict others = squares + padded, *restrict u = others + padded;
    memset(scratch, 0, 4 * 2 * padded); /* the borders; the middles are written for each pixel */
    for (long pixel = item * t->many; pixel < min_of(t->pixels, (item + 1) * t->many); pixel++) {
        const float *restrict x = t->x + pixel * C;
        float *restrict y = t->result + pixel * C;
        for (long c = 0; c < C; c++) squares[before + c] = x[c] * x[c];
        windows(squares, u, C, t->size, t->a, t->k);
        if (!t->dy) {
            for (long c = 0; c < C; c++) y[c] = x[c] * power(u[c]);
            continue;
        }
        const float *restrict dy = t->dy + pixel * C;
        for (long c = 0; c < C; c++) y[c] = dy[c] * power(u[c]);
        for (long c = 0; c < C; c++) others[after + c] = y[c] * x[c] / u[c];
        windows(others, u, C, t->size, 1.5f * t->a, 0);
        for (long c = 0; c < C; c++) y[c] -= x[c] * u[c];
    }
}

/* dy NULL: result = y; otherwise result = dx. */
int local_response_norm(const float *x, const float *dy, float *result, long pixels, long channels, long size, float a,
                        float k) {
    if (pixels * channels == 0) return 0;
    const Norm t = {x, dy, result, pixels, channels, size, max_of(1, ITEM / channels), a, k};
    return share_out(normalize, &t, ceil_div(pixels, t.many), 3 * channels + 2 * (size - 1));
}
