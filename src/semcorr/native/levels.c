/* Which level of the code this processor can run. */

#include "semcorr.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>

static unsigned kept_by_system(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static const char *best(void) {
    unsigned a, b, c, d, kept;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return "plain";
    int has_fma = c >> 12 & 1, has_system_support = c >> 27 & 1, has_avx = c >> 28 & 1;
    if (!has_fma || !has_avx || !has_system_support || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return "plain";
    kept = kept_by_system();
    int has_avx2 = b >> 5 & 1, has_avx512 = (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1);
    if (has_avx512 && (kept & 0xe6) == 0xe6) return "avx512"; /* F, DQ, BW and VL */
    return has_avx2 && (kept & 6) == 6 ? "avx2" : "plain";
}
#else
static const char *best(void) { return "plain"; } /* on aarch64, NEON is always there */
#endif

PUBLIC const char *semcorr_level(void) { return best(); }

#if !defined(SOURCES)
#define SOURCES ""
#endif

/* The checksum of the sources that this was compiled from. */
PUBLIC const char *semcorr_sources(void) { return SOURCES; }
