#include "team.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 2000 }; /* looks before a waiting thread offers its core to others */

typedef struct {
    atomic_long claimed, done;
    char apart[48]; /* on a cache line of its own */
} Phase;

typedef struct {
    const Work *work;
    Phase *phases;
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

static void take_part(Run *run, int thread) {
    const Work *work = run->work;
    for (int number = 0; number < work->phases; number++) {
        Phase *phase = run->phases + number;
        long all = work->chunks(work->of, number), at;
        while ((at = atomic_fetch_add_explicit(&phase->claimed, 1, memory_order_relaxed)) < all) {
            work->chunk(work->of, number, at, thread);
            atomic_fetch_add_explicit(&phase->done, 1, memory_order_release);
        }
        for (int spins = 0; atomic_load_explicit(&phase->done, memory_order_acquire) < all; spins++)
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
    size_t size = work->phases * sizeof(Phase);
    Phase *phases = aligned_alloc(64, (size + 63) / 64 * 64);
    if (phases == NULL) return false;
    memset(phases, 0, size);
    Run run = {work, phases};
    threads = team_size(team, threads);
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
    free(phases);
    return true;
}
