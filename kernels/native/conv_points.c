/* Convolution on maps of a few pixels, as the last ones of a network for small pictures.
 *
 * Where a map has 2×2 pixels, five of nine taps of a 3×3 filter read the border. Here each output pixel is a matrix
 * product of its own, over the taps that lie inside the picture, and the rows of the tile are the images of the batch:
 *
 *     for each (output pixel, block of filters, group of images)                        shared out to threads
 *         for each tile of up to 14 images: y = b + Σ over the taps inside and channels     in registers
 */
#include "conv_points.h"

#define IMAGES 112 /* of an item */

typedef struct {
    const float *from;
    const uint32_t *gate;
    float *to;
    long start, rows, columns, channels, step_n, step_row, step_column;
} Copy;

static void copy_image(const void *task, long n, float *scratch) {
    (void)scratch;
    const Copy *t = task;
    float *to = t->to + n * apart(t->rows * t->columns * t->channels);
    for (long i = 0; i < t->rows; i++)
        for (long j = 0; j < t->columns; j++, to += t->channels) {
            const long at = n * t->step_n + i * t->step_row + j * t->step_column;
            if (t->gate) copy_gated(t->gate, t->start + at, t->from + at, t->channels, to);
            else memcpy(to, t->from + at, 4 * t->channels);
        }
}

int copy_apart(const float *from, const uint32_t *gate, long start, long n, long rows, long columns, long channels,
               long step_n, long step_row, long step_column, float *to) {
    const Copy task = {from, gate, to, start, rows, columns, channels, step_n, step_row, step_column};
    return share_out(copy_image, &task, n, 0);
}

typedef struct {
    Conv c; /* of the copy */
    const float *packed;
    long blocks, groups;
} Points;

static void convolve_point(const void *task, long item, float *scratch) {
    (void)scratch;
    const Points *t = task;
    const Conv *c = &t->c;
    const long group = item % t->groups, block = item / t->groups % t->blocks, point = item / t->groups / t->blocks;
    const long p = point / c->ow, q = point % c->ow, FB = block_size(c->f), K = c->kh * c->kw * c->c;
    const long top = p * c->sh - c->top, left = q * c->sw - c->left;
    const Range i = taps_inside(c->kh, c->dh, top, c->h), j = taps_inside(c->kw, c->dw, left, c->w);
    const float *packed = t->packed + block * FB * (K + 1), *x = c->x + group * IMAGES * c->xn;
    const long filters = min_of(FB, c->f - block * FB), vectors = ceil_div(filters, LANES);
    const Tile tile = {.x = x + (top + i.from * c->dh) * c->xy + (left + j.from * c->dw) * c->xx, .xi = c->xn,
                       .nr = i.until - i.from, .xr = c->dh * c->xy, .wr = c->kw * c->c * FB,
                       .nq = j.until - j.from, .xq = c->dw * c->xx, .wq = c->c * FB,
                       .np = c->c, .xp = 1, .wp = FB,
                       .w = packed + FB + (i.from * c->kw + j.from) * c->c * FB, .bias = packed, .relu = c->relu,
                       .y = c->y + group * IMAGES * c->yn + p * c->yy + q * c->yx + block * FB, .yi = c->yn,
                       .width = filters - (vectors - 1) * LANES};
    tiles(&tile, min_of(IMAGES, c->n - group * IMAGES), (int)vectors);
}

/* As conv_direct. */
int conv_points(const Conv *c, const float *packed) {
    Points t = {.c = *c, .packed = packed, .blocks = ceil_div(c->f, block_size(c->f)), .groups = ceil_div(c->n, IMAGES)};
    float *copy = workspace(c->n * apart(c->h * c->w * c->c));
    if (!copy || copy_apart(c->x, c->gate, c->start, c->n, c->h, c->w, c->c, c->xn, c->xy, c->xx, copy)) return -1;
    t.c.x = copy, t.c.xn = apart(c->h * c->w * c->c), t.c.xy = c->w * c->c, t.c.xx = c->c;
    return share_out(convolve_point, &t, c->oh * c->ow * t.blocks * t.groups, 0);
}
