/* The gradient of few filters (at most half a vector): the vectors are taps instead.
 *
 *     dw[f][k] = Σ over output pixels of dy[pixel][f] · column[pixel][k]        k = (i, j, c), all that a filter reads
 *
 * Behind a column stands a 1, the number that dy is multiplied with for the bias.
 *
 *     for each slab of the batch                                                shared out to threads
 *         for each image of the slab, for each band of its output rows
 *             copy the input rows that it reads, with their border
 *             for each output row
 *                 write each pixel's column beside the next one's: KH runs of KW·C
 *                 tile: F filters × up to 4 vectors of taps, summed over the row    in registers
 *     dw = the slabs' sums, added in order, as (F, C, KH, KW)
 */
#include "conv.h"
#include "sums.h"

#define SLABS 16
#define ROWS 16 /* output rows of a band */
#define PIECE 8 /* floats copied at once: a memcpy of constant length is one move */
#define SLACK (LANES > PIECE ? LANES : PIECE) /* floats behind an array that may be read, and are dropped */

typedef struct {
    Conv c; /* y is dy */
    const uint32_t *gate;
    float *sums; /* [slabs][F][taps, then the sum of dy], in whole vectors */
    long slabs, bands, taps, width, height;
} Gradient;

/* sums (F, taps + 1) += dyᵀ · columns, over one output row. */
static void add_row(const Gradient *t, const float *dy, const float *columns, float *sums) {
    const Conv *c = &t->c;
    const long all = t->taps + 1, padded = ceil_div(all, LANES) * LANES;
    for (long k = 0, vectors; k < all; k += vectors * LANES) {
        const long left = ceil_div(all - k, LANES);
        vectors = left >= 4 && 4 * c->f <= ACCUMULATORS ? 4 : left >= 2 ? 2 : 1;
        const Tile tile = {.x = dy, .xi = 1, .xp = c->yx, .w = columns + k, .wp = padded, .nr = 1, .nq = 1,
                           .np = c->ow, .y = sums + k, .yi = padded, .width = LANES, .add = 1};
        tiles(&tile, c->f, (int)vectors);
    }
}

static void sum_slab(const void *task, long slab, float *scratch) {
    const Gradient *t = task;
    const Conv *c = &t->c;
    const long run = c->kw * c->c, all = t->taps + 1, padded = ceil_div(all, LANES) * LANES;
    float *masked = scratch, *columns = masked + min_of(ROWS, c->oh) * c->yy, *x = columns + c->ow * padded + 2 * SLACK;
    float *sums = t->sums + slab * c->f * padded;
    memset(sums, 0, 4 * c->f * padded);
    memset(columns, 0, 4 * (c->ow * padded + 2 * SLACK)); /* what is read behind the last tap, and dropped */
    memset(x + t->height * t->width * c->c, 0, 4 * SLACK);
    for (long band = slab; band < c->n * t->bands; band += t->slabs) {
        const long image = band / t->bands, first = band % t->bands * ROWS, rows = min_of(ROWS, c->oh - first);
        copy_band(c, image, first * c->sh - c->top, (rows - 1) * c->sh + (c->kh - 1) * c->dh + 1, t->width, x);
        const long at = image * c->yn + first * c->yy;
        const float *dy = c->y + at;
        const long length = (rows - 1) * c->yy + (c->ow - 1) * c->yx + c->f; /* of dy in the band, with what lies between */
        if (t->gate) copy_gated(t->gate, c->start + at, dy, length, masked), dy = masked;
        for (long p = 0; p < rows; p++, dy += c->yy) {
            const float *from = x + p * c->sh * t->width * c->c;
            const long row = c->dh * t->width * c->c; /* from one row of the filter to the next */
            for (long q = 0; q < c->ow; q++, from += c->sw * c->c) {
                float *column = columns + q * padded;
                if (run <= PIECE) /* whole pieces: the next ones overwrite what is too much */
                    for (long i = 0; i < c->kh; i++) memcpy(column + i * run, from + i * row, 4 * PIECE);
                else
                    for (long i = 0; i < c->kh; i++)
                        for (long k = 0; k < run; k += PIECE)
                            memcpy(column + i * run + k, from + i * row + k, 4 * PIECE);
                column[t->taps] = 1;
            }
            add_row(t, dy, columns, sums);
        }
    }
}

/* As conv_gradient; no dilation along the row. */
int conv_gradient_narrow(const Conv *c, float *dw, float *db) {
    Gradient t = {.c = *c, .gate = c->gate, .taps = c->kh * c->kw * c->c, .bands = ceil_div(c->oh, ROWS)};
    t.c.gate = NULL;
    t.slabs = max_of(1, min_of(SLABS, c->n * t.bands));
    t.width = (c->ow - 1) * c->sw + c->kw;
    t.height = (min_of(ROWS, c->oh) - 1) * c->sh + (c->kh - 1) * c->dh + 1;
    const long padded = ceil_div(t.taps + 1, LANES) * LANES, taps = c->kh * c->kw;
    t.sums = workspace((t.slabs + 1) * c->f * padded);
    if (!t.sums) return -1;
    const long scratch = min_of(ROWS, c->oh) * c->yy + c->ow * padded + 2 * SLACK + t.height * t.width * c->c + SLACK;
    float *total = t.sums + t.slabs * c->f * padded;
    if (share_out(sum_slab, &t, t.slabs, scratch) || add_up(t.sums, t.slabs, c->f * padded, total)) return -1;
    for (long f = 0; f < c->f; f++, total += padded) {
        if (db) db[f] = total[t.taps];
        for (long tap = 0; tap < taps; tap++)
            for (long ch = 0; ch < c->c; ch++) dw[(f * c->c + ch) * taps + tap] = total[tap * c->c + ch];
    }
    return 0;
}
