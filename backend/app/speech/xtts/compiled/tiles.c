/* What tiles.h says: the products. */

#include "tiles.h"

enum { AHEAD = 64 }; /* input channels whose filters are called before they are read */

/* `rows` tiles, `apart` numbers apart, times one panel, of one point and `inputs` inputs, into (or onto)
   `products`. */
INLINE void multiply(const int16_t *cells, long apart, long inputs, const int16_t *filters, const float *scales, const float *scale,
                     float *products, bool onto, const int rows) {
    __m512i sums[ROWS][2];
    UNROLLED for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_si512();
    for (long k = 0; k < inputs; k += 2) {
        const int16_t *ahead = filters + (k + AHEAD) * PANEL;
        UNROLLED for (int j = 0; j < 2 * PANEL; j += PANEL) _mm_prefetch((const char *)(ahead + j), _MM_HINT_T0);
        __m512i w0 = _mm512_loadu_si512(filters + k * PANEL), w1 = _mm512_loadu_si512(filters + k * PANEL + PANEL);
        UNROLLED for (int i = 0; i < rows; i++) {
            __m512i a = _mm512_set1_epi32(*(const int32_t *)(cells + i * apart + k));
            MULTIPLY("vpdpwssd", sums[i][0], a, w0);
            MULTIPLY("vpdpwssd", sums[i][1], a, w1);
        }
    }
    __m512 scale_0 = _mm512_loadu_ps(scale), scale_1 = _mm512_loadu_ps(scale + LANES);
    UNROLLED for (int i = 0; i < rows; i++) {
        float *to = products + i * PANEL;
        __m512 factor = _mm512_set1_ps(scales[i]);
        __m512 y0 = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][0]), _mm512_mul_ps(factor, scale_0));
        __m512 y1 = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][1]), _mm512_mul_ps(factor, scale_1));
        if (onto) {
            y0 = _mm512_add_ps(y0, _mm512_loadu_ps(to));
            y1 = _mm512_add_ps(y1, _mm512_loadu_ps(to + LANES));
        }
        _mm512_storeu_ps(to, y0);
        _mm512_storeu_ps(to + LANES, y1);
    }
}

#define CASE(n) case n: multiply(cells, apart, inputs, filters, scales, scale, products, onto, n); break;
static void multiply_part(const int16_t *cells, long apart, long inputs, const int16_t *filters, const float *scales, const float *scale,
                          float *products, bool onto, long rows) {
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
    }
}

void multiply_tiles(const int16_t *cells, long apart, long inputs, const int16_t *filters, const float *scales,
                    const float *scale, float *products, long rows) {
    for (long input = 0; input < inputs; input += SOME)
        multiply_part(cells + input, apart, inputs - input < SOME ? inputs - input : SOME, filters + input * PANEL,
                      scales, scale, products, input > 0, rows);
}
