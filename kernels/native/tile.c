/* The register tile (tile.h says what it computes).
 *
 * For each (r, q, p) the vectors of w are loaded once and each row's number of x is multiplied with all of them: with 14
 * rows of 2 vectors, 28 multiply-adds for 16 loads, and nothing is stored before the sum is complete. `sum_tile` is
 * inlined with a constant height and width, so that the compiler unrolls its loops and keeps every accumulator in a
 * register; the `switch` below has one case for each height.
 */
#include "tile.h"

INLINE void sum_tile(const Tile *t, const float *xt, float *y, const long yi, const int height, const int vectors) {
    vec a[ACCUMULATORS], b[4];
    const long xi = t->xi, xp = t->xp, wp = t->wp, np = t->np;
#pragma GCC unroll 32
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            a[i * vectors + v] = t->add ? load(y + i * yi + v * LANES) : t->bias ? load(t->bias + v * LANES) : (vec){0};
    for (long r = 0; r < t->nr; r++)
        for (long q = 0; q < t->nq; q++) {
            const float *x = xt + r * t->xr + q * t->xq, *w = t->w + r * t->wr + q * t->wq;
            for (long p = 0; p < np; p++, x += xp, w += wp) {
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) b[v] = load(w + v * LANES);
#pragma GCC unroll 32
                for (int i = 0; i < height; i++)
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; v++) a[i * vectors + v] += splat(x[i * xi]) * b[v];
            }
        }
#pragma GCC unroll 32
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(y + i * yi + v * LANES, t->relu ? positive(a[i * vectors + v]) : a[i * vectors + v]);
}

#define CASE(height) \
    case height: \
        if ((height) * vectors <= ACCUMULATORS) sum_tile(t, x, y, yi, height, vectors); \
        break;

INLINE void tile_of(const Tile *t, const float *x, float *y, long yi, long rows, const int vectors) {
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10)
        CASE(11) CASE(12) CASE(13) CASE(14) CASE(15) CASE(16) CASE(17) CASE(18) CASE(19) CASE(20)
        CASE(21) CASE(22) CASE(23) CASE(24) CASE(25) CASE(26) CASE(27) CASE(28)
    }
}

static void tile(const Tile *t, const float *x, float *y, long yi, long rows, int vectors) {
    if (vectors == 1) tile_of(t, x, y, yi, rows, 1);
    else if (vectors == 2) tile_of(t, x, y, yi, rows, 2);
    else tile_of(t, x, y, yi, rows, 4);
}

/* A tile that ends within its last vector goes through a whole one. */
static void narrow_tile(const Tile *t, const float *x, float *y, long rows, int vectors) {
    float whole[ACCUMULATORS * LANES];
    const long width = (vectors - 1) * LANES + t->width, yi = vectors * LANES;
    memset(whole, 0, sizeof whole);
    if (t->add)
        for (long i = 0; i < rows; i++) memcpy(whole + i * yi, y + i * t->yi, 4 * width);
    Tile inside = *t;
    inside.width = LANES;
    tile(&inside, x, whole, yi, rows, vectors);
    for (long i = 0; i < rows; i++) memcpy(y + i * t->yi, whole + i * yi, 4 * width);
}

void tiles(const Tile *t, long rows, int vectors) {
    if (rows < 1) return; /* an empty batch */
    const long most = ACCUMULATORS / vectors, height = ceil_div(rows, ceil_div(rows, most)); /* equal tiles */
    for (long first = 0; first < rows; first += height) {
        const float *x = t->x + first * t->xi;
        float *y = t->y + first * t->yi;
        const long n = min_of(height, rows - first);
        if (t->width < LANES) narrow_tile(t, x, y, n, vectors);
        else tile(t, x, y, t->yi, n, vectors);
    }
}
