/* The native core of semcorr: what every file of it uses.

   All of it is compiled once for each level of processor (see levels.c), and every function that is called from outside
   carries the level in its name: semcorr_plain_score_pairs, semcorr_avx2_score_pairs, ...  Matrices are float32, row by
   row; indices are int64. A pair of cells (p, q) is the number p * Q + q, Q the number of target cells. */

#ifndef SEMCORR_H
#define SEMCORR_H

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LEVEL(name) semcorr_avx512_##name
#define WIDTH 16 /* floats in a register */
#elif defined(__AVX2__)
#define LEVEL(name) semcorr_avx2_##name
#define WIDTH 8
#else
#define LEVEL(name) semcorr_plain_##name
#define WIDTH 4
#endif

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define INLINE static inline __attribute__((always_inline))

enum { DONE = 0, NO_MEMORY = 1, BAD_INDEX = 2 }; /* what functions return */

/* Floats that must be there behind the end of what is read or written in whole vectors, and mean nothing. */
enum { SLACK = 16 };

/* The widths of a scoring function's layers are whole multiples of this. */
enum { LANES = 16 };

/* The correlations of one pair of pictures; see semcorr.matchers.pmnc.cpu.maps.Maps. */
struct maps {
    const float *correlation; /* (hs * ws, places), and SLACK floats */
    const float *of_source;   /* (hs * ws,): 1 / (largest correlation + eps) of each source cell */
    const float *of_target;   /* (places + SLACK,): of each place of the target */
    const int64_t *begins;    /* (targets,): where the window around each target cell begins */
    const int64_t *centres;   /* (targets,): where each target cell is */
    int64_t places, step;     /* floats in a row of the map, and from one row of a window to the next */
    int64_t hs, ws, targets, dilation;
};

/* The parameters of a scoring function; see semcorr.matchers.pmnc.cpu.layers.Layers. */
struct layers {
    const float *window;   /* (K, 2 * hidden) */
    const int64_t *boxes;  /* (cells, 4): first row and column, rows, columns that are read at each source offset */
    const float *bias;     /* (2 * hidden,) */
    const float *mix;      /* (hidden, hidden), inputs before outputs */
    const float *mix_bias; /* (hidden,) */
    const float *out;      /* (hidden,) */
    const float *rest;     /* (3,): twice the last bias, the weights of the centre */
    int64_t radius, hidden;
};

INLINE float positive(float value) { return value > 0 ? value : 0; }
INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* The softly mutual-filtered form of a correlation. */
INLINE float filter(float correlation, float of_source, float of_target) {
    float value = positive(correlation);
    return value * value * value * of_source * of_target;
}

#endif
