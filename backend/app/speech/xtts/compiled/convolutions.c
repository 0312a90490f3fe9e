/* Convolutions along time on processors with AVX-512 (VNNI), in whole numbers of 16 bits and with a fifth to
   under a half of the products (tiles.h).

   Filters of 3 taps go after Winograd ("Arithmetic Complexity of Computations", 1980): 8 points for 6 results.
   Longer ones go through Fourier's transform of 32 positions, which enlarges no rounding: 2 of its points are real,
   and 15 complex, of three products each (Gauss), so 47 for 33 - taps results. With a dilation of d, every d-th
   position makes a signal of its own.

   Activations are fp32, (positions, channels), channels a multiple of 16; outside of its length a signal is
   zero. Each tile's numbers are added up in an order of their own, whatever else is computed and by however
   many threads. */

#include "team.h"
#include "tiles.h"

#include <limits.h>
#include <string.h>

enum { WINOGRAD = 8, OUTPUTS = 6 }; /* points (and positions heard), results of a tile */
enum { FOURIER = 47, HEARD = 32 };  /* points, positions heard */

/* ---- what Python hands over; convolutions.py has the same structures ---- */

typedef struct {
    int32_t inputs, outputs; /* channels of what is read and written */
    int32_t tile, points, heard; /* results; products; positions that they hang on */
    int32_t dilation, before;    /* positions between taps, and before the first result's own */
    float slope;                 /* of the leaky ReLU that inputs go through; 1: none */
    const int16_t *cells;        /* [panels][points][inputs / 2][32][2] */
    const float *scale;          /* [points][panels * 32] */
    const float *to;             /* Winograd: (points, points) */
    const float *from;           /* Winograd: (tile, points) */
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
   it in `units`, a thread each, and a unit in `steps`, small enough that what is between the links stays in a
   core's own memory. A step computes what its part of y hangs on, whole tiles of it, as far as the steps before it
   have not: of that, each link's end is kept. So it all comes out as if it were one step of one unit. */
typedef struct {
    const Link *links;
    int32_t count, units, steps;
    int64_t length;
    const float *x;
    float *y;
    float *memory;               /* [threads]: [PLACES - OWN][place], [count][end], [room] */
    int64_t place, end, room, own; /* numbers, the last a thread's of all: as `measure` finds them */
} Chain;

/* ---- a chain under way ---- */

typedef struct {
    long from, to;
} Range;

typedef struct {
    int16_t *cells;  /* [points][tiles][inputs]: transformed */
    float *scales;   /* of each tile */
    float *numbers;  /* [inputs / 16][positions heard][16]: of one tile, transformed */
    float *products; /* [points][ROWS][32] */
} Room;

/* A link at work on one unit: pointers to where its positions begin, */
typedef struct {
    const Convolution *convolution;
    const float *x, *bias, *residual, *sum; /* the last two may be NULL */
    float *y;
    long length;
    Range heard, kept; /* of x, those there are; of y, those that are written */
} Step;

/* ---- what tiles are made of ---- */

/* Sixteen channels of the positions of a tile, and the slope of the leaky ReLU that they go through. */
typedef struct {
    const float *const *from;
    long channel;
    __m512 slope;
} Heard;

INLINE __m512 heard(const Heard *tile, int number) {
    __m512 x = _mm512_loadu_ps(tile->from[number] + tile->channel);
    return _mm512_max_ps(x, _mm512_mul_ps(x, tile->slope));
}

/* ---- Fourier's transforms, of real numbers: of n there are the real parts of points 0 ... n / 2, then the imaginary
   ones of n / 2 - 1 ... 1. Each is made of two of n / 2, of every second number. ---- */

static const float cosines[] = { /* of a turn's 32nds */
    1.0f, 0.98078528f, 0.923879533f, 0.831469612f, 0.707106781f, 0.555570233f, 0.382683432f, 0.195090322f, 0.0f};

INLINE void fourier_2(const Heard *tile, const int first, const int apart, __m512 *y) {
    __m512 x = heard(tile, first), z = heard(tile, first + apart);
    y[0] = _mm512_add_ps(x, z);
    y[1] = _mm512_sub_ps(x, z);
}

#define FORTH(name, by, n) \
    INLINE void name(const Heard *tile, const int first, const int apart, __m512 *y) { \
        const int half = n / 2; \
        __m512 even[n / 2], odd[n / 2]; \
        by(tile, first, 2 * apart, even); \
        by(tile, first + apart, 2 * apart, odd); \
        y[0] = _mm512_add_ps(even[0], odd[0]); \
        y[half] = _mm512_sub_ps(even[0], odd[0]); \
        UNROLLED for (int k = 1; k < half / 2; k++) { \
            __m512 c = _mm512_set1_ps(cosines[k * HEARD / n]), s = _mm512_set1_ps(cosines[HEARD / 4 - k * HEARD / n]); \
            __m512 real = _mm512_fmadd_ps(c, odd[k], _mm512_mul_ps(s, odd[half - k])); \
            __m512 imaginary = _mm512_fmsub_ps(c, odd[half - k], _mm512_mul_ps(s, odd[k])); \
            y[k] = _mm512_add_ps(even[k], real); \
            y[n - k] = _mm512_add_ps(even[half - k], imaginary); \
            y[half - k] = _mm512_sub_ps(even[k], real); \
            y[half + k] = _mm512_sub_ps(imaginary, even[half - k]); \
        } \
        y[half / 2] = even[half / 2]; \
        y[half + half / 2] = _mm512_sub_ps(_mm512_setzero_ps(), odd[half / 2]); \
    }
FORTH(fourier_4, fourier_2, 4)
FORTH(fourier_8, fourier_4, 8)
FORTH(fourier_16, fourier_8, 16)
FORTH(fourier_32, fourier_16, 32)

/* Back, n times as large. */
INLINE void fourier_back_2(const __m512 *y, __m512 *x, const int apart) {
    x[0] = _mm512_add_ps(y[0], y[1]);
    x[apart] = _mm512_sub_ps(y[0], y[1]);
}

#define BACK(name, by, n) \
    INLINE void name(const __m512 *y, __m512 *x, const int apart) { \
        const int half = n / 2; \
        __m512 even[n / 2], odd[n / 2]; \
        even[0] = _mm512_add_ps(y[0], y[half]); \
        odd[0] = _mm512_sub_ps(y[0], y[half]); \
        UNROLLED for (int k = 1; k < half / 2; k++) { \
            __m512 c = _mm512_set1_ps(cosines[k * HEARD / n]), s = _mm512_set1_ps(cosines[HEARD / 4 - k * HEARD / n]); \
            __m512 real = _mm512_sub_ps(y[k], y[half - k]), imaginary = _mm512_add_ps(y[n - k], y[half + k]); \
            even[k] = _mm512_add_ps(y[k], y[half - k]); \
            even[half - k] = _mm512_sub_ps(y[n - k], y[half + k]); \
            odd[k] = _mm512_fmsub_ps(c, real, _mm512_mul_ps(s, imaginary)); \
            odd[half - k] = _mm512_fmadd_ps(c, imaginary, _mm512_mul_ps(s, real)); \
        } \
        even[half / 2] = _mm512_add_ps(y[half / 2], y[half / 2]); \
        odd[half / 2] = _mm512_mul_ps(_mm512_set1_ps(-2.0f), y[half + half / 2]); \
        by(even, x, 2 * apart); \
        by(odd, x + apart, 2 * apart); \
    }
BACK(fourier_back_4, fourier_back_2, 4)
BACK(fourier_back_8, fourier_back_4, 8)
BACK(fourier_back_16, fourier_back_8, 16)
BACK(fourier_back_32, fourier_back_16, 32)

/* Back from products. */
INLINE void fourier_back(const float *products, __m512 bias, __m512 *y) {
    __m512 points[HEARD];
    points[0] = _mm512_add_ps(_mm512_loadu_ps(products), bias);
    points[HEARD / 2] = _mm512_loadu_ps(products + ROWS * PANEL);
    UNROLLED for (int k = 1; k < HEARD / 2; k++) {
        __m512 first = _mm512_loadu_ps(products + (3 * k - 1) * ROWS * PANEL);
        points[HEARD - k] = _mm512_add_ps(first, _mm512_loadu_ps(products + 3 * k * ROWS * PANEL));
        points[k] = _mm512_sub_ps(first, _mm512_loadu_ps(products + (3 * k + 1) * ROWS * PANEL));
    }
    fourier_back_32(points, y, 1);
}

/* ---- tiles: of a dilation's phases in turn ---- */

/* The position of a tile's first result. */
INLINE long place_of_tile(const Convolution *c, long tile) {
    return tile % c->dilation + tile / c->dilation * c->dilation * c->tile;
}

/* One tile's positions, transformed, into whole numbers. Winograd's points are what is multiplied. Fourier's are two
   real ones, and of each complex one half the sum of its parts and the parts, which is what Gauss's products take. */
INLINE void transform(const Step *step, long tile, int16_t *cells, long apart, float *scale, float *numbers,
                      const int points, const int count) {
    const Convolution *c = step->convolution;
    const long inputs = c->inputs;
    const float *from[HEARD];
    long at = place_of_tile(c, tile) - c->before;
    for (int j = 0; j < count; j++, at += c->dilation)
        from[j] = at >= step->heard.from && at < step->heard.to ? step->x + at * inputs : silence;
    __m512 slope = _mm512_set1_ps(c->slope), most[4];
    UNROLLED for (int p = 0; p < 4; p++) most[p] = _mm512_set1_ps(1e-30f);
    for (long i = 0; i < inputs; i += LANES) {
        __m512 y[HEARD];
        Heard positions = {from, i, slope};
        if (points == WINOGRAD) {
            __m512 x[WINOGRAD];
            UNROLLED for (int j = 0; j < WINOGRAD; j++) x[j] = heard(&positions, j);
            winograd(c->to, x, y, WINOGRAD);
        } else fourier_32(&positions, 0, 1, y);
        UNROLLED for (int p = 0; p < count; p++) {
            most[p % 4] = _mm512_max_ps(most[p % 4], _mm512_abs_ps(y[p]));
            _mm512_storeu_ps(numbers + i * count + p * LANES, y[p]);
        }
    }
    __m512 factor = _mm512_set1_ps(whole_factor(_mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3])), scale));
    __m512 half = _mm512_mul_ps(_mm512_set1_ps(0.5f), factor);
    if (points == WINOGRAD) {
        for (int p = 0; p < points; p++)
            for (long i = 0; i < inputs; i += LANES)
                store_whole(cells + p * apart + i, _mm512_loadu_ps(numbers + i * count + p * LANES), factor);
        return;
    }
    for (long i = 0; i < inputs; i += LANES) {
        store_whole(cells + i, _mm512_loadu_ps(numbers + i * count), factor);
        store_whole(cells + apart + i, _mm512_loadu_ps(numbers + i * count + HEARD / 2 * LANES), factor);
    }
    for (int k = 1; k < HEARD / 2; k++) {
        int16_t *to = cells + (3 * k - 1) * apart;
        for (long i = 0; i < inputs; i += LANES) {
            __m512 real = _mm512_loadu_ps(numbers + i * count + k * LANES);
            __m512 imaginary = _mm512_loadu_ps(numbers + i * count + (HEARD - k) * LANES);
            store_whole(to + i, _mm512_add_ps(real, imaginary), half);
            store_whole(to + apart + i, real, factor);
            store_whole(to + 2 * apart + i, imaginary, factor);
        }
    }
}

