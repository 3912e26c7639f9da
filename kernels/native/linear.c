/* Fully connected layer: products of matrices, on the register tile (tile.h).
 *
 *     forward    y[m, f] = b[f] + Σ_d x[m, d]·w[f, d]
 *     backward   dx[m, d] = Σ_f dy[m, f]·w[f, d]        dw[f, d] = Σ_m dy[m, f]·x[m, d]        db[f] = Σ_m dy[m, f]
 *
 * w is the large matrix (AlexNet's first: 151 MB) and M, the batch, is small: each pass reads or writes w once, in the
 * order in which it lies, and everything else stays in the cache.
 *
 *     forward    for each 28 rows of w:  for each 1024 columns d:  for each 32 pictures
 *                    tile: 14 rows of w × 2 vectors of pictures               x was turned to (d, pictures) before
 *                batches below 8: for each 4 rows of w, sums of products with each picture, along d
 *     dx         for each 512 columns d:  for each 128 rows of w (8 for small batches)
 *                    tile: 14 pictures × 2 vectors of columns
 *     dw         for each 512 columns d:  for each 28 rows of dw
 *                    tile: 14 rows of dw × 2 vectors of columns, summed over the pictures
 */
#include "pool.h"
#include "tile.h"

#define ROWS 28
#define DEPTH 1024 /* 28 rows of w of this length are 115 KB, and 32 pictures 131 KB */
#define PICTURES (2 * LANES)
#define COLUMNS 512 /* at most */
#define FEW 8 /* pictures: with fewer, a vector of pictures would be half empty */

typedef struct {
    const float *x, *w, *b, *dy;
    float *y, *turned; /* turned: x as [pictures/32][d][32] */
    long m, d, f, columns;
} Linear;

/* Columns of an item: enough items for the threads, and runs of memory that are not too short. */
static long columns_of(long d) { return max_of(64, min_of(COLUMNS, ceil_div(d, 16) / 32 * 32)); }

static void turn_pictures(const void *task, long item, float *scratch) {
    (void)scratch;
    const Linear *t = task;
    const long blocks = ceil_div(t->m, PICTURES), block = item % blocks, d0 = item / blocks * DEPTH;
    const long many = min_of(PICTURES, t->m - block * PICTURES), d1 = min_of(d0 + DEPTH, t->d);
    float *to = t->turned + block * t->d * PICTURES;
    for (long d = d0; d < d1; d++) {
        for (long i = 0; i < many; i++) to[d * PICTURES + i] = t->x[(block * PICTURES + i) * t->d + d];
        for (long i = many; i < PICTURES; i++) to[d * PICTURES + i] = 0;
    }
}

static void multiply_rows(const void *task, long item, float *scratch) {
    const Linear *t = task;
    const long first = item * ROWS, rows = min_of(ROWS, t->f - first), blocks = ceil_div(t->m, PICTURES);
    for (long d0 = 0; d0 < max_of(t->d, 1); d0 += DEPTH)
        for (long block = 0; block < blocks; block++) {
            const int vectors = t->m - block * PICTURES > LANES ? 2 : 1;
            const Tile tile = {.x = t->w + first * t->d + d0, .xi = t->d, .xp = 1, .nr = 1, .nq = 1,
                               .np = min_of(DEPTH, t->d - d0), .w = t->turned + (block * t->d + d0) * PICTURES,
                               .wp = PICTURES, .y = scratch + block * ROWS * PICTURES, .yi = PICTURES, .width = LANES,
                               .add = d0 > 0};
            tiles(&tile, rows, vectors);
        }
    for (long m = 0; m < t->m; m++) {
        const float *sums = scratch + m / PICTURES * ROWS * PICTURES + m % PICTURES;
        for (long i = 0; i < rows; i++) t->y[m * t->f + first + i] = sums[i * PICTURES] + (t->b ? t->b[first + i] : 0);
    }
}

/* One picture and four rows of w: all loads run along d, four sums at a time. */
static void multiply_few(const void *task, long item, float *scratch) {
    (void)scratch;
    const Linear *t = task;
    const long whole = t->d / LANES * LANES;
    for (long f = item * 4; f < min_of(item * 4 + 4, t->f); f++)
        for (long m = 0; m < t->m; m++) {
            const float *x = t->x + m * t->d, *w = t->w + f * t->d;
            vec a[4] = {{0}};
            long d = 0;
            for (; d + 4 * LANES <= whole; d += 4 * LANES)
#pragma GCC unroll 4
                for (int v = 0; v < 4; v++) a[v] += load(x + d + v * LANES) * load(w + d + v * LANES);
            for (; d < whole; d += LANES) a[0] += load(x + d) * load(w + d);
            float sum = sum_lanes((a[0] + a[1]) + (a[2] + a[3]));
            for (; d < t->d; d++) sum += x[d] * w[d];
            t->y[m * t->f + f] = sum + (t->b ? t->b[f] : 0);
        }
}

