/* Threads that share work out among themselves.

   Work is a list of phases, each of which is cut into chunks. Every thread has a share of neighbouring ones, so
   that it reads memory in one stretch; one that is through with its own takes of the others' shares, and a phase
   ends when all of its chunks are done. So a thread that has lost its core holds up nobody who can go on
   without it. */

#pragma once
#include <stdbool.h>

typedef struct Team Team;

typedef struct {
    void *of; /* what the two functions are called with */
    int phases;
    long (*chunks)(const void *of, int phase);
    void (*chunk)(void *of, int phase, long at, int thread); /* `thread`: 0 up to, not including, the number of threads */
} Work;

/* How many threads work at most where `threads` are asked for. */
int team_size(const Team *team, int threads);

/* By this thread and `threads` - 1 others; false: memory was short, nothing was done. */
bool team_run(Team *team, const Work *work, int threads);