/* The place of a tile's first result in a panel, and which of its results are kept. */
INLINE long kept_of(const Step *step, long tile, int panel, const int results, Range *kept) {
    const Convolution *c = step->convolution;
    const long at = place_of_tile(c, tile);
    *kept = (Range){0, results};
    while (kept->from < kept->to && at + kept->from * c->dilation < step->kept.from) kept->from++;
    while (kept->from < kept->to && at + (kept->to - 1) * c->dilation >= step->kept.to) kept->to--;
    return at * c->outputs + panel * PANEL;
}

/* What one tile's results of one panel will be added to, and where they go, comes near: waiting for it took up to half
   of the way back. */
INLINE void prefetch(const Step *step, long tile, int panel, const int results) {
    const long further = step->convolution->dilation * (long)step->convolution->outputs;
    Range kept;
    const long first = kept_of(step, tile, panel, results, &kept);
    for (long i = kept.from, place = first + i * further; i < kept.to; i++, place += further)
        UNROLLED for (int half = 0; half < PANEL; half += LANES) {
            if (step->residual != NULL) _mm_prefetch((const char *)(step->residual + place + half), _MM_HINT_T0);
            if (step->sum != NULL) _mm_prefetch((const char *)(step->sum + place + half), _MM_HINT_T0);
            _mm_prefetch((const char *)(step->y + place + half), _MM_HINT_T0);
        }
}

