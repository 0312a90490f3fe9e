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

/* What a link reads and writes: the chain's input, its output, which the last link alone writes, or a place of
   the thread's own. */
enum { NOTHING = -1, INPUT, OUTPUT, OWN, PLACES = 6 };

/* y = convolution of x, + bias, + residual, + sum, one of which y may be. */
typedef struct {
    const Convolution *convolution;
    const float *bias;
    int32_t x, residual, sum, y; /* places */
    int32_t expand;              /* positions that one of x becomes */
} Link;

/* Links one after the other over x (length, ...), of which only the first may expand, into y. They go through
   it in `units`, a thread each, small enough that what is between the links stays in a core's own memory. A
   unit computes what its part of y hangs on, whole tiles of it: so it all comes out as if it were one unit. */
typedef struct {
    const Link *links;
    int32_t count, units;
    int64_t length;
    const float *x;
    float *y;
    float *places; /* [threads][PLACES - OWN][place] */
    int64_t place;
} Chain;

/* ---- a chain under way ---- */

typedef struct {
    long from, to;
} Range;

typedef struct {
    int16_t *cells;  /* [points][tiles][inputs]: transformed */
    float *scales;   /* of each tile */
    float *numbers;  /* [points][inputs]: of one tile */
    float *products; /* [points][ROWS][32] */
} Room;

typedef struct {
    const Chain *chain;
    Room *rooms; /* a thread's own */
} Run;

/* A link at work on one unit: pointers to where its positions begin, */
typedef struct {
    const Convolution *convolution;
    const float *x, *bias, *residual, *sum; /* the last two may be NULL */
    float *y;
    long length;
    Range heard, kept; /* of x, those there are; of y, those that are written */
} Step;

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
        from[j] = at >= step->heard.from && at < step->heard.to ? step->x + at * inputs : silence;
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

