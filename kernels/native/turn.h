/* Rows and columns exchanged, in squares of four by four. */
#ifndef MINICNN_TURN_H
#define MINICNN_TURN_H

#include "simd.h"

INLINE quad quad_at(const float *p) {
    quad four;
    memcpy(&four, p, sizeof four);
    return four;
}

#ifdef __clang__
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (int32_t __attribute__((vector_size(16)))){i, j, k, l})
#endif

/* The rows a, b, c, d of a square become its columns. */
INLINE void turn_square(quad a, quad b, quad c, quad d, float *to, long step) {
    const quad ab = MIX(a, b, 0, 4, 1, 5), AB = MIX(a, b, 2, 6, 3, 7), cd = MIX(c, d, 0, 4, 1, 5), CD = MIX(c, d, 2, 6, 3, 7);
    const quad columns[4] = {MIX(ab, cd, 0, 1, 4, 5), MIX(ab, cd, 2, 3, 6, 7), MIX(AB, CD, 0, 1, 4, 5), MIX(AB, CD, 2, 3, 6, 7)};
    for (int k = 0; k < 4; k++) memcpy(to + k * step, columns + k, sizeof *columns);
}

/* to[b·step + a] = from[a·row + b] for a < rows, b < columns. */
INLINE void turn_block(const float *from, long row, long rows, long columns, float *to, long step) {
    long a = 0;
    for (; a + 4 <= rows; a += 4) {
        const float *x = from + a * row;
        long b = 0;
        for (; b + 4 <= columns; b += 4, x += 4)
            turn_square(quad_at(x), quad_at(x + row), quad_at(x + 2 * row), quad_at(x + 3 * row), to + b * step + a, step);
        for (; b < columns; b++, x++)
            for (int k = 0; k < 4; k++) to[b * step + a + k] = x[k * row];
    }
    for (long b = 0; b < columns; b++)
        for (long rest = a; rest < rows; rest++) to[b * step + rest] = from[rest * row + b];
}

#endif
