/* Vectors over the channels of a pixel, where the channels need not be a number of whole vectors.
 *
 * The last vector of a pixel runs on into the next pixel. What it reads there does no harm, and what it writes there is
 * overwritten when that pixel's turn comes: so pixels are written in the order of memory. Only at the end of the
 * memory, or of what this item of work may write, are there fewer numbers than a vector has.
 */
#ifndef MINICNN_SPANS_H
#define MINICNN_SPANS_H

#include "simd.h"

/* What happens at an end is kept apart: mixed with the rest it costs registers. */
#define AT_END static __attribute__((noinline, cold, unused))

AT_END vec load_last(const float *p, long n) { return load_part(p, n); }
AT_END void store_last(float *p, vec v, long n) { store_part(p, v, n); }

INLINE vec load_until(const float *p, const float *end) { return end - p < LANES ? load_last(p, end - p) : load(p); }
INLINE void store_until(float *p, vec v, const float *end) {
    if (end - p < LANES) store_last(p, v, end - p);
    else store(p, v);
}

/* A byte for each float of a vector. Loops over the lanes become one instruction; __builtin_convertvector does not. */
INLINE ivec widen(const uint8_t *p) {
    int32_t wide[LANES];
    ivec v;
    for (int i = 0; i < LANES; i++) wide[i] = p[i];
    memcpy(&v, wide, sizeof v);
    return v;
}
INLINE void narrow(uint8_t *p, ivec v) {
    int32_t wide[LANES];
    uint8_t part[LANES];
    memcpy(wide, &v, sizeof v);
    for (int i = 0; i < LANES; i++) part[i] = (uint8_t)wide[i];
    memcpy(p, part, LANES);
}

AT_END ivec load_last_bytes(const uint8_t *p, long n) {
    uint8_t part[LANES] = {0};
    memcpy(part, p, n);
    return widen(part);
}
AT_END void store_last_bytes(uint8_t *p, ivec v, long n) {
    uint8_t part[LANES];
    narrow(part, v);
    memcpy(p, part, n);
}

INLINE ivec load_bytes(const uint8_t *p, const uint8_t *end) {
    return end - p < LANES ? load_last_bytes(p, end - p) : widen(p);
}
INLINE void store_bytes(uint8_t *p, ivec v, const uint8_t *end) {
    if (end - p < LANES) store_last_bytes(p, v, end - p);
    else narrow(p, v);
}

/* The larger one, a where they are equal; NaN where either is NaN. */
INLINE ivec exceeds(vec b, vec a) { return (b > a) | (b != b); }

#endif
