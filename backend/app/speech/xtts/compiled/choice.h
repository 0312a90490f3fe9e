/* The choice of the next code. */

#pragma once
#include <stdint.h>

typedef struct {
    float temperature, top_p, penalty; /* the first above 0 */
    int32_t top_k;                     /* up to the number of codes */
} Sampling;

/* The code of one row, from its logits (codes), which codes it has seen (codes), and its number to draw with. */
int64_t choice_of(const float *logits, const uint8_t *seen, float draw, int codes, const Sampling *sampling);
