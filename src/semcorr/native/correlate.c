/* The correlation of two feature maps, laid out for reading windows. */

#include <stdlib.h>

#include "product.h"

enum { PANEL = 12, STRIPE = 2 * WIDTH }; /* source cells that are multiplied at once, and target cells */

/* Bring features (channels, cells) to (panels, channels, PANEL), zeros behind the last cell. */
PUBLIC void LEVEL(pack)(const float *features, int64_t channels, int64_t cells, float *packed) {
    for (int64_t begin = 0; begin < cells; begin += PANEL) {
        int64_t count = smaller(PANEL, cells - begin);
        for (int64_t c = 0; c < channels; c++, packed += PANEL) {
            for (int64_t i = 0; i < count; i++) packed[i] = features[c * cells + begin + i];
            for (int64_t i = count; i < PANEL; i++) packed[i] = 0;
        }
    }
}

/* into (count, width) = rows (count, inner) @ columns (inner, width): count of whole ROWS, width of whole LANES. */
PUBLIC int LEVEL(multiply)(const float *rows, int64_t count, int64_t inner, const float *columns, int64_t width,
                           float *into) {
    memset(into, 0, sizeof(float) * (size_t)(count * width));
    product(into, width, rows, inner, columns, inner, count);
    return DONE;
}

INLINE void multiply_panel(float block[PANEL][STRIPE], const float *panel, const float *stripe, int64_t channels) {
    memset(block, 0, sizeof(float) * PANEL * STRIPE);
#if WIDTH == 16
    multiply_add(&block[0][0], STRIPE, panel, 1, PANEL, stripe, STRIPE, channels, PANEL, 2);
#else
    for (int row = 0; row < PANEL; row += ROWS)
        multiply_add(&block[row][0], STRIPE, panel + row, 1, PANEL, stripe, STRIPE, channels, ROWS, 2);
#endif
}

/* Correlate all source cells with the target cells from `begin` to `end`.

   packed: The source, from `pack`. target: (channels, targets). places: Floats in a row of the map. centres: (targets,)
   where each target cell is in a row. map: (sources, places), written there. of_source: (sources,) raised to the highest
   correlations. of_target: (targets,) the same of target cells. */
PUBLIC int LEVEL(correlate)(const float *packed, int64_t sources, int64_t channels, const float *target, int64_t targets,
                            int64_t begin, int64_t end, const int64_t *centres, int64_t places, float *map,
                            float *of_source, float *of_target) {
    float *stripe = malloc(sizeof(float) * (size_t)larger(channels, 1) * STRIPE), block[PANEL][STRIPE];
    if (!stripe) return NO_MEMORY;
    for (int64_t q = begin; q < end; q++)
        if (centres[q] < 0 || centres[q] >= places) {
            free(stripe);
            return BAD_INDEX;
        }
    for (int64_t first = begin; first < end; first += STRIPE) {
        int64_t wide = smaller(STRIPE, end - first);
        for (int64_t c = 0; c < channels; c++) {
            for (int64_t i = 0; i < wide; i++) stripe[c * STRIPE + i] = target[c * targets + first + i];
            for (int64_t i = wide; i < STRIPE; i++) stripe[c * STRIPE + i] = 0;
        }
        float *highest = of_target + first;
        for (int64_t p = 0; p < sources; p += PANEL) {
            multiply_panel(block, packed + p * channels, stripe, channels);
            for (int64_t row = 0; row < smaller(PANEL, sources - p); row++) {
                float *line = map + (p + row) * places, most = of_source[p + row];
                for (int64_t i = 0; i < wide; i++) {
                    float value = block[row][i];
                    line[centres[first + i]] = value;
                    highest[i] = value > highest[i] ? value : highest[i];
                    most = value > most ? value : most;
                }
                of_source[p + row] = most;
            }
        }
    }
    free(stripe);
    return DONE;
}

/* Correlate the cells of source tiles with those of the target tiles that are near.

   begin, end: Source tiles. one: (tiles, rows, channels), rows the phases rounded up to whole ROWS. other: (tiles,
   channels, wide), wide the phases rounded up to whole LANES. near: (N,) the near target tiles of each source tile, one
   behind the other. ends: (tiles + 1,) where those of each source tile begin, and where the last end. values:
   (phases * phases, N), written. highest: (tiles, phases), raised. */
PUBLIC int LEVEL(correlate_tiles)(int64_t begin, int64_t end, const float *one, const float *other, int64_t targets,
                                  int64_t channels, int64_t phases, const int64_t *near, const int64_t *ends,
                                  int64_t listed, float *values, float *highest) {
    int64_t rows = (phases + ROWS - 1) / ROWS * ROWS, wide = (phases + LANES - 1) / LANES * LANES;
    float *block = malloc(sizeof(float) * (size_t)(rows * wide));
    if (!block) return NO_MEMORY;
    for (int64_t p = begin; p < end; p++)
        for (int64_t n = ends[p]; n < ends[p + 1]; n++) {
            if (n < 0 || n >= listed || near[n] < 0 || near[n] >= targets) {
                free(block);
                return BAD_INDEX;
            }
            memset(block, 0, sizeof(float) * (size_t)(rows * wide));
            const float *lines = one + p * rows * channels;
            product(block, wide, lines, channels, other + near[n] * channels * wide, channels, rows);
            for (int64_t a = 0; a < phases; a++) {
                float most = highest[p * phases + a];
                for (int64_t b = 0; b < phases; b++) {
                    float value = block[a * wide + b];
                    values[(a * phases + b) * listed + n] = value;
                    most = value > most ? value : most;
                }
                highest[p * phases + a] = most;
            }
        }
    free(block);
    return DONE;
}
