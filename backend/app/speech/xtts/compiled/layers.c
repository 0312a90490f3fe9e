/* The GPT's layers, and what follows them, on processors with AVX-512 (bf16 and VNNI): all layers of one pass, its
   states and its logits in one call.

   PyTorch spends a step of one utterance on some 400 operations, and its products read weights at half the
   speed that the memory has. Here a step is a list of phases that a team of threads works through.

   A token is one position of one utterance. Every token's numbers are added up in an order of their own, so
   that they do not depend on how many tokens a pass has or how many threads work on it: bit by bit.

   Weights and activations are whole numbers, but in fp32; weights.h has how weights lie.

   The cache holds vectors of a head's numbers: fp32, or whole numbers and then their scale, a float. INT16 keeps ten
   bits of them, which is as near to them as bf16 is: the upper eight of all, and then the lower two, sixteen numbers'
   in 32 bits, the first one's lowest. A step of many reads as much of the cache as of weights.

   A step of what is being spoken begins with each row's last code and ends with its next one, all of it in one call. */

#include "choice.h"
#include "team.h"
#include "weights.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TWELVE = 12 }; /* tokens at once: as many as there are registers for their sums */
enum { STEP = 6 };    /* of these at most are as many tokens as a step has; a prompt has more */
enum { FAR = 64 };    /* vectors: so long before they are read are keys and values called */
enum { LINE = 64 };   /* bytes of the cache's lines */

/* Weights are called `AHEAD` cells before they are read. Nobody reads them again before the next step, so on AMD they
   pass the last level of the cache by; Intel was fastest with the second level, a little further ahead. */
#ifdef AMD
enum { AHEAD = 768 };
#define LEVEL _MM_HINT_NTA
#else
enum { AHEAD = 1024 };
#define LEVEL _MM_HINT_T1
#endif

/* ---- what Python hands over; layers.py has the same structures ---- */

typedef struct {
    const uint32_t *cells;
    const float *bias;
    const uint16_t *scales; /* of whole numbers: bf16, [outputs / 32][blocks][32] */
} Product;

typedef struct {
    const float *norm_1_weight, *norm_1_bias, *norm_2_weight, *norm_2_bias;
    Product qkv, projection, expansion, contraction;
} Layer;

/* What follows the layers, computed in fp32 always: it is small, and its logits decide. */
typedef struct {
    const float *last_norm_weight, *last_norm_bias, *final_norm_weight, *final_norm_bias;
    Product product;
    int32_t codes, precision; /* rounded up to whole panels; FP32 or FP16 */
} Head;

typedef struct {
    const Layer *layers;
    Head head;
    int32_t channels, heads, precision;
} Model;

/* What is being spoken, each row of it; a step changes all but draws and embeddings. */
typedef struct {
    int64_t *code, *count, *lengths; /* the last one, how many a row has, and the positions that its cache row holds */
    const float *draws;              /* (rows, most): a number a code */
    uint8_t *seen;                   /* (rows, codes) */
    float *states;                   /* (rows, most, channels) */
    const float *of_codes, *of_counts; /* embeddings: (codes, channels), and (counts, channels) */
    int32_t most, codes, counts;
    Sampling sampling;
} Speech;

typedef struct {
    int32_t tokens;
    int32_t layers;                /* to go through: all or none */
    int32_t cache_rows, capacity;  /* positions of a cache row */
    const int64_t *rows, *positions; /* of each token, in the cache */
    float *x;                      /* (tokens, channels): embeddings in, the last layer's output out */
    char *const *keys, *const *values; /* a layer: (rows, heads, capacity), a head's vector each */
    float *states, *logits;        /* (tokens, channels) and (tokens, codes), or NULL: no head follows the layers */
    const Speech *speech;          /* not NULL: a step of its `rows`; positions, x, states and logits are NULL */
} Pass;

enum { DONE, NO_MEMORY, NO_PLACE }; /* what comes of it: the last where rows or positions are none */

/* ---- numbers ---- */

INLINE __m512 widened(const uint16_t *bf16) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)bf16)), 16));
}

/* Bytes of a number of activations. */
INLINE int bytes_of(const int precision) { return precision == FP32 ? 4 : precision == INT16 ? 2 : 1; }

/* What numbers are multiplied with so that the largest becomes `most`; never infinite. */
INLINE float factor_of(const float *numbers, int count, float most) {
    __m512 largest = _mm512_set1_ps(1e-30f);
    for (int i = 0; i < count; i += LANES)
        largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(numbers + i)));
    return most / _mm512_reduce_max_ps(largest);
}

