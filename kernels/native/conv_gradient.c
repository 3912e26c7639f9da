/* The gradient of filters, for any window, stride and number of channels.
 *
 *     dw[f, c, i, j] = Σ_{n, p, q} x[n, p·sh + i·dh − top, q·sw + j·dw − left, c] · dy[n, p, q, f]        db[f] = Σ dy
 *
 *     for each (slab of the batch, part of the blocks of filters)                shared out to threads
 *         for each image of the slab, for each band of its output rows
 *             copy the input rows of the band, with their border; copy dy's block of filters, and add it to db
 *             for each block of FB filters
 *                 for each row i of the filter, for each tile of (j, c)
 *                     add Σ_{p, q} to dw[i, j, c, block]                         in registers: up to 14 (j, c) × FB
 *     dw = the slabs' sums, added in order, as (F, C, KH, KW)
 *
 * Small filters: several slabs, each with a sum of its own. Large ones: one slab, the blocks of filters shared out
 * instead. Either way the sums are cut in the same places for any number of threads.
 */
#include "conv.h"
#include "sums.h"

#define BAND (64 * 1024) /* floats of input and of dy in a band */
#define SLABS 16 /* at most */
#define FEW 400000 /* weights: with more, slabs would spend their time on adding up */

typedef struct {
    Conv c; /* y is dy */
    const uint32_t *gate; /* bits of dy, from c.start on */
    float *sums; /* [slabs][blocks][FB sums of dy, then KH·KW·C·FB of dw] */
    long rows, bands, slabs, parts, blocks, width, height;
} Gradient;

static vec gated_part(const uint32_t *bits, long number, vec dy, long there) {
    if (number % LANES == 0 && there >= LANES) return gated(bits, number, dy);
    for (int lane = 0; lane < min_of(LANES, there); lane++)
        if (!passes(bits, number + lane)) dy[lane] = 0;
    return dy;
}

/* dy's rows of a band, one block of filters, contiguous: (rows·OW, FB); missing filters are 0. Adds them to db. */
static void copy_dy(const Gradient *t, long image, long first, long rows, long block, float *to, float *db) {
    const Conv *c = &t->c;
    const long FB = block_size(c->f), there = min_of(FB, c->f - block * FB);
    for (long p = first; p < first + rows; p++)
        for (long q = 0; q < c->ow; q++, to += FB) {
            const long where = image * c->yn + p * c->yy + q * c->yx + block * FB;
            for (long f = 0; f < FB; f += LANES) {
                vec dy = load_part(c->y + where + f, max_of(0, there - f));
                if (t->gate) dy = gated_part(t->gate, c->start + where + f, dy, there - f);
                store(to + f, dy);
                store(db + f, load(db + f) + dy);
            }
        }
}

static void add_band(const Gradient *t, const float *x, const float *dy, long rows, float *dw) {
    const Conv *c = &t->c;
    const long FB = block_size(c->f), row = t->width * c->c;
    const int runs = c->dw == 1; /* a filter's row reads one run of kw·C floats */
    for (long i = 0; i < c->kh; i++)
        for (long j = 0; j < (runs ? 1 : c->kw); j++) {
            const Tile tile = {.x = x + i * c->dh * row + j * c->dw * c->c, .xi = 1, .nr = 1,
                               .nq = rows, .xq = c->sh * row, .wq = c->ow * FB,
                               .np = c->ow, .xp = c->sw * c->c, .wp = FB,
                               .w = dy, .y = dw + (i * c->kw + j) * c->c * FB, .yi = FB, .width = LANES, .add = 1};
            tiles(&tile, runs ? c->kw * c->c : c->c, (int)(FB / LANES));
        }
}

static void sum_slab(const void *task, long item, float *scratch) {
    const Gradient *t = task;
    const Conv *c = &t->c;
    const long slab = item / t->parts, part = item % t->parts, FB = block_size(c->f);
    const long from = part * t->blocks / t->parts, to = (part + 1) * t->blocks / t->parts;
    const long block_floats = FB * (c->kh * c->kw * c->c + 1);
    float *x = scratch, *dy = scratch + ceil_div(t->height * t->width * c->c, 16) * 16;
    float *sums = t->sums + slab * t->blocks * block_floats;
    memset(sums + from * block_floats, 0, 4 * (to - from) * block_floats);
    for (long number = slab; number < c->n * t->bands; number += t->slabs) {
        const long image = number / t->bands, first = number % t->bands * t->rows;
        const long rows = min_of(t->rows, c->oh - first);
        copy_band(c, image, first * c->sh - c->top, (rows - 1) * c->sh + (c->kh - 1) * c->dh + 1, t->width, x);
        for (long block = from; block < to; block++) {
            float *sum = sums + block * block_floats;
            copy_dy(t, image, first, rows, block, dy, sum);
            add_band(t, x, dy, rows, sum + FB);
        }
    }
}

/* The sums as (F, C, KH, KW). */
typedef struct {
    const float *sums;
    long f, c, taps;
    float *dw, *db;
} Unpacking;

static void unpack_block(const void *task, long block, float *scratch) {
    (void)scratch;
    const Unpacking *t = task;
    const long FB = block_size(t->f), there = min_of(FB, t->f - block * FB);
    const float *sums = t->sums + block * FB * (t->taps * t->c + 1);
    for (long f = 0; f < there; f++) {
        float *dw = t->dw + (block * FB + f) * t->c * t->taps;
        if (t->db) t->db[block * FB + f] = sums[f];
        for (long c = 0; c < t->c; c++)
            for (long tap = 0; tap < t->taps; tap++) dw[c * t->taps + tap] = sums[FB + (tap * t->c + c) * FB + f];
    }
}

/* x (N, H, W, C), dy (N, OH, OW, F) -> dw (F, C, KH, KW), db (F) unless NULL. c->y is dy, c->gate the bits of dy. */
int conv_gradient(const Conv *c, float *dw, float *db) {
    Gradient t = {.c = *c, .gate = c->gate, .parts = 1, .blocks = ceil_div(c->f, block_size(c->f))};
    t.c.gate = NULL;
    const long floats = packed_floats(c->f, c->c, c->kh * c->kw), reach = (c->kh - 1) * c->dh + 1;
    t.width = (c->ow - 1) * c->sw + (c->kw - 1) * c->dw + 1;
    t.rows = max_of(1, min_of(c->oh, (BAND / (t.width * c->c) - reach) / c->sh + 1));
    t.rows = max_of(1, min_of(t.rows, BAND / (c->ow * block_size(c->f))));
    t.bands = ceil_div(c->oh, t.rows);
    t.height = (t.rows - 1) * c->sh + reach;
    if (floats < FEW) t.slabs = max_of(1, min_of(SLABS, min_of(c->n * t.bands, 4 * FEW / floats)));
    else t.slabs = 1, t.parts = t.blocks;
    t.sums = workspace((t.slabs + 1) * floats);
    if (!t.sums) return -1;
    const long scratch = ceil_div(t.height * t.width * c->c, 16) * 16 + t.rows * c->ow * block_size(c->f);
    if (share_out(sum_slab, &t, t.slabs * t.parts, scratch)) return -1;
    const Unpacking unpacking = {t.sums + t.slabs * floats, c->f, c->c, c->kh * c->kw, dw, db};
    if (add_up(t.sums, t.slabs, floats, t.sums + t.slabs * floats)) return -1;
    return share_out(unpack_block, &unpacking, t.blocks, 0);
}
