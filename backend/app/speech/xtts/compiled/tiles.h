/* Tiles in whole numbers of 16 bits.

   A tile is some neighbouring results of a filter. The positions they hang on are transformed, multiplied with the
   transformed filter point by point, and transformed back: as many products of channels as there are points, instead
   of one a result and tap. Whole numbers of 16 bits have room for what the transforms do: activations have 14, with
   a scale a tile, and filters as many as let the sums of some inputs fit 32 bits, with a scale an output and point. */

#pragma once
#include "vectors.h"

#include <stdbool.h>
#include <stdint.h>

enum { ROWS = 12 };                 /* at most: tiles multiplied at once */
enum { WIDEST = 1024, SOME = 128 }; /* input channels: at most; added up in whole numbers */

static const float silence[WIDEST];

/* `rows` tiles of one point, `inputs` channels and `apart` numbers from one to the next, times one panel of the
   filter, into `products` [ROWS][PANEL]. `scales` are the tiles', `scale` the panel's. */
void multiply_tiles(const int16_t *cells, long apart, long inputs, const int16_t *filters, const float *scales,
                    const float *scale, float *products, long rows);

/* What makes whole numbers of numbers up to `largest`; `scale` is what they are to be multiplied with again. */
INLINE float whole_factor(__m512 largest, float *scale) {
    const float most = 8191.0f, found = _mm512_reduce_max_ps(largest); /* 14 bits */
    *scale = found / most;
    return most / found;
}

INLINE void store_whole(int16_t *to, __m512 x, __m512 factor) {
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(x, factor))));
}

/* Winograd's transforms of a filter with 3 taps, from as many positions as `points`: `to` is (points, points), `from`
   (points - 2, points). Points come as pairs p, -p, whose rows differ in the sign of every second number; then zero,
   and infinity, where every second number is missing. */
INLINE void winograd(const float *to, const __m512 *x, __m512 *y, const int points) {
    UNROLLED for (int p = 0; p < points - 2; p += 2) {
        const float *row = to + p * points;
        __m512 even = _mm512_mul_ps(x[0], _mm512_set1_ps(row[0])), odd = _mm512_mul_ps(x[1], _mm512_set1_ps(row[1]));
        UNROLLED for (int j = 2; j < points; j += 2) even = _mm512_fmadd_ps(x[j], _mm512_set1_ps(row[j]), even);
        UNROLLED for (int j = 3; j < points; j += 2) odd = _mm512_fmadd_ps(x[j], _mm512_set1_ps(row[j]), odd);
        y[p] = _mm512_add_ps(even, odd);
        y[p + 1] = _mm512_sub_ps(even, odd);
    }
    UNROLLED for (int p = points - 2; p < points; p++) {
        const float *row = to + p * points;
        const int first = p == points - 1;
        y[p] = _mm512_mul_ps(x[first], _mm512_set1_ps(row[first]));
        UNROLLED for (int j = first + 2; j < points; j += 2) y[p] = _mm512_fmadd_ps(x[j], _mm512_set1_ps(row[j]), y[p]);
    }
}

/* Back from products, onto what y is. */
INLINE void winograd_back(const float *from, const __m512 *products, __m512 *y, const int points) {
    UNROLLED for (int p = 0; p < points - 2; p += 2) {
        __m512 sum = _mm512_add_ps(products[p], products[p + 1]), difference = _mm512_sub_ps(products[p], products[p + 1]);
        UNROLLED for (int i = 0; i < points - 2; i++)
            y[i] = _mm512_fmadd_ps(i % 2 ? difference : sum, _mm512_set1_ps(from[i * points + p]), y[i]);
    }
    y[0] = _mm512_add_ps(y[0], products[points - 2]);
    y[points - 3] = _mm512_add_ps(y[points - 3], products[points - 1]);
}