/* `count` numbers become whole ones of 16 or 8 bits, as large as they get. Returns the factor, and adds them up, a part
   of the sum a lane. */
INLINE float round_all(const float *from, int count, char *to, const int precision, __m512i *sum) {
    float factor = factor_of(from, count, precision == INT16 ? 32767.0f : 127.0f);
    *sum = _mm512_setzero_si512();
    for (int i = 0; i < count; i += LANES) {
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + i), _mm512_set1_ps(factor)));
        *sum = _mm512_add_epi32(*sum, whole);
        if (precision == INT16) _mm256_storeu_si256((__m256i *)(to + 2 * i), _mm512_cvtsepi32_epi16(whole));
        else _mm_storeu_si128((__m128i *)(to + i), _mm512_cvtsepi32_epi8(whole));
    }
    return factor;
}

/* ---- vectors of the cache ---- */

/* Their bytes. */
INLINE long width(int head, const int precision) {
    return precision == FP32 ? head * 4L : head + (precision == INT16 ? head / 4 : 0) + (long)sizeof(float);
}

/* Twice the lanes' numbers. */
INLINE __m512i evens(void) {
    return _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
}

/* Not FP32: a head's numbers become a vector. */
INLINE void hold(const float *from, int head, char *vector, const int precision) {
    const float factor = factor_of(from, head, precision == INT16 ? 511.0f : 127.0f), scale = 1.0f / factor;
    for (int i = 0; i < head; i += LANES) {
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + i), _mm512_set1_ps(factor)));
        if (precision == INT16) {
            __m512i low = _mm512_sllv_epi32(_mm512_and_si512(whole, _mm512_set1_epi32(3)), evens());
            const int32_t lower = _mm512_reduce_or_epi32(low);
            memcpy(vector + head + i / 4, &lower, sizeof lower);
            whole = _mm512_srai_epi32(whole, 2);
        }
        _mm_storeu_si128((__m128i *)(vector + i), _mm512_cvtsepi32_epi8(whole));
    }
    memcpy(vector + width(head, precision) - sizeof scale, &scale, sizeof scale);
}

/* Sixteen numbers from number `at` on, but for their scale. */
INLINE __m512 cached(const char *vector, int at, int head, const int precision) {
    if (precision == FP32) return _mm512_loadu_ps((const float *)vector + at);
    __m512i whole = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(vector + at)));
    if (precision == INT16) {
        int32_t lower;
        memcpy(&lower, vector + head + at / 4, sizeof lower);
        __m512i low = _mm512_srlv_epi32(_mm512_set1_epi32(lower), evens());
        /* bits of the second where the first has ones, else of the third */
        whole = _mm512_ternarylogic_epi32(_mm512_set1_epi32(3), low, _mm512_slli_epi32(whole, 2), 0xCA);
    }
    return _mm512_cvtepi32_ps(whole);
}

INLINE float scale_of(const char *vector, int head, const int precision) {
    float scale = 1.0f;
    if (precision != FP32) memcpy(&scale, vector + width(head, precision) - sizeof scale, sizeof scale);
    return scale;
}

/* e to the x, to 2e-7: 2 to a whole number, times a polynomial (coefficients of Cephes' expf). */
INLINE __m512 exponential(__m512 x) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.0f)), _mm512_set1_ps(88.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* GPT-2's gelu: y / (1 + exp(-2 sqrt(2 / pi) (y + 0.044715 y^3))). */
INLINE __m512 gelu(__m512 y) {
    __m512 inner = _mm512_fmadd_ps(_mm512_mul_ps(y, y), _mm512_set1_ps(0.044715f), _mm512_set1_ps(1.0f));
    inner = _mm512_mul_ps(_mm512_mul_ps(inner, y), _mm512_set1_ps(-1.59576912f));
    return _mm512_div_ps(y, _mm512_add_ps(_mm512_set1_ps(1.0f), exponential(inner)));
}

/* The sums of sixteen vectors, in order. */
INLINE __m512 sums_of(__m512 v[16]) {
    UNROLLED for (int i = 0; i < 8; i++)
        v[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    UNROLLED for (int i = 0; i < 4; i++)
        v[i] = _mm512_add_ps(
            _mm512_shuffle_ps(v[2 * i], v[2 * i + 1], 0x44), _mm512_shuffle_ps(v[2 * i], v[2 * i + 1], 0xEE));
    UNROLLED for (int i = 0; i < 2; i++)
        v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xDD));
    return _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x88), _mm512_shuffle_f32x4(v[0], v[1], 0xDD));
}

