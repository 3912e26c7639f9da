/* The gradient of filters of 3×3 and 5×5 taps with stride 1, by Winograd's identity (winograd.h):
 *
 *     dg = Gᵀ [ Σ over tiles V ⊙ Z ] G        V = Bᵀ d B,  Z = A dy Aᵀ,  ⊙ for each (c, f): 36 products Vᵀ Z
 *
 * Many filters:   for each pass over as many tiles as the workspace holds
 *                     for each group of tiles: V, Z                                       shared out to threads
 *                     for each (part of the channels, block of filters)                   shared out to threads
 *                         for each k: M[k] = V[k]ᵀ · Z[k]        (part × tiles) · (tiles × block)
 *                         dw (+)= Gᵀ M G
 * Few filters:    for each of a fixed number of slabs                                     shared out to threads
 *                     for each group of tiles: V, Z;  for each k: M[k] += V[k]ᵀ · Z[k]    nothing leaves the cache
 *                     partial sum of the slab = Gᵀ M G
 *                 dw = the partial sums, added in order
 *
 * The sums are cut in the same places for any number of threads, and so is db = Σ dy.
 */
#include "sums.h"
#include "winograd.h"

#define GROUP 112 /* tiles that an item transforms */
#define PART 32 /* channels of an item: M of 32×32 is 147 KB */
#define PASS (3L << 20) /* floats of V and Z in a pass */
#define FEW 150000 /* floats of M that stay in the cache */
#define OWN (192 * 1024) /* floats of V and Z that a slab keeps to itself */
#define PARTIAL (1L << 20) /* floats of partial sums */

typedef struct {
    Conv c; /* y is dy */
    const uint32_t *gate; /* bits of dy, from c.start on */
    float *dw, *sums; /* where sums go: dw as (F, C, KH, KW), of dy as [groups or slabs][F] */
    float *v, *z;
    long v_step, z_step, first, tiles; /* planes; number of the first tile in them, and how many they hold */
    long total, group, slabs;
    int add;
} Gradient;

/* A dy Aᵀ of `many` tiles from number `tile` on into planes at position `at`; adds dy to `sums` (F). */
static void output_gradients(const Gradient *t, long tile, long many, float *planes, long at, float *sums) {
    const Conv *c = &t->c;
    const Grid grid = grid_of(c);
    const long FB = block_size(c->f), side = outputs_of(c->kh);
    for (long i = 0; i < many; i++, tile++) {
        const long image = tile / (grid.down * grid.across);
        const long top = tile / grid.across % grid.down * side, left = tile % grid.across * side;
        const long rows = min_of(side, c->oh - top), columns = min_of(side, c->ow - left);
        const long corner = image * c->yn + top * c->yy + left * c->yx;
        foresee(c->y + corner + side * c->yy, side, side, c->yy, c->yx, c->f);
        for (long f = 0; f < c->f; f += LANES) {
            vec d[16] = {{0}}, o[36], sum = load(sums + f);
            for (long a = 0; a < rows; a++)
                for (long b = 0; b < columns; b++) {
                    const long where = corner + a * c->yy + b * c->yx + f;
                    const vec dy = load(c->y + where);
                    d[side * a + b] = t->gate ? gated(t->gate, c->start + where, dy) : dy;
                    sum += d[side * a + b];
                }
            store(sums + f, sum);
            if (side == 4) transform(output_gradient_line, d, 4, o, 6);
            else transform(output2_gradient_line, d, 2, o, 6);
            float *to = planes + (f / FB * t->tiles + at + i) * FB + f % FB;
#pragma GCC unroll 36
            for (int k = 0; k < 36; k++) store(to + k * t->z_step, o[k]);
        }
    }
}

/* M[k] (+)= V[k]ᵀ · Z[k] for channels c0 to c1 and a block of filters. */
static void multiply(const Gradient *t, const float *v, const float *z, long many, long c0, long c1, long block, float *m,
                     long m_step, int add) {
    const long B = block_size(t->c.c), FB = block_size(t->c.f);
    for (long k = 0; k < PLANES; k++)
        for (long c = c0; c < c1; c += B) {
            const Tile tile = {.x = v + k * t->v_step + c / B * t->tiles * B, .xi = 1, .xp = B,
                               .w = z + k * t->z_step + block * t->tiles * FB, .wp = FB,
                               .nr = 1, .nq = 1, .np = many,
                               .y = m + k * m_step + (c - c0) * FB, .yi = FB, .width = LANES, .add = add};
            tiles(&tile, B, (int)(FB / LANES));
        }
}

/* dw (F, C, KH, KW) (+)= Gᵀ M G for channels c0 to c1 and a block of filters. */
static void write_gradient(const Conv *c, const float *m, long m_step, long c0, long c1, long block, float *dw, int add) {
    const long FB = block_size(c->f), taps = c->kh * c->kw;
    for (long ch = c0; ch < c1; ch++)
        for (long f = 0; f < FB; f += LANES) {
            vec in[36], out[25];
#pragma GCC unroll 36
            for (int k = 0; k < 36; k++) in[k] = load(m + k * m_step + (ch - c0) * FB + f);
            if (taps == 9) transform(filter_gradient_line, in, 6, out, 3);
            else transform(filter5_gradient_line, in, 6, out, 5);
            float *to = dw + ((block * FB + f) * c->c + ch) * taps;
            for (int lane = 0; lane < LANES; lane++)
                for (long tap = 0; tap < taps; tap++) {
                    float *w = to + lane * c->c * taps + tap;
                    *w = out[tap][lane] + (add ? *w : 0);
                }
        }
}

