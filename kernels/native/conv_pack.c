/* Filters (F, C, KH, KW), packed for the tile: [F/FB] blocks of [FB] biases and [KH][KW][C][FB] weights.
 *
 * The tile reads FB = one or two vectors of filters for each (tap, channel), one after the other. Missing filters of the
 * last block are 0. A block is read in parts of a few channels, so that the taps of a filter, which are neighbours in
 * memory, are used while they are in the cache.
 */
#include "conv.h"

#define CHANNELS 16 /* in a part: 32 filters of 3×3 taps of them are 18 KiB */

typedef struct {
    Filters from;
    float *packed;
} Packing;

static void pack_block(const void *task, long block, float *scratch) {
    (void)scratch;
    const Packing *t = task;
    const Filters *from = &t->from;
    const long FB = block_size(from->outputs), taps = from->kh * from->kw, first = block * FB;
    const long there = min_of(FB, from->outputs - first);
    float *to = t->packed + block * FB * (taps * from->inputs + 1);
    for (long o = 0; o < FB; o++) to[o] = from->bias && o < there ? from->bias[first + o] : 0;
    to += FB;
    for (long c0 = 0; c0 < from->inputs; c0 += CHANNELS)
        for (long a = 0; a < from->kh; a++)
            for (long b = 0; b < from->kw; b++)
                for (long c = c0; c < min_of(c0 + CHANNELS, from->inputs); c++) {
                    const float *w = from->w + first * from->wo + c * from->wi + a * from->wa + b * from->wb;
                    float *out = to + ((a * from->kw + b) * from->inputs + c) * FB;
                    for (long o = 0; o < there; o++) out[o] = w[o * from->wo];
                    for (long o = there; o < FB; o++) out[o] = 0;
                }
}

int pack_filters(const Filters *from, float *packed) {
    const Packing task = {*from, packed};
    return share_out(pack_block, &task, ceil_div(from->outputs, block_size(from->outputs)), 0);
}

long packed_size(long outputs, long inputs, long taps) { return packed_floats(outputs, inputs, taps); }