/* ---- a pass under way ---- */

typedef struct {
    const Model *model;
    Pass pass;
    uint32_t *cells;     /* activations of the next product: (tokens, inputs) */
    float *scales;       /* of whole numbers: (tokens, blocks) */
    int32_t *starts;     /* INT8: (tokens, blocks), what a block's sum begins at */
    float *query;        /* (tokens, channels) */
    float *fresh;        /* not FP32: (tokens, 2 channels), keys and values not yet in the cache */
    float *wide;         /* (tokens, 4 channels): what attention saw, or the expansion */
    float *scores;       /* (threads, capacity rounded up) */
    uint32_t *unpacked;  /* INT16 and many tokens: (threads, cells of the largest panel) */
} Run;

enum { NORM_1, QKV, KEEP, ATTENTION, TAKE, PROJECTION, NORM_2, EXPANSION, TAKE_WIDE, CONTRACTION, PHASES };
enum { STATES = PHASES, LOGITS, CHOICE, HEAD_PHASES = 2 }; /* the last of them only where something is spoken */

/* ---- the parts of a layer ---- */

/* One token's numbers become the activations of the next product. */
static void take(Run *run, long token, const float *from, int inputs) {
    if (run->model->precision == FP32) {
        memcpy((float *)run->cells + token * inputs, from, inputs * sizeof(float));
        return;
    }
    const int precision = run->model->precision, bytes = bytes_of(precision);
    long blocks = blocks_of(inputs);
    for (long block = 0; block < blocks; block++) {
        long begin = block * BLOCK, count = begin + BLOCK < inputs ? BLOCK : inputs - begin;
        __m512i sum;
        float factor = round_all(from + begin, count, (char *)run->cells + (token * inputs + begin) * bytes, precision, &sum);
        run->scales[token * blocks + block] = 1.0f / factor;
        run->starts[token * blocks + block] = -128 * _mm512_reduce_add_epi32(sum);
    }
}

static void norm(const float *x, const float *weight, const float *bias, int channels, float *to) {
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int i = 0; i < channels; i += LANES) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / channels);
    for (int i = 0; i < channels; i += LANES) {
        __m512 apart = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
        squares = _mm512_fmadd_ps(apart, apart, squares);
    }
    __m512 factor = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(squares) / channels + 1e-5f));
    for (int i = 0; i < channels; i += LANES) {
        __m512 y = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), factor);
        _mm512_storeu_ps(to + i, _mm512_fmadd_ps(y, _mm512_loadu_ps(weight + i), _mm512_loadu_ps(bias + i)));
    }
}

static void take_normed(Run *run, long token, const float *weight, const float *bias) {
    int channels = run->model->channels;
    float normed[channels];
    norm(run->pass.x + token * channels, weight, bias, channels, normed);
    take(run, token, normed, channels);
}

/* Where the cache holds, or shall hold, one token's key or value. */
INLINE char *vector_of(const Run *run, int layer, bool value, long token, int number) {
    const Pass *pass = &run->pass;
    int heads = run->model->heads;
    long at = (pass->rows[token] * heads + number) * pass->capacity + pass->positions[token];
    return (value ? pass->values : pass->keys)[layer] + at * width(run->model->channels / heads, run->model->precision);
}

/* Sixteen outputs of one token go where the phase wants them. */
INLINE void put(Run *run, int layer, int phase, long token, int output, __m512 y) {
    int channels = run->model->channels;
    if (phase == EXPANSION) {
        _mm512_storeu_ps(run->wide + token * 4 * channels + output, gelu(y));
    } else if (phase == PROJECTION || phase == CONTRACTION) {
        float *x = run->pass.x + token * channels + output;
        _mm512_storeu_ps(x, _mm512_add_ps(_mm512_loadu_ps(x), y));
    } else if (phase == LOGITS) {
        _mm512_storeu_ps(run->pass.logits + token * run->model->head.codes + output, y);
    } else if (output < channels) {
        _mm512_storeu_ps(run->query + token * channels + output, y);
    } else if (run->model->precision != FP32) {
        _mm512_storeu_ps(run->fresh + token * 2 * channels + output - channels, y);
    } else {
        bool value = output >= 2 * channels;
        int head = channels / run->model->heads, channel = output % channels;
        _mm512_storeu_ps((float *)vector_of(run, layer, value, token, channel / head) + channel % head, y);
    }
}