/* One tile's products of one panel become its results. */
INLINE void transform_back(const Step *step, long tile, int panel, const float *products, const int points) {
    const Convolution *c = step->convolution;
    const int results = points == WINOGRAD ? OUTPUTS : c->tile;
    const long further = c->dilation * (long)c->outputs;
    Range kept;
    prefetch(step, tile + 1, panel, results);
    const long first = kept_of(step, tile, panel, results, &kept);
    for (int half = 0; half < PANEL && panel * PANEL + half < c->outputs; half += LANES) {
        __m512 y[HEARD], bias = _mm512_loadu_ps(step->bias + panel * PANEL + half);
        if (points == WINOGRAD) {
            __m512 x[WINOGRAD];
            UNROLLED for (int p = 0; p < WINOGRAD; p++) x[p] = _mm512_loadu_ps(products + half + p * ROWS * PANEL);
            UNROLLED for (int i = 0; i < OUTPUTS; i++) y[i] = bias;
            winograd_back(c->from, x, y, WINOGRAD);
        } else fourier_back(products + half, bias, y);
        for (long i = kept.from, place = first + half + i * further; i < kept.to; i++, place += further) {
            if (step->residual != NULL) y[i] = _mm512_add_ps(y[i], _mm512_loadu_ps(step->residual + place));
            if (step->sum != NULL) y[i] = _mm512_add_ps(y[i], _mm512_loadu_ps(step->sum + place));
            _mm512_storeu_ps(step->y + place, y[i]);
        }
    }
}

