/* Weights become whole numbers, packed as weights.h says. */

#include "team.h"
#include "weights.h"

#include <string.h>

typedef struct {
    const float *weight; /* (outputs, inputs) */
    uint32_t *cells;
    uint16_t *scales; /* bf16, [outputs / 32][blocks][32] */
    int32_t outputs, inputs, precision;
} Packing;

/* Sixteen outputs' numbers of one input of a block, divided by their scales. */
INLINE __m512 column(const float block[PANEL][BLOCK], const float scales[PANEL], int half, int input) {
    const __m512i rows = _mm512_mullo_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi32(BLOCK));
    __m512 numbers = _mm512_i32gather_ps(rows, block[half * LANES] + input, sizeof(float));
    return _mm512_div_ps(numbers, _mm512_loadu_ps(scales + half * LANES));
}

/* The largest becomes `most`, or a little less: a scale is rounded up to bf16. */
static uint16_t scale_of(const float *numbers, long count, float most, float *scale) {
    __m512 largest = _mm512_set1_ps(1e-8f);
    for (long i = 0; i < count; i += LANES)
        largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(numbers + i)));
    uint32_t bits;
    *scale = _mm512_reduce_max_ps(largest) / most;
    memcpy(&bits, scale, sizeof bits);
    bits = (bits + 0xFFFF) & ~0xFFFFu;
    memcpy(scale, &bits, sizeof bits);
    return bits >> 16;
}

/* The likelier of two sets of last bits, each of four that decide: `first` are ones where `gain` is below zero, but for
   the one that matters least where the number of ones is not as `odd` says. Returns what they cost. */
static __m512 decided(const __m512 gain[4], bool odd, __mmask16 ones[4]) {
    __m512 cost = _mm512_setzero_ps(), least = _mm512_set1_ps(1e30f);
    __mmask16 wrong = odd ? 0xFFFF : 0;
    for (int i = 0; i < 4; i++) {
        ones[i] = _mm512_cmp_ps_mask(gain[i], _mm512_setzero_ps(), _CMP_LT_OQ);
        cost = _mm512_mask_add_ps(cost, ones[i], cost, gain[i]);
        least = _mm512_min_ps(least, _mm512_abs_ps(gain[i]));
        wrong ^= ones[i];
    }
    cost = _mm512_mask_add_ps(cost, wrong, cost, least);
    for (int i = 0; i < 4; i++) {
        __mmask16 here = wrong & _mm512_cmp_ps_mask(_mm512_abs_ps(gain[i]), least, _CMP_EQ_OQ);
        ones[i] ^= here;
        wrong &= ~here;
    }
    return cost;
}

/* The point of E8 that is nearest to y, in each of sixteen lanes. */
static void nearest(const __m512 y[8], __m512i point[8]) {
    const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f), half = _mm512_set1_ps(0.5f);
    __m512 even[8], odd[8], gain[8], same[4], opposite[4], rest = _mm512_setzero_ps();
    for (int i = 0; i < 8; i++) {
        __m512 halved = _mm512_mul_ps(y[i], half);
        even[i] = _mm512_mul_ps(two, _mm512_roundscale_ps(halved, _MM_FROUND_TO_NEAREST_INT));
        even[i] = _mm512_max_ps(_mm512_min_ps(even[i], _mm512_set1_ps(510.0f)), _mm512_set1_ps(-510.0f));
        odd[i] = _mm512_add_ps(_mm512_mul_ps(two, _mm512_roundscale_ps(halved, _MM_FROUND_TO_NEG_INF)), one);
        odd[i] = _mm512_max_ps(_mm512_min_ps(odd[i], _mm512_set1_ps(511.0f)), _mm512_set1_ps(-511.0f));
        __m512 from_even = _mm512_sub_ps(y[i], even[i]), from_odd = _mm512_sub_ps(y[i], odd[i]);
        gain[i] = _mm512_sub_ps(_mm512_mul_ps(from_odd, from_odd), _mm512_mul_ps(from_even, from_even));
    }
    for (int i = 0; i < 4; i++) {
        same[i] = _mm512_add_ps(gain[i], gain[i + 4]);
        opposite[i] = _mm512_sub_ps(gain[i], gain[i + 4]);
        rest = _mm512_add_ps(rest, gain[i + 4]);
    }
    __mmask16 ones[4], others[4];
    __m512 cost = decided(same, false, ones), other = _mm512_add_ps(rest, decided(opposite, true, others));
    __mmask16 swapped = _mm512_cmp_ps_mask(other, cost, _CMP_LT_OQ);
    for (int i = 0; i < 4; i++) {
        __mmask16 first = (ones[i] & ~swapped) | (others[i] & swapped), second = first ^ swapped;
        point[i] = _mm512_cvtps_epi32(_mm512_mask_blend_ps(first, even[i], odd[i]));
        point[i + 4] = _mm512_cvtps_epi32(_mm512_mask_blend_ps(second, even[i + 4], odd[i + 4]));
    }
}