/* Not FP32: one token's new keys and values go into the cache. */
static void keep(Run *run, int layer, long token) {
    const int precision = run->model->precision;
    int channels = run->model->channels, heads = run->model->heads, head = channels / heads;
    for (int number = 0; number < 2 * heads; number++) {
        const float *from = run->fresh + token * 2 * channels + number * head;
        hold(from, head, vector_of(run, layer, number >= heads, token, number % heads), precision);
    }
}

static long outputs_of(const Run *run, int phase) {
    if (phase == LOGITS) return run->model->head.codes;
    return run->model->channels * (phase == QKV ? 3L : phase == EXPANSION ? 4L : 1L);
}

static long inputs_of(const Run *run, int phase) { return run->model->channels * (phase == CONTRACTION ? 4L : 1L); }

/* The cells of the largest panel, unpacked. */
static long largest(const Model *model) { return cells_of(4L * model->channels, UNPACKED) * PANEL; }

/* Calls cells from memory: by itself the processor calls fewer, and none beyond a page of 4 KB. */
INLINE void call(const uint32_t *cells, const int vectors) {
    UNROLLED for (int i = 0; i < vectors; i++) _mm_prefetch((const char *)(cells + i * LANES), LEVEL);
}

/* One half of an input's weights, in fp32. */
INLINE __m512 halfway(const uint32_t *cells, int half, const int precision) {
    if (precision == FP32) return _mm512_loadu_ps(cells + half * LANES);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)cells + half));
}

/* The sums of `tokens` tokens from number `first` on with the panel at `w`. Meanwhile are called: for the first
   tokens what comes of this panel, for others half a panel at `next` (or NULL). INT16: the panel is unpacked to
   `unpacked` (or NULL) as well. */
INLINE void tile(const Run *run, const Product *product, int panel, const uint32_t *w, int inputs, long first,
                 const uint32_t *next, uint32_t *unpacked, float sums[TWELVE][PANEL], const int tokens,
                 const int precision) {
    const long depth = cells_of(inputs, precision == FP16 ? FP32 : precision); /* of activations */
    const uint32_t *a = run->cells + first * depth;
    if (precision == FP32 || precision == FP16) {
        __m512 y[TWELVE][2];
        UNROLLED for (int i = 0; i < tokens; i++)
            UNROLLED for (int j = 0; j < 2; j++) y[i][j] = _mm512_setzero_ps();
        for (long k = 0; k < depth; k++) {
            const uint32_t *here = w + k * PANEL / (precision == FP16 ? 2 : 1);
            if (first == 0) call(here + AHEAD, precision == FP16 ? 1 : 2);
            if (next != NULL) call(next + k * LANES / (precision == FP16 ? 2 : 1), 1);
            __m512 w0 = halfway(here, 0, precision), w1 = halfway(here, 1, precision);
            UNROLLED for (int i = 0; i < tokens; i++) {
                __m512 x = _mm512_castsi512_ps(_mm512_set1_epi32(a[i * depth + k]));
                MULTIPLY("vfmadd231ps", y[i][0], x, w0);
                MULTIPLY("vfmadd231ps", y[i][1], x, w1);
            }
        }
        UNROLLED for (int i = 0; i < tokens; i++)
            UNROLLED for (int j = 0; j < 2; j++) _mm512_storeu_ps(sums[i] + j * LANES, y[i][j]);
        return;
    }
    const long blocks = blocks_of(inputs), size = cells_of(BLOCK, precision);
    const uint16_t *scales = product->scales + panel * blocks * PANEL;
    for (long block = 0, k = 0; block < blocks; block++) {
        const long end = k + size < depth ? k + size : depth;
        __m512i sum[TWELVE][2];
        UNROLLED for (int i = 0; i < tokens; i++)
            UNROLLED for (int j = 0; j < 2; j++)
                sum[i][j] = _mm512_set1_epi32(precision == INT8 ? run->starts[(first + i) * blocks + block] : 0);
        if (precision == INT16) {
            for (; k < end; k += UNIT / 2, w += KEPT * LANES) {
                __m512i two[QUARTERS];
                call(w + AHEAD, WORDS);
                last_bits(w, two);
                for (int quarter = 0; quarter < QUARTERS; quarter++) {
                    const uint32_t *pairs = w + (WORDS + 4 * quarter) * LANES;
                    const long at = k + 4 * quarter;
                    __m512i eight[8];
                    call(pairs + AHEAD, 4);
                    unpack(pairs, two[quarter], eight);
                    if (unpacked != NULL)
                        UNROLLED for (int j = 0; j < 8; j++) _mm512_store_si512(unpacked + at * PANEL + j * LANES, eight[j]);
                    UNROLLED for (int j = 0; j < 4; j++)
                        UNROLLED for (int i = 0; i < tokens; i++) {
                            __m512i x = _mm512_set1_epi32(a[i * depth + at + j]);
                            MULTIPLY("vpdpwssd", sum[i][0], x, eight[2 * j]);
                            MULTIPLY("vpdpwssd", sum[i][1], x, eight[2 * j + 1]);
                        }
                }
            }
        } else {
            const long lines = precision == UNPACKED ? KEPT : 2 * LANES; /* cells of a panel as it is kept */
            for (; k < end; k++) {
                if (precision == INT8 && first == 0) call(w + k * PANEL + AHEAD, 2);
                if (next != NULL) call(next + k * lines / 2, 1);
                __m512i w0 = _mm512_loadu_si512(w + k * PANEL), w1 = _mm512_loadu_si512(w + k * PANEL + LANES);
                UNROLLED for (int i = 0; i < tokens; i++) {
                    __m512i x = _mm512_set1_epi32(a[i * depth + k]);
                    if (precision == INT8) {
                        MULTIPLY("vpdpbusd", sum[i][0], w0, x);
                        MULTIPLY("vpdpbusd", sum[i][1], w1, x);
                    } else {
                        MULTIPLY("vpdpwssd", sum[i][0], x, w0);
                        MULTIPLY("vpdpwssd", sum[i][1], x, w1);
                    }
                }
            }
        }
        UNROLLED for (int j = 0; j < 2; j++) {
            __m512 scale = widened(scales + block * PANEL + j * LANES);
            UNROLLED for (int i = 0; i < tokens; i++) {
                __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(run->scales[(first + i) * blocks + block]));
                __m512 y = block > 0 ? _mm512_loadu_ps(sums[i] + j * LANES) : _mm512_setzero_ps();
                _mm512_storeu_ps(sums[i] + j * LANES, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][j]), factor, y));
            }
        }
    }
}

