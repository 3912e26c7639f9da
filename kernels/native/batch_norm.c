/* Batch normalization (Ioffe & Szegedy 2015) with what follows it, and the other sums and factors of channels.
 *
 *     y = pool(max(γ·(x − μ)/σ + β + residual, 0))         σ = √(var + ε);  residual, max, 2×2 pool where asked for
 *     g = what is left of dy after pool and max            the residual's gradient
 *     dβ = Σ g        dγ = Σ g·(x − μ)/σ
 *     dx = γ/σ · (g − dβ/M − (x − μ)/σ · dγ/M)             γ/σ · g where μ and σ are constants
 *
 * Memory is what takes the time: x is read once to normalize, and twice on the way back, once for the two sums and once
 * for dx, which needs them. Everything else happens while a piece is in the cache. The loops are those of channels.h:
 *
 *     for each slab, piece:    for each row: normalize, add, max;  then two rows of a picture to one
 *     for each slab, piece:    g;  for each row: Σ g, Σ g·(x − μ)
 *     for each slab, piece:    g;  for each row: dx
 *
 * NaN stays NaN.
 */
#include "channels.h"
#include "pooling.h"

#include <math.h>

typedef struct {
    Cut k;
    long n, h, w, c;
    int relu, pool, arrived; /* arrived: dresidual has been written */
    const float *x, *residual, *dy, *y; /* y: NULL where there was no ReLU, or the switches know what it let pass */
    const float *mean, *factor, *offset, *slope; /* along a row */
    uint8_t *switches;
    float *result, *dresidual;
    double *sums; /* Σ g (c,) and Σ g·(x − μ) (c,) of each slab */
} Norm;

INLINE void normalize_row(const Norm *t, const float *restrict x, const float *restrict residual, float *restrict y,
                          long many) {
    const float *restrict mean = t->mean, *restrict factor = t->factor, *restrict offset = t->offset;
    for (long i = 0; i < many; i++) y[i] = (x[i] - mean[i]) * factor[i] + offset[i];
    if (residual)
        for (long i = 0; i < many; i++) y[i] += residual[i];
    if (t->relu)
        for (long i = 0; i < many; i++) y[i] = y[i] < 0 ? 0 : y[i];
}

/* Where in the pooled array the row is that a piece is pooled to. −1: the piece is a last, single row, in no window. */
INLINE long pooled(const Norm *t, long number) {
    const long in_picture = ceil_div(t->h, 2), image = number / in_picture, row = number % in_picture;
    return row < t->h / 2 ? (image * (t->h / 2) + row) * (t->w / 2) * t->c : -1;
}

static void normalize(const void *task, long slab, float *scratch) {
    const Norm *t = task;
    FOR_EACH_PIECE(&t->k, slab) {
        const Piece piece = piece_of(&t->k, number);
        const long to = t->pool ? pooled(t, number) : piece.first;
        if (to < 0) continue;
        float *y = t->pool ? scratch : t->result + to;
        FOR_EACH_ROW(&t->k, piece) {
            const long from = piece.first + at;
            normalize_row(t, t->x + from, t->residual ? t->residual + from : NULL, y + at, many);
        }
        if (t->pool) { /* y is one row of the result; there is memory for a vector behind the piece */
            float *row = t->result + to;
            pool_row(scratch, scratch + t->w * t->c, scratch + t->k.piece + LANES, t->w / 2, t->c, t->relu, row,
                     row + t->w / 2 * t->c, t->switches ? t->switches + to : NULL);
        }
    }
}

/* x, residual (n, h, w, c), the latter or NULL. mean and var (c,), or NULL: y = γ·x + β. y and switches as x or, with
 * pool, (n, h/2, w/2, c); switches NULL: no backward pass will come. */
int batch_norm_forward(const float *x, const float *residual, const float *mean, const float *var, const float *gamma,
                       const float *beta, float *y, uint8_t *switches, long n, long h, long w, long c, float eps,
                       int relu, int pool) {
    if (n * h * w * c == 0) return 0;
    Norm t = {.k = cut(n, h, w, c, pool), .n = n, .h = h, .w = w, .c = c, .relu = relu, .pool = pool,
              .x = x, .residual = residual, .result = y, .switches = switches};
    float *tables = workspace(3 * t.k.row + 2 * c), *zeros = tables + 3 * t.k.row, *factor = zeros + c;
    if (!tables) return -1;
    for (long i = 0; i < c; i++) zeros[i] = 0, factor[i] = var ? gamma[i] / sqrtf(var[i] + eps) : gamma[i];
    t.mean = repeat(&t.k, mean ? mean : zeros, tables);
    t.factor = repeat(&t.k, factor, tables + t.k.row);
    t.offset = repeat(&t.k, beta, tables + 2 * t.k.row);
    return share_out(normalize, &t, t.k.slabs, pool ? t.k.piece + LANES : 0);
}

INLINE void mask(const float *restrict dy, const float *restrict y, float *restrict g, long many) {
    for (long i = 0; i < many; i++) g[i] = y[i] > 0 ? dy[i] : 0;
}

