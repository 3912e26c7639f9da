/* Convolutions of 3×3 and 5×5 taps with stride 1, by Winograd's minimal filtering: winograd.h has the formula.
 *
 *     for each pass over as many tiles as the workspace holds
 *         for each group of tiles                                             shared out to threads
 *             V[k] = Bᵀ d B                                                   k = 0 … 35 planes
 *         for each (group of tiles, block of filters)                         shared out to threads
 *             for each part of the channels, so small that U and M stay in the cache
 *                 U[k] = G g Gᵀ                                               or read it, where it was made before
 *                 for each k: M[k] += V[k] · U[k]                             (tiles × part) · (part × block)
 *             y = Aᵀ M A + b, through max(·, 0) where a ReLU follows
 *
 * Few filters: U is made once, and each group of tiles does all three steps with a V of its own, in the cache.
 *
 * U is four times as large as the filters. Where it does not fit into the cache it is cheaper to make it again for each
 * group of tiles, part by part, than to write it to memory and read it back.
 */
#include "winograd.h"

#define GROUP 112 /* tiles that an item multiplies: 8 register tiles of 14 */
#define PART 64 /* channels: U of 64×32 is 295 KB, M of 112×32 516 KB */
#define PASS (2L << 20) /* floats of V in a pass */
#define FEW 500000 /* floats of U that stay in the cache */
#define OWN (128 * 1024) /* floats of V and M that an item keeps to itself, half a core's second cache */

typedef struct {
    Conv c;
    Filters filters;
    const float *made; /* U, [blocks][36][C][FB], or NULL */
    float *v;
    long v_step, tiles, first; /* V: between planes, tiles in it, number of its first */
    long total, group; /* tiles in all; in an item */
} Winograd;

static long part_size(long channels) { return min_of(max_of(PART, block_size(channels)), channels); }

void winograd_input(const Conv *c, long first, long many, float *planes, long step, long tiles, long at) {
    static const float zeros[LANES];
    const Grid grid = grid_of(c);
    const long B = block_size(c->c), side = outputs_of(c->kh);
    for (long t = 0; t < many; t++) {
        const long tile = first + t, image = tile / (grid.down * grid.across);
        const long top = tile / grid.across % grid.down * side - c->top, left = tile % grid.across * side - c->left;
        const float *from[36];
        for (long i = 0; i < 6; i++)
            for (long j = 0; j < 6; j++) {
                const int inside = top + i >= 0 && top + i < c->h && left + j >= 0 && left + j < c->w;
                const long where = image * c->xn + (top + i) * c->xy + (left + j) * c->xx;
                from[6 * i + j] = inside ? c->x + where : NULL;
            }
        foresee(c->x + image * c->xn + (top + 6) * c->xy + (left + 6 - side) * c->xx, side, side, c->xy, c->xx, c->c);
        for (long ch = 0; ch < c->c; ch += LANES) {
            vec d[36], o[36];
            for (int k = 0; k < 36; k++) d[k] = load(from[k] ? from[k] + ch : zeros);
            if (c->gate)
                for (int k = 0; k < 36; k++)
                    if (from[k]) d[k] = gated(c->gate, c->start + (from[k] - c->x) + ch, d[k]);
            transform(input_line, d, 6, o, 6);
            float *to = planes + (ch / B * tiles + at + t) * B + ch % B;
#pragma GCC unroll 36
            for (int k = 0; k < 36; k++) store(to + k * step, o[k]);
        }
    }
}

void winograd_filters(const Filters *from, long block, long c0, long c1, float *u, long step) {
    const long FB = block_size(from->outputs), size = from->kh;
    for (long c = c0; c < c1; c++)
        for (long f = 0; f < FB; f += LANES) {
            float taps[25][LANES];
            vec g[25], o[36];
            const float *w = from->w + (block * FB + f) * from->wo + c * from->wi;
            for (long k = 0; k < size * size; k++) {
                for (long lane = 0; lane < LANES; lane++)
                    taps[k][lane] = w[lane * from->wo + k / size * from->wa + k % size * from->wb];
                g[k] = load(taps[k]);
            }
            if (size == 3) transform(filter_line, g, 3, o, 6);
            else transform(filter5_line, g, 5, o, 6);
#pragma GCC unroll 36
            for (int k = 0; k < 36; k++) store(u + k * step + (c - c0) * FB + f, o[k]);
        }
}

/* Aᵀ M A of a tile's block of filters, with bias and ReLU, into the pixels of it that exist. */
INLINE void write_outputs(const Conv *c, const float *bias, long tile, long f, const float *m, long step) {
    const Grid grid = grid_of(c);
    const long image = tile / (grid.down * grid.across), side = outputs_of(c->kh);
    const long top = tile / grid.across % grid.down * side, left = tile % grid.across * side;
    float *y = c->y + image * c->yn + top * c->yy + left * c->yx + f;
    foresee(y + side * c->yx, side, side, c->yy, c->yx, LANES);
    vec in[36], out[16];
    const vec start = bias ? load(bias + f) : (vec){0};
#pragma GCC unroll 36
    for (int k = 0; k < 36; k++) in[k] = load(m + k * step);
    if (side == 4) transform(output_line, in, 6, out, 4);
    else transform(output2_line, in, 6, out, 2);
    const long rows = min_of(side, c->oh - top), columns = min_of(side, c->ow - left);
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < columns; j++) {
            const vec a = out[side * i + j] + start;
            store(y + i * c->yy + j * c->yx, c->relu ? positive(a) : a);
        }
}