typedef void Lot(const Run *run, const Product *product, int panel, const uint32_t *w, int inputs, long first,
                 const uint32_t *next, uint32_t *unpacked, float sums[TWELVE][PANEL], int tokens);

#define LOT(name, precision, cases) \
    static void name(const Run *run, const Product *product, int panel, const uint32_t *w, int inputs, long first, \
                     const uint32_t *next, uint32_t *unpacked, float sums[TWELVE][PANEL], int tokens) { \
        switch (tokens) { cases(precision) } \
    }
#define CASE(n, precision) \
    case n: tile(run, product, panel, w, inputs, first, next, unpacked, sums, n, precision); break;
#define SIX_TO_TWELVE(p) /* a lot of more than twelve has six at least */ \
    CASE(6, p) CASE(7, p) CASE(8, p) CASE(9, p) CASE(10, p) CASE(11, p) CASE(12, p)
#define ONE_TO_TWELVE(p) CASE(1, p) CASE(2, p) CASE(3, p) CASE(4, p) CASE(5, p) SIX_TO_TWELVE(p)
LOT(lot_fp32, FP32, ONE_TO_TWELVE)
LOT(lot_fp16, FP16, ONE_TO_TWELVE)
LOT(lot_int16, INT16, ONE_TO_TWELVE)
LOT(lot_unpacked, UNPACKED, SIX_TO_TWELVE)
LOT(lot_int8, INT8, ONE_TO_TWELVE)

/* Sums of `tokens` tokens from number `first` on become a panel's outputs. */
static void finish(Run *run, int layer, int phase, const Product *product, int panel, long first, int tokens,
                   float sums[TWELVE][PANEL]) {
    for (int j = 0; j < PANEL; j += LANES) {
        int output = panel * PANEL + j;
        for (int i = 0; i < tokens; i++) {
            __m512 y = _mm512_add_ps(_mm512_loadu_ps(sums[i] + j), _mm512_loadu_ps(product->bias + output));
            put(run, layer, phase, first + i, output, y);
        }
    }
}