/* ---- chunks: some neighbouring tiles ---- */

/* Few enough that what they read and become stays in a core's own memory. */
static long tiles_of_chunk(const Convolution *c) {
    return (c->points == FOURIER || c->inputs <= 64 || c->inputs > 256 ? 2 : 4) * ROWS;
}

/* Whole lines of the cache. */
static long lines(long numbers) { return (numbers + LANES - 1) / LANES * LANES; }

/* Lays a convolution's room out in `memory`, if there is any yet; how many numbers it takes. */
static long room_of(const Convolution *c, float *memory, Room *room) {
    long cells = lines(c->points * tiles_of_chunk(c) * c->inputs / 2), scales = lines(tiles_of_chunk(c));
    long numbers = c->heard * c->inputs;
    if (room != NULL) *room = (Room){(int16_t *)memory, memory + cells, memory + cells + scales, memory + cells + scales + numbers};
    return cells + scales + numbers + c->points * ROWS * PANEL;
}

static long tiles(const Step *step) {
    const Convolution *c = step->convolution;
    long positions = (step->length + c->dilation - 1) / c->dilation;
    return (positions + c->tile - 1) / c->tile * c->dilation;
}

/* Chunk `at` of `count`. */
INLINE void block(const Step *step, long at, long chunks, const Room *room, const int points, const int count) {
    const Convolution *c = step->convolution;
    long all = tiles(step), first = all * at / chunks, rows = all * (at + 1) / chunks - first;
    long inputs = c->inputs, apart = tiles_of_chunk(c) * inputs;
    for (long i = 0; i < rows; i++)
        transform(step, first + i, room->cells + i * inputs, apart, room->scales + i, room->numbers, points, count);
    int panels = (c->outputs + PANEL - 1) / PANEL;
    long pieces = (rows + ROWS - 1) / ROWS;
    for (int panel = 0; panel < panels; panel++)
        for (long piece = 0; piece < pieces; piece++) {
            long start = rows * piece / pieces, some = rows * (piece + 1) / pieces - start;
            for (int p = 0; p < points; p++) {
                const int16_t *cells = room->cells + p * apart + start * inputs;
                const int16_t *filters = c->cells + (panel * points + p) * inputs * PANEL;
                multiply_tiles(cells, inputs, inputs, filters, room->scales + start, c->scale + (p * panels + panel) * PANEL,
                               room->products + p * ROWS * PANEL, some);
            }
            for (long i = 0; i < some; i++)
                transform_back(step, first + start + i, panel, room->products + i * PANEL, points);
        }
}

