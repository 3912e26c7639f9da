/* Work shared out to threads. */
#ifndef MINICNN_POOL_H
#define MINICNN_POOL_H

/* One item of work: `task` is what the caller handed over, `scratch` is memory of the thread that runs it,
 * not initialized, the same for all items of a thread. */
typedef void (*Work)(const void *task, long item, float *scratch);

/* Run items 0 … count − 1, each once, on all threads, and return when all are done. `scratch` floats each thread gets.
 * 0, or −1 where there is not enough memory (then nothing was run). */
int share_out(Work work, const void *task, long count, long scratch);

/* Let as many threads work from now on, the caller included. Returns the number taken (1 to 256). */
int set_threads(int wanted);

/* Memory of the caller that lasts until the next call of a kernel: for what one phase leaves to the next. NULL: none left. */
float *workspace(long floats);

#endif
