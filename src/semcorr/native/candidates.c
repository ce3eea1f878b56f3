/* Which pairs of cells are scored. Every pair is listed once: what was listed is marked in `tried`. */

#include <stdlib.h>
#include <string.h>

#include "semcorr.h"

enum { SKIP = 16 }; /* values that are compared at once */

struct list {
    int64_t *pairs, count;
    uint8_t *tried;
};

INLINE void add(struct list *l, int64_t pair) {
    if (l->tried[pair]) return;
    l->tried[pair] = 1;
    l->pairs[l->count++] = pair;
}

/* Put a value into an ascending list in place of its first, the lowest. */
static void insert(float value, int64_t place, int64_t count, float *values, int64_t *places) {
    int64_t i = 0;
    for (; i + 1 < count && values[i + 1] < value; i++) values[i] = values[i + 1], places[i] = places[i + 1];
    values[i] = value, places[i] = place;
}

/* Is any of the next values above the thresholds? */
INLINE int any_above(const float *values, const float *lowest) {
    int any = 0;
    for (int i = 0; i < SKIP; i++) any |= values[i] > lowest[i];
    return any;
}

INLINE int any_above_one(const float *values, float low) {
    int any = 0;
    for (int i = 0; i < SKIP; i++) any |= values[i] > low;
    return any;
}

struct highest {
    float *values, *weights, *of_target, *lowest, *of_source; /* of_target: (targets, by_column), ascending */
    int64_t *target_places, *source_places;
};

static void best_of_source(struct highest *h, int64_t targets, int64_t count) {
    for (int64_t i = 0; i < count; i++) h->of_source[i] = -1;
    for (int64_t q = 0; q < targets; q += SKIP) {
        if (q + SKIP <= targets && !any_above_one(h->values + q, h->of_source[0])) continue;
        for (int64_t i = q; i < smaller(q + SKIP, targets); i++)
            if (h->values[i] > h->of_source[0]) insert(h->values[i], i, count, h->of_source, h->source_places);
    }
}

static void best_of_targets(struct highest *h, int64_t p, int64_t targets, int64_t count) {
    for (int64_t q = 0; q < targets; q += SKIP) {
        if (q + SKIP <= targets && !any_above(h->values + q, h->lowest + q)) continue;
        for (int64_t i = q; i < smaller(q + SKIP, targets); i++)
            if (h->values[i] > h->lowest[i]) {
                insert(h->values[i], p, count, h->of_target + i * count, h->target_places + i * count);
                h->lowest[i] = h->of_target[i * count];
            }
    }
}

static int make_highest(struct highest *h, int64_t targets, int64_t by_row, int64_t by_column) {
    h->values = malloc(sizeof(float) * (size_t)targets);
    h->weights = malloc(sizeof(float) * (size_t)targets);
    h->of_target = malloc(sizeof(float) * (size_t)(targets * by_column));
    h->lowest = malloc(sizeof(float) * (size_t)targets);
    h->of_source = malloc(sizeof(float) * (size_t)by_row);
    h->target_places = calloc((size_t)(targets * by_column), sizeof(int64_t));
    h->source_places = calloc((size_t)by_row, sizeof(int64_t));
    return h->values && h->weights && h->of_target && h->lowest && h->of_source && h->target_places && h->source_places;
}

static void discard_highest(struct highest *h) {
    free(h->values), free(h->weights), free(h->of_target), free(h->lowest), free(h->of_source);
    free(h->target_places), free(h->source_places);
}

/* List the `count` highest filtered correlations of every source cell and of every target cell; return how many, or
   minus what went wrong. pairs: room for sources * min(count, targets) + targets * min(count, sources). */
PUBLIC int64_t LEVEL(first_candidates)(const struct maps *m, int64_t count, uint8_t *tried, int64_t *pairs) {
    int64_t sources = m->hs * m->ws, targets = m->targets;
    int64_t by_row = smaller(count, targets), by_column = smaller(count, sources);
    struct list listed = {pairs, 0, tried};
    struct highest h;
    if (by_row < 1 || by_column < 1) return 0;
    if (!make_highest(&h, targets, by_row, by_column)) {
        discard_highest(&h);
        return -NO_MEMORY;
    }
    for (int64_t i = 0; i < targets * by_column; i++) h.of_target[i] = -1;
    for (int64_t q = 0; q < targets; q++) h.weights[q] = m->of_target[m->centres[q]], h.lowest[q] = -1;
    for (int64_t p = 0; p < sources; p++) {
        const float *line = m->correlation + p * m->places;
        for (int64_t q = 0; q < targets; q++) h.values[q] = filter(line[m->centres[q]], m->of_source[p], h.weights[q]);
        best_of_source(&h, targets, by_row);
        best_of_targets(&h, p, targets, by_column);
        for (int64_t i = 0; i < by_row; i++) add(&listed, p * targets + h.source_places[i]);
    }
    for (int64_t q = 0; q < targets; q++)
        for (int64_t i = 0; i < by_column; i++) add(&listed, h.target_places[q * by_column + i] * targets + q);
    discard_highest(&h);
    return listed.count;
}

/* Rows and columns of the source, rows and columns of the target. */
struct grid {
    int64_t hs, ws, ht, wt;
};

