/* What the convolutions share: where things lie, and how filters are packed.
 *
 *     y[n, p, q, f] = b[f] + Σ_{i, j, c} x[n, p·sh + i·dh − top, q·sw + j·dw − left, c] · w[f, c, i, j]
 *
 * All steps are in floats, and may skip: a group uses some of the channels, a part of dx every s-th pixel.
 */
#ifndef MINICNN_CONV_H
#define MINICNN_CONV_H

#include "pool.h"
#include "simd.h"
#include "tile.h"

typedef struct {
    const float *x; /* the input, N images of H×W pixels of C channels */
    const uint32_t *gate; /* a bit for each number: where it is 0, x counts as 0 (a ReLU's backward pass; in the
                           * gradients of filters the bits, and start, are y's, which is dy); NULL: as it is */
    long start; /* of x[0], the number of its bit */
    long n, h, w, c, xn, xy, xx; /* sizes; steps from image to image, row to row, pixel to pixel */
    long kh, kw, sh, sw, dh, dw, top, left; /* the window: size, stride, dilation, padding */
    float *y; /* the output (or, for the gradient of the filters, dy) */
    long oh, ow, f, yn, yy, yx;
    int relu; /* y = max(y, 0) */
} Conv;

/* Where a window's taps lie inside the picture along one axis: from <= tap < until. */
typedef struct {
    long from, until;
} Range;

INLINE Range taps_inside(long taps, long spacing, long start, long size) { /* tap t reads pixel start + t·spacing */
    const Range r = {start < 0 ? ceil_div(-start, spacing) : 0, start < size ? min_of(taps, (size - 1 - start) / spacing + 1) : 0};
    return r.until > r.from ? r : (Range){0, 0};
}

/* The bits of a ReLU lie in blocks of 512 numbers, seen as 32 rows of 16: row k is bit k of 16 words (relu.c). */
INLINE int passes(const uint32_t *bits, long number) {
    return bits[number / 512 * 16 + number % 16] >> (number % 512 / 16) & 1;
}

/* A vector of numbers, the first of which is a multiple of LANES, and 0 in place of those whose bit is 0. */
INLINE vec gated(const uint32_t *bits, long number, vec a) {
    ivec words;
    memcpy(&words, bits + number / 512 * 16 + number % 16, sizeof words);
    return keep((words >> (int)(number % 512 / 16) & 1) != 0, a);
}

/* Filters as they lie in memory: those of output o and input i have their tap (a, b) at w[o·wo + i·wi + a·wa + b·wb].
 * Steps may be negative: a flipped filter is the same memory read backwards. */
typedef struct {
    const float *w;
    const float *bias; /* one an output, or NULL */
    long outputs, inputs, kh, kw, wo, wi, wa, wb;
} Filters;

/* Outputs in a block: two vectors where that wastes little. */
INLINE long block_vectors(long outputs) { return outputs % (2 * LANES) == 0 || outputs > 4 * LANES ? 2 : 1; }
INLINE long block_size(long outputs) { return block_vectors(outputs) * LANES; }

/* `run` numbers of x, and 0 in place of those whose bit is 0 (conv_direct.c). */
void copy_gated(const uint32_t *gate, long number, const float *x, long run, float *to);

/* The input rows of a band with their border (conv_direct.c). */
void copy_band(const Conv *c, long image, long first_row, long height, long width, float *band);

/* Floats of the packed filters: blocks of [block_size] biases and then [kh][kw][inputs][block_size] weights. */
INLINE long packed_floats(long outputs, long inputs, long taps) {
    return ceil_div(outputs, block_size(outputs)) * block_size(outputs) * (taps * inputs + 1);
}

#endif