static void transform_group(const void *task, long item, float *scratch) {
    (void)scratch;
    const Gradient *t = task;
    const long at = item * t->group, many = min_of(t->group, t->tiles - at);
    float *sums = t->sums + (t->first / t->group + item) * t->c.f;
    memset(sums, 0, 4 * t->c.f);
    winograd_input(&t->c, t->first + at, many, t->v, t->v_step, t->tiles, at);
    output_gradients(t, t->first + at, many, t->z, at, sums);
}

static void multiply_part(const void *task, long item, float *scratch) {
    const Gradient *t = task;
    const long FB = block_size(t->c.f), blocks = t->c.f / FB, part = max_of(PART, block_size(t->c.c));
    const long c0 = item / blocks * part, c1 = min_of(c0 + part, t->c.c), m_step = plane_step(part * FB);
    multiply(t, t->v, t->z, t->tiles, c0, c1, item % blocks, scratch, m_step, 0);
    write_gradient(&t->c, scratch, m_step, c0, c1, item % blocks, t->dw, t->add);
}

static void whole_slab(const void *task, long slab, float *scratch) {
    const Gradient *t = task;
    const Conv *c = &t->c;
    const long FB = block_size(c->f), m_step = plane_step(c->c * c->f);
    float *m = scratch, *v = m + PLANES * m_step, *z = v + PLANES * t->v_step;
    memset(t->sums + slab * c->f, 0, 4 * c->f);
    int add = 0;
    for (long tile = slab * t->group; tile < t->total; tile += t->slabs * t->group, add = 1) {
        const long many = min_of(t->group, t->total - tile);
        winograd_input(c, tile, many, v, t->v_step, t->tiles, 0);
        output_gradients(t, tile, many, z, 0, t->sums + slab * c->f);
        for (long block = 0; block < c->f / FB; block++)
            multiply(t, v, z, many, 0, c->c, block, m + block * c->c * FB, m_step, add);
    }
    for (long block = 0; block < c->f / FB; block++)
        write_gradient(c, m + block * c->c * FB, m_step, 0, c->c, block, t->dw + slab * c->kh * c->kw * c->c * c->f, 0);
}

static int few_filters(Gradient *t, float *dw, float *db) {
    const Conv *c = &t->c;
    const long weights = c->kh * c->kw * c->c * c->f;
    t->group = max_of(14, min_of(GROUP, OWN / (PLANES * (c->c + c->f)) / 14 * 14));
    t->slabs = max_of(1, min_of(ceil_div(t->total, t->group), max_of(4, min_of(16, PARTIAL / weights))));
    t->tiles = t->group, t->v_step = plane_step(t->group * c->c), t->z_step = plane_step(t->group * c->f);
    t->dw = workspace(t->slabs * (weights + c->f));
    if (!t->dw) return -1;
    t->sums = t->dw + t->slabs * weights;
    const long scratch = PLANES * (plane_step(c->c * c->f) + t->v_step + t->z_step);
    if (share_out(whole_slab, t, t->slabs, scratch) || add_up(t->dw, t->slabs, weights, dw)) return -1;
    return db ? add_up(t->sums, t->slabs, c->f, db) : 0;
}

/* x (N, H, W, C), dy (N, OH, OW, F) -> dw (F, C, KH, KW), db (F) unless NULL. C and F are whole blocks.
 * c->y is dy, and c->gate its bits, not those of x. */
int conv_winograd_gradient(const Conv *c, float *dw, float *db) {
    const Grid grid = grid_of(c);
    Gradient t = {.c = *c, .gate = c->gate, .total = c->n * grid.down * grid.across, .group = GROUP, .dw = dw};
    t.c.gate = NULL;
    if (PLANES * c->c * c->f <= FEW) return few_filters(&t, dw, db);
    const long groups = max_of(1, PASS / (PLANES * (c->c + c->f) * GROUP)), most = min_of(groups * GROUP, t.total);
    const long v_floats = PLANES * plane_step(most * c->c), z_floats = PLANES * plane_step(most * c->f);
    const long part = max_of(PART, block_size(c->c)), FB = block_size(c->f), all_groups = ceil_div(t.total, GROUP);
    t.v = workspace(v_floats + z_floats + all_groups * c->f);
    if (!t.v) return -1;
    t.z = t.v + v_floats, t.sums = t.z + z_floats;
    for (t.first = 0; t.first < t.total; t.first += most, t.add = 1) {
        t.tiles = min_of(most, t.total - t.first);
        t.v_step = plane_step(t.tiles * c->c), t.z_step = plane_step(t.tiles * c->f);
        if (share_out(transform_group, &t, ceil_div(t.tiles, GROUP), 0)) return -1;
        const long items = ceil_div(c->c, part) * (c->f / FB);
        if (share_out(multiply_part, &t, items, PLANES * plane_step(part * FB))) return -1;
    }
    return db ? add_up(t.sums, all_groups, c->f, db) : 0;
}
