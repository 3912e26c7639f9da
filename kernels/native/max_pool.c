/* Max pooling: any window, stride and border.
 *
 *     y[n, p, q, c] = max over (i, j) of x[n, p·sh + i − ph, q·sw + j − pw, c]      what lies in the border is left out
 *     dx[n, a, b, c] = Σ dy[n, p, q, c] over the windows (p, q) whose largest pixel was (a, b)
 *
 *     for each item: some rows of the result                                        shared out to threads
 *         for each pixel of a row
 *             for each vector of channels                                           one register of values, one of taps
 *                 forward: for each tap of the window; backward: for each window that the pixel is in
 *
 * What is kept is the number of the tap that won, one byte: the first in row-major order where several are equal. A NaN
 * wins over all numbers, and of several the last one. With a ReLU behind it, y = max(y, 0), and where that lets nothing
 * pass no tap has won. The backward pass gathers: each dx is written once, by one thread.
 */
#include "pooling.h"

/* Windows of 2×2 side by side, none of which is cut off, as may happen in ceil mode. */
INLINE int are_2x2(const Windows *s) {
    const int size = s->kh == 2 && s->kw == 2 && s->sh == 2 && s->sw == 2;
    return size && !s->ph && !s->pw && 2 * s->oh <= s->h && 2 * s->ow <= s->w;
}

typedef struct {
    Windows s;
    const float *x;
    float *y;
    uint8_t *switches;
    int relu;
    long rows; /* of the result in an item */
} Forward;

/* One window of one vector of channels; x's vector at its upper left corner is at `corner`. */
INLINE void largest(const Forward t, long corner, Range i, Range j, long kw, long to, long end) {
    const Windows s = t.s;
    const float *x_end = t.x + s.n * s.h * s.w * s.c;
    vec best = load_until(t.x + corner + (i.first * s.w + j.first) * s.c, x_end);
    ivec winner = (ivec){0} + (int32_t)(i.first * kw + j.first);
#pragma GCC unroll 3
    for (long r = i.first; r < i.last; r++)
#pragma GCC unroll 3
        for (long q = j.first; q < j.last; q++) {
            const vec a = load_until(t.x + corner + (r * s.w + q) * s.c, x_end);
            const ivec better = exceeds(a, best);
            best = choose(better, a, best);
            winner = (better & ((ivec){0} + (int32_t)(r * kw + q))) | (~better & winner);
        }
    store_until(t.y + to, t.relu ? positive(best) : best, t.y + end);
    if (t.switches) store_bytes(t.switches + to, passing(best, winner, t.relu), t.switches + end);
}

/* The same for a window of which some taps lie in the border: mixed with the others it costs them registers. */
static __attribute__((noinline)) void
largest_inside(const Forward *t, long corner, Range i, Range j, long to, long end) {
    for (long c = 0; c < t->s.c; c += LANES) largest(*t, corner + c, i, j, t->s.kw, to + c, end);
}

INLINE void forward_rows(const void *task, long item, long kh, long kw) {
    const Forward t = *(const Forward *)task; /* a copy, which no store can change */
    const Windows s = t.s;
    const long first = item * t.rows, last = min_of(first + t.rows, s.n * s.oh), end = last * s.ow * s.c;
    for (long row = first, to = first * s.ow * s.c; row < last; row++) {
        const long image = row / s.oh, p = row % s.oh;
        const Range i = taps_of(p, kh, s.sh, s.ph, s.h);
        long corner = ((image * s.h + p * s.sh - s.ph) * s.w - s.pw) * s.c;
        for (long q = 0; q < s.ow; q++, to += s.c, corner += s.sw * s.c) {
            const Range j = taps_of(q, kw, s.sw, s.pw, s.w);
            if (i.last - i.first == kh && j.last - j.first == kw)
                for (long c = 0; c < s.c; c += LANES)
                    largest(t, corner + c, (Range){0, kh}, (Range){0, kw}, kw, to + c, end);
            else largest_inside(task, corner, i, j, to, end);
        }
    }
}

static void forward_2x2(const void *task, long item, float *scratch) {
    const Forward t = *(const Forward *)task;
    const Windows s = t.s;
    (void)scratch;
    const long first = item * t.rows, last = min_of(first + t.rows, s.n * s.oh), length = s.ow * s.c;
    for (long row = first; row < last; row++) {
        const float *top = t.x + (row / s.oh * s.h + row % s.oh * 2) * s.w * s.c;
        pool_row(top, top + s.w * s.c, t.x + s.n * s.h * s.w * s.c, s.ow, s.c, t.relu, t.y + row * length,
                 t.y + last * length, t.switches ? t.switches + row * length : NULL);
    }
}