static void convolve(const Step *step, const Room *room) {
    const Convolution *c = step->convolution;
    long rows = tiles_of_chunk(c), count = (tiles(step) + rows - 1) / rows;
    for (long at = 0; at < count; at++)
        if (c->points == WINOGRAD) block(step, at, count, room, WINOGRAD, WINOGRAD);
        else block(step, at, count, room, FOURIER, HEARD);
}

/* ---- units: neighbouring results, and what they hang on ---- */

static long smaller(long a, long b) { return a < b ? a : b; }
static long larger(long a, long b) { return a > b ? a : b; }

/* What two ranges need. */
static Range both(Range a, Range b) { return (Range){smaller(a.from, b.from), larger(a.to, b.to)}; }

/* What a step does, a link each, before the link expands positions. */
typedef struct {
    Range written; /* now, whole tiles */
    long heard;    /* from here on others hear it: some of it was perhaps written by the step before */
} Part;

/* For results `wanted` of the last link, after a step (or NULL). A link that has nothing to do this time still holds
   on to what it will hear. */
static void plan(const Chain *chain, Range wanted, const Part *before, Part *parts) {
    const Range nothing = {LONG_MAX, 0};
    Range needed[PLACES] = {wanted, wanted, nothing, nothing, nothing, nothing};
    for (int i = chain->count - 1; i >= 0; i--) {
        const Link *link = chain->links + i;
        const Convolution *c = link->convolution;
        long length = i == 0 ? chain->length : chain->length * chain->links[0].expand;
        long whole = c->dilation * c->tile, beyond = (c->heard - c->tile) * c->dilation, done = before ? before[i].written.to : 0;
        Range here = {done, done};
        if (needed[link->y].from != LONG_MAX) here.from = needed[link->y].from / (link->expand * whole) * whole;
        if (needed[link->y].from < needed[link->y].to)
            here.to = smaller(length, ((needed[link->y].to - 1) / (link->expand * whole) + 1) * whole);
        parts[i].heard = here.from;
        here.from = larger(here.from, done);
        here.to = larger(here.to, here.from);
        parts[i].written = here;
        needed[link->y] = nothing;
        Range after = {here.from * link->expand, here.to * link->expand};
        if (link->residual != NOTHING) needed[link->residual] = both(needed[link->residual], after);
        if (link->sum != NOTHING) needed[link->sum] = both(needed[link->sum], after);
        long first = larger(0, here.from - c->before);
        Range heard = {first, here.from < here.to ? smaller(length, here.to - c->before + beyond) : first};
        needed[link->x] = both(needed[link->x], heard);
    }
}

/* The results of step `step` of unit `at`. */
static Range share(const Chain *chain, long at, long step) {
    long expand = chain->links[0].expand, parts = (long)chain->units * chain->steps, part = at * chain->steps + step;
    return (Range){chain->length * part / parts * expand, chain->length * (part + 1) / parts * expand};
}