/* g of a piece: dy itself, or in dresidual, or in scratch. */
static const float *arrive(const Norm *t, long number, Piece piece, float *scratch) {
    if (t->arrived) return t->dresidual + piece.first;
    if (!t->y && !t->pool && !t->dresidual) return t->dy + piece.first;
    float *g = t->dresidual ? t->dresidual + piece.first : scratch;
    const long from = t->pool ? pooled(t, number) : piece.first, length = t->w / 2 * t->c;
    if (from < 0) memset(g, 0, 4 * piece.count);
    else if (t->pool)
        for (int row = 0; row < 2; row++)
            spread_row(t->dy + from, t->dy + t->n * (t->h / 2) * length, t->switches + from, row, t->w, t->w / 2,
                       t->c, g + row * t->w * t->c, g + piece.count);
    else if (t->y) mask(t->dy + from, t->y + from, g, piece.count);
    else memcpy(g, t->dy + from, 4 * piece.count);
    return g;
}

INLINE void add_products(const float *restrict g, const float *restrict x, const float *restrict mean,
                         float *restrict sum, float *restrict products, long many) {
    for (long i = 0; i < many; i++) {
        sum[i] += g[i];
        products[i] += g[i] * (x[i] - mean[i]);
    }
}

static void gradient_sums(const void *task, long slab, float *scratch) {
    const Norm *t = task;
    float *sum = scratch, *products = sum + t->k.row;
    memset(sum, 0, 4 * 2 * t->k.row);
    FOR_EACH_PIECE(&t->k, slab) {
        const Piece piece = piece_of(&t->k, number);
        const float *g = arrive(t, number, piece, products + t->k.row);
        FOR_EACH_ROW(&t->k, piece) {
            if (t->x) add_products(g + at, t->x + piece.first + at, t->mean, sum, products, many);
            else add_row(g + at, sum, many);
        }
    }
    fold(&t->k, sum, t->sums + 2 * slab * t->c);
    fold(&t->k, products, t->sums + (2 * slab + 1) * t->c);
}

INLINE void gradient_row(const Norm *t, const float *restrict g, const float *restrict x, float *restrict dx,
                         long many) {
    const float *restrict mean = t->mean, *restrict factor = t->factor;
    const float *restrict offset = t->offset, *restrict slope = t->slope;
    if (x)
        for (long i = 0; i < many; i++) dx[i] = factor[i] * (g[i] - offset[i] - slope[i] * (x[i] - mean[i]));
    else
        for (long i = 0; i < many; i++) dx[i] = factor[i] * g[i];
}

static void gradient(const void *task, long slab, float *scratch) {
    const Norm *t = task;
    FOR_EACH_PIECE(&t->k, slab) {
        const Piece piece = piece_of(&t->k, number);
        const float *g = arrive(t, number, piece, scratch);
        if (!t->result) continue; /* only dresidual is wanted */
        FOR_EACH_ROW(&t->k, piece)
            gradient_row(t, g + at, t->slope ? t->x + piece.first + at : NULL, t->result + piece.first + at, many);
    }
}

/* switches as the forward pass left them, and y where it made a ReLU without a pool: NULL otherwise. mean, var and
 * gamma (c,), or NULL: 0, 1 and 1. What is not wanted of dx, dgamma and dbeta is NULL; x may be where neither dgamma nor
 * from_batch needs it. dresidual as x; NULL where there was no residual. from_batch: μ and σ are x's own. */
int batch_norm_backward(const float *dy, const float *x, const float *y, uint8_t *switches, const float *mean,
                        const float *var, const float *gamma, float *dx, float *dgamma, float *dbeta, float *dresidual,
                        long n, long h, long w, long c, float eps, int from_batch) {
    if (c == 0) return 0;
    Norm t = {.k = cut(n, h, w, c, switches != NULL), .n = n, .h = h, .w = w, .c = c, .pool = switches != NULL,
              .x = dgamma || from_batch ? x : NULL, .y = y, .dy = dy, .switches = switches, .dresidual = dresidual,
              .result = dx};
    const long row = t.k.row, scratch = y || switches || dresidual ? t.k.piece : 0;
    double *total = (double *)workspace(4 * c * (t.k.slabs + 1) + 4 * row + 3 * c);
    if (!total) return -1;
    t.sums = total + 2 * c;
    float *tables = (float *)(t.sums + 2 * c * t.k.slabs);
    float *factor = tables + 4 * row, *offset = factor + c, *slope = offset + c;
    memset(total, 0, 8 * 2 * c);
    memset(offset, 0, 4 * c);
    t.mean = repeat(&t.k, mean ? mean : offset, tables);
    if (dgamma || dbeta || (dx && from_batch)) {
        if (share_out(gradient_sums, &t, t.k.slabs, 2 * row + scratch)) return -1;
        t.arrived = dresidual != NULL;
        for (long slab = 0; slab < t.k.slabs; slab++)
            for (long i = 0; i < 2 * c; i++) total[i] += t.sums[2 * slab * c + i];
    }
    const double pixels = (double)(n * h * w);
    for (long i = 0; i < c; i++) {
        const double inv_std = var ? 1 / sqrt((double)var[i] + eps) : 1;
        if (dbeta) dbeta[i] = (float)total[i];
        if (dgamma) dgamma[i] = (float)(total[c + i] * inv_std);
        factor[i] = gamma ? (float)(gamma[i] * inv_std) : 1;
        offset[i] = (float)(total[i] / pixels);
        slope[i] = (float)(inv_std * inv_std * total[c + i] / pixels);
    }
    if (!dx && (!dresidual || t.arrived)) return 0;
    t.factor = repeat(&t.k, factor, tables + row);
    if (from_batch) t.offset = repeat(&t.k, offset, tables + 2 * row), t.slope = repeat(&t.k, slope, tables + 3 * row);
    return share_out(gradient, &t, t.k.slabs, scratch);
}
