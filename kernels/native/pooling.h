/* What all pooling shares: the windows, and how rows are shared out to threads. */
#ifndef MINICNN_POOLING_H
#define MINICNN_POOLING_H

#include "pool.h"
#include "spans.h"

#define ITEM (16 * 1024) /* floats of the larger array that an item reads or writes */

/* x (n, h, w, c), y (n, oh, ow, c): y[p, q] is made of x[p·sh + i − ph, q·sw + j − pw], 0 ≤ i < kh, 0 ≤ j < kw. */
typedef struct {
    long n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw;
} Windows;

typedef struct {
    long first, last;
} Range; /* first … last − 1 */

/* The taps of window o that lie in the picture: at least one, as no window lies wholly in the border. */
INLINE Range taps_of(long o, long kernel, long stride, long padding, long size) {
    return (Range){max_of(0, padding - o * stride), min_of(kernel, size + padding - o * stride)};
}

/* The windows that read pixel a. Their tap there is a + padding − o·stride. */
INLINE Range windows_of(long a, long kernel, long stride, long padding, long out) {
    return (Range){ceil_div(max_of(0, a + padding - kernel + 1), stride), min_of(out, (a + padding) / stride + 1)};
}

/* Where a ReLU is behind the pool, and the largest is not positive, nobody has won: −1, which is 255 in a byte. */
INLINE ivec passing(vec best, ivec winner, int relu) { return relu ? winner | ~(best > 0) : winner; }

/* Two rows of pixels to one: the largest of each 2×2, and which it was, the first where they are equal. */
INLINE void pool_row(const float *top, const float *bottom, const float *end, long ow, long c, int relu, float *y,
                     const float *y_end, uint8_t *switches) {
    const uint8_t *switches_end = switches ? switches + (y_end - y) : NULL;
    for (long q = 0; q < ow; q++, top += 2 * c, bottom += 2 * c, y += c, switches += switches ? c : 0)
        for (long i = 0; i < c; i += LANES) {
            const int whole = end - (bottom + i + c) >= LANES; /* the last of the four loads */
            const vec a = whole ? load(top + i) : load_until(top + i, end);
            const vec b = whole ? load(top + i + c) : load_until(top + i + c, end);
            const vec d = whole ? load(bottom + i) : load_until(bottom + i, end);
            const vec e = whole ? load(bottom + i + c) : load_until(bottom + i + c, end);
            const ivec upper = exceeds(b, a), lower = exceeds(e, d);
            const vec above = choose(upper, b, a), below = choose(lower, e, d);
            const ivec down = exceeds(below, above);
            const vec best = choose(down, below, above);
            store_until(y + i, relu ? positive(best) : best, y_end);
            if (switches) /* a mask is −1 where it holds */
                store_bytes(switches + i, passing(best, (down & (2 - lower)) | (~down & -upper), relu), switches_end);
        }
}

/* One of the two rows of dx under a row of 2×2 windows with stride 2: each pixel is in one window, or in none (a last,
 * single column). dy goes to the pixel that won. */
INLINE void spread_row(const float *dy, const float *dy_end, const uint8_t *switches, int row, long w, long ow, long c,
                       float *dx, const float *dx_end) {
    const uint8_t *switches_end = switches + (dy_end - dy);
    for (long q = 0; q < ow; q++, dy += c, switches += c)
        for (int column = 0; column < 2; column++, dx += c)
            for (long i = 0; i < c; i += LANES) {
                const ivec won = load_bytes(switches + i, switches_end) == 2 * row + column;
                store_until(dx + i, keep(won, load_until(dy + i, dy_end)), dx_end);
            }
    if (w > 2 * ow) memset(dx, 0, 4 * c);
}

#endif
