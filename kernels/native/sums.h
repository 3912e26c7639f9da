/* Sums of partial sums. */
#ifndef MINICNN_SUMS_H
#define MINICNN_SUMS_H

/* total[i] = Σ parts[s·count + i] over s = 0 … slabs − 1, in this order. 0, or −1 where memory is missing. */
int add_up(const float *parts, long slabs, long count, float *total);

#endif