/* Bits of `from` at `bit`, to be those at `to`. */
INLINE __m512i moved(__m512i from, int bit, int to) {
    __m512i one = _mm512_and_si512(_mm512_srli_epi32(from, bit), _mm512_set1_epi32(1));
    return _mm512_slli_epi32(one, to);
}

/* A unit: 32 inputs of a block, from `begin` on. */
static void pack_unit(const float block[PANEL][BLOCK], const float scales[PANEL], int begin, uint32_t *unit) {
    __m512i kept[KEPT];
    for (int i = 0; i < KEPT; i++) kept[i] = _mm512_setzero_si512();
    for (int quarter = 0; quarter < 2; quarter++)
        for (int half = 0; half < 2; half++)
            for (int upper = 0; upper < 2; upper++) { /* of a cell's two numbers */
                __m512 y[8];
                __m512i point[8];
                for (int i = 0; i < 8; i++) {
                    int cell = 4 * (quarter + i / 4 * 2) + i % 4;
                    y[i] = column(block, scales, half, begin + 2 * cell + upper);
                }
                nearest(y, point);
                for (int i = 0; i < 8; i++) {
                    int later = i / 4, cell = i % 4, at = WORDS + 4 * (quarter + 2 * later) + cell, vector = 2 * cell + half;
                    __m512i eight = _mm512_and_si512(_mm512_srai_epi32(point[i], 2), _mm512_set1_epi32(0xFF));
                    int shift = 16 * upper;
                    kept[at] = _mm512_or_si512(kept[at], _mm512_slli_epi32(eight, shift + (half ? 0 : 8)));
                    kept[later] = _mm512_or_si512(kept[later], moved(point[i], 1, shift + 2 * vector + 1 - quarter));
                    if (!later) kept[2] = _mm512_or_si512(kept[2], moved(point[i], 0, shift + 2 * vector + quarter));
                }
            }
    for (int i = 0; i < KEPT; i++) _mm512_storeu_si512(unit + i * LANES, kept[i]);
}

/* INT8: four inputs of a block, from `begin` on. */
static void pack_cells(const float block[PANEL][BLOCK], const float scales[PANEL], int begin, uint32_t *cells) {
    for (int half = 0; half < 2; half++) {
        __m512i cell = _mm512_setzero_si512();
        for (int i = 0; i < 4; i++) {
            __m512i whole = _mm512_cvtps_epi32(column(block, scales, half, begin + i));
            whole = _mm512_add_epi32(whole, _mm512_set1_epi32(128));
            cell = _mm512_or_si512(cell, _mm512_slli_epi32(whole, 8 * i));
        }
        _mm512_storeu_si512(cells + half * LANES, cell);
    }
}

static long panels(const void *of, int phase) { return ((const Packing *)of)->outputs / PANEL; }

static void pack_panel(void *of, int phase, long panel, int thread) {
    const Packing *all = of;
    const long inputs = all->inputs, blocks = blocks_of(inputs);
    uint32_t *cells = all->cells + panel * size_of(inputs, all->precision);
    float block[PANEL][BLOCK], scales[PANEL];
    for (long number = 0; number < blocks; number++) {
        const long begin = number * BLOCK, count = begin + BLOCK < inputs ? BLOCK : inputs - begin;
        for (int output = 0; output < PANEL; output++) {
            memcpy(block[output], all->weight + (panel * PANEL + output) * inputs + begin, count * sizeof(float));
            all->scales[(panel * blocks + number) * PANEL + output] =
                scale_of(block[output], count, all->precision == INT8 ? 127.0f : 511.0f, scales + output);
        }
        if (all->precision == INT8)
            for (int i = 0; i < count; i += 4, cells += PANEL) pack_cells(block, scales, i, cells);
        else
            for (int i = 0; i < count; i += UNIT, cells += KEPT * LANES) pack_unit(block, scales, i, cells);
    }
}

/* `weight` (outputs, inputs) in INT16 or INT8, by `threads` threads, this one among them; false: memory was short. */
bool pack(Team *team, const float *weight, uint32_t *cells, uint16_t *scales, int32_t outputs, int32_t inputs,
          int32_t precision, int32_t threads) {
    Packing all = {weight, cells, scales, outputs, inputs, precision};
    Work work = {&all, 1, panels, pack_panel};
    return team_run(team, &work, threads);
}
