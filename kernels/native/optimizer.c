/* One step of an optimizer over flat arrays, in place.
 *
 *     SGD    g = grad + λ·value;  v = μ·v + g;  value −= lr · v        (Nesterov: lr · (g + μ·v))
 *     Adam   g = grad + λ·value;  m = β₁·m + (1 − β₁)g;  v = β₂·v + (1 − β₂)g²;  value −= scale · m/(√v·correction + ε)
 *
 *     for each item: some thousand parameters                                            shared out to threads
 *         for each parameter                                  all arrays pass through memory once
 *
 * Plain loops: the compiler makes vectors of them.
 */
#include "pool.h"
#include "simd.h"

#include <math.h>

#define ITEM (16 * 1024) /* parameters */

typedef struct {
    float *restrict value;
    const float *restrict grad;
    float *restrict velocity; /* NULL: no momentum */
    long n;
    float lr, momentum, decay;
    int nesterov;
} Sgd;

INLINE void sgd(const Sgd *t, long item, int has_velocity, int nesterov) {
    float *restrict value = t->value, *restrict velocity = t->velocity;
    const float *restrict grad = t->grad;
    const float lr = t->lr, momentum = t->momentum, decay = t->decay;
    const long last = min_of(t->n, (item + 1) * ITEM);
    for (long i = item * ITEM; i < last; i++) {
        float g = grad[i] + decay * value[i];
        if (has_velocity) {
            const float v = velocity[i] = momentum * velocity[i] + g;
            g = nesterov ? g + momentum * v : v;
        }
        value[i] -= lr * g;
    }
}

static void sgd_part(const void *task, long item, float *scratch) {
    const Sgd *t = task;
    (void)scratch;
    if (!t->velocity) sgd(t, item, 0, 0);
    else if (t->nesterov) sgd(t, item, 1, 1);
    else sgd(t, item, 1, 0);
}

/* velocity NULL: no momentum. */
int sgd_step(float *value, const float *grad, float *velocity, long n, float lr, float momentum, float decay,
             int nesterov) {
    const Sgd t = {value, grad, velocity, n, lr, momentum, decay, nesterov};
    return share_out(sgd_part, &t, ceil_div(n, ITEM), 0);
}

typedef struct {
    float *restrict value;
    const float *restrict grad;
    float *restrict m, *restrict v;
    long n;
    float scale, correction, beta1, beta2, eps, decay;
} Adam;

static void adam_part(const void *task, long item, float *scratch) {
    const Adam t = *(const Adam *)task;
    (void)scratch;
    const long last = min_of(t.n, (item + 1) * ITEM);
    for (long i = item * ITEM; i < last; i++) {
        const float g = t.grad[i] + t.decay * t.value[i];
        const float m = t.m[i] = t.beta1 * t.m[i] + (1 - t.beta1) * g;
        const float v = t.v[i] = t.beta2 * t.v[i] + (1 - t.beta2) * (g * g);
        t.value[i] -= t.scale * m / (sqrtf(v) * t.correction + t.eps);
    }
}

/* scale: lr / (1 − β₁ᵗ); correction: 1 / √(1 − β₂ᵗ). */
int adam_step(float *value, const float *grad, float *m, float *v, long n, float scale, float correction, float beta1,
              float beta2, float eps, float decay) {
    const Adam t = {value, grad, m, v, n, scale, correction, beta1, beta2, eps, decay};
    return share_out(adam_part, &t, ceil_div(n, ITEM), 0);
}
