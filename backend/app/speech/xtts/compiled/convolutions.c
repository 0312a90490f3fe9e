/* Convolutions along time on processors with AVX-512 (VNNI), in whole numbers of 16 bits and with a third to
   two fifths of the products, after Winograd ("Arithmetic Complexity of Computations", 1980).

   A tile is `outputs` neighbouring results of a filter of `taps` taps. The `points` = outputs + taps - 1
   numbers they depend on are transformed, multiplied with the transformed filter point by point, and
   transformed back: `points` products of channels instead of outputs x taps. A longer filter is cut into
   groups of as many taps as a tile has outputs, so that a group finds its numbers in the next tile.

   The transforms enlarge rounding, which whole numbers of 16 bits have room for: activations have 14, with a
   scale a tile, and filters as many as let the sums of some inputs fit 32 bits, with a scale an output and
   point. With a dilation of d, every d-th position makes a signal of its own.

   Activations are fp32, (positions, channels), channels a multiple of 16; outside of its length a signal is
   zero. Each tile's numbers are added up in an order of their own, whatever else is computed and by however
   many threads. */

#include "team.h"
#include "vectors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 12, ROWS = 12 }; /* at most: points of a tile; tiles multiplied at once */
enum { WIDEST = 1024, SOME = 128 }; /* input channels: at most; added up in whole numbers */
static const float MOST = 8191.0f; /* 14 bits */

/* ---- what Python hands over; convolutions.py has the same structures ---- */

typedef struct {
    int32_t inputs, outputs; /* channels of what is read and written */
    int32_t tile, points, groups;
    int32_t dilation, before; /* positions between taps, and before the first result's own */
    float slope;              /* of the leaky ReLU that inputs go through; 1: none */
    const int16_t *cells;     /* [panels][points][groups][inputs / 2][32][2] */
    const float *scale;       /* [points][panels * 32] */
    const float *to;          /* (points, points) */
    const float *from;        /* (tile, points) */
} Convolution;

/* y = convolution of x, + bias, + residual, + sum; the last two may be NULL, and y itself. */
typedef struct {
    const Convolution *convolution;
    int64_t length;
    const float *x, *bias, *residual, *sum;
    float *y;
} Step;

/* ---- a list of steps under way ---- */

typedef struct {
    int16_t *cells;  /* [points][tiles][inputs]: transformed */
    float *scales;   /* of each tile */
    float *numbers;  /* [points][inputs]: of one tile */
    float *products; /* [points][ROWS][32] */
} Room;

typedef struct {
    const Step *steps;
    Room *rooms; /* a thread's own */
} Run;

static const float silence[WIDEST];

/* Points come as pairs p, -p, whose rows differ in the sign of every second number; then perhaps zero, and
   always infinity, where every second number is missing. One tile: */
INLINE void transform(const Step *step, long phase, long tile, int16_t *cells, long apart, float *scale, float *numbers,
                      const int outputs, const int points) {
    const Convolution *c = step->convolution;
    const int pairs = (points - 1) / 2;
    const long inputs = c->inputs;
    const float *from[POINTS], *to = c->to;
    for (int j = 0; j < points; j++) {
        long at = phase + c->dilation * (outputs * tile + j) - c->before;
        from[j] = at >= 0 && at < step->length ? step->x + at * inputs : silence;
    }
    __m512 slope = _mm512_set1_ps(c->slope), most = _mm512_set1_ps(1e-30f);
    for (long i = 0; i < inputs; i += LANES) {
        __m512 x[POINTS];
        UNROLLED for (int j = 0; j < points; j++) {
            x[j] = _mm512_loadu_ps(from[j] + i);
            x[j] = _mm512_max_ps(x[j], _mm512_mul_ps(x[j], slope));
        }
        UNROLLED for (int p = 0; p < 2 * pairs; p += 2) {
            const float *row = to + p * points;
            __m512 even = _mm512_mul_ps(x[0], _mm512_set1_ps(row[0])), odd = _mm512_mul_ps(x[1], _mm512_set1_ps(row[1]));
            UNROLLED for (int j = 2; j < points; j += 2) even = _mm512_fmadd_ps(x[j], _mm512_set1_ps(row[j]), even);
            UNROLLED for (int j = 3; j < points; j += 2) odd = _mm512_fmadd_ps(x[j], _mm512_set1_ps(row[j]), odd);
            __m512 plus = _mm512_add_ps(even, odd), minus = _mm512_sub_ps(even, odd);
            most = _mm512_max_ps(most, _mm512_max_ps(_mm512_abs_ps(plus), _mm512_abs_ps(minus)));
            _mm512_storeu_ps(numbers + p * inputs + i, plus);
            _mm512_storeu_ps(numbers + (p + 1) * inputs + i, minus);
        }
        UNROLLED for (int p = 2 * pairs; p < points; p++) {
            const float *row = to + p * points;
            const int first = p == points - 1 ? (points - 1) % 2 : 0;
            __m512 y = _mm512_mul_ps(x[first], _mm512_set1_ps(row[first]));
            UNROLLED for (int j = first + 2; j < points; j += 2) y = _mm512_fmadd_ps(x[j], _mm512_set1_ps(row[j]), y);
            most = _mm512_max_ps(most, _mm512_abs_ps(y));
            _mm512_storeu_ps(numbers + p * inputs + i, y);
        }
    }
    float largest = _mm512_reduce_max_ps(most);
    *scale = largest / MOST;
    __m512 factor = _mm512_set1_ps(MOST / largest);
    for (int p = 0; p < points; p++)
        for (long i = 0; i < inputs; i += LANES) {
            __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(numbers + p * inputs + i), factor));
            _mm256_storeu_si256((__m256i *)(cells + p * apart + i), _mm512_cvtepi32_epi16(whole));
        }
}