typedef struct {
    Filters filters;
    float *made;
} Making;

static void make_block(const void *task, long block, float *scratch) {
    (void)scratch;
    const Making *t = task;
    const long step = t->filters.inputs * block_size(t->filters.outputs);
    winograd_filters(&t->filters, block, 0, t->filters.inputs, t->made + block * PLANES * step, step);
}

/* U of all filters, 36·C·F floats, for convolutions that use it again: of frozen weights, or of few filters. */
int winograd_make(const Filters *filters, float *made) {
    const Making task = {*filters, made};
    return share_out(make_block, &task, filters->outputs / block_size(filters->outputs), 0);
}

/* One block of filters for `many` tiles, from V to y. `at`: their place in V; `tile`: the number of the first. */
static void multiply(const Winograd *t, const float *v, long at, long tile, long many, long block, float *m, float *u) {
    const Conv *c = &t->c;
    const long B = block_size(c->c), FB = block_size(c->f), part = part_size(c->c);
    const long m_step = plane_step(t->group * FB), u_own = plane_step(part * FB);
    for (long c0 = 0; c0 < c->c; c0 += t->made ? c->c : part) {
        const long c1 = t->made ? c->c : min_of(c0 + part, c->c), u_step = t->made ? c->c * FB : u_own;
        const float *filters = t->made ? t->made + block * PLANES * u_step : u;
        if (!t->made) winograd_filters(&t->filters, block, c0, c1, u, u_step);
        for (long k = 0; k < PLANES; k++) {
            const Tile tile = {.x = v + k * t->v_step + (c0 / B * t->tiles + at) * B, .xi = B, .xp = 1,
                               .xr = t->tiles * B, .nr = (c1 - c0) / B, .nq = 1, .np = B,
                               .w = filters + k * u_step, .wr = B * FB, .wp = FB,
                               .y = m + k * m_step, .yi = FB, .width = LANES, .add = c0 > 0};
            tiles(&tile, many, (int)(FB / LANES));
        }
    }
    for (long i = 0; i < many; i++)
        for (long f = 0; f < FB; f += LANES)
            write_outputs(c, t->filters.bias, tile + i, block * FB + f, m + i * FB + f, m_step);
}

static void transform_group(const void *task, long item, float *scratch) {
    (void)scratch;
    const Winograd *t = task;
    const long at = item * t->group;
    winograd_input(&t->c, t->first + at, min_of(t->group, t->tiles - at), t->v, t->v_step, t->tiles, at);
}

static void multiply_group(const void *task, long item, float *scratch) {
    const Winograd *t = task;
    const long blocks = t->c.f / block_size(t->c.f), at = item / blocks * t->group;
    float *u = scratch + PLANES * plane_step(t->group * block_size(t->c.f));
    multiply(t, t->v, at, t->first + at, min_of(t->group, t->tiles - at), item % blocks, scratch, u);
}

/* Both of the above for few filters: V never leaves the cache. Where a tile's channels and filters are one block each,
 * M takes V's place: every row of V has been read when its row of M is written. */
static void whole_group(const void *task, long item, float *scratch) {
    const Winograd *t = task;
    const long C = t->c.c, F = t->c.f, FB = block_size(F);
    const long tile = item * t->group, many = min_of(t->group, t->total - tile);
    float *v = scratch, *m = C == FB && F == FB ? v : v + PLANES * t->v_step;
    winograd_input(&t->c, tile, many, v, t->v_step, t->tiles, 0);
    for (long block = 0; block < F / FB; block++) multiply(t, v, 0, tile, many, block, m, NULL);
}

/* x (N, H, W, C), filters of 3×3 or 5×5 taps -> y. C and F are whole blocks. made: winograd_make's, or NULL. */
int conv_winograd(const Conv *c, const Filters *filters, const float *made) {
    const Grid grid = grid_of(c);
    const long FB = block_size(c->f), in_all = PLANES * c->c * c->f;
    Winograd t = {.c = *c, .filters = *filters, .made = made, .total = c->n * grid.down * grid.across, .group = GROUP};
    if (in_all <= FEW) {
        float *u = made ? NULL : workspace(in_all);
        if (!made && (!u || winograd_make(filters, u))) return -1;
        if (!made) t.made = u;
        t.group = max_of(14, min_of(GROUP, OWN / (PLANES * (c->c + FB)) / 14 * 14));
        t.tiles = t.group, t.v_step = plane_step(t.group * c->c);
        return share_out(whole_group, &t, ceil_div(t.total, t.group), PLANES * (t.v_step + plane_step(t.group * FB)));
    }
    const long groups = max_of(1, PASS / (PLANES * c->c * GROUP)), most = min_of(groups * GROUP, t.total);
    t.v = workspace(PLANES * plane_step(most * c->c));
    if (!t.v) return -1;
    for (t.first = 0; t.first < t.total; t.first += most) {
        t.tiles = min_of(most, t.total - t.first);
        t.v_step = plane_step(t.tiles * c->c);
        const long count = ceil_div(t.tiles, GROUP);
        const long scratch = PLANES * (plane_step(GROUP * FB) + plane_step(part_size(c->c) * FB));
        if (share_out(transform_group, &t, count, 0)) return -1;
        if (share_out(multiply_group, &t, count * (c->f / FB), scratch)) return -1;
    }
    return 0;
}