/* What one tile's results of one panel will be added to comes near: waiting for it took up to half of the way back. */
INLINE void prefetch(const Step *step, long phase, long tile, int panel, const int outputs) {
    const Convolution *c = step->convolution;
    UNROLLED for (int i = 0; i < outputs; i++) {
        long at = phase + c->dilation * (outputs * tile + i);
        if (at >= step->kept.to) return;
        long place = at * c->outputs + panel * PANEL;
        UNROLLED for (int half = 0; half < PANEL; half += LANES) {
            if (step->residual != NULL) _mm_prefetch((const char *)(step->residual + place + half), _MM_HINT_T0);
            if (step->sum != NULL) _mm_prefetch((const char *)(step->sum + place + half), _MM_HINT_T0);
        }
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
            if (at < step->kept.from) continue;
            if (at >= step->kept.to) break;
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

/* Chunk `at` of `count` a phase. */
INLINE void block(const Step *step, long at, long count, const Room *room, const int outputs, const int points) {
    const Convolution *c = step->convolution;
    long all = tiles(step), phase = at % c->dilation, number = at / c->dilation;
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
            for (long i = 0; i < some; i++) {
                prefetch(step, phase, first + start + i + 1, panel, outputs);
                transform_back(step, phase, first + start + i, panel, room->products + i * PANEL, outputs, points);
            }
        }
}

static void convolve(const Step *step, const Room *room) {
    const Convolution *c = step->convolution;
    long rows = tiles_of_chunk(c), count = (tiles(step) + rows - 1) / rows;
    for (long at = 0; at < count * c->dilation; at++) switch (c->points) {
        case 8: block(step, at, count, room, 6, 8); break;
        case 10: block(step, at, count, room, 4, 10); break;
        case 11: block(step, at, count, room, 6, 11); break;
    }
}

/* ---- units: neighbouring results, and what they hang on ---- */

static long smaller(long a, long b) { return a < b ? a : b; }
static long larger(long a, long b) { return a > b ? a : b; }

static Range both(Range a, Range b) {
    return a.from == a.to ? b : (Range){smaller(a.from, b.from), larger(a.to, b.to)};
}

/* The positions that each link writes (before it expands them), for results `wanted` of the last one. */
static void plan(const Chain *chain, Range wanted, Range *written) {
    Range needed[PLACES] = {[OUTPUT] = wanted};
    for (int i = chain->count - 1; i >= 0; i--) {
        const Link *link = chain->links + i;
        const Convolution *c = link->convolution;
        long length = i == 0 ? chain->length : chain->length * chain->links[0].expand;
        long whole = c->dilation * c->tile, beyond = ((c->groups - 1) * c->tile + c->points - c->tile) * c->dilation;
        Range here = needed[link->y];
        here.from = here.from / (link->expand * whole) * whole;
        here.to = smaller(length, ((here.to - 1) / (link->expand * whole) + 1) * whole);
        written[i] = here;
        Range after = {here.from * link->expand, here.to * link->expand};
        needed[link->y] = (Range){0, 0};
        if (link->residual != NOTHING) needed[link->residual] = both(needed[link->residual], after);
        if (link->sum != NOTHING) needed[link->sum] = both(needed[link->sum], after);
        here = (Range){larger(0, here.from - c->before), smaller(length, here.to - c->before + beyond)};
        needed[link->x] = both(needed[link->x], here);
    }
}

/* The results of unit `at`. */
static Range share(const Chain *chain, long at) {
    long expand = chain->links[0].expand;
    return (Range){chain->length * at / chain->units * expand, chain->length * (at + 1) / chain->units * expand};
}

/* The first position that a unit writes anywhere: its places begin there. */
static long first_of(const Chain *chain, const Range *written) {
    long first = written[0].from * chain->links[0].expand;
    for (int i = 1; i < chain->count; i++) first = smaller(first, written[i].from);
    return first;
}

/* How many numbers a place needs. */
int64_t place_of(const Chain *chain) {
    long most = 0;
    for (long at = 0; at < chain->units; at++) {
        Range wanted = share(chain, at), written[chain->count];
        if (wanted.from == wanted.to) continue;
        plan(chain, wanted, written);
        long first = first_of(chain, written);
        for (int i = 0; i < chain->count; i++) {
            const Link *link = chain->links + i;
            most = larger(most, (written[i].to * link->expand - first) * (link->convolution->outputs / link->expand));
        }
    }
    return most;
}

static long units(const void *of, int phase) {
    (void)phase;
    return ((const Run *)of)->chain->units;
}

static void unit(void *of, int phase, long at, int thread) {
    const Run *run = of;
    const Chain *chain = run->chain;
    Range wanted = share(chain, at), written[chain->count], there[PLACES] = {[INPUT] = {0, chain->length}};
    (void)phase;
    if (wanted.from == wanted.to) return;
    plan(chain, wanted, written);
    long first = first_of(chain, written);
    float *own = chain->places + thread * (PLACES - OWN) * chain->place;
    for (int i = 0; i < chain->count; i++) {
        const Link *link = chain->links + i;
        const Convolution *c = link->convolution;
        Range here = written[i], after = {here.from * link->expand, here.to * link->expand};
        const int places[] = {link->x, link->residual, link->sum, link->y};
        float *numbers[4];
        for (int each = 0; each < 4; each++) {
            int place = places[each];
            long from = each == 0 ? here.from : after.from, width = each == 0 ? c->inputs : c->outputs / link->expand;
            if (place == NOTHING) numbers[each] = NULL;
            else if (place == INPUT) numbers[each] = (float *)chain->x + from * width;
            else if (place == OUTPUT) numbers[each] = chain->y + from * width;
            else numbers[each] = own + (place - OWN) * chain->place + (from - first) * width;
        }
        Step step = {c, numbers[0], link->bias, numbers[1], numbers[2], numbers[3], here.to - here.from};
        step.heard = (Range){there[link->x].from - here.from, there[link->x].to - here.from};
        step.kept = link->y == OUTPUT
            ? (Range){wanted.from / link->expand - here.from, wanted.to / link->expand - here.from}
            : (Range){0, step.length};
        convolve(&step, run->rooms + thread);
        there[link->y] = after;
    }
}

/* All units, by `threads` threads, this one among them; false: memory was short. */
bool run_chain(const Chain *chain, Team *team, int32_t threads) {
    long cells = 0, inputs = 0, offsets[4], total = 0;
    for (int i = 0; i < chain->count; i++) {
        const Convolution *c = chain->links[i].convolution;
        cells = larger(cells, POINTS * (tiles_of_chunk(c) + c->groups) * c->inputs * sizeof(int16_t));
        inputs = larger(inputs, c->inputs);
    }
    long sizes[] = {cells, (4 * ROWS + POINTS) * sizeof(float), POINTS * inputs * sizeof(float),
                    POINTS * ROWS * PANEL * sizeof(float)};
    threads = team_size(team, threads);
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
    Run run = {chain, rooms};
    bool done = team_run(team, &(Work){&run, 1, units, unit}, threads);
    free(memory);
    return done;
}
