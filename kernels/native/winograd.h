/* Winograd's minimal filtering (Lavin & Gray 2015, section 4), F(4×4, 3×3) and F(2×2, 5×5): what its passes share.
 *
 * A convolution of a 6×6 input tile d with a filter g of 3×3 taps gives 4×4 outputs, one of 5×5 taps 2×2. Instead of 144
 * or 100 multiplications
 *
 *     y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        takes 36, ⊙ element by element,
 *
 * and summed over the channels, each of the 36 elements is a matrix product: (tiles × C) · (C × F). Both other passes are
 * the same identity read backwards: dx is the convolution of dy with the flipped filter, and
 *
 *     dg = Gᵀ [ Σ over tiles (Bᵀ d B) ⊙ (A dy Aᵀ) ] G
 *
 * Every transform is two passes of a line transform, over the columns and over the rows, on vectors of channels.
 *
 * The 36 planes of a set of `tiles` tiles with C channels lie as [36][C/B][tiles][B], B = block_size(C): a block of
 * channels of all tiles is one run, which the register tile reads as rows (y) or as columns (dg).
 */
#ifndef MINICNN_WINOGRAD_H
#define MINICNN_WINOGRAD_H

#include "conv.h"

#define PLANES 36

typedef void Line(const vec *in, long step_in, vec *out, long step_out);

INLINE void input_line(const vec *d, long s, vec *o, long t) { /* Bᵀ: 6 -> 6 */
    const vec d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    o[0] = 4 * d0 - 5 * d2 + d4;
    o[t] = (d4 - 4 * d2) + (d3 - 4 * d1);
    o[2 * t] = (d4 - 4 * d2) - (d3 - 4 * d1);
    o[3 * t] = (d4 - d2) + 2 * (d3 - d1);
    o[4 * t] = (d4 - d2) - 2 * (d3 - d1);
    o[5 * t] = 4 * d1 - 5 * d3 + d5;
}

INLINE void output_line(const vec *m, long s, vec *o, long t) { /* Aᵀ: 6 -> 4 */
    const vec sum1 = m[s] + m[2 * s], difference1 = m[s] - m[2 * s];
    const vec sum2 = m[3 * s] + m[4 * s], difference2 = m[3 * s] - m[4 * s];
    o[0] = m[0] + sum1 + sum2;
    o[t] = difference1 + 2 * difference2;
    o[2 * t] = sum1 + 4 * sum2;
    o[3 * t] = difference1 + 8 * difference2 + m[5 * s];
}

INLINE void output2_line(const vec *m, long s, vec *o, long t) { /* Aᵀ: 6 -> 2, for 5 taps */
    o[0] = m[0] + (m[s] + m[2 * s]) + (m[3 * s] + m[4 * s]);
    o[t] = (m[s] - m[2 * s]) + 2 * (m[3 * s] - m[4 * s]) + m[5 * s];
}

INLINE void filter_line(const vec *g, long s, vec *o, long t) { /* G: 3 -> 6 */
    const vec even = g[0] + g[2 * s], far = g[0] * (1.f / 24) + g[2 * s] * (1.f / 6), middle = g[s] * (1.f / 12);
    o[0] = g[0] * .25f;
    o[t] = (even + g[s]) * (-1.f / 6);
    o[2 * t] = (even - g[s]) * (-1.f / 6);
    o[3 * t] = far + middle;
    o[4 * t] = far - middle;
    o[5 * t] = g[2 * s];
}

INLINE void filter5_line(const vec *g, long s, vec *o, long t) { /* G: 5 -> 6 */
    const vec even = g[0] + g[2 * s] + g[4 * s], odd = g[s] + g[3 * s];
    const vec even2 = g[0] * (1.f / 24) + g[2 * s] * (1.f / 6) + g[4 * s] * (2.f / 3);
    const vec odd2 = g[s] * (1.f / 12) + g[3 * s] * (1.f / 3);
    o[0] = g[0] * .25f;
    o[t] = (even + odd) * (-1.f / 6);
    o[2 * t] = (even - odd) * (-1.f / 6);
    o[3 * t] = even2 + odd2;
    o[4 * t] = even2 - odd2;
    o[5 * t] = g[4 * s];
}

