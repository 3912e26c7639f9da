/* Direct convolution: any window, stride, dilation, number of channels and of filters.
 *
 *     y[n, p, q, f] = b[f] + Σ_{i, j, c} x[n, p·sh + i·dh − top, q·sw + j·dw − left, c] · w[f, c, i, j]
 *
 * No columns are made. In channels-last order, what a filter's row reads at one output pixel is one run of memory, and
 * the next pixel's run starts sw·C floats later: the register tile (tile.h) sums straight over the input.
 *
 *     for each item: an image, a band of output rows, a part of the blocks of filters       shared out to threads
 *         copy the input rows of the band, with the border of zeros, to memory that stays in the cache
 *         for each block of FB filters                   its weights stay in the cache for the whole band
 *             for each output row
 *                 for each tile of up to 14 pixels       FB filters of 14 pixels are summed in registers:
 *                     for each (i, j, c)                 2 vectors of weights, 14 numbers of x, 28 multiply-adds
 *                 store them, through max(·, 0) where a ReLU follows
 *
 * Each output is summed in one order, (i, j, c), whatever the band and the tile: the bits depend on neither.
 * dx of a convolution with stride 1 is this function on dy with the filters flipped; with stride s it is s² of them,
 * each of which writes every s-th pixel of dx and reads every s-th tap.
 * Where there is neither border nor gate, x is read in place. FB = block_size(F): one or two vectors; the numbers are
 * those of AVX-512.
 */
#include "conv.h"

#define BAND (128 * 1024) /* floats of input in an item: half a megabyte, half of a core's second cache */
#define ITEMS 16 /* wanted at least: for even shares of a few threads; no result depends on it */

typedef struct {
    Conv c;
    const float *packed;
    long rows, bands, parts, blocks; /* output rows of a band; bands of an image; parts of the blocks of filters */
    long width; /* of the padded input of a band */
    int copied;
} Direct;

void copy_gated(const uint32_t *gate, long number, const float *x, long run, float *to) {
    long k = 0;
    for (; k < run && (number + k) % LANES; k++) to[k] = passes(gate, number + k) ? x[k] : 0;
    for (; k + LANES <= run; k += LANES) store(to + k, gated(gate, number + k, load(x + k)));
    for (; k < run; k++) to[k] = passes(gate, number + k) ? x[k] : 0;
}

/* The rows of x that a band reads, with the border of zeros: (height, width, C), contiguous. */
void copy_band(const Conv *c, long image, long first_row, long height, long width, float *band) {
    const float *x = c->x + image * c->xn;
    const long from = min_of(width, max_of(0, c->left)), start = max_of(0, -c->left); /* a negative border cuts pixels off */
    const long many = max_of(0, min_of(c->w - start, width - from)) * c->c;
    for (long row = 0; row < height; row++, band += width * c->c) {
        const long y = first_row + row;
        if (y < 0 || y >= c->h) {
            memset(band, 0, 4 * width * c->c);
            continue;
        }
        float *to = band + from * c->c;
        memset(band, 0, 4 * from * c->c);
        memset(to + many, 0, 4 * (width * c->c - from * c->c - many));
        const long run = c->xx == c->c ? many : c->c; /* the whole row, or pixel by pixel */
        for (long done = 0; done < many; done += run) {
            const long at = y * c->xy + (start + done / c->c) * c->xx;
            if (!c->gate) memcpy(to + done, x + at, 4 * run);
            else copy_gated(c->gate, c->start + image * c->xn + at, x + at, run, to + done);
        }
    }
}

static void convolve_band(const void *task, long item, float *scratch) {
    const Direct *t = task;
    const Conv *c = &t->c;
    const long part = item % t->parts, band = item / t->parts % t->bands, image = item / t->parts / t->bands;
    const long first = band * t->rows, last = min_of(first + t->rows, c->oh);
    const long FB = block_size(c->f), K = c->kh * c->kw * c->c;
    const float *x = c->x + image * c->xn + first * c->sh * c->xy;
    long row = c->xy, pixel = c->xx;
    if (t->copied) {
        const long height = (last - first - 1) * c->sh + (c->kh - 1) * c->dh + 1;
        copy_band(c, image, first * c->sh - c->top, height, t->width, scratch);
        x = scratch, row = t->width * c->c, pixel = c->c;
    }
    const int runs = c->dw == 1 && pixel == c->c; /* a filter's row reads one run of kw·C floats */
    for (long block = part * t->blocks / t->parts; block < (part + 1) * t->blocks / t->parts; block++) {
        const float *packed = t->packed + block * FB * (K + 1);
        Tile tile = {.bias = packed, .w = packed + FB, .relu = c->relu, .yi = c->yx, .xi = c->sw * pixel,
                     .nr = c->kh, .xr = c->dh * row, .wr = c->kw * c->c * FB,
                     .nq = runs ? 1 : c->kw, .xq = c->dw * pixel, .wq = c->c * FB,
                     .np = runs ? c->kw * c->c : c->c, .xp = 1, .wp = FB};
        const long filters = min_of(FB, c->f - block * FB), vectors = ceil_div(filters, LANES);
        tile.width = filters - (vectors - 1) * LANES;
        for (long p = first; p < last; p++) {
            tile.x = x + (p - first) * c->sh * row;
            tile.y = c->y + image * c->yn + p * c->yy + block * FB;
            tiles(&tile, c->ow, (int)vectors);
        }
    }
}

int conv_direct(const Conv *c, const float *packed) {
    Direct t = {.c = *c, .packed = packed, .parts = 1, .blocks = ceil_div(c->f, block_size(c->f))};
    const long reach = (c->kw - 1) * c->dw + 1, rows_reach = (c->kh - 1) * c->dh + 1;
    t.width = (c->ow - 1) * c->sw + reach;
    t.copied = c->gate || c->top || c->left || t.width > c->w || (c->oh - 1) * c->sh + rows_reach > c->h;
    t.rows = max_of(1, min_of(c->oh, (BAND / (t.width * c->c) - rows_reach) / c->sh + 1));
    t.bands = ceil_div(c->oh, t.rows);
    if (c->n * t.bands < ITEMS) { /* few pictures: share out the filters where they are more than the picture */
        if (c->kh * c->kw * c->f > c->h * c->w) t.parts = min_of(t.blocks, ceil_div(ITEMS, c->n * t.bands));
        else t.rows = max_of(1, min_of(t.rows, c->oh * c->n / ITEMS)), t.bands = ceil_div(c->oh, t.rows);
    }
    const long height = (t.rows - 1) * c->sh + rows_reach;
    return share_out(convolve_band, &t, c->n * t.bands * t.parts, t.copied ? height * t.width * c->c : 0);
}
