/* The one kernel everything is made of: a tile of the result, held in registers.
 *
 *     y[i][:] = start + Σ_r Σ_q Σ_p x[r·xr + q·xq + p·xp + i·xi] · w[r·wr + q·wq + p·wp + :]
 *
 * for `rows` rows i; : is `vectors` vectors, and start is y itself (add), the bias, or 0.
 *
 *     convolution               i an output pixel, r a row of the filter, q a column of it, p a channel
 *     matrix product            i a row, p along it
 *     gradient of a filter      i a channel, (r, q, p) the image, row and column of the outputs that used it
 *     few filters               i a filter, the vectors are pixels: x and w change places
 */
#ifndef MINICNN_TILE_H
#define MINICNN_TILE_H

#include "simd.h"

typedef struct {
    const float *x, *w;
    long nr, nq, np; /* how far r, q and p run */
    long xr, xq, xp, xi, wr, wq, wp, yi; /* steps, in floats */
    float *y;
    long width; /* floats of the last vector that are stored: LANES, or fewer where the result ends */
    const float *bias;
    int add, relu; /* relu: store max(result, 0) */
} Tile;

/* All rows, cut into tiles of as many as the registers hold. vectors: 1, 2 or 4. */
void tiles(const Tile *t, long rows, int vectors);

#endif
