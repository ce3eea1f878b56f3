/* All that is compiled once for each level of processor. */

#include "candidates.c"
#include "correct.c"
#include "correlate.c"
#include "decode.c"
#include "scoring.c"
#include "votes.c"
