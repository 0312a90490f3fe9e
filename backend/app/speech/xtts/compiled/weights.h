/* How the weights of a product lie in memory, for those who pack them and those who multiply.

   They lie in panels of 32 outputs, [outputs / 32][inputs / g][32][g], where g numbers fill a cell of 32 bits:
   1 fp32, 2 of INT16, 4 of INT8; and of FP16, which is multiplied in fp32, two inputs' panels make up one's cells.
   INT16 and INT8 are whole numbers, and their activations too, with a scale a block of
   128 inputs, of each output and of each token: what is large in one block costs the others nothing.

   INT8 has both within ±127. The processor multiplies numbers without a sign by numbers with one, so weights lie
   there with 128 added, and a block's sum begins at -128 times the sum of its activations.

   INT16 has weights within ±511, and activations within ±32767, of which 128 products just fit 32 bits. A step of one
   token takes as long as reading the weights, so they are kept in nine bits and a half: of eight weights that belong
   together, the last bits make up one of only sixteen words, any two of which differ in four places or more
   (Hamming's code of 8 bits, 4 of which say what it is). The points that are left, E8, lie as densely as points in
   eight dimensions can (Conway and Sloane, Sphere Packings, chapter 20, has how to find the nearest one). So weights
   are 1.3 times as far from what they stand for as bf16's, and activations so much nearer that results are nearer, too.

   A unit is 32 inputs of a panel, 32 vectors of sixteen cells: [16 cells][2 halves of the panel], which are four
   quarters of 8 vectors, [4 cells][2 halves]. Of it are kept 19 vectors:

     3  words, each of 16 bits for what would be one number of two weights of all quarters' vectors: the last bit but
        one of quarters 0 and 1, the same of quarters 2 and 3, and the last bit of quarters 0 and 1. Of vector m, the
        bit 2 m + 1 and 2 m; which of them is whose, `last_bits` has.
    16  pairs of vectors, both halves of a cell: the upper 8 bits of the one's numbers above those of the other's.

   The last bits of quarters 2 and 3 follow: x, of the same place two quarters before, or its opposite, if of the four
   cells' x of that quarter, output and input an odd number are ones. */

#pragma once
#include "vectors.h"

#include <stdint.h>

enum { FP32, INT16, INT8, FP16, UNPACKED }; /* the last: INT16, but a whole cell of two numbers of 16 bits */
enum { BLOCK = 128 };                 /* inputs of one scale */
enum { UNIT = 32, KEPT = 19 };        /* INT16: inputs that are packed together, and the vectors they are kept in */
enum { WORDS = 3, QUARTERS = 4 };     /* of a unit */

INLINE long blocks_of(long inputs) { return (inputs + BLOCK - 1) / BLOCK; }

/* `inputs` numbers in cells. */
INLINE long cells_of(long inputs, const int precision) {
    return precision == FP32 ? inputs : precision == INT8 ? inputs / 4 : inputs / 2;
}

/* The cells of a panel as it is kept. */
INLINE long size_of(long inputs, const int precision) {
    return precision == INT16 ? inputs / UNIT * KEPT * LANES : cells_of(inputs, precision) * PANEL;
}

/* Bits of the second where the first has ones, else of the third. */
#define BITS(mask, x, y) _mm512_ternarylogic_epi32(_mm512_set1_epi16((short)(mask)), x, y, 0xCA)

/* x with its numbers of 16 bits turned by `bits`, added to it without carrying. */
INLINE __m512i turned_and_added(__m512i x, const int bits) {
    return _mm512_ternarylogic_epi32(x, _mm512_slli_epi16(x, bits), _mm512_srli_epi16(x, 16 - bits), 0x96);
}

/* The last two bits of a unit's weights: of vector m of a quarter, bits 2 m + 1 and 2 m of the quarter's. */
INLINE void last_bits(const uint32_t *unit, __m512i two[QUARTERS]) {
    const int upper = 0xAAAA;
    __m512i front = _mm512_loadu_si512(unit), back = _mm512_loadu_si512(unit + LANES);
    __m512i last = _mm512_loadu_si512(unit + 2 * LANES);
    /* A cell's four bits, of two quarters and both halves, are neighbours: the sum over cells is one over fours. */
    __m512i later = _mm512_xor_si512(last, turned_and_added(turned_and_added(last, 8), 4));
    two[0] = BITS(upper, front, last);
    two[1] = BITS(upper, _mm512_slli_epi16(front, 1), _mm512_srli_epi16(last, 1));
    two[2] = BITS(upper, back, later);
    two[3] = BITS(upper, _mm512_slli_epi16(back, 1), _mm512_srli_epi16(later, 1));
}

/* A quarter's eight vectors, from its four pairs and its last bits. */
INLINE void unpack(const uint32_t *pairs, __m512i two, __m512i eight[8]) {
    UNROLLED for (int cell = 0; cell < 4; cell++) {
        __m512i pair = _mm512_loadu_si512(pairs + cell * LANES);
        __m512i first = _mm512_srai_epi16(pair, 6), second = _mm512_srai_epi16(_mm512_slli_epi16(pair, 8), 6);
        eight[2 * cell] = BITS(3, _mm512_srli_epi16(two, 4 * cell), first);
        eight[2 * cell + 1] = BITS(3, _mm512_srli_epi16(two, 4 * cell + 2), second);
    }
}
