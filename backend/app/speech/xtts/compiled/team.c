#include "team.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 2000 }; /* looks before a waiting thread offers its core to others */
enum { LINE = 8 };     /* counts of a line of the cache */

typedef struct {
    const Work *work;
    int threads;
    atomic_long *counts; /* [phases][1 + threads, rounded up]: chunks done, and taken of each thread's share */
} Run;

struct Team {
    pthread_mutex_t lock;
    pthread_cond_t begun, left;
    Run *run;    /* NULL: there is nothing to join */
    long number; /* of the run, so that nobody joins one twice */
    int wanted, inside, helpers;
    bool closing;
    pthread_t threads[];
};

/* A phase's counts, on lines of the cache of their own. */
static long counts_of(int threads) { return (threads + LINE) / LINE * LINE; }

static void take_part(Run *run, int thread) {
    const Work *work = run->work;
    const int threads = run->threads;
    for (int number = 0; number < work->phases; number++) {
        atomic_long *done = run->counts + number * counts_of(threads), *taken = done + 1;
        long all = work->chunks(work->of, number);
        for (int i = 0; i < threads; i++) {
            const long whose = (thread + i) % threads, first = all * whose / threads, end = all * (whose + 1) / threads;
            for (long at; (at = first + atomic_fetch_add_explicit(taken + whose, 1, memory_order_relaxed)) < end;) {
                work->chunk(work->of, number, at, thread);
                atomic_fetch_add_explicit(done, 1, memory_order_release);
            }
        }
        for (int spins = 0; atomic_load_explicit(done, memory_order_acquire) < all; spins++)
            if (spins < SPINS)
                _mm_pause();
            else
                sched_yield();
    }
}

static void *help(void *given) {
    Team *team = given;
    long last = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (!team->closing && (team->run == NULL || team->number == last || team->wanted == 0))
            pthread_cond_wait(&team->begun, &team->lock);
        if (team->closing) break;
        Run *run = team->run;
        int thread = team->wanted--;
        last = team->number;
        team->inside++;
        pthread_mutex_unlock(&team->lock);
        take_part(run, thread);
        pthread_mutex_lock(&team->lock);
        if (--team->inside == 0) pthread_cond_signal(&team->left);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

/* As many threads as `helpers`, asleep; fewer where the system gives no more. */
Team *team_new(int32_t helpers) {
    Team *team = calloc(1, sizeof(Team) + helpers * sizeof(pthread_t));
    if (team == NULL) return NULL;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->begun, NULL);
    pthread_cond_init(&team->left, NULL);
    while (team->helpers < helpers && pthread_create(team->threads + team->helpers, NULL, help, team) == 0)
        team->helpers++;
    return team;
}

void team_free(Team *team) {
    pthread_mutex_lock(&team->lock);
    team->closing = true;
    pthread_cond_broadcast(&team->begun);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->helpers; i++) pthread_join(team->threads[i], NULL);
    free(team);
}

int team_size(const Team *team, int threads) {
    return threads < team->helpers + 1 ? threads : team->helpers + 1;
}

bool team_run(Team *team, const Work *work, int threads) {
    threads = team_size(team, threads);
    size_t size = work->phases * counts_of(threads) * sizeof(atomic_long);
    atomic_long *counts = aligned_alloc(LINE * sizeof(atomic_long), size);
    if (counts == NULL) return false;
    memset(counts, 0, size);
    Run run = {work, threads, counts};
    pthread_mutex_lock(&team->lock);
    team->run = &run;
    team->number++;
    team->wanted = threads - 1;
    if (threads > 1) pthread_cond_broadcast(&team->begun);
    pthread_mutex_unlock(&team->lock);
    take_part(&run, 0);
    pthread_mutex_lock(&team->lock);
    team->run = NULL;
    while (team->inside > 0) pthread_cond_wait(&team->left, &team->lock);
    pthread_mutex_unlock(&team->lock);
    free(counts);
    return true;
}