/* The first position that a step has of anything: its places begin there. */
static long first_of(const Chain *chain, const Part *parts) {
    long first = LONG_MAX;
    for (int i = 0; i < chain->count; i++) first = smaller(first, parts[i].heard * chain->links[i].expand);
    return first;
}

/* Finds how much memory a chain needs. */
void measure(Chain *chain) {
    chain->place = chain->end = 0;
    for (long at = 0; at < chain->units; at++) {
        Part parts[chain->count], before[chain->count];
        for (long step = 0; step < chain->steps; step++) {
            plan(chain, share(chain, at, step), step > 0 ? before : NULL, parts);
            long first = first_of(chain, parts);
            for (int i = 0; i < chain->count; i++) {
                const Link *link = chain->links + i;
                long width = link->convolution->outputs, from = first * (width / link->expand);
                chain->place = larger(chain->place, parts[i].written.to * width - from);
                if (step > 0) chain->end = larger(chain->end, (before[i].written.to - parts[i].heard) * width);
            }
            memcpy(before, parts, sizeof before);
        }
    }
    chain->place = lines(chain->place);
    chain->end = lines(chain->end);
    chain->room = 0;
    for (int i = 0; i < chain->count; i++) chain->room = larger(chain->room, room_of(chain->links[i].convolution, NULL, NULL));
    chain->own = (PLACES - OWN) * chain->place + chain->count * chain->end + chain->room;
}

static long units(const void *of, int phase) {
    (void)phase;
    return ((const Chain *)of)->units;
}

/* Link number `at` of a step: its own part, and the beginning of the next step's that it has to keep. */
static void advance(const Chain *chain, int thread, int at, const Part *part, long keep, long first, Range kept,
                    Range *there) {
    const Link *link = chain->links + at;
    const Convolution *c = link->convolution;
    const Range here = part->written, after = {here.from * link->expand, here.to * link->expand};
    float *own = chain->memory + thread * chain->own, *ends = own + (PLACES - OWN) * chain->place;
    float *end = ends + at * chain->end;
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
    long old = larger(0, here.from - part->heard) * c->outputs, new = larger(0, here.to - keep) * c->outputs;
    if (link->y != OUTPUT) memcpy(numbers[3] - old, end, old * sizeof(float));
    if (here.from < here.to) {
        Step step = {c, numbers[0], link->bias, numbers[1], numbers[2], numbers[3], here.to - here.from, {0, 0}, {0, 0}};
        step.heard = (Range){there[link->x].from - here.from, there[link->x].to - here.from};
        step.kept = (Range){0, step.length};
        if (link->y == OUTPUT) step.kept = (Range){kept.from / link->expand - here.from, kept.to / link->expand - here.from};
        Room room;
        room_of(c, ends + chain->count * chain->end, &room);
        convolve(&step, &room);
    }
    if (link->y != OUTPUT) memcpy(end, numbers[3] + (here.to - here.from) * c->outputs - new, new * sizeof(float));
    there[link->y] = (Range){smaller(part->heard, here.from) * link->expand, after.to};
}

static void unit(void *of, int phase, long at, int thread) {
    const Chain *chain = of;
    Part parts[2][chain->count];
    Range kept = {share(chain, at, 0).from, share(chain, at, chain->steps - 1).to};
    (void)phase;
    plan(chain, share(chain, at, 0), NULL, parts[0]);
    for (long step = 0; step < chain->steps; step++) {
        const Part *now = parts[step % 2];
        Part *next = parts[(step + 1) % 2];
        bool last = step == chain->steps - 1;
        if (!last) plan(chain, share(chain, at, step + 1), now, next);
        Range there[PLACES] = {[INPUT] = {0, chain->length}};
        long first = first_of(chain, now);
        for (int i = 0; i < chain->count; i++)
            advance(chain, thread, i, now + i, last ? now[i].written.to : next[i].heard, first, kept, there);
    }
}

/* All units, by `threads` threads, this one among them; false: memory was short. */
bool run_chain(const Chain *chain, Team *team, int32_t threads) {
    return team_run(team, &(Work){(void *)chain, 1, units, unit}, threads);
}