/* One panel for all tokens, as many at once as there are registers for. In a step, reading a panel takes as long
   as multiplying it with two such lots; so while it is multiplied with the second and the third one, the panel
   that this thread will most likely take next is called. */
static void multiply(Run *run, int layer, int phase, const Product *product, int precision, int panel, int thread) {
    long inputs = inputs_of(run, phase), panels = outputs_of(run, phase) / PANEL, next = panel + 1;
    long size = size_of(inputs, precision), half = size / 2;
    long tokens = run->pass.tokens, pieces = (tokens + TWELVE - 1) / TWELVE;
    const uint32_t *w = product->cells + panel * size;
    uint32_t *unpacked = precision == INT16 && pieces > 1 ? run->unpacked + thread * largest(run->model) : NULL;
    Lot *lot = (Lot *[]){lot_fp32, lot_int16, lot_int8, lot_fp16}[precision];
    for (long piece = 0; piece < pieces; piece++) {
        bool early = pieces <= STEP && next < panels && (piece == 1 || piece == 2);
        const uint32_t *from = early ? product->cells + next * size + (piece - 1) * half : NULL;
        long first = tokens * piece / pieces, count = tokens * (piece + 1) / pieces - first;
        float sums[TWELVE][PANEL];
        lot(run, product, panel, w, inputs, first, from, unpacked, sums, count);
        finish(run, layer, phase, product, panel, first, count, sums);
        if (unpacked != NULL) w = unpacked, lot = lot_unpacked;
    }
}

/* What one token's query sees of its row, in one head. Its values are called while keys are read, and the next head's
   keys while values are. */
INLINE void look(Run *run, int layer, long token, int number, float *scores, const int groups, const int precision) {
    const int head = groups * LANES;
    const long position = run->pass.positions[token], count = position + 1, step = width(head, precision);
    const char *keys = vector_of(run, layer, false, token, number) - position * step;
    const char *values = vector_of(run, layer, true, token, number) - position * step;
    const float *query = run->query + token * run->model->channels + number * head;
    __m512 q[4], most = _mm512_set1_ps(-INFINITY);
    UNROLLED for (int j = 0; j < groups; j++) q[j] = _mm512_loadu_ps(query + j * LANES);
    for (long first = 0; first < count; first += LANES) {
        __m512 v[LANES];
        const char *later = first + FAR < count ? keys + (first + FAR) * step : values + (first + FAR - count) * step;
        for (long byte = 0; byte < LANES * step; byte += LINE) _mm_prefetch(later + byte, _MM_HINT_T0);
        UNROLLED for (int i = 0; i < LANES; i++) {
            v[i] = _mm512_setzero_ps();
            if (first + i < count) {
                const char *key = keys + (first + i) * step;
                UNROLLED for (int j = 0; j < groups; j++)
                    v[i] = _mm512_fmadd_ps(cached(key, j * LANES, head, precision), q[j], v[i]);
                if (precision != FP32) v[i] = _mm512_mul_ps(v[i], _mm512_set1_ps(scale_of(key, head, precision)));
            }
        }
        long left = count - first;
        __mmask16 there = left >= LANES ? 0xFFFF : (1u << left) - 1;
        __m512 score = _mm512_mask_blend_ps(there, _mm512_set1_ps(-INFINITY), sums_of(v));
        most = _mm512_max_ps(most, score);
        _mm512_storeu_ps(scores + first, score);
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 total = _mm512_setzero_ps(), seen[4];
    for (long first = 0; first < count; first += LANES) {
        long left = count - first;
        __mmask16 there = left >= LANES ? 0xFFFF : (1u << left) - 1;
        __m512 weight = _mm512_maskz_mov_ps(there, exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + first), most)));
        total = _mm512_add_ps(total, weight);
        _mm512_storeu_ps(scores + first, weight);
    }
    UNROLLED for (int j = 0; j < groups; j++) seen[j] = _mm512_setzero_ps();
    for (long i = 0; i < count; i++) {
        const char *value = values + i * step;
        const char *later = i + FAR < count ? value + FAR * step : keys + (run->pass.capacity + i + FAR - count) * step;
        for (long byte = 0; byte < step; byte += LINE) _mm_prefetch(later + byte, _MM_HINT_T0);
        __m512 weight = _mm512_set1_ps(scores[i] * scale_of(value, head, precision));
        UNROLLED for (int j = 0; j < groups; j++)
            seen[j] = _mm512_fmadd_ps(cached(value, j * LANES, head, precision), weight, seen[j]);
    }
    __m512 factor = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(total));
    float *to = run->wide + token * run->model->channels + number * head;
    UNROLLED for (int j = 0; j < groups; j++) _mm512_storeu_ps(to + j * LANES, _mm512_mul_ps(seen[j], factor));
}