/* x (M, D), w (F, D), b (F) or NULL -> y (M, F). */
int linear_forward(const float *x, const float *w, const float *b, float *y, long m, long d, long f) {
    Linear t = {.x = x, .w = w, .b = b, .y = y, .m = m, .d = d, .f = f};
    if (m < FEW) return share_out(multiply_few, &t, ceil_div(f, 4), 0);
    const long blocks = ceil_div(m, PICTURES);
    t.turned = workspace(blocks * d * PICTURES);
    if (!t.turned || share_out(turn_pictures, &t, blocks * ceil_div(d, DEPTH), 0)) return -1;
    return share_out(multiply_rows, &t, ceil_div(f, ROWS), blocks * ROWS * PICTURES);
}

/* Tiles over a run of columns, two vectors at a time.
 *
 * The rows of w lie a whole row of the matrix apart, often a multiple of a page: the same lines of the cache would have
 * to hold all of them. So what a tile reads is copied together first, where it is read more than once, and at the end of
 * a row, where nothing may be read behind it. `strip`: np times two vectors of memory. */
static void along_columns(Tile tile, long rows, long columns, float *strip) {
    const float *w = tile.w;
    const long step = tile.wp;
    for (; columns > 0; w += 2 * LANES, tile.y += 2 * LANES, columns -= 2 * LANES) {
        const long width = min_of(2 * LANES, columns), vectors = ceil_div(width, LANES);
        tile.width = width - (vectors - 1) * LANES;
        tile.w = w, tile.wp = step;
        if (rows >= FEW || tile.width < LANES) {
            for (long p = 0; p < tile.np; p++)
                for (long v = 0; v < vectors; v++)
                    store(strip + (p * vectors + v) * LANES, load_part(w + p * step + v * LANES, width - v * LANES));
            tile.w = strip, tile.wp = vectors * LANES;
        }
        tiles(&tile, rows, (int)vectors);
    }
}

static void input_gradient(const void *task, long item, float *scratch) {
    const Linear *t = task;
    const long d0 = item * t->columns, depth = t->m < FEW ? 8 : DEPTH / 8;
    for (long f0 = 0; f0 < max_of(t->f, 1); f0 += depth) {
        const Tile tile = {.x = t->dy + f0, .xi = t->f, .xp = 1, .nr = 1, .nq = 1, .np = min_of(depth, t->f - f0),
                           .w = t->w + f0 * t->d + d0, .wp = t->d, .y = t->y + d0, .yi = t->d, .add = f0 > 0};
        along_columns(tile, t->m, min_of(t->columns, t->d - d0), scratch);
    }
}

static void weight_gradient(const void *task, long item, float *scratch) {
    const Linear *t = task;
    const long parts = ceil_div(t->f, ROWS), d0 = item / parts * t->columns, f0 = item % parts * ROWS;
    const long rows = min_of(ROWS, t->f - f0);
    float *dy = scratch, *strip = scratch + t->m * ROWS;
    for (long m = 0; m < t->m; m++) memcpy(dy + m * rows, t->dy + m * t->f + f0, 4 * rows);
    const Tile tile = {.x = dy, .xi = 1, .xp = rows, .nr = 1, .nq = 1, .np = t->m, .w = t->x + d0, .wp = t->d,
                       .y = t->y + f0 * t->d + d0, .yi = t->d};
    along_columns(tile, rows, min_of(t->columns, t->d - d0), strip);
}

/* dy (M, F), w (F, D) -> dx (M, D). */
int linear_input_gradient(const float *dy, const float *w, float *dx, long m, long d, long f) {
    const Linear t = {.dy = dy, .w = w, .y = dx, .m = m, .d = d, .f = f, .columns = columns_of(d)};
    return share_out(input_gradient, &t, ceil_div(d, t.columns), DEPTH / 8 * 2 * LANES);
}

/* dy (M, F), x (M, D) -> dw (F, D), db (F) unless NULL. */
int linear_weight_gradient(const float *dy, const float *x, float *dw, float *db, long m, long d, long f) {
    const Linear t = {.dy = dy, .x = x, .y = dw, .m = m, .d = d, .f = f, .columns = columns_of(d)};
    if (db) {
        memset(db, 0, 4 * f);
        for (long i = 0; i < m; i++)
            for (long k = 0; k < f; k++) db[k] += dy[i * f + k];
    }
    return share_out(weight_gradient, &t, ceil_div(d, t.columns) * ceil_div(f, ROWS), m * (ROWS + 2 * LANES));
}
