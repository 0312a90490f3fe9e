/* Vectors of 512 bits: what the other files have in common. */

#pragma once
#include <immintrin.h>

enum { PANEL = 32, LANES = 16 }; /* outputs that are computed together, and numbers of a vector */

#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 64")

/* acc += a b. Written as instructions, because GCC 12 moves the sums between registers and memory around the
   intrinsics of VNNI, which halves their speed. */
#define MULTIPLY(instruction, acc, a, b) __asm__(instruction " %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b))
