/* An array (pixels, channels) cut up for loops over all of it, for any number of channels.
 *
 *     for each slab                                            shared out to threads; its sums are added in their order
 *         for each piece: a few thousand numbers that stay in the cache, or two rows of a picture where they are pooled
 *             for each row: some pixels, as many as make a long inner loop
 *                 for each number of the row                   plain loops, which the compiler makes vectors of
 *
 * Coefficients, one a channel, are repeated along such a row, and so are sums. Sums are floats along a slab, which is
 * too short to lose digits, and doubles across slabs. How an array is cut depends on its sizes only.
 */
#ifndef MINICNN_CHANNELS_H
#define MINICNN_CHANNELS_H

#include "pool.h"
#include "simd.h"

#define ROW 256 /* floats */
#define PIECE (4 * 1024)
#define SLAB (16 * 1024)

typedef struct {
    long channels, row, piece, picture, total; /* floats; without pooling everything is one long picture */
    long pieces, slab, slabs; /* pieces in all, pieces of a slab, slabs */
} Cut;

/* n pictures of h × w pixels; pooled: pieces are two rows, or the single one that is left over. */
INLINE Cut cut(long n, long h, long w, long c, int pooled) {
    Cut k = {.channels = c, .row = ceil_div(ROW, c) * c, .total = n * h * w * c};
    k.piece = pooled ? 2 * w * c : max_of(1, PIECE / k.row) * k.row;
    k.picture = pooled ? h * w * c : k.total;
    k.pieces = k.total ? k.total / k.picture * ceil_div(k.picture, k.piece) : 0;
    k.slab = max_of(1, max_of(SLAB, 32 * k.row) / k.piece);
    k.slabs = ceil_div(k.pieces, k.slab);
    return k;
}

typedef struct {
    long first, count; /* floats */
} Piece;

INLINE Piece piece_of(const Cut *k, long number) {
    const long in_picture = ceil_div(k->picture, k->piece), start = number % in_picture * k->piece;
    return (Piece){number / in_picture * k->picture + start, min_of(k->piece, k->picture - start)};
}

/* `number` runs over the pieces of a slab, and `at` over the rows of a piece, of which each has `many` floats. */
#define FOR_EACH_PIECE(k, slab_number)                                                                                 \
    for (long number = (slab_number) * (k)->slab, end = min_of((k)->pieces, number + (k)->slab); number < end; number++)
#define FOR_EACH_ROW(k, piece)                                                                                         \
    for (long at = 0, many; many = min_of((k)->row, (piece).count - at), at < (piece).count; at += many)

/* (channels,) along a row, in `to`. */
INLINE const float *repeat(const Cut *k, const float *channels, float *to) {
    for (long at = 0; at < k->row; at += k->channels) memcpy(to + at, channels, 4 * k->channels);
    return to;
}

/* What a row has of each channel: (channels,). */
INLINE void fold(const Cut *k, const float *row, double *to) {
    for (long c = 0; c < k->channels; c++) to[c] = 0;
    for (long at = 0; at < k->row; at += k->channels)
        for (long c = 0; c < k->channels; c++) to[c] += row[at + c];
}

INLINE void add_row(const float *restrict x, float *restrict sum, long many) {
    for (long i = 0; i < many; i++) sum[i] += x[i];
}

#endif
