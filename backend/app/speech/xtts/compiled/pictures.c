/* Convolutions of pictures, of 3 x 3, on processors with AVX-512 (VNNI), in whole numbers of 16 bits (tiles.h): a tile
   is 4 x 6 results, whose 6 x 8 positions go through Winograd's transforms down and across. 48 products for 24 results
   instead of 216.

   Pictures are fp32, (rows, columns, channels), channels a multiple of 16; outside of its borders a picture is zero. */

#include "tiles.h"

enum { DOWN = 6, ACROSS = 8, POINTS = DOWN * ACROSS }; /* positions that a tile hangs on */
enum { HIGH = DOWN - 2, WIDE = ACROSS - 2 };           /* its results */

/* ---- what Python hands over; pictures.py has the same structure ---- */

/* y = gain * rectified(convolution of x) + shift. */
typedef struct {
    int32_t inputs, outputs; /* channels */
    float slope;             /* of what is below zero, between convolution and gain; 1: it is not rectified */
    const int16_t *cells;    /* [panels][POINTS][inputs / 2][32][2] */
    const float *scale;      /* [POINTS][panels * 32] */
    const float *gain, *shift;    /* [panels * 32] */
    const float *to[2], *from[2]; /* Winograd's, down and across */
} Filter;

typedef struct {
    long rows, columns;
} Size;

/* The positions that tile `at` hangs on. */
INLINE void hear(const Filter *f, Size size, const float *x, long at, const float **from) {
    const long across = (size.columns + WIDE - 1) / WIDE, top = at / across * HIGH - 1, left = at % across * WIDE - 1;
    for (int i = 0; i < DOWN; i++)
        for (int j = 0; j < ACROSS; j++) {
            const long row = top + i, column = left + j;
            bool inside = row >= 0 && row < size.rows && column >= 0 && column < size.columns;
            from[i * ACROSS + j] = inside ? x + (row * size.columns + column) * f->inputs : silence;
        }
}

/* One tile's positions, transformed, into whole numbers `apart` from one point to the next. */
static void transform(const Filter *f, const float **from, int16_t *cells, long apart, float *scale, float *numbers) {
    __m512 most[2] = {_mm512_set1_ps(1e-30f), _mm512_set1_ps(1e-30f)};
    for (long channel = 0; channel < f->inputs; channel += LANES) {
        __m512 between[DOWN][ACROSS];
        for (int j = 0; j < ACROSS; j++) {
            __m512 x[DOWN], y[DOWN];
            UNROLLED for (int i = 0; i < DOWN; i++) x[i] = _mm512_loadu_ps(from[i * ACROSS + j] + channel);
            winograd(f->to[0], x, y, DOWN);
            UNROLLED for (int i = 0; i < DOWN; i++) between[i][j] = y[i];
        }
        for (int i = 0; i < DOWN; i++) {
            __m512 y[ACROSS];
            winograd(f->to[1], between[i], y, ACROSS);
            UNROLLED for (int j = 0; j < ACROSS; j++) {
                most[j % 2] = _mm512_max_ps(most[j % 2], _mm512_abs_ps(y[j]));
                _mm512_storeu_ps(numbers + channel * POINTS + (i * ACROSS + j) * LANES, y[j]);
            }
        }
    }
    __m512 factor = _mm512_set1_ps(whole_factor(_mm512_max_ps(most[0], most[1]), scale));
    for (int p = 0; p < POINTS; p++)
        for (long channel = 0; channel < f->inputs; channel += LANES)
            store_whole(cells + p * apart + channel, _mm512_loadu_ps(numbers + channel * POINTS + p * LANES), factor);
}