/* List a cell and its neighbours, paired with one cell of the other picture. */
static void add_around(struct list *l, int64_t y, int64_t x, int64_t height, int64_t width, int64_t begin,
                       int64_t stride) {
    for (int64_t i = larger(0, y - 1); i < smaller(height, y + 2); i++)
        for (int64_t j = larger(0, x - 1); j < smaller(width, x + 2); j++) add(l, begin + (i * width + j) * stride);
}

/* List what the matches that are new since the last call propose: the same displacement for the cells at the `count`
   steps (dy, dx) from both cells, and the cells around either. Return how many, or minus what went wrong.

   best: (sources + targets,) the match of each source cell, then of each target cell; -1 for none. proposed: the
   matches that have proposed already; set to best. pairs: room for (sources + targets) * (count + 18). */
PUBLIC int64_t LEVEL(next_candidates)(const int64_t *best, int64_t *proposed, const int64_t *steps, int64_t count,
                                      const struct grid *g, uint8_t *tried, int64_t *pairs) {
    int64_t sources = g->hs * g->ws, targets = g->ht * g->wt;
    struct list listed = {pairs, 0, tried};
    for (int64_t cell = 0; cell < sources + targets; cell++) {
        if (best[cell] == proposed[cell]) continue;
        if (best[cell] < 0 || best[cell] >= (cell < sources ? targets : sources)) return -BAD_INDEX;
        proposed[cell] = best[cell];
        int64_t p = cell < sources ? cell : best[cell], q = cell < sources ? best[cell] : cell - sources;
        int64_t py = p / g->ws, px = p % g->ws, qy = q / g->wt, qx = q % g->wt;
        for (int64_t i = 0; i < count; i++) {
            int64_t dy = steps[2 * i], dx = steps[2 * i + 1];
            if (py + dy < 0 || py + dy >= g->hs || px + dx < 0 || px + dx >= g->ws) continue;
            if (qy + dy < 0 || qy + dy >= g->ht || qx + dx < 0 || qx + dx >= g->wt) continue;
            add(&listed, (p + dy * g->ws + dx) * targets + q + dy * g->wt + dx);
        }
        add_around(&listed, qy, qx, g->ht, g->wt, p * targets, 1);
        add_around(&listed, py, px, g->hs, g->ws, q, targets);
    }
    return listed.count;
}

/* Take new scores into account: of equal ones the first cell wins. */
PUBLIC int LEVEL(update_best)(const int64_t *pairs, const float *scores, int64_t count, int64_t sources,
                              int64_t targets, int64_t *best, float *highest) {
    for (int64_t i = 0; i < count; i++) {
        if (pairs[i] < 0 || pairs[i] >= sources * targets) return BAD_INDEX;
        int64_t p = pairs[i] / targets, q = pairs[i] % targets, other = sources + q;
        float score = scores[i];
        if (score > highest[p] || (score == highest[p] && q < best[p])) best[p] = q, highest[p] = score;
        if (score > highest[other] || (score == highest[other] && p < best[other])) best[other] = p, highest[other] = score;
    }
    return DONE;
}

/* Number pairs of cells by their phases, the places in their tiles, then by their tiles. */
PUBLIC int LEVEL(by_phase)(const int64_t *pairs, int64_t count, const struct grid *g, int64_t factor, int64_t *keys) {
    int64_t across = g->ws / factor, wide = g->wt / factor, cells = g->ht * g->wt;
    int64_t targets = g->ht / factor * wide, tiles = g->hs / factor * across * targets;
    for (int64_t i = 0; i < count; i++) {
        if (pairs[i] < 0 || pairs[i] >= g->hs * g->ws * cells) return BAD_INDEX;
        int64_t p = pairs[i] / cells, q = pairs[i] % cells;
        int64_t py = p / g->ws, px = p % g->ws, qy = q / g->wt, qx = q % g->wt;
        int64_t phase = ((py % factor * factor + px % factor) * factor + qy % factor) * factor + qx % factor;
        int64_t source = py / factor * across + px / factor, target = qy / factor * wide + qx / factor;
        keys[i] = phase * tiles + source * targets + target;
    }
    return DONE;
}

/* Undo `by_phase`. */
PUBLIC int LEVEL(from_phase)(const int64_t *keys, int64_t count, const struct grid *g, int64_t factor, int64_t *pairs) {
    int64_t across = g->ws / factor, wide = g->wt / factor, square = factor * factor;
    int64_t targets = g->ht / factor * wide, tiles = g->hs / factor * across * targets;
    for (int64_t i = 0; i < count; i++) {
        if (keys[i] < 0 || keys[i] >= tiles * square * square) return BAD_INDEX;
        int64_t phase = keys[i] / tiles, tile = keys[i] % tiles;
        int64_t a = phase / square, b = phase % square, source = tile / targets, target = tile % targets;
        int64_t py = source / across * factor + a / factor, px = source % across * factor + a % factor;
        int64_t qy = target / wide * factor + b / factor, qx = target % wide * factor + b % factor;
        pairs[i] = (py * g->ws + px) * (g->ht * g->wt) + qy * g->wt + qx;
    }
    return DONE;
}
