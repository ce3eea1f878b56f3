/* The innermost loops: products of small matrices whose sums stay in registers.

   A block of ROWS x VECTORS vectors is summed at once: 12 of the 16 registers of SSE and AVX2; AVX-512 and NEON have 32.
   Sums run over the inner dimension in order, so that a result depends neither on the block nor on the level, but for
   the rounding of fused multiply-adds. */

#ifndef PRODUCT_H
#define PRODUCT_H

#include <string.h>

#include "semcorr.h"

typedef float vector __attribute__((vector_size(4 * WIDTH)));

enum { ROWS = 6 };

INLINE vector load(const float *from) {
    vector value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *into, vector value) { memcpy(into, &value, sizeof value); }

/* into += rows @ columns for a block of `count` rows and `vectors` vectors, both constant where it is inlined. The value
   at (r, i) is rows[r * row_step + i * step], that at (i, c) is columns[i * column_step + c]. */
INLINE void multiply_add(float *into, int64_t into_step, const float *rows, int64_t row_step, int64_t step,
                         const float *columns, int64_t column_step, int64_t inner, const int count, const int vectors) {
    vector sums[12][2];
    UNROLL for (int r = 0; r < count; r++) UNROLL for (int v = 0; v < vectors; v++)
        sums[r][v] = load(into + r * into_step + v * WIDTH);
    for (int64_t i = 0; i < inner; i++) {
        vector column[2];
        UNROLL for (int v = 0; v < vectors; v++) column[v] = load(columns + i * column_step + v * WIDTH);
        UNROLL for (int r = 0; r < count; r++) {
            float value = rows[r * row_step + i * step];
            UNROLL for (int v = 0; v < vectors; v++) sums[r][v] += value * column[v];
        }
    }
    UNROLL for (int r = 0; r < count; r++) UNROLL for (int v = 0; v < vectors; v++)
        store(into + r * into_step + v * WIDTH, sums[r][v]);
}

/* into (count, width) += rows (count, inner) @ columns (inner, width): count of whole ROWS, width of whole LANES. */
static void product(float *into, int64_t width, const float *rows, int64_t stride, const float *columns, int64_t inner,
                    int64_t count) {
    for (int64_t row = 0; row < count; row += ROWS) {
        const float *line = rows + row * stride;
        float *block = into + row * width;
        int64_t column = 0;
        for (; column + 2 * WIDTH <= width; column += 2 * WIDTH)
            multiply_add(block + column, width, line, stride, 1, columns + column, width, inner, ROWS, 2);
        for (; column < width; column += WIDTH)
            multiply_add(block + column, width, line, stride, 1, columns + column, width, inner, ROWS, 1);
    }
}

#endif
