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

/* One of the two rows of dx under a row of 2×2 windows with stride 2: each pixel is in one window, or in none (a last,
 * single column). dy goes to the pixel that won, and only where the gate is positive, if there is one. */
INLINE void spread_row(const float *dy, const float *dy_end, const float *gate, const uint8_t *switches, int row,
                       long w, long ow, long c, float *dx, const float *dx_end) {
    for (long b = 0; b < w; b++, dx += c) {
        const int32_t tap = (int32_t)(2 * row + b % 2);
        for (long i = 0; i < c; i += LANES) {
            const long from = b / 2 * c + i;
            vec g = {0};
            if (b / 2 < ow) {
                g = keep(load_bytes(switches + from, switches + (dy_end - dy)) == tap, load_until(dy + from, dy_end));
                if (gate) g = keep(load_until(gate + from, gate + (dy_end - dy)) > 0, g);
            }
            store_until(dx + i, g, dx_end);
        }
    }
}

#endif
