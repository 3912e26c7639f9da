/* Softmax and cross-entropy in one: the loss, and its gradient on the way.
 *
 *     p = exp(z − largest) / Σ,  t = (1 − ε)·onehot(target) + ε/K
 *     loss = −(1/N) Σ t·log p,  gradient = (p − t)/N
 *
 *     for each example: its largest score; the sums; the gradient               by the caller alone: there are few numbers
 */
#include <math.h>

#include "simd.h"

/* z and gradient (N, K). 1 where a target is no class (then the rest is not computed), else 0. */
int softmax_cross_entropy(const float *z, const int64_t *targets, float *gradient, float *loss, long examples,
                          long classes, double smoothing) {
    const double share = smoothing / classes;
    double total = 0;
    for (long n = 0; n < examples; n++, z += classes, gradient += classes) {
        const long target = targets[n];
        if (target < 0 || target >= classes) return 1;
        float largest = z[0];
        for (long k = 1; k < classes; k++) largest = z[k] > largest ? z[k] : largest;
        double sum = 0, shifted = 0;
        for (long k = 0; k < classes; k++) {
            gradient[k] = expf(z[k] - largest);
            sum += gradient[k], shifted += z[k] - largest;
        }
        const double log_sum = log(sum);
        total += (1 - smoothing) * (z[target] - largest - log_sum);
        if (share) total += share * (shifted - classes * log_sum);
        const double right = gradient[target] / sum - share - (1 - smoothing);
        for (long k = 0; k < classes; k++) gradient[k] = (float)((gradient[k] / sum - share) / examples);
        gradient[target] = (float)(right / examples);
    }
    *loss = (float)(-total / examples);
    return 0;
}