static void forward_3x3(const void *task, long item, float *scratch) { (void)scratch, forward_rows(task, item, 3, 3); }
static void forward_any(const void *task, long item, float *scratch) {
    const Forward *t = task;
    (void)scratch, forward_rows(t, item, t->s.kh, t->s.kw);
}

/* switches: y's shape, or NULL where there will be no backward pass. kh·kw ≤ 255. */
int max_pool_forward(const float *x, float *y, uint8_t *switches, long n, long h, long w, long c, long oh, long ow,
                     long kh, long kw, long sh, long sw, long ph, long pw, int relu) {
    if (n * oh * ow * c == 0) return 0;
    Forward t = {{n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw}, x, y, switches, relu,
                 max_of(1, ITEM / (sh * w * c))};
    const Work work = are_2x2(&t.s) ? forward_2x2 : kh == 3 && kw == 3 ? forward_3x3 : forward_any;
    return share_out(work, &t, ceil_div(n * oh, t.rows), 0);
}

typedef struct {
    Windows s;
    const float *dy;
    const uint8_t *switches;
    float *dx;
    const Range *columns;
    long rows; /* of dx in an item */
} Backward;

static void backward_rows(const void *task, long item, float *scratch) {
    const Backward t = *(const Backward *)task; /* a copy, which no store can change */
    const Windows s = t.s;
    (void)scratch;
    const long first = item * t.rows, last = min_of(first + t.rows, s.n * s.h), length = s.n * s.oh * s.ow * s.c;
    float *to = t.dx + first * s.w * s.c, *end = t.dx + last * s.w * s.c;
    for (long row = first; row < last; row++) {
        const long image = row / s.h, a = row % s.h;
        const Range p = windows_of(a, s.kh, s.sh, s.ph, s.oh);
        for (long b = 0; b < s.w; b++, to += s.c) {
            const Range q = t.columns[b];
            for (long c = 0; c < s.c; c += LANES) {
                vec sum = {0};
                for (long r = p.first; r < p.last; r++) {
                    long from = ((image * s.oh + r) * s.ow + q.first) * s.c + c;
                    int32_t tap = (int32_t)((a + s.ph - r * s.sh) * s.kw + b + s.pw - q.first * s.sw);
                    for (long k = q.first; k < q.last; k++, from += s.c, tap -= (int32_t)s.sw) {
                        const ivec won = load_bytes(t.switches + from, t.switches + length) == tap;
                        sum += keep(won, load_until(t.dy + from, t.dy + length));
                    }
                }
                store_until(to + c, sum, end);
            }
        }
    }
}

static void backward_2x2(const void *task, long item, float *scratch) {
    const Backward t = *(const Backward *)task; /* a copy, which no store can change */
    const Windows s = t.s;
    (void)scratch;
    const long first = item * t.rows, last = min_of(first + t.rows, s.n * s.h), length = s.ow * s.c;
    const float *dy_end = t.dy + s.n * s.oh * length, *dx_end = t.dx + last * s.w * s.c;
    for (long row = first; row < last; row++) {
        const long image = row / s.h, a = row % s.h, from = (image * s.oh + a / 2) * length;
        float *dx = t.dx + row * s.w * s.c;
        if (a / 2 < s.oh)
            spread_row(t.dy + from, dy_end, t.switches + from, (int)(a % 2), s.w, s.ow, s.c, dx, dx_end);
        else memset(dx, 0, 4 * s.w * s.c);
    }
}

/* dx: every element is written. `switches` as the forward pass left them. */
int max_pool_backward(const float *dy, const uint8_t *switches, float *dx, long n, long h, long w, long c, long oh,
                      long ow, long kh, long kw, long sh, long sw, long ph, long pw) {
    if (n * h * w * c == 0) return 0;
    Range *columns = (Range *)workspace(w * (long)(sizeof(Range) / sizeof(float)));
    if (!columns) return -1;
    for (long b = 0; b < w; b++) columns[b] = windows_of(b, kw, sw, pw, ow); /* divided out once, not for every row */
    Backward t = {{n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw}, dy, switches, dx, columns, max_of(1, ITEM / (w * c))};
    return share_out(are_2x2(&t.s) ? backward_2x2 : backward_rows, &t, ceil_div(n * h, t.rows), 0);
}