INLINE void output_gradient_line(const vec *d, long s, vec *o, long t) { /* A: 4 -> 6 */
    const vec even1 = d[0] + d[2 * s], odd1 = d[s] + d[3 * s];
    const vec even2 = d[0] + 4 * d[2 * s], odd2 = 2 * d[s] + 8 * d[3 * s];
    o[0] = d[0];
    o[t] = even1 + odd1;
    o[2 * t] = even1 - odd1;
    o[3 * t] = even2 + odd2;
    o[4 * t] = even2 - odd2;
    o[5 * t] = d[3 * s];
}

INLINE void output2_gradient_line(const vec *d, long s, vec *o, long t) { /* A: 2 -> 6 */
    o[0] = d[0];
    o[t] = d[0] + d[s];
    o[2 * t] = d[0] - d[s];
    o[3 * t] = d[0] + 2 * d[s];
    o[4 * t] = d[0] - 2 * d[s];
    o[5 * t] = d[s];
}

INLINE void filter_gradient_line(const vec *m, long s, vec *o, long t) { /* Gᵀ: 6 -> 3 */
    const vec near = (m[s] + m[2 * s]) * (-1.f / 6), far = m[3 * s] + m[4 * s];
    o[0] = m[0] * .25f + near + far * (1.f / 24);
    o[t] = (m[2 * s] - m[s]) * (1.f / 6) + (m[3 * s] - m[4 * s]) * (1.f / 12);
    o[2 * t] = near + far * (1.f / 6) + m[5 * s];
}

INLINE void filter5_gradient_line(const vec *m, long s, vec *o, long t) { /* Gᵀ: 6 -> 5 */
    const vec sum = (m[s] + m[2 * s]) * (-1.f / 6), difference = (m[2 * s] - m[s]) * (1.f / 6);
    const vec sum2 = m[3 * s] + m[4 * s], difference2 = m[3 * s] - m[4 * s];
    o[0] = m[0] * .25f + sum + sum2 * (1.f / 24);
    o[t] = difference + difference2 * (1.f / 12);
    o[2 * t] = sum + sum2 * (1.f / 6);
    o[3 * t] = difference + difference2 * (1.f / 3);
    o[4 * t] = sum + sum2 * (2.f / 3) + m[5 * s];
}

/* out (to×to) = line · in (from×from) · lineᵀ. Inlined with constants, so the loops vanish. */
INLINE void transform(Line *line, const vec *in, const int from, vec *out, const int to) {
    vec half[36];
#pragma GCC unroll 6
    for (int j = 0; j < from; j++) line(in + j, from, half + j, from);
#pragma GCC unroll 6
    for (int i = 0; i < to; i++) line(half + i * from, 1, out + i * to, 1);
}

/* Tiles are numbered image by image and row by row: (image·down + row)·across + column. */
typedef struct {
    long across, down; /* tiles in a row, rows of tiles in an image */
} Grid;

INLINE long outputs_of(long taps) { return 7 - taps; } /* of a tile, along each axis: 6 inputs − taps + 1 */

INLINE Grid grid_of(const Conv *c) {
    const long side = outputs_of(c->kh);
    return (Grid){ceil_div(c->ow, side), ceil_div(c->oh, side)};
}

/* Ask memory for pixels whose turn comes soon. The processor foresees long runs by itself, as of many channels; a tile of
 * few is short ones, a row apart. */
INLINE void foresee(const float *pixel, long rows, long columns, long row_step, long pixel_step, long channels) {
    if (channels > 32) return;
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < columns; j++)
            for (long ch = 0; ch < channels; ch += 16) __builtin_prefetch(pixel + i * row_step + j * pixel_step + ch);
}

/* Planes lie a little apart: at a power of two they would fall on the same lines of the cache. */
INLINE long plane_step(long floats) { return ceil_div(floats, 1024) * 1024 + 16; }

/* Bᵀ d B of `many` tiles from number `first` on, all channels of c->x, into planes of `tiles` tiles at position `at`. */
void winograd_input(const Conv *c, long first, long many, float *planes, long step, long tiles, long at);

/* G g Gᵀ of a block of outputs, inputs from c0 to c1, into u: [36][c1 − c0][block_size(outputs)]. */
void winograd_filters(const Filters *from, long block, long c0, long c1, float *u, long step);

#endif
