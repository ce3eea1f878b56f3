/* The scoring function at pairs of cells: windows are read from the map while they are multiplied, never stored. */

#include <stdlib.h>

#include "product.h"

enum {
    BLOCK = 8 * ROWS, /* pairs that are scored at once: their windows at one source offset fit the first cache */
    INNER = 64,       /* values of a pair that are multiplied at once, at least */
    RUN = 4           /* floats of a window that are read at once: most windows are at most three wide */
};

typedef float run __attribute__((vector_size(4 * RUN)));
typedef int32_t whole __attribute__((vector_size(4 * RUN)));

struct scratch {
    int64_t *near;   /* (BLOCK, 4): p, its row and column, and where the target's window begins */
    float *weights;  /* (BLOCK, cells + SLACK): those of the filter, of the target's window */
    float *values;   /* (BLOCK, most + SLACK): windows at a few source offsets */
    float *first;    /* (BLOCK, 2 * hidden) */
    float *second;   /* (2 * BLOCK, hidden) */
    int64_t most;
};

static int make(struct scratch *s, int64_t cells, int64_t hidden) {
    s->most = larger(2 * cells, INNER);
    s->near = malloc(sizeof(int64_t) * BLOCK * 4);
    s->weights = malloc(sizeof(float) * BLOCK * (size_t)(cells + SLACK));
    s->values = calloc(BLOCK * (size_t)(s->most + SLACK), sizeof(float));
    s->first = malloc(sizeof(float) * BLOCK * 2 * (size_t)hidden);
    s->second = malloc(sizeof(float) * BLOCK * 2 * (size_t)hidden);
    return s->near && s->weights && s->values && s->first && s->second;
}

static void discard(struct scratch *s) {
    free(s->near), free(s->weights), free(s->values), free(s->first), free(s->second);
}

