/* Convolutions on maps of a few pixels: arrays copied so that the images of a batch lie a good distance apart. */
#ifndef MINICNN_CONV_POINTS_H
#define MINICNN_CONV_POINTS_H

#include "conv.h"

/* Floats from one image to the next in a copy: not a power of two, or the same pixel of all images would compete for
 * the same lines of the cache. */
INLINE long apart(long image) { return ceil_div(image, LANES) * LANES + 16; }

/* n images of rows×columns pixels of `channels`, through the gate's bits, to contiguous images `apart` floats apart. */
int copy_apart(const float *from, const uint32_t *gate, long start, long n, long rows, long columns, long channels,
               long step_n, long step_row, long step_column, float *to);

#endif