#define LOOK(name, precision) \
    static void name(Run *run, int layer, long token, int number, float *scores) { \
        switch (run->model->channels / run->model->heads / LANES) { \
            case 1: look(run, layer, token, number, scores, 1, precision); break; \
            case 4: look(run, layer, token, number, scores, 4, precision); break; \
        } \
    }
LOOK(look_fp32, FP32)
LOOK(look_int16, INT16)
LOOK(look_int8, INT8)

static void attend(Run *run, int layer, long token, int number, float *scores) {
    switch (run->model->precision) {
        case FP32: look_fp32(run, layer, token, number, scores); break;
        case INT16: look_int16(run, layer, token, number, scores); break;
        case INT8: look_int8(run, layer, token, number, scores); break;
    }
}

/* ---- phases ---- */

/* Of a run's phases; those of the head are numbered after those of a layer. */
INLINE int kind_of(const Run *run, int phase) {
    return phase / PHASES < run->pass.layers ? phase % PHASES : PHASES + phase % PHASES;
}

static long chunks(const void *of, int phase) {
    const Run *run = of;
    switch (phase = kind_of(run, phase)) {
        case QKV: case PROJECTION: case EXPANSION: case CONTRACTION: case LOGITS:
            return outputs_of(run, phase) / PANEL;
        case KEEP: return run->model->precision == FP32 ? 0 : run->pass.tokens;
        case ATTENTION: return run->pass.tokens * (long)run->model->heads;
        default: return run->pass.tokens;
    }
}

/* What follows the layers, of one token: the vocoder's states, which are also the activations of the logits. */
static void norm_twice(Run *run, long token) {
    const Head *head = &run->model->head;
    const Speech *speech = run->pass.speech;
    const int channels = run->model->channels;
    float normed[channels], *states = run->pass.states + token * channels;
    if (speech != NULL) {
        const int64_t row = run->pass.rows[token];
        states = speech->states + (row * speech->most + speech->count[row]) * channels;
    }
    norm(run->pass.x + token * channels, head->last_norm_weight, head->last_norm_bias, channels, normed);
    norm(normed, head->final_norm_weight, head->final_norm_bias, channels, states);
    memcpy(run->cells + token * channels, states, channels * sizeof(float));
}

/* One token becomes the embedding of its row's last code. */
static void embed(Run *run, long token) {
    const Speech *speech = run->pass.speech;
    const int channels = run->model->channels;
    const int64_t row = run->pass.rows[token];
    const float *code = speech->of_codes + speech->code[row] * channels, *count = speech->of_counts + speech->count[row] * channels;
    for (int i = 0; i < channels; i += LANES)
        _mm512_storeu_ps(run->pass.x + token * channels + i, _mm512_add_ps(_mm512_loadu_ps(code + i), _mm512_loadu_ps(count + i)));
}

static void choose_next(Run *run, long token) {
    const Speech *speech = run->pass.speech;
    const int64_t row = run->pass.rows[token];
    const float *logits = run->pass.logits + token * run->model->head.codes;
    uint8_t *seen = speech->seen + row * speech->codes;
    const float draw = speech->draws[row * speech->most + speech->count[row]];
    speech->code[row] = choice_of(logits, seen, draw, speech->codes, &speech->sampling);
    seen[speech->code[row]] = 1;
    speech->count[row]++;
    speech->lengths[row]++;
}