/* One tile's products of one panel become its results. */
static void transform_back(const Filter *f, Size size, long at, int panel, const float *products, float *y) {
    const long across = (size.columns + WIDE - 1) / WIDE, top = at / across * HIGH, left = at % across * WIDE;
    for (int half = 0; half < PANEL && panel * PANEL + half < f->outputs; half += LANES) {
        const long channel = panel * PANEL + half;
        const __m512 gain = _mm512_loadu_ps(f->gain + channel), shift = _mm512_loadu_ps(f->shift + channel);
        const __m512 slope = _mm512_set1_ps(f->slope);
        __m512 between[WIDE][DOWN];
        for (int i = 0; i < DOWN; i++) {
            __m512 x[ACROSS], sums[WIDE];
            UNROLLED for (int j = 0; j < ACROSS; j++) x[j] = _mm512_loadu_ps(products + (i * ACROSS + j) * ROWS * PANEL + half);
            UNROLLED for (int j = 0; j < WIDE; j++) sums[j] = _mm512_setzero_ps();
            winograd_back(f->from[1], x, sums, ACROSS);
            UNROLLED for (int j = 0; j < WIDE; j++) between[j][i] = sums[j];
        }
        for (int j = 0; j < WIDE; j++) {
            __m512 sums[HIGH];
            UNROLLED for (int i = 0; i < HIGH; i++) sums[i] = _mm512_setzero_ps();
            winograd_back(f->from[0], between[j], sums, DOWN);
            if (left + j >= size.columns) break;
            float *to = y + (top * size.columns + left + j) * f->outputs + channel;
            UNROLLED for (int i = 0; i < HIGH; i++)
                if (top + i < size.rows) {
                    __m512 sum = _mm512_max_ps(sums[i], _mm512_mul_ps(sums[i], slope));
                    _mm512_storeu_ps(to + i * size.columns * f->outputs, _mm512_fmadd_ps(sum, gain, shift));
                }
        }
    }
}

/* ---- chunks: some neighbouring tiles, few enough that what they become stays in a core's own memory ---- */

static long tiles_of_chunk(const Filter *f) { return (f->inputs <= 64 ? 2 : 4) * ROWS; }

/* How many numbers of memory a convolution needs. */
int64_t picture_room(const Filter *f) {
    const long tiles = tiles_of_chunk(f);
    return POINTS * tiles * f->inputs / 2 + POINTS * f->inputs + POINTS * ROWS * PANEL + tiles;
}

void convolve_picture(const Filter *f, int64_t rows, int64_t columns, const float *x, float *y, float *memory) {
    const Size size = {rows, columns};
    const long tiles = (rows + HIGH - 1) / HIGH * ((columns + WIDE - 1) / WIDE), most = tiles_of_chunk(f);
    const long chunks = (tiles + most - 1) / most, inputs = f->inputs, apart = most * inputs;
    const int panels = (f->outputs + PANEL - 1) / PANEL;
    int16_t *cells = (int16_t *)memory;
    float *numbers = memory + POINTS * apart / 2, *products = numbers + POINTS * inputs, *scales = products + POINTS * ROWS * PANEL;
    for (long chunk = 0; chunk < chunks; chunk++) {
        const long first = tiles * chunk / chunks, count = tiles * (chunk + 1) / chunks - first;
        const long pieces = (count + ROWS - 1) / ROWS;
        for (long tile = 0; tile < count; tile++) {
            const float *from[POINTS];
            hear(f, size, x, first + tile, from);
            transform(f, from, cells + tile * inputs, apart, scales + tile, numbers);
        }
        for (int panel = 0; panel < panels; panel++)
            for (long piece = 0; piece < pieces; piece++) {
                const long start = count * piece / pieces, some = count * (piece + 1) / pieces - start;
                for (int p = 0; p < POINTS; p++)
                    multiply_tiles(cells + p * apart + start * inputs, inputs, inputs, f->cells + (panel * POINTS + p) * inputs * PANEL,
                                   scales + start, f->scale + (p * panels + panel) * PANEL, products + p * ROWS * PANEL, some);
                for (long tile = 0; tile < some; tile++)
                    transform_back(f, size, first + start + tile, panel, products + tile * PANEL, y);
            }
    }
}

/* y = rectified(gate * y + x), of so many positions; a gate is a channel's. */
void gate_picture(int64_t positions, int64_t channels, const float *gate, const float *x, float *y) {
    for (long position = 0; position < positions; position++, x += channels, y += channels)
        for (long channel = 0; channel < channels; channel += LANES) {
            __m512 open = _mm512_loadu_ps(gate + channel), sum = _mm512_loadu_ps(x + channel);
            sum = _mm512_fmadd_ps(open, _mm512_loadu_ps(y + channel), sum);
            _mm512_storeu_ps(y + channel, _mm512_max_ps(sum, _mm512_setzero_ps()));
        }
}
