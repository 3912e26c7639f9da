/* Vectors of floats, as wide as the registers of the processor that this is compiled for.
 *
 * GCC's and clang's vector extensions: `a + b * c` works on whole vectors and becomes fused multiply-adds. The width is
 * a constant of the compilation, so each source is compiled once for each kind of processor.
 */
#ifndef MINICNN_SIMD_H
#define MINICNN_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16 /* floats in a vector */
#define ACCUMULATORS 28 /* vectors that a tile holds in registers: of 32, some are needed for what is read */
#elif defined(__AVX__)
#define LANES 8
#define ACCUMULATORS 12
#else
#define LANES 4
#define ACCUMULATORS 12
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float quad __attribute__((vector_size(16)));
typedef vec uvec __attribute__((aligned(4), may_alias)); /* a vector anywhere in memory */

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p) { return *(const uvec *)p; }
INLINE void store(float *p, vec v) { *(uvec *)p = v; }
INLINE vec splat(float a) { return a - (vec){0}; }

/* a where the mask is all ones, 0 where it is zero: C has no `mask ? a : b` for vectors. */
INLINE vec keep(ivec mask, vec a) { return (vec)(mask & (ivec)a); }
INLINE vec choose(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
INLINE vec positive(vec a) { return keep(~(a < 0), a); } /* max(a, 0), and NaN for NaN */
INLINE vec larger(vec a, vec b) { return choose(a > b, a, b); }

/* The first n floats of a vector, n <= LANES; the rest reads as 0, and is not written. */
INLINE vec load_part(const float *p, long n) {
    vec v = {0};
    if (n >= LANES) return load(p);
    memcpy(&v, p, 4 * n);
    return v;
}
INLINE void store_part(float *p, vec v, long n) {
    if (n >= LANES) store(p, v);
    else memcpy(p, &v, 4 * n);
}

INLINE float sum_lanes(vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

INLINE long min_of(long a, long b) { return a < b ? a : b; }
INLINE long max_of(long a, long b) { return a > b ? a : b; }
INLINE long ceil_div(long a, long b) { return (a + b - 1) / b; }

#endif
