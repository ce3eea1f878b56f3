/* From scored pairs to sub-cell matches, and from matches to points. */

#include <math.h>
#include <stdlib.h>

#include "semcorr.h"

enum { SUMS = 4 }; /* of a cell: all weights, those of the window, and these times x and times y */

/* Decode the matches of the cells of one picture from a list of scored pairs.

   cell, other: (count,) of each pair, the cell that is decoded and the cell of the other picture. cells: How many are
   decoded. width: Columns of the other picture's grid; others: its cells. places: (cells, 2), written, (x, y) in cells.
   share: (cells,), written, of all probability that lies in the window. A cell without pairs gets NaN. */
PUBLIC int LEVEL(soft_argmax)(const int64_t *cell, const int64_t *other, const float *scores, int64_t count,
                              int64_t cells, int64_t width, int64_t others, int64_t radius, float *places,
                              float *share) {
    float *highest = malloc(sizeof(float) * (size_t)larger(cells, 1));
    int64_t *best = calloc((size_t)larger(cells, 1), sizeof(int64_t));
    double *sums = calloc((size_t)larger(cells, 1) * SUMS, sizeof(double));
    int result = highest && best && sums ? DONE : NO_MEMORY;
    for (int64_t a = 0; result == DONE && a < cells; a++) highest[a] = -INFINITY;
    for (int64_t n = 0; result == DONE && n < count; n++) {
        int64_t a = cell[n], b = other[n];
        if (a < 0 || a >= cells || b < 0 || b >= others)
            result = BAD_INDEX;
        else if (scores[n] > highest[a] || (scores[n] == highest[a] && b < best[a]))
            highest[a] = scores[n], best[a] = b;
    }
    for (int64_t n = 0; result == DONE && n < count; n++) {
        int64_t a = cell[n], x = other[n] % width, y = other[n] / width;
        double weight = exp((double)(scores[n] - highest[a])), *sum = sums + SUMS * a;
        sum[0] += weight;
        if (llabs(x - best[a] % width) > radius || llabs(y - best[a] / width) > radius) continue;
        sum[1] += weight, sum[2] += weight * (double)x, sum[3] += weight * (double)y;
    }
    for (int64_t a = 0; result == DONE && a < cells; a++) {
        const double *sum = sums + SUMS * a;
        places[2 * a] = (float)(sum[2] / sum[1]), places[2 * a + 1] = (float)(sum[3] / sum[1]);
        share[a] = (float)(sum[1] / sum[0]);
    }
    free(highest), free(best), free(sums);
    return result;
}

/* The matches of one picture's cells, in pixels of the other. */
struct field {
    const float *points, *confidence; /* (rows, columns, 2) and (rows, columns) */
    int64_t rows, columns;
    float cell[2];  /* width and height of a cell of the other picture in pixels */
    double size[2]; /* width and height of the other picture */
    float faint;    /* is added to every confidence */
    double same;    /* how far from the heaviest proposal others may be, in cells of the other picture */
};

/* A place between 0 and `last`; 0 of what is no number. */
INLINE double inside(double place, double last) { return place > 0 ? (place < last ? place : last) : 0; }

struct proposal {
    double x, y, near, weight;
    float sure;
};

/* What the four cells around a place propose; return which weighs most. */
static int propose(const struct field *f, const float *cell, struct proposal *proposals) {
    double x = inside(cell[0], (double)f->columns - 1), y = inside(cell[1], (double)f->rows - 1);
    int lead = 0;
    for (int k = 0; k < 4; k++) {
        struct proposal *one = proposals + k;
        int64_t column = (int64_t)x + k % 2, row = (int64_t)y + k / 2;
        double across = 1 - fabs(x - (double)column), down = 1 - fabs(y - (double)row);
        int64_t at = smaller(row, f->rows - 1) * f->columns + smaller(column, f->columns - 1);
        one->near = inside(across, 1) * inside(down, 1);
        one->sure = f->confidence[at];
        one->weight = one->near * (double)(one->sure + f->faint);
        one->x = (double)f->points[2 * at] + ((double)cell[0] - (double)column) * (double)f->cell[0];
        one->y = (double)f->points[2 * at + 1] + ((double)cell[1] - (double)row) * (double)f->cell[1];
        if (one->weight > proposals[lead].weight) lead = k;
    }
    return lead;
}

/* Blend what the four cells around each of `count` places propose.

   cells: (count, 2) places (x, y) in cells. moved: (count, 2), written. mean: (count,), written: the mean confidence of
   the proposals that had a say. share: (count,), written: theirs. */
PUBLIC int LEVEL(blend)(const float *cells, int64_t count, const struct field *f, float *moved, float *mean,
                        float *share) {
    for (int64_t n = 0; n < count; n++) {
        struct proposal all[4];
        const struct proposal *lead = all + propose(f, cells + 2 * n, all);
        double total = 0, along = 0, down = 0, spoke = 0, certain = 0;
        for (int k = 0; k < 4; k++) {
            double x = (all[k].x - lead->x) / (double)f->cell[0], y = (all[k].y - lead->y) / (double)f->cell[1];
            if (!(sqrt(x * x + y * y) <= f->same)) continue;
            total += all[k].weight, along += all[k].weight * all[k].x, down += all[k].weight * all[k].y;
            spoke += all[k].near, certain += all[k].near * (double)all[k].sure;
        }
        moved[2 * n] = (float)inside(along / total, f->size[0]);
        moved[2 * n + 1] = (float)inside(down / total, f->size[1]);
        mean[n] = (float)(certain / spoke), share[n] = (float)spoke;
    }
    return DONE;
}
