/* Memory that is freed stays with the process.
 *
 * glibc gives each large array pages of its own from the system, and gives them back when the array is freed. The next
 * step of a training, or of a picture, asks for the same sizes again: every page is then faulted in and filled with zeros
 * anew, which takes up to a third of the step. With these two settings arrays come from memory that was freed before.
 */
#include <limits.h>
#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* 1 where it was done, 0 where the C library is another one. */
int keep_memory(void) {
#ifdef __GLIBC__
    return mallopt(M_MMAP_MAX, 0) && mallopt(M_TRIM_THRESHOLD, INT_MAX);
#else
    return 0;
#endif
}
