/* Convolutions with few filters (at most half a vector, 8) and stride 1 along the row: the gradient of a picture, the
 * last layer of a network that makes pictures, LeNet's first. Vectors of filters would be mostly empty, so here a vector
 * is a run of pixels.
 *
 *     for each item: an image, a band of output rows, a run of output columns           shared out to threads
 *         copy the input that it reads with each channel's row as one run: (rows, C, width)
 *         for each output row
 *             tile: F filters × up to 4 vectors of pixels, the bias + Σ over (i, j, c)   in registers
 *             turn it round to (pixels, F)
 *
 * The sums are those of conv_direct, in the same order (i, j, c), less the rows of the border.
 */
#include "conv.h"

#define ROWS 16 /* output rows of an item */

typedef struct {
    Conv c;
    Filters filters;
    long bands, runs, run, width; /* bands of an image; runs of columns: how many, how long; floats of a copied row */
    int vectors;
} Narrow;

/* Input rows from `top`, columns from `left`, turned to (rows, C, width). `pixel`: C floats of memory. */
static void copy_turned(const Narrow *t, long image, long top, long left, long rows, float *pixel, float *to) {
    const Conv *c = &t->c;
    memset(to, 0, 4 * rows * c->c * t->width);
    const long from = max_of(0, -left), until = min_of(t->width, c->w - left);
    const int one = c->c == 1 && c->xx == 1 && !c->gate; /* a row lies as it is needed */
    for (long row = 0; row < rows; row++, to += c->c * t->width) {
        if (top + row < 0 || top + row >= c->h || from >= until) continue;
        const long start = image * c->xn + (top + row) * c->xy + left * c->xx; /* of column 0, which may lie outside */
        if (one) {
            memcpy(to + from, c->x + (start + from), 4 * (until - from));
            continue;
        }
        for (long k = from; k < until; k++) {
            const long at = start + k * c->xx;
            const float *x = c->x + at;
            if (c->gate) copy_gated(c->gate, c->start + at, x, c->c, pixel), x = pixel;
            for (long ch = 0; ch < c->c; ch++) to[ch * t->width + k] = x[ch];
        }
    }
}

/* (F, pixels) to (many, F), the loop over the filters unrolled: four at once are one store. */
static void turn_back(const float *from, long pixels, long many, long filters, float *y, long yx) {
#define TURN(F) \
    case F: \
        for (long q = 0; q < many; q++, y += yx, from++) { \
            for (int f = 0; f < F / 4 * 4; f += 4) { \
                const float *a = from + f * pixels; \
                const quad four = {a[0], a[pixels], a[2 * pixels], a[3 * pixels]}; \
                memcpy(y + f, &four, sizeof four); \
            } \
            for (int f = F / 4 * 4; f < F; f++) y[f] = from[f * pixels]; \
        } \
        break;
    switch (filters) { TURN(1) TURN(2) TURN(3) TURN(4) TURN(5) TURN(6) TURN(7) TURN(8) }
}

static void convolve(const void *task, long item, float *scratch) {
    const Narrow *t = task;
    const Conv *c = &t->c;
    const long run = item % t->runs, band = item / t->runs % t->bands, image = item / t->runs / t->bands;
    const long first = band * ROWS, last = min_of(first + ROWS, c->oh), pixels = t->vectors * LANES;
    const long q0 = run * t->run, many = min_of(t->run, c->ow - q0), row = c->c * t->width;
    float *pixel = scratch + c->f * pixels, *x = pixel + c->c;
    const long reach = (last - first - 1) * c->sh + (c->kh - 1) * c->dh + 1;
    copy_turned(t, image, first * c->sh - c->top, q0 - c->left, reach, pixel, x);
    const Filters *w = &t->filters;
    const int grey = c->c == 1; /* one channel: run along the filter's row instead */
    Tile tile = {.xi = w->wo, .xr = w->wa, .wr = c->dh * row,
                 .nq = grey ? 1 : c->kw, .xq = w->wb, .wq = c->dw,
                 .np = grey ? c->kw : c->c, .xp = grey ? w->wb : w->wi, .wp = grey ? c->dw : t->width,
                 .y = scratch, .yi = pixels, .width = LANES,
                 .add = 1, .relu = c->relu};
    for (long p = first; p < last; p++) {
        const Range i = taps_inside(c->kh, c->dh, p * c->sh - c->top, c->h); /* the others would add zeros */
        tile.x = w->w + i.from * w->wa, tile.nr = i.until - i.from;
        tile.w = x + ((p - first) * c->sh + i.from * c->dh) * row;
        for (long f = 0; f < c->f; f++)
            for (long q = 0; q < pixels; q += LANES) store(scratch + f * pixels + q, splat(w->bias ? w->bias[f] : 0));
        tiles(&tile, c->f, t->vectors);
        turn_back(scratch, pixels, many, c->f, c->y + image * c->yn + p * c->yy + q0 * c->yx, c->yx);
    }
}

int conv_narrow(const Conv *c, const Filters *filters) {
    Narrow t = {.c = *c, .filters = *filters, .bands = ceil_div(c->oh, ROWS)};
    t.vectors = c->ow <= LANES ? 1 : c->ow <= 2 * LANES || 4 * c->f > ACCUMULATORS ? 2 : 4;
    t.run = t.vectors * LANES, t.runs = ceil_div(c->ow, t.run);
    t.width = ceil_div(t.run + (c->kw - 1) * c->dw, LANES) * LANES;
    const long rows = (ROWS - 1) * c->sh + (c->kh - 1) * c->dh + 1;
    return share_out(convolve, &t, c->n * t.bands * t.runs, c->f * t.run + c->c + rows * c->c * t.width);
}
