/* The votes of the whole picture for displacements: sums run along diagonals of the map of all pairs of cells. */

#include <math.h>
#include <string.h>

#include "semcorr.h"

/* Weigh values and their neighbours `step` away by 2, 1, 1, in runs of `length`. */
static void spread_within(const float *restrict values, float *restrict spread, int64_t count, int64_t step,
                          int64_t length) {
    for (int64_t begin = 0; begin < count; begin += length) {
        int64_t end = begin + length;
        for (int64_t q = begin; q < smaller(begin + step, end); q++)
            spread[q] = 2 * values[q] + (q + step < end ? values[q + step] : 0);
        for (int64_t q = begin + step; q < end - step; q++)
            spread[q] = 2 * values[q] + values[q - step] + values[q + step];
        for (int64_t q = larger(begin + step, end - step); q < end; q++) spread[q] = 2 * values[q] + values[q - step];
    }
}

INLINE void add_to(float *restrict sums, const float *restrict values, int64_t count) {
    for (int64_t q = 0; q < count; q++) sums[q] += values[q];
}

/* Weigh the rows `first + i * step` and those beside them by 2, 1, 1, in place; `spare` has room for them. */
static void spread_among(float *votes, int64_t targets, int64_t first, int64_t step, int64_t count,
                         float *restrict spare) {
    for (int64_t i = 0; i < count; i++)
        memcpy(spare + i * targets, votes + (first + i * step) * targets, sizeof(float) * (size_t)targets);
    for (int64_t i = 0; i < count; i++) {
        float *restrict line = votes + (first + i * step) * targets;
        for (int64_t q = 0; q < targets; q++) line[q] *= 2;
        if (i > 0) add_to(line, spare + (i - 1) * targets, targets);
        if (i + 1 < count) add_to(line, spare + (i + 1) * targets, targets);
    }
}

/* Add up what lies on the same diagonal of the rows `first + i * step` and of target places `shift` apart, in runs of
   `length`, both ways, in place. */
static void along(float *votes, int64_t targets, int64_t first, int64_t step, int64_t count, float *restrict spare,
                  int64_t shift, int64_t length, float fading) {
    for (int64_t i = 0; i < count; i++)
        memcpy(spare + i * targets, votes + (first + i * step) * targets, sizeof(float) * (size_t)targets);
    for (int64_t i = 1; i < count; i++) {
        float *restrict line = votes + (first + i * step) * targets;
        const float *restrict before = line - step * targets;
        for (int64_t begin = 0; begin < targets; begin += length)
            for (int64_t q = begin + shift; q < begin + length; q++) line[q] += fading * before[q - shift];
    }
    for (int64_t i = count - 2; i >= 0; i--) { /* spare becomes what comes from behind, a row later each time */
        float *restrict line = votes + (first + i * step) * targets, *restrict own = spare + i * targets;
        const float *restrict behind = own + targets;
        for (int64_t begin = 0; begin < targets; begin += length)
            for (int64_t q = begin; q < begin + length - shift; q++) {
                float passed = fading * behind[q + shift];
                own[q] += passed;
                line[q] += passed;
            }
    }
}

/* Turn correlations into votes, in place.

   votes: (hs * ws, ht * wt). of_source, of_target: The filter's weights of the cells. spare: Room for
   (max(hs, ws, 2), ht * wt). fading: From a cell to its neighbour. */
PUBLIC int LEVEL(count_votes)(float *votes, const float *of_source, const float *of_target, int64_t hs, int64_t ws,
                              int64_t ht, int64_t wt, float fading, float *spare) {
    int64_t sources = hs * ws, targets = ht * wt;
    float *restrict powered = spare;
    for (int64_t p = 0; p < sources; p++) {
        float *restrict line = votes + p * targets, *restrict spread = spare + targets;
        for (int64_t q = 0; q < targets; q++) {
            float value = filter(line[q], of_source[p], of_target[q]);
            powered[q] = value * sqrtf(value);
        }
        spread_within(powered, spread, targets, 1, wt);
        spread_within(spread, line, targets, wt, targets);
    }
    for (int64_t y = 0; y < hs; y++) {
        spread_among(votes, targets, y * ws, 1, ws, spare);
        along(votes, targets, y * ws, 1, ws, spare, 1, wt, fading);
    }
    for (int64_t x = 0; x < ws; x++) {
        spread_among(votes, targets, x, ws, hs, spare);
        along(votes, targets, x, ws, hs, spare, wt, targets, fading);
    }
    return DONE;
}

/* Where the centres of cells are between those of tiles: (rows or columns,) along the four axes. */
struct places {
    const float *sy, *sx, *ty, *tx;
    int64_t ws, wt, targets; /* columns of cells, and target cells */
};

/* Interpolate the votes of tiles, whose grid is g, bilinearly in both pictures, at pairs of cells. */
PUBLIC int LEVEL(interpolate_votes)(const int64_t *pairs, int64_t count, const float *votes, const struct grid *g,
                                    int64_t sources, const struct places *at, float *result) {
    int64_t others = g->ht * g->wt;
    for (int64_t n = 0; n < count; n++) {
        if (pairs[n] < 0 || pairs[n] >= sources * at->targets) return BAD_INDEX;
        int64_t p = pairs[n] / at->targets, q = pairs[n] % at->targets;
        float py = at->sy[p / at->ws], px = at->sx[p % at->ws], qy = at->ty[q / at->wt], qx = at->tx[q % at->wt];
        int64_t i = (int64_t)py, j = (int64_t)px, k = (int64_t)qy, m = (int64_t)qx;
        float ay = py - (float)i, ax = px - (float)j, by = qy - (float)k, bx = qx - (float)m, total = 0;
        int64_t below = smaller(i + 1, g->hs - 1), right = smaller(j + 1, g->ws - 1);
        int64_t low = smaller(k + 1, g->ht - 1), far = smaller(m + 1, g->wt - 1);
        for (int corner = 0; corner < 4; corner++) {
            float weight = (corner / 2 ? ay : 1 - ay) * (corner % 2 ? ax : 1 - ax);
            if (weight == 0) continue;
            const float *line = votes + ((corner / 2 ? below : i) * g->ws + (corner % 2 ? right : j)) * others;
            float near = (1 - bx) * line[k * g->wt + m] + bx * line[k * g->wt + far];
            float off = (1 - bx) * line[low * g->wt + m] + bx * line[low * g->wt + far];
            total += weight * ((1 - by) * near + by * off);
        }
        result[n] = total;
    }
    return DONE;
}
