/* The choice of the next code: what sampling.py does in some twenty operations. */

#include "choice.h"
#include "vectors.h"

#include <math.h>

/* Scores (codes, rounded up) of one row's logits; beyond the codes the least. */
static void score(const float *logits, const uint8_t *seen, int codes, const Sampling *sampling, float *scores) {
    const __m512 penalty = _mm512_set1_ps(sampling->penalty), temperature = _mm512_set1_ps(sampling->temperature);
    for (int i = 0; i < codes; i += LANES) {
        __mmask16 there = codes - i >= LANES ? 0xFFFF : (1u << (codes - i)) - 1;
        __m512 logit = _mm512_maskz_loadu_ps(there, logits + i);
        __mmask16 known = _mm_test_epi8_mask(_mm_maskz_loadu_epi8(there, seen + i), _mm_set1_epi8(-1));
        __mmask16 below = _mm512_cmp_ps_mask(logit, _mm512_setzero_ps(), _CMP_LT_OQ);
        logit = _mm512_mask_mul_ps(logit, known & below, logit, penalty);
        logit = _mm512_mask_div_ps(logit, known & ~below, logit, penalty);
        __m512 least = _mm512_set1_ps(-INFINITY);
        _mm512_storeu_ps(scores + i, _mm512_mask_div_ps(least, there, logit, temperature));
    }
}

/* The `most` best of the scores and whose they are, in order; of equal ones the first. Returns how many there are: what
   is no number is better than nothing. */
static int rank(const float *scores, int codes, int most, float *best, int32_t *whose) {
    int count = 0;
    for (int i = 0; i < codes; i += LANES) {
        float least = count < most ? -INFINITY : best[most - 1];
        __m512 here = _mm512_loadu_ps(scores + i);
        for (unsigned better = _mm512_cmp_ps_mask(here, _mm512_set1_ps(least), _CMP_GT_OQ); better; better &= better - 1) {
            const int code = i + __builtin_ctz(better);
            const float mine = scores[code];
            int at;
            if (count < most) at = count++;
            else if (mine > best[most - 1]) at = most - 1;
            else continue; /* those just before were better */
            for (; at > 0 && best[at - 1] < mine; at--) best[at] = best[at - 1], whose[at] = whose[at - 1];
            best[at] = mine, whose[at] = code;
        }
    }
    return count;
}

/* Which of `count` scores, the best first, a draw falls on, of those that top-p leaves. */
static int fallen(float *best, int count, float top_p, float draw) {
    float sum = 0.0f, left = 0.0f, most = best[0];
    for (int i = 0; i < count; i++) sum += best[i] = expf(best[i] - most);
    /* A code stays while it and the less likely ones weigh more than what may be cut off. */
    float tail = 0.0f, tails[count];
    for (int i = count - 1; i >= 0; i--) tails[i] = tail += best[i] /= sum;
    int kept = 1;
    while (kept < count && tails[kept] > 1.0f - top_p && best[kept] > 0.0f) kept++;
    for (int i = 0; i < kept; i++) left += best[i];
    float passed = 0.0f;
    for (int i = 0; i < kept; i++)
        if ((passed += best[i] / left) > draw) return i;
    return kept - 1; /* rounding can leave the last sum under 1, and a draw above it */
}

int64_t choice_of(const float *logits, const uint8_t *seen, float draw, int codes, const Sampling *sampling) {
    float scores[codes + LANES], best[sampling->top_k];
    int32_t whose[sampling->top_k];
    score(logits, seen, codes, sampling, scores);
    int count = rank(scores, codes, sampling->top_k, best, whose);
    /* Of numbers that are none, one that there is. */
    return count ? whose[fallen(best, count, sampling->top_p, draw)] : codes - 1;
}

/* Codes (rows) from logits (rows, codes), `step` numbers from row to row, what each row has seen (rows, codes), and
   its number (rows). */
void choose(const float *logits, int64_t step, const uint8_t *seen, const float *draws, int64_t *chosen, int32_t rows,
            int32_t codes, const Sampling *sampling) {
    for (long row = 0; row < rows; row++)
        chosen[row] = choice_of(logits + row * step, seen + row * codes, draws[row], codes, sampling);
}