INLINE run load_run(const float *from) {
    run value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store_run(float *into, run value) { memcpy(into, &value, sizeof value); }

INLINE run filtered(run value, const float *weights, float factor) {
    value = (run)((whole)value & (whole)(value > (run){0})); /* what is not positive becomes zero */
    return value * value * value * (load_run(weights) * factor);
}

/* Copy `rows` runs of `columns` floats, `step` apart, and behind each its filtered form; up to RUN - 1 more floats are
   written behind the last. */
INLINE void read_window(float *into, const float *from, int64_t step, int64_t rows, int64_t columns,
                        const float *weights, int64_t side, float factor) {
    for (int64_t row = 0; row < rows; row++, from += step, weights += side, into += 2 * columns) {
        if (columns <= RUN) {
            run value = load_run(from);
            store_run(into, value);
            store_run(into + columns, filtered(value, weights, factor));
            continue;
        }
        for (int64_t i = 0; i < columns; i += RUN) store_run(into + i, load_run(from + i));
        for (int64_t i = 0; i < columns; i += RUN)
            store_run(into + columns + i, filtered(load_run(from + i), weights + i, factor));
    }
}

/* Find the pairs and the weights of their target windows. */
static int locate(struct scratch *s, const int64_t *pairs, int64_t count, const struct maps *m, int64_t side) {
    int64_t sources = m->hs * m->ws, line = side * side + SLACK;
    for (int64_t row = 0; row < count; row++) {
        if (pairs[row] < 0 || pairs[row] >= sources * m->targets) return 0;
        int64_t p = pairs[row] / m->targets, *near = s->near + 4 * row;
        near[0] = p, near[1] = p / m->ws, near[2] = p % m->ws, near[3] = m->begins[pairs[row] % m->targets];
        const float *from = m->of_target + near[3];
        float *into = s->weights + row * line;
        for (int64_t i = 0; i < side; i++)
            for (int64_t j = 0; j < side; j += RUN) store_run(into + i * side + j, load_run(from + i * m->step + j));
    }
    return 1;
}

/* Read the part of the windows that lies at source offset (dy, dx), behind the first `inner` values of each pair. */
static void read_offset(struct scratch *s, int64_t count, const struct maps *m, int64_t dy, int64_t dx,
                        const int64_t *box, int64_t side, int64_t inner) {
    int64_t top = box[0], left = box[1], rows = box[2], columns = box[3], line = side * side + SLACK;
    for (int64_t row = 0; row < count; row++) {
        const int64_t *at = s->near + 4 * row;
        int64_t y = at[1] + dy, x = at[2] + dx, near = at[0] + dy * m->ws + dx;
        float *into = s->values + row * (s->most + SLACK) + inner;
        if (y < 0 || y >= m->hs || x < 0 || x >= m->ws) {
            memset(into, 0, sizeof(float) * (size_t)(2 * rows * columns));
            continue;
        }
        const float *from = m->correlation + near * m->places + at[3] + top * m->step + left;
        const float *weights = s->weights + row * line + top * side + left;
        read_window(into, from, m->step, rows, columns, weights, side, m->of_source[near]);
    }
}

/* The first layer: read the windows and multiply them, a few source offsets at once. */
static void first_layer(struct scratch *s, int64_t count, const struct maps *m, const struct layers *f) {
    int64_t side = 2 * f->radius + 1, width = 2 * f->hidden, stride = s->most + SLACK, inner = 0;
    const float *weights = f->window;
    for (int64_t row = 0; row < BLOCK; row++) memcpy(s->first + row * width, f->bias, sizeof(float) * (size_t)width);
    for (int64_t offset = 0; offset < side * side; offset++) {
        const int64_t *box = f->boxes + 4 * offset;
        if (inner + 2 * box[2] * box[3] > s->most) {
            product(s->first, width, s->values, stride, weights, inner, BLOCK);
            weights += inner * width, inner = 0;
        }
        int64_t dy = (offset / side - f->radius) * m->dilation, dx = (offset % side - f->radius) * m->dilation;
        read_offset(s, count, m, dy, dx, box, side, inner);
        inner += 2 * box[2] * box[3];
    }
    product(s->first, width, s->values, stride, weights, inner, BLOCK);
    for (int64_t i = 0; i < BLOCK * width; i++) s->first[i] = positive(s->first[i]);
}

/* The second layer, of the window and of its exchange. */
static void second_layer(struct scratch *s, const struct layers *f) {
    for (int64_t row = 0; row < 2 * BLOCK; row++)
        memcpy(s->second + row * f->hidden, f->mix_bias, sizeof(float) * (size_t)f->hidden);
    product(s->second, f->hidden, s->first, f->hidden, f->mix, f->hidden, 2 * BLOCK);
}

static float last_layer(const float *second, int64_t pair, const struct maps *m, const struct layers *f) {
    int64_t p = pair / m->targets, q = m->centres[pair % m->targets];
    float centre = m->correlation[p * m->places + q];
    float score = f->rest[0] + f->rest[1] * centre + f->rest[2] * filter(centre, m->of_source[p], m->of_target[q]);
    for (int64_t h = 0; h < f->hidden; h++)
        score += f->out[h] * (positive(second[h]) + positive(second[f->hidden + h]));
    return score;
}

/* Write the scores of `count` pairs. */
PUBLIC int LEVEL(score_pairs)(const int64_t *pairs, float *scores, int64_t count, const struct maps *m,
                              const struct layers *f) {
    struct scratch s;
    int64_t side = 2 * f->radius + 1;
    int result = make(&s, side * side, f->hidden) ? DONE : NO_MEMORY;
    for (int64_t begin = 0; result == DONE && begin < count; begin += BLOCK) {
        int64_t some = smaller(BLOCK, count - begin);
        if (!locate(&s, pairs + begin, some, m, side)) {
            result = BAD_INDEX;
            break;
        }
        first_layer(&s, some, m, f);
        second_layer(&s, f);
        for (int64_t row = 0; row < some; row++)
            scores[begin + row] = last_layer(s.second + 2 * row * f->hidden, pairs[begin + row], m, f);
    }
    discard(&s);
    return result;
}

/* The banded map of large grids; see semcorr.matchers.pmnc.cpu.bands.Bands. */
struct bands {
    struct maps maps;       /* correlation: the means of all pairs of tiles; of_source and of_target: those of phase 0 */
    const int64_t *where;   /* (listed,): in the map, the pairs of tiles that are near */
    const float *near;      /* (phases * phases, listed): their correlations */
    int64_t listed, phases;
};

/* Write the scores of the pairs of the phases from `begin` to `end`. The pairs keys[bounds[i]] to keys[bounds[i + 1]] are
   those of the i-th, numbered i * sources * targets + p * targets + q in tiles. */
PUBLIC int LEVEL(score_phases)(int64_t begin, int64_t end, const int64_t *bounds, int64_t *keys, float *scores,
                               int64_t count, const struct bands *b, const struct layers *f) {
    struct maps m = b->maps;
    int64_t sources = m.hs * m.ws, floats = sources * m.places + SLACK;
    float *map = malloc(sizeof(float) * (size_t)floats);
    if (!map) return NO_MEMORY;
    memcpy(map, m.correlation, sizeof(float) * (size_t)floats);
    int result = DONE;
    for (int64_t i = 0; i < b->listed; i++)
        if (b->where[i] < 0 || b->where[i] >= floats) result = BAD_INDEX;
    m.correlation = map;
    for (int64_t phase = begin; result == DONE && phase < end; phase++) {
        int64_t low = bounds[phase], high = bounds[phase + 1];
        if (low < 0 || high > count) result = BAD_INDEX;
        if (low >= high || result != DONE) continue;
        for (int64_t i = 0; i < b->listed; i++) map[b->where[i]] = b->near[phase * b->listed + i];
        for (int64_t i = low; i < high; i++) keys[i] -= phase * sources * m.targets;
        m.of_source = b->maps.of_source + phase / b->phases * sources;
        m.of_target = b->maps.of_target + phase % b->phases * (m.places + SLACK);
        result = LEVEL(score_pairs)(keys + low, scores + low, high - low, &m, f);
        for (int64_t i = low; i < high; i++) keys[i] += phase * sources * m.targets;
    }
    free(map);
    return result;
}
