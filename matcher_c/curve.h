/* Net-export curves of subtrees, for clearing.c alone: what is exported through an edge at which price.
 *
 * A curve is its steps in order of (price, key), each of which raises the export by its quantity, from -imports upwards. A
 * small or freshly merged curve is a plain array. A large one that takes in only a little at each bus, as on a long
 * path, is cut into blocks of steps:
 *
 *     block         1            2            3            4
 *     steps     [. . . . ]   [. . . | . ]  [. . . ]     [. . . . ]      | is export zero
 *     shift        -5           -5           +5           +5            what is still to be added to its prices
 *     quantity      8            9            6            7
 *
 * Two Fenwick trees (Fenwick 1994), over the blocks' shifts and quantities, find the block of a price and of export zero and
 * shift all blocks above it, in the logarithm of their number; only the block that holds zero is touched step by
 * step. Blocks are split when they are full, never joined; the memory that this takes is bounded in curve_words. */
#ifndef ENERGO_CURVE_H
#define ENERGO_CURVE_H

#include "sorting.h"

#include <stdint.h>

struct curve {
    int64_t imports; /* quantity of the steps below export zero */
    int64_t exports; /* and above */
    int64_t shift;   /* of all blocks */
    int32_t start;   /* of its subtree's stretch of the array of steps */
    int32_t steps;
    int32_t head;    /* first and last block; last is 0 for a plain array */
    int32_t last;
    int32_t stored;  /* blocks taken from its stretch of the store */
};

struct block {
    int64_t first_price; /* of its first step, less its shift */
    int64_t shift;       /* more than the block before it */
    int64_t quantity;
    int32_t first_key;
    int32_t count;
    int32_t store;
};

struct curves { /* the memory of all curves of one clearing */
    struct step *steps;
    struct scratch scratch;
    struct step *store;         /* of blocks */
    struct block *blocks;
    int64_t *shift_tree;
    int64_t *quantity_tree;
    int64_t work;               /* steps moved and blocks looked at so far */
    int32_t block_steps;
};

/* Words of 8 bytes for curves of at most `space` steps, counting one for the split at each edge. */
int64_t curve_words(int64_t space);

void curve_init(struct curves *curves, uint64_t *words, int64_t space);

/* Makes one curve of the largest one, `curve`, and of `count` further steps that stand, as sorted runs, in steps[from..]. */
void curve_take_in(struct curves *curves, struct curve *curve, int64_t from, int32_t count);

/* Turns a curve into a plain array at its start. */
void curve_flatten(struct curves *curves, struct curve *curve);

/* Takes `cut` off the low end, adding to `happened` of each group what it lost, and `excess` off the high end. */
void curve_cut(struct curves *curves, struct curve *curve, int64_t cut, int64_t excess, int64_t *happened);

/* Shifts what exports up by the fee and what imports down. */
void curve_shift(struct curves *curves, struct curve *curve, int64_t fee);

#endif
