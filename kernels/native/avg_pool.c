/* Average pooling: any window, stride and border.
 *
 *     y[n, p, q, c] = (Σ over (i, j) of x[n, p·sh + i − ph, q·sw + j − pw, c]) / count[p, q]     the border counts as 0
 *     dx[n, a, b, c] = Σ dy[n, p, q, c] / count[p, q] over the windows (p, q) that the pixel is in
 *
 *     for each item: some rows of the result                                            shared out to threads
 *         for each pixel of a row
 *             for each vector of channels                                               one register
 *                 forward: for each tap of the window; backward: for each window that the pixel is in
 *
 * count is the number of pixels of a window inside the padded picture or, where the border does not count, inside the
 * picture: 1 / count is one factor a row of windows times one a column. The backward pass gathers: each dx is written
 * once, by one thread.
 */
#include "pooling.h"

typedef struct {
    Windows s;
    const float *from;
    float *to;
    int with_border;
    const Range *columns; /* the windows that a pixel is in */
    const float *shares; /* 1 / how many pixels a window is divided by along a row */
    long rows; /* of the result in an item */
} Average;

/* 1 / how many pixels window o is divided by along one axis. */
INLINE float share(long o, long kernel, long stride, long padding, long size, int with_border) {
    const long start = o * stride - padding, stop = min_of(start + kernel, size + padding);
    return 1.0f / (float)(with_border ? stop - start : min_of(stop, size) - max_of(start, 0));
}

static void forward_rows(const void *task, long item, float *scratch) {
    const Average t = *(const Average *)task; /* a copy, which no store can change */
    const Windows s = t.s;
    (void)scratch;
    const long first = item * t.rows, last = min_of(first + t.rows, s.n * s.oh);
    const float *x_end = t.from + s.n * s.h * s.w * s.c;
    float *to = t.to + first * s.ow * s.c, *end = t.to + last * s.ow * s.c;
    for (long row = first; row < last; row++) {
        const long image = row / s.oh, p = row % s.oh;
        const Range i = taps_of(p, s.kh, s.sh, s.ph, s.h);
        const float row_share = share(p, s.kh, s.sh, s.ph, s.h, t.with_border);
        for (long q = 0; q < s.ow; q++, to += s.c) {
            const Range j = taps_of(q, s.kw, s.sw, s.pw, s.w);
            const float factor = row_share * t.shares[q];
            const long corner = ((image * s.h + p * s.sh - s.ph) * s.w + q * s.sw - s.pw) * s.c;
            for (long c = 0; c < s.c; c += LANES) {
                vec sum = {0};
                for (long r = i.first; r < i.last; r++)
                    for (long k = j.first; k < j.last; k++)
                        sum += load_until(t.from + corner + (r * s.w + k) * s.c + c, x_end);
                store_until(to + c, sum * factor, end);
            }
        }
    }
}

static void backward_rows(const void *task, long item, float *scratch) {
    const Average t = *(const Average *)task; /* a copy, which no store can change */
    const Windows s = t.s;
    (void)scratch;
    const long first = item * t.rows, last = min_of(first + t.rows, s.n * s.h);
    const float *dy_end = t.from + s.n * s.oh * s.ow * s.c;
    float *to = t.to + first * s.w * s.c, *end = t.to + last * s.w * s.c;
    for (long row = first; row < last; row++) {
        const long image = row / s.h;
        const Range p = windows_of(row % s.h, s.kh, s.sh, s.ph, s.oh);
        for (long b = 0; b < s.w; b++, to += s.c) {
            const Range q = t.columns[b];
            for (long c = 0; c < s.c; c += LANES) {
                vec sum = {0};
                for (long r = p.first; r < p.last; r++) {
                    const float row_share = share(r, s.kh, s.sh, s.ph, s.h, t.with_border);
                    for (long k = q.first; k < q.last; k++) {
                        const vec dy = load_until(t.from + ((image * s.oh + r) * s.ow + k) * s.c + c, dy_end);
                        sum += dy * (row_share * t.shares[k]);
                    }
                }
                store_until(to + c, sum, end);
            }
        }
    }
}

static int work_on_rows(Average *t, Work work, long rows, long floats) {
    const Windows s = t->s;
    Range *columns = (Range *)workspace(s.w * (long)(sizeof(Range) / sizeof(float)) + s.ow);
    if (!columns) return -1;
    float *shares = (float *)(columns + s.w);
    for (long b = 0; b < s.w; b++) columns[b] = windows_of(b, s.kw, s.sw, s.pw, s.ow);
    for (long q = 0; q < s.ow; q++) shares[q] = share(q, s.kw, s.sw, s.pw, s.w, t->with_border);
    t->columns = columns, t->shares = shares, t->rows = max_of(1, ITEM / floats);
    return share_out(work, t, ceil_div(rows, t->rows), 0);
}

int avg_pool_forward(const float *x, float *y, long n, long h, long w, long c, long oh, long ow, long kh, long kw,
                     long sh, long sw, long ph, long pw, int with_border) {
    if (n * oh * ow * c == 0) return 0;
    Average t = {.s = {n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw}, .from = x, .to = y, .with_border = with_border};
    return work_on_rows(&t, forward_rows, n * oh, sh * w * c);
}

/* dx: every element is written. */
int avg_pool_backward(const float *dy, float *dx, long n, long h, long w, long c, long oh, long ow, long kh, long kw,
                      long sh, long sw, long ph, long pw, int with_border) {
    if (n * h * w * c == 0) return 0;
    Average t = {.s = {n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw}, .from = dy, .to = dx, .with_border = with_border};
    return work_on_rows(&t, backward_rows, n * h, w * c);
}
