/* Convolutions with few filters on small maps, of many pictures: a vector is the same number of 16 pictures.
 *
 * On maps of a few pixels a vector of filters (conv_direct.c) or of pixels (conv_narrow.c) is partly empty, and pixels
 * near the border are summed over taps that read none. One picture in each lane wastes neither.
 *
 *     for each block of up to 4 vectors of pictures
 *         turn the input round to (H, W, C, pictures)                           shared out to threads
 *         for each output row                                                   shared out to threads
 *             for each pixel of it
 *                 tile: F filters × up to 4 vectors, b + Σ over (i, j, c), of the taps inside     in registers
 *             turn it round to (pictures, pixels, F)
 *
 * The sums are those of conv_direct, in the same order (i, j, c), less the border.
 */
#include "conv.h"
#include "turn.h"

#define BLOCK (4 * LANES) /* pictures */

typedef struct {
    Conv c;
    Filters filters;
    float *turned; /* [H][W][C][width] */
    long first, pictures, width; /* of the block; with those that are missing in its last vector */
} Pictures;

/* One input row of the block: where it is not one run of memory, or a ReLU goes first, by way of a copy. */
static void turn_row(const void *task, long y, float *copy) {
    const Pictures *t = task;
    const Conv *c = &t->c;
    const long run = c->w * c->c, start = t->first * c->xn + y * c->xy;
    float *to = t->turned + y * run * t->width;
    if (!c->gate && c->xx == c->c) {
        turn_block(c->x + start, c->xn, t->pictures, run, to, t->width);
    } else {
        for (long n = 0; n < t->pictures; n++)
            for (long k = 0; k < c->w; k++) {
                const long at = start + n * c->xn + k * c->xx;
                float *pixel = copy + n * run + k * c->c;
                if (c->gate) copy_gated(c->gate, c->start + at, c->x + at, c->c, pixel);
                else memcpy(pixel, c->x + at, 4 * c->c);
            }
        turn_block(copy, run, t->pictures, run, to, t->width);
    }
    for (long k = 0; k < run; k++) memset(to + k * t->width + t->pictures, 0, 4 * (t->width - t->pictures));
}

static void convolve_row(const void *task, long p, float *sums) {
    const Pictures *t = task;
    const Conv *c = &t->c;
    const Filters *w = &t->filters;
    const long row = c->w * c->c * t->width, pixel = c->c * t->width, run = c->yx == c->f ? c->ow : 1;
    const Range i = taps_inside(c->kh, c->dh, p * c->sh - c->top, c->h);
    const int grey = c->c == 1; /* one channel: the inner loop runs along the filter's row instead */
    Tile tile = {.nr = i.until - i.from, .xr = w->wa, .wr = c->dh * row,
                 .nq = 1, .xq = w->wb, .wq = c->dw * pixel,
                 .np = c->c, .xp = grey ? w->wb : w->wi, .wp = grey ? c->dw * pixel : t->width,
                 .xi = w->wo, .yi = t->width, .width = LANES, .add = 1, .relu = c->relu};
    for (long q = 0; q < c->ow; q++) {
        const long top = p * c->sh - c->top + i.from * c->dh, left = q * c->sw - c->left;
        const Range j = taps_inside(c->kw, c->dw, left, c->w);
        *(grey ? &tile.np : &tile.nq) = j.until - j.from;
        tile.x = w->w + i.from * w->wa + j.from * w->wb;
        tile.w = t->turned + top * row + (left + j.from * c->dw) * pixel;
        tile.y = sums + q * c->f * t->width;
        for (long f = 0; f < c->f; f++)
            for (long n = 0; n < t->width; n += LANES) store(tile.y + f * t->width + n, splat(w->bias ? w->bias[f] : 0));
        tiles(&tile, c->f, (int)(t->width / LANES));
    }
    for (long q = 0; q < c->ow; q += run)
        turn_block(sums + q * c->f * t->width, t->width, run * c->f, t->pictures,
                   c->y + t->first * c->yn + p * c->yy + q * c->yx, c->yn);
}

int conv_pictures(const Conv *c, const Filters *filters) {
    const long most = min_of(BLOCK, c->n);
    Pictures t = {.c = *c, .filters = *filters, .turned = workspace(c->h * c->w * c->c * BLOCK)};
    if (!t.turned) return -1;
    for (; t.first < c->n; t.first += BLOCK) {
        t.pictures = min_of(BLOCK, c->n - t.first);
        t.width = t.pictures > 2 * LANES ? 4 * LANES : t.pictures > LANES ? 2 * LANES : LANES;
        if (share_out(turn_row, &t, c->h, most * c->w * c->c)) return -1;
        if (share_out(convolve_row, &t, c->oh, c->ow * c->f * BLOCK)) return -1;
    }
    return 0;
}