/* `rows` tiles, `apart` numbers apart, times one panel, of one point, group and `inputs` inputs, into (or onto)
   `products`. */
INLINE void multiply(const int16_t *cells, long apart, long inputs, const int16_t *filters, const float *scales, const float *scale,
                     float *products, bool onto, const int rows) {
    __m512i sums[ROWS][2];
    UNROLLED for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_si512();
    for (long k = 0; k < inputs; k += 2) {
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
static void multiply_rows(const int16_t *cells, long apart, long inputs, const int16_t *filters, const float *scales, const float *scale,
                          float *products, bool onto, long rows) {
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
    }
}

/* One tile's products of one panel become its results. */
INLINE void transform_back(const Step *step, long phase, long tile, int panel, const float *products, const int outputs,
                           const int points) {
    const Convolution *c = step->convolution;
    const int pairs = (points - 1) / 2;
    const float *from = c->from;
    for (int half = 0; half < PANEL; half += LANES) {
        long channel = panel * PANEL + half;
        if (channel >= c->outputs) return;
        __m512 y[POINTS], bias = _mm512_loadu_ps(step->bias + channel);
        UNROLLED for (int i = 0; i < outputs; i++) y[i] = bias;
        UNROLLED for (int p = 0; p < 2 * pairs; p += 2) {
            __m512 plus = _mm512_loadu_ps(products + p * ROWS * PANEL + half);
            __m512 minus = _mm512_loadu_ps(products + (p + 1) * ROWS * PANEL + half);
            __m512 sum = _mm512_add_ps(plus, minus), difference = _mm512_sub_ps(plus, minus);
            UNROLLED for (int i = 0; i < outputs; i++)
                y[i] = _mm512_fmadd_ps(i % 2 ? difference : sum, _mm512_set1_ps(from[i * points + p]), y[i]);
        }
        if (2 * pairs < points - 1)
            y[0] = _mm512_add_ps(y[0], _mm512_loadu_ps(products + (points - 2) * ROWS * PANEL + half));
        y[outputs - 1] = _mm512_add_ps(y[outputs - 1], _mm512_loadu_ps(products + (points - 1) * ROWS * PANEL + half));
        UNROLLED for (int i = 0; i < outputs; i++) {
            long at = phase + c->dilation * (outputs * tile + i);
            if (at >= step->length) break;
            long place = at * c->outputs + channel;
            if (step->residual != NULL) y[i] = _mm512_add_ps(y[i], _mm512_loadu_ps(step->residual + place));
            if (step->sum != NULL) y[i] = _mm512_add_ps(y[i], _mm512_loadu_ps(step->sum + place));
            _mm512_storeu_ps(step->y + place, y[i]);
        }
    }
}

/* ---- chunks: some neighbouring tiles of one phase of the dilation ---- */

/* Few enough that what they read stays in a core's own memory, until the other phases have read it too. */
static long tiles_of_chunk(const Convolution *c) { return c->inputs > 64 && c->inputs <= 256 ? 4 * ROWS : 2 * ROWS; }

static long tiles(const Step *step) {
    const Convolution *c = step->convolution;
    long positions = (step->length + c->dilation - 1) / c->dilation;
    return (positions + c->tile - 1) / c->tile;
}

/* How many chunks a phase of the dilation has: short signals are cut finer, to busy all threads. */
static long blocks(const Step *step) {
    long all = tiles(step), rows = tiles_of_chunk(step->convolution), shared = all * step->convolution->dilation / 8;
    if (rows > shared) rows = (shared / ROWS + 1) * ROWS;
    return (all + rows - 1) / rows;
}

INLINE void block(const Step *step, long at, const Room *room, const int outputs, const int points) {
    const Convolution *c = step->convolution;
    long all = tiles(step), count = blocks(step), phase = at % c->dilation, number = at / c->dilation;
    long first = all * number / count, rows = all * (number + 1) / count - first;
    long inputs = c->inputs, apart = (tiles_of_chunk(c) + c->groups) * inputs;
    for (long i = 0; i < rows + c->groups - 1; i++)
        transform(step, phase, first + i, room->cells + i * inputs, apart, room->scales + i, room->numbers, outputs, points);
    int panels = (c->outputs + PANEL - 1) / PANEL;
    long pieces = (rows + ROWS - 1) / ROWS;
    for (int panel = 0; panel < panels; panel++)
        for (long piece = 0; piece < pieces; piece++) {
            long start = rows * piece / pieces, some = rows * (piece + 1) / pieces - start;
            for (int p = 0; p < points; p++)
                for (int group = 0; group < c->groups; group++) {
                    const int16_t *cells = room->cells + p * apart + (start + group) * inputs;
                    const int16_t *filters = c->cells + ((panel * points + p) * (long)c->groups + group) * inputs * PANEL;
                    for (long input = 0; input < inputs; input += SOME)
                        multiply_rows(cells + input, inputs, inputs - input < SOME ? inputs - input : SOME,
                                      filters + input * PANEL, room->scales + start + group,
                                      c->scale + (p * panels + panel) * PANEL, room->products + p * ROWS * PANEL,
                                      group + input > 0, some);
                }
            for (long i = 0; i < some; i++)
                transform_back(step, phase, first + start + i, panel, room->products + i * PANEL, outputs, points);
        }
}

static void block_6_8(const Step *step, long at, const Room *room) { block(step, at, room, 6, 8); }
static void block_4_10(const Step *step, long at, const Room *room) { block(step, at, room, 4, 10); }
static void block_6_11(const Step *step, long at, const Room *room) { block(step, at, room, 6, 11); }

static long chunks(const void *of, int phase) {
    const Step *step = ((const Run *)of)->steps + phase;
    return step->convolution->dilation * blocks(step);
}

static void chunk(void *of, int phase, long at, int thread) {
    const Run *run = of;
    const Step *step = run->steps + phase;
    const Room *room = run->rooms + thread;
    switch (step->convolution->points) {
        case 8: block_6_8(step, at, room); break;
        case 10: block_4_10(step, at, room); break;
        case 11: block_6_11(step, at, room); break;
    }
}

/* One step after the other, by `threads` threads, this one among them; false: memory was short. */
bool run_steps(const Step *steps, int32_t count, Team *team, int32_t threads) {
    long cells = 0, inputs = 0;
    threads = team_size(team, threads);
    for (int i = 0; i < count; i++) {
        const Convolution *c = steps[i].convolution;
        long wanted = POINTS * (tiles_of_chunk(c) + c->groups) * c->inputs * sizeof(int16_t);
        if (wanted > cells) cells = wanted;
        if (c->inputs > inputs) inputs = c->inputs;
    }
    long sizes[] = {cells, (4 * ROWS + POINTS) * sizeof(float), POINTS * inputs * sizeof(float),
                    POINTS * ROWS * PANEL * sizeof(float)};
    long offsets[4], total = 0;
    for (int i = 0; i < 4; i++) {
        offsets[i] = total;
        total += (sizes[i] + 63) / 64 * 64;
    }
    Room rooms[threads];
    char *memory = aligned_alloc(64, total * threads);
    if (memory == NULL) return false;
    for (int i = 0; i < threads; i++) {
        char *own = memory + i * total;
        rooms[i] = (Room){(int16_t *)own, (float *)(own + offsets[1]), (float *)(own + offsets[2]),
                          (float *)(own + offsets[3])};
    }
    Run run = {steps, rooms};
    Work work = {&run, count, chunks, chunk};
    bool done = team_run(team, &work, threads);
    free(memory);
    return done;
}