static void chunk(void *of, int phase, long at, int thread) {
    Run *run = of;
    const int number = phase / PHASES;
    const Layer *layer = run->model->layers + number;
    const Head *head = &run->model->head;
    int precision = run->model->precision, channels = run->model->channels, heads = run->model->heads;
    switch (phase = kind_of(run, phase)) {
        case NORM_1:
            if (number == 0 && run->pass.speech != NULL) embed(run, at);
            take_normed(run, at, layer->norm_1_weight, layer->norm_1_bias);
            break;
        case QKV: multiply(run, number, phase, &layer->qkv, precision, at, thread); break;
        case KEEP: keep(run, number, at); break;
        case ATTENTION: attend(run, number, at / heads, at % heads, run->scores + thread * (run->pass.capacity + LANES)); break;
        case TAKE: take(run, at, run->wide + at * channels, channels); break;
        case PROJECTION: multiply(run, number, phase, &layer->projection, precision, at, thread); break;
        case NORM_2: take_normed(run, at, layer->norm_2_weight, layer->norm_2_bias); break;
        case EXPANSION: multiply(run, number, phase, &layer->expansion, precision, at, thread); break;
        case TAKE_WIDE: take(run, at, run->wide + at * 4 * channels, 4 * channels); break;
        case CONTRACTION: multiply(run, number, phase, &layer->contraction, precision, at, thread); break;
        case STATES: norm_twice(run, at); break;
        case LOGITS: multiply(run, number, phase, &head->product, head->precision, at, thread); break;
        case CHOICE: choose_next(run, at); break;
    }
}

/* Whether all rows and positions are there; in a step, `positions` become those of its rows. */
static bool known(const Pass *pass, int64_t *positions) {
    const Speech *speech = pass->speech;
    for (long token = 0; pass->layers > 0 && token < pass->tokens; token++) {
        const int64_t row = pass->rows[token];
        if (row < 0 || row >= pass->cache_rows) return false;
        if (speech != NULL) {
            const int64_t code = speech->code[row], count = speech->count[row];
            if (code < 0 || code >= speech->codes) return false;
            if (count < 0 || count >= speech->most || count >= speech->counts) return false;
            positions[token] = speech->lengths[row];
        }
        const int64_t position = speech == NULL ? pass->positions[token] : positions[token];
        if (position < 0 || position >= pass->capacity) return false;
    }
    return true;
}

/* A pass by `threads` threads, this one among them. */
int32_t run_layers(const Model *model, Team *team, const Pass *pass, int32_t threads) {
    const bool speaks = pass->speech != NULL;
    long tokens = pass->tokens, channels = model->channels, wide = tokens * 4 * channels;
    int bytes = bytes_of(model->precision);
    size_t scores = (size_t)team_size(team, threads) * (pass->capacity + LANES) * sizeof(float);
    size_t blocks = tokens * blocks_of(4 * channels) * sizeof(float);
    size_t query = tokens * channels * sizeof(float), fresh = model->precision == FP32 ? 0 : 2 * query;
    bool unpacks = model->precision == INT16 && tokens > TWELVE;
    size_t panels = unpacks ? team_size(team, threads) * largest(model) * sizeof(uint32_t) : 0;
    size_t x = speaks ? query : 0, positions = speaks ? tokens * sizeof(int64_t) : 0;
    size_t logits = speaks ? tokens * model->head.codes * sizeof(float) : 0;
    size_t sizes[] = {wide * bytes, blocks, blocks, query, fresh, wide * sizeof(float), scores, panels, x, positions, logits};
    enum { PARTS = sizeof sizes / sizeof sizes[0] };
    size_t total = 0, offsets[PARTS];
    for (int i = 0; i < PARTS; i++) {
        offsets[i] = total;
        total += (sizes[i] + 63) / 64 * 64;
    }
    char *memory = aligned_alloc(64, total);
    if (memory == NULL) return NO_MEMORY;
    Run run = {
        .model = model,
        .pass = *pass,
        .cells = (uint32_t *)memory,
        .scales = (float *)(memory + offsets[1]),
        .starts = (int32_t *)(memory + offsets[2]),
        .query = (float *)(memory + offsets[3]),
        .fresh = (float *)(memory + offsets[4]),
        .wide = (float *)(memory + offsets[5]),
        .scores = (float *)(memory + offsets[6]),
        .unpacked = (uint32_t *)(memory + offsets[7]),
    };
    if (speaks) {
        run.pass.x = (float *)(memory + offsets[8]);
        run.pass.positions = (int64_t *)(memory + offsets[9]);
        run.pass.logits = (float *)(memory + offsets[10]);
    }
    int32_t outcome = NO_PLACE;
    if (known(pass, (int64_t *)(memory + offsets[9]))) {
        int after = speaks ? HEAD_PHASES + 1 : pass->states != NULL ? HEAD_PHASES : 0;
        Work work = {&run, pass->layers * PHASES + after, chunks, chunk};
        outcome = team_run(team, &work, threads) ? DONE : NO_MEMORY;
    }
    free(memory);
    return outcome;
}
