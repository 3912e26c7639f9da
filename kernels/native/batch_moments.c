/* Mean and variance of each channel, x read once.
 *
 *     for each slab                                            shared out to threads
 *         shift = the mean of its first piece
 *         d += x − shift;  q += (x − shift)²                   over the whole slab, see channels.h
 *         mean = shift + d/n;  squares = q − d²/n
 *     mean = Σ n·mean / M;  var = Σ (squares + n·(mean of the slab − mean)²) / M       (Chan, Golub, LeVeque 1983)
 *
 * What the subtraction q − d²/n loses is bounded whatever the data: with the mean of p of a slab's n values as the
 * shift, q is at most 1 + n/p times the squares, and n/p is about four.
 */
#include "channels.h"

typedef struct {
    Cut k;
    const float *x;
    double *found; /* mean (c,) and squares (c,) of each slab */
} Moments;

INLINE void add_deviations(const float *restrict x, const float *restrict shift, float *restrict sum,
                           float *restrict squares, long many) {
    for (long i = 0; i < many; i++) {
        const float d = x[i] - shift[i];
        sum[i] += d, squares[i] += d * d;
    }
}

static void moments(const void *task, long slab, float *scratch) {
    const Moments *t = task;
    const Cut *k = &t->k;
    const long C = k->channels;
    float *sum = scratch, *squares = sum + k->row, *shift = squares + k->row, *means = shift + k->row;
    double *mean = t->found + 2 * slab * C, *squared = mean + C;
    const Piece head = piece_of(k, slab * k->slab);
    memset(sum, 0, 4 * k->row);
    FOR_EACH_ROW(k, head) add_row(t->x + head.first + at, sum, many);
    fold(k, sum, mean);
    for (long c = 0; c < C; c++) means[c] = (float)(mean[c] / (double)(head.count / C));
    repeat(k, means, shift);
    memset(sum, 0, 4 * 2 * k->row);
    long count = 0;
    FOR_EACH_PIECE(k, slab) {
        const Piece piece = piece_of(k, number);
        FOR_EACH_ROW(k, piece) add_deviations(t->x + piece.first + at, shift, sum, squares, many);
        count += piece.count / C;
    }
    fold(k, sum, mean);
    fold(k, squares, squared);
    for (long c = 0; c < C; c++) {
        squared[c] -= mean[c] * mean[c] / (double)count;
        mean[c] = means[c] + mean[c] / (double)count;
    }
}

/* x (pixels, c) -> mean (c,), var (c,), not corrected for the mean's own freedom. NaN where there are no pixels. */
int batch_moments(const float *x, float *mean, float *var, long pixels, long c) {
    if (c == 0) return 0;
    Moments t = {.k = cut(pixels, 1, 1, c, 0), .x = x};
    double *total = (double *)workspace(2 * 2 * c * (t.k.slabs + 1)), *squares = total + c;
    if (!total) return -1;
    t.found = squares + c;
    if (share_out(moments, &t, t.k.slabs, 3 * t.k.row + c)) return -1;
    const long most = t.k.slab * t.k.piece / c; /* pixels of every slab but the last */
    memset(total, 0, 8 * 2 * c);
    for (long slab = 0; slab < t.k.slabs; slab++) {
        const double count = (double)min_of(most, pixels - slab * most), *found = t.found + 2 * slab * c;
        for (long i = 0; i < c; i++) total[i] += count * found[i];
    }
    for (long i = 0; i < c; i++) mean[i] = (float)(total[i] /= (double)pixels);
    for (long slab = 0; slab < t.k.slabs; slab++) {
        const double count = (double)min_of(most, pixels - slab * most), *found = t.found + 2 * slab * c;
        for (long i = 0; i < c; i++) squares[i] += found[c + i] + count * (found[i] - total[i]) * (found[i] - total[i]);
    }
    for (long i = 0; i < c; i++) var[i] = (float)(squares[i] / (double)pixels);
    return 0;
}
