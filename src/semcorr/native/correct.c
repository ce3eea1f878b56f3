/* Matches corrected by fine descriptors. */

#include <math.h>
#include <stdlib.h>

#include "product.h"

/* The nearest whole place of a grid; 0 of what is no number, and of equally near ones the even one. */
INLINE int64_t nearest(float place, int64_t size) {
    double whole = nearbyint((double)place);
    return whole > 0 ? (whole < (double)size ? (int64_t)whole : size) : 0;
}

INLINE float cosine(const float *a, const float *b, int64_t length) {
    vector sums[2] = {{0}, {0}};
    int64_t k = 0;
    for (; k + 2 * WIDTH <= length; k += 2 * WIDTH) {
        sums[0] += load(a + k) * load(b + k);
        sums[1] += load(a + k + WIDTH) * load(b + k + WIDTH);
    }
    for (; k + WIDTH <= length; k += WIDTH) sums[0] += load(a + k) * load(b + k);
    vector both = sums[0] + sums[1];
    float total = 0;
    for (int i = 0; i < WIDTH; i++) total += both[i];
    for (; k < length; k++) total += a[k] * b[k];
    return total;
}

/* Move places to the soft-argmax around them.

   descriptors: (count, length). target: (height, width, length). begin: (count, 2) (x, y) in cells of the target.
   sharpness: What a cosine of 1 is worth, as a log-probability. nearness: What a squared distance of 1 costs. result:
   (count, 2), written. */
PUBLIC int LEVEL(correct)(const float *descriptors, int64_t count, const float *target, int64_t height, int64_t width,
                          int64_t length, const float *begin, int64_t radius, double sharpness, double nearness,
                          float *result) {
    float *logits = malloc(sizeof(float) * (size_t)((2 * radius + 1) * (2 * radius + 1)));
    if (!logits) return NO_MEMORY;
    for (int64_t n = 0; n < count; n++) {
        int64_t left = nearest(begin[2 * n], width) - radius, top = nearest(begin[2 * n + 1], height) - radius;
        int64_t first_x = larger(left, 0), last_x = smaller(left + 2 * radius + 1, width);
        int64_t first_y = larger(top, 0), last_y = smaller(top + 2 * radius + 1, height), listed = 0;
        float highest = -INFINITY;
        for (int64_t y = first_y; y < last_y; y++)
            for (int64_t x = first_x; x < last_x; x++, listed++) {
                double dx = (double)x - (double)begin[2 * n], dy = (double)y - (double)begin[2 * n + 1];
                float like = cosine(descriptors + n * length, target + (y * width + x) * length, length);
                logits[listed] = (float)(sharpness * (double)like - nearness * (dx * dx + dy * dy));
                highest = logits[listed] > highest ? logits[listed] : highest;
            }
        double total = 0, along = 0, down = 0;
        listed = 0;
        for (int64_t y = first_y; y < last_y; y++)
            for (int64_t x = first_x; x < last_x; x++, listed++) {
                double weight = exp((double)(logits[listed] - highest));
                total += weight, along += weight * (double)x, down += weight * (double)y;
            }
        result[2 * n] = (float)(along / total), result[2 * n + 1] = (float)(down / total);
    }
    free(logits);
    return DONE;
}
