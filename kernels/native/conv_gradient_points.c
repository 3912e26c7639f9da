/* The gradient of filters on maps of a few pixels (conv_points.c), where most taps of most windows read the border.
 *
 *     for each (part of the channels, block of filters)                                 shared out to threads
 *         for each tap (i, j)
 *             tile: 14 channels × a block of filters, summed over the images and       in registers
 *                   the output pixels for which the tap lies inside the picture
 *         dw = the sums, as (F, C, KH, KW);  db = Σ dy
 */
#include "conv_points.h"

#define PART 32 /* channels of an item: sums of 3×3 taps × 32 × 32 are 37 KB */

typedef struct {
    Conv c; /* of the copies: y is dy */
    float *dw, *db;
    long blocks;
} Gradient;

static void sum_part(const void *task, long item, float *sums) {
    const Gradient *t = task;
    const Conv *c = &t->c;
    const long FB = block_size(c->f), block = item % t->blocks, c0 = item / t->blocks * PART;
    const long channels = min_of(PART, c->c - c0), taps = c->kh * c->kw, there = min_of(FB, c->f - block * FB);
    const float *dy = c->y + block * FB;
    for (long tap = 0; tap < taps; tap++) { /* pixel p·sh + (i·dh − top) is inside for p from … until */
        const long top = tap / c->kw * c->dh - c->top, left = tap % c->kw * c->dw - c->left;
        const Range p = taps_inside(c->oh, c->sh, top, c->h), q = taps_inside(c->ow, c->sw, left, c->w);
        const Tile tile = {.x = c->x + (top + p.from * c->sh) * c->xy + (left + q.from * c->sw) * c->xx + c0, .xi = 1,
                           .nr = p.until - p.from, .xr = c->sh * c->xy, .wr = c->yy,
                           .nq = q.until - q.from, .xq = c->sw * c->xx, .wq = c->yx,
                           .np = c->n, .xp = c->xn, .wp = c->yn,
                           .w = dy + p.from * c->yy + q.from * c->yx, .y = sums + tap * PART * FB, .yi = FB,
                           .width = LANES};
        tiles(&tile, channels, (int)(FB / LANES));
    }
    for (long f = 0; f < there; f++) {
        float *dw = t->dw + ((block * FB + f) * c->c + c0) * taps;
        for (long ch = 0; ch < channels; ch++)
            for (long tap = 0; tap < taps; tap++) dw[ch * taps + tap] = sums[(tap * PART + ch) * FB + f];
    }
    if (!t->db || c0) return;
    for (long f = 0; f < there; f++) {
        float sum = 0;
        for (long n = 0; n < c->n; n++)
            for (long point = 0; point < c->oh * c->ow; point++) sum += dy[n * c->yn + point * c->yx + f];
        t->db[block * FB + f] = sum;
    }
}

/* As conv_gradient. */
int conv_gradient_points(const Conv *c, float *dw, float *db) {
    const long FB = block_size(c->f), x_image = apart(c->h * c->w * c->c), y_image = apart(c->oh * c->ow * c->f);
    Gradient t = {.c = *c, .dw = dw, .db = db, .blocks = ceil_div(c->f, FB)};
    float *x = workspace(c->n * (x_image + y_image) + 2 * LANES); /* the last block may read on behind the end */
    if (!x) return -1;
    float *dy = x + c->n * x_image;
    memset(dy + c->n * y_image, 0, 4 * 2 * LANES);
    if (copy_apart(c->x, NULL, 0, c->n, c->h, c->w, c->c, c->xn, c->xy, c->xx, x)) return -1;
    if (copy_apart(c->y, c->gate, c->start, c->n, c->oh, c->ow, c->f, c->yn, c->yy, c->yx, dy)) return -1;
    t.c.x = x, t.c.xn = x_image, t.c.xy = c->w * c->c, t.c.xx = c->c;
    t.c.y = dy, t.c.yn = y_image, t.c.yy = c->ow * c->f, t.c.yx = c->f;
    return share_out(sum_part, &t, ceil_div(c->c, PART) * t.blocks, c->kh * c->kw * PART * FB);
}
