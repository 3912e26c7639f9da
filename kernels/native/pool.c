/* A set of POSIX threads that wait for work.
 *
 *     share_out(work, task, count):   while (item = next++) < count: work(task, item)        on every thread at once
 *
 * Threads take the next item when they are done with one (dynamic scheduling): a core that another process uses for a
 * while does fewer of them. No result depends on which thread ran an item, so none depends on the number of threads.
 *
 * The caller works too, and never waits for a thread that has not come: it opens the job, takes items until there are
 * none, closes the job, and waits only for those inside. Between two jobs a thread looks for new work for a short time
 * and then sleeps: the kernels of a network follow one another within microseconds, and waking takes fifty. It does not
 * look for long, because others (BLAS's threads) may want the core.
 */
#include "pool.h"
#include "simd.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MOST_THREADS 256
#define LOOKS 2000 /* for new work before sleeping: about 50 µs */

static struct {
    Work work;
    const void *task;
    long count, scratch;
} job; /* written only while the job is closed and nobody is inside */

static atomic_int is_open, inside, sleeping;
static atomic_uint jobs; /* opened so far */
static atomic_long next_item;
static atomic_int threads = 1; /* that may work, the caller included */
static int started = 1; /* that exist, the caller included */

static pthread_mutex_t one_caller = PTHREAD_MUTEX_INITIALIZER; /* another one meanwhile works alone */
static pthread_mutex_t bed = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

/* Memory that grows and is kept: pages fresh from the system cost more than the work on them. */
typedef struct {
    float *memory;
    long floats;
} Kept;

static _Thread_local struct {
    Kept scratch, workspace;
} own;

static pthread_key_t at_end; /* its destructor gives the memory of a thread that ends back */

static void release(void *own_memory) {
    (void)own_memory;
    free(own.scratch.memory), free(own.workspace.memory);
    memset(&own, 0, sizeof own);
}

static float *grow(Kept *kept, long floats) {
    if (kept->floats < floats || !kept->memory) {
        free(kept->memory);
        kept->memory = NULL, kept->floats = 0;
        if (posix_memalign((void **)&kept->memory, 64, sizeof(float) * max_of(floats, 16))) return kept->memory = NULL;
        kept->floats = floats;
        pthread_setspecific(at_end, &own);
    }
    return kept->memory;
}

float *workspace(long floats) { return grow(&own.workspace, floats); }

INLINE void breathe(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void take_part(void) {
    atomic_fetch_add(&inside, 1); /* first inside, then looking whether it is open: the caller does the reverse */
    if (atomic_load(&is_open)) {
        float *scratch = grow(&own.scratch, job.scratch);
        if (scratch) /* without memory this thread leaves the items to the others */
            for (long item; (item = atomic_fetch_add(&next_item, 1)) < job.count;) job.work(job.task, item, scratch);
    }
    atomic_fetch_sub(&inside, 1);
}

static void *helper(void *number) {
    unsigned seen = 0;
    for (;;) {
        for (int look = 0; atomic_load(&jobs) == seen && look < LOOKS; look++) breathe();
        if (atomic_load(&jobs) == seen) {
            pthread_mutex_lock(&bed);
            atomic_fetch_add(&sleeping, 1);
            while (atomic_load(&jobs) == seen) pthread_cond_wait(&wake, &bed);
            atomic_fetch_sub(&sleeping, 1);
            pthread_mutex_unlock(&bed);
        }
        seen = atomic_load(&jobs);
        if ((intptr_t)number < atomic_load(&threads)) take_part();
    }
    return NULL;
}

/* The helpers that are still missing, started when they are first wanted; the caller holds `one_caller`. */
static void start_helpers(void) {
    for (; started < atomic_load(&threads); started++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, helper, (void *)(intptr_t)started)) {
            atomic_store(&threads, started); /* the system gives no more: go on with those that there are */
            return;
        }
        pthread_detach(thread);
    }
}

int share_out(Work work, const void *task, long count, long scratch) {
    float *mine = grow(&own.scratch, scratch);
    if (!mine) return -1;
    if (count < 2 || atomic_load(&threads) < 2 || pthread_mutex_trylock(&one_caller)) {
        for (long item = 0; item < count; item++) work(task, item, mine);
        return 0;
    }
    start_helpers();
    job.work = work, job.task = task, job.count = count, job.scratch = scratch;
    atomic_store(&next_item, 0);
    atomic_store(&is_open, 1);
    atomic_fetch_add(&jobs, 1);
    if (atomic_load(&sleeping)) {
        pthread_mutex_lock(&bed);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&bed);
    }
    for (long item; (item = atomic_fetch_add(&next_item, 1)) < count;) work(task, item, mine);
    atomic_store(&is_open, 0);
    for (int look = 0; atomic_load(&inside); look++) look < LOOKS ? breathe() : (void)sched_yield();
    pthread_mutex_unlock(&one_caller);
    return 0;
}

/* After a fork the child has none of the helpers: it starts its own when it first wants them. */
static void in_child(void) {
    pthread_mutex_init(&one_caller, NULL);
    pthread_mutex_init(&bed, NULL);
    pthread_cond_init(&wake, NULL);
    started = 1;
    atomic_store(&is_open, 0), atomic_store(&inside, 0), atomic_store(&sleeping, 0);
}

/* Called once before everything else (library.py), and whenever somebody wants another number. */
int set_threads(int wanted) {
    static int prepared = 0;
    if (!prepared) prepared = !pthread_key_create(&at_end, release) && !pthread_atfork(NULL, NULL, in_child);
    atomic_store(&threads, (int)min_of(max_of(wanted, 1), MOST_THREADS));
    return atomic_load(&threads);
}

int thread_count(void) { return atomic_load(&threads); }

int lanes(void) { return LANES; }

/* What the processor has, asked of the library that every processor can run. */
int has_avx512(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
#else
    return 0;
#endif
}

int has_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return 0;
#endif
}
