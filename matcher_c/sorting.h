/* Sorting for the clearing, in memory that the caller brings: items by a number, steps by price and key. Both are stable. */
#ifndef ENERGO_SORTING_H
#define ENERGO_SORTING_H

#include <stdint.h>

struct item {
    uint64_t key;
    uint32_t value;
};

struct step { /* of a curve, see curve.h */
    int64_t price; /* as seen at the bus whose curve it is in, less the shift of its block */
    int64_t quantity;
    int32_t key;   /* order at equal price */
    int32_t group;
};

struct scratch { /* as long as what is sorted; items twice */
    struct step *steps;
    struct item *items;
    struct item *more_items;
};

/* By key, least significant digit first; digits in which no two keys differ are left out. */
void sort_items(struct item *items, struct item *scratch, int32_t count);

/* By price, then by key. What stands there is made of ascending runs: few are merged, many sorted by digits. Returns how
 * often a step was moved. */
int64_t sort_steps(struct step *steps, int32_t count, const struct scratch *scratch);

#endif
