/* Net-export curves as arrays and as blocks. Contract and picture: curve.h. */
#include "curve.h"

#include <string.h>

#ifndef ENERGO_TIGHT
#define BLOCK_STEPS_MIN 64
#define BLOCK_STEPS_FACTOR 8
#define FEW 8          /* what is taken in is few where the curve has this many times as many */
#else                  /* for tests: small networks go through everything that large ones do */
#define BLOCK_STEPS_MIN 4
#define BLOCK_STEPS_FACTOR 32
#define FEW 1
#endif
#define BLOCKED_FROM 4 /* blocks: a curve of this many blocks' steps is worth cutting into blocks */

static int64_t words_of(int64_t bytes) { return (bytes + 7) / 8; }

/* A split moves half a block and looks at every block, so that neither should be much the larger. */
static int32_t block_steps_for(int64_t space) {
    int32_t steps = BLOCK_STEPS_MIN;
    while ((int64_t)steps * steps * BLOCK_STEPS_FACTOR < space) {
        steps *= 2;
    }
    return steps;
}

/* Blocks that the stretch of the store from step `at` begins with: three steps of store for each step of a curve. A curve
 * is cut into half full blocks, and each further block needs half a block of further steps, so that a subtree of n steps
 * has at most 2 n / block_steps + 1 blocks; those that are cut are larger than BLOCKED_FROM blocks. */
static int64_t blocks_before(const struct curves *curves, int64_t at) {
    return (3 * at + curves->block_steps - 1) / curves->block_steps;
}

static int64_t block_count_for(int64_t space) { return 3 * space / block_steps_for(space) + 2; }

int64_t curve_words(int64_t space) {
    const int64_t blocks = block_count_for(space);
    const int64_t step = (int64_t)sizeof(struct step);
    return 2 * words_of(space * step) + 2 * words_of(space * (int64_t)sizeof(struct item)) +
           words_of(blocks * block_steps_for(space) * step) + words_of(blocks * (int64_t)sizeof(struct block)) +
           2 * blocks;
}

void curve_init(struct curves *curves, uint64_t *words, int64_t space) {
    const int64_t blocks = block_count_for(space);
    const int64_t step = (int64_t)sizeof(struct step);
    curves->work = 0;
    curves->block_steps = block_steps_for(space);
    curves->steps = (struct step *)(void *)words;
    words += words_of(space * step);
    curves->scratch.steps = (struct step *)(void *)words;
    words += words_of(space * step);
    curves->scratch.items = (struct item *)(void *)words;
    curves->scratch.more_items = curves->scratch.items + space;
    words += 2 * words_of(space * (int64_t)sizeof(struct item));
    curves->store = (struct step *)(void *)words;
    words += words_of(blocks * curves->block_steps * step);
    curves->blocks = (struct block *)(void *)words;
    words += words_of(blocks * (int64_t)sizeof(struct block));
    curves->shift_tree = (int64_t *)(void *)words;
    curves->quantity_tree = (int64_t *)(void *)words + blocks;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many of the first `count` steps do not come after a step of this price and key. */
static int32_t steps_up_to(const struct step *steps, int32_t count, int64_t price, int32_t key) {
    int32_t low = 0;
    while (count > 0) {
        const int32_t half = count / 2;
        const struct step *middle = &steps[low + half];
        const int up_to = middle->price != price ? middle->price < price : middle->key <= key;
        low += up_to ? half + 1 : 0;
        count = up_to ? count - half - 1 : half;
    }
    return low;
}

/* ---- Fenwick trees over the blocks of one curve, from 1 ---- */

static void tree_add(int64_t *tree, int32_t last, int32_t at, int64_t value) {
    for (; at <= last; at += at & -at) {
        tree[at] += value;
    }
}

static int32_t highest_power(int32_t last) {
    int32_t power = 1;
    while (power <= last / 2) {
        power *= 2;
    }
    return power;
}

/* A curve's blocks, and its stretches of the trees; index 0 is not used. */
struct directory {
    struct block *blocks;
    int64_t *shifts;
    int64_t *quantities;
    struct step *store;
};

static struct directory directory_of(const struct curves *curves, const struct curve *curve) {
    const int64_t before = blocks_before(curves, curve->start);
    const struct directory directory = {curves->blocks + before, curves->shift_tree + before,
                                        curves->quantity_tree + before, curves->store + before * curves->block_steps};
    return directory;
}

static struct step *steps_of(const struct curves *curves, const struct directory *directory,
                             const struct block *block) {
    return directory->store + (int64_t)block->store * curves->block_steps;
}

static void plant_trees(struct curves *curves, const struct curve *curve, const struct directory *directory) {
    for (int32_t at = 1; at <= curve->last; at++) {
        directory->shifts[at] = directory->blocks[at].shift;
        directory->quantities[at] = directory->blocks[at].quantity;
    }
    for (int32_t at = 1; at <= curve->last; at++) {
        const int32_t above = at + (at & -at);
        if (above <= curve->last) {
            directory->shifts[above] += directory->shifts[at];
            directory->quantities[above] += directory->quantities[at];
        }
    }
    curves->work += curve->last;
}

/* ---- blocks ---- */

static void name_first(const struct curves *curves, const struct directory *directory, struct block *block) {
    const struct step *first = steps_of(curves, directory, block);
    block->first_price = first->price;
    block->first_key = first->key;
}

static void cut_into_blocks(struct curves *curves, struct curve *curve) {
    const struct directory directory = directory_of(curves, curve);
    const struct step *steps = curves->steps + curve->start;
    const int32_t half = curves->block_steps / 2;
    curve->shift = 0;
    curve->head = 1;
    curve->last = 0;
    curve->stored = 0;
    for (int32_t at = 0; at < curve->steps; at += half) {
        struct block *block = &directory.blocks[++curve->last];
        block->store = curve->stored++;
        block->count = curve->steps - at < half ? curve->steps - at : half;
        block->shift = 0;
        block->quantity = 0;
        struct step *to = steps_of(curves, &directory, block);
        memcpy(to, steps + at, (size_t)block->count * sizeof *to);
        for (int32_t i = 0; i < block->count; i++) {
            block->quantity += to[i].quantity;
        }
        name_first(curves, &directory, block);
    }
    plant_trees(curves, curve, &directory);
    curves->work += curve->steps;
}

void curve_flatten(struct curves *curves, struct curve *curve) {
    if (curve->last == 0) {
        return;
    }
    const struct directory directory = directory_of(curves, curve);
    struct step *to = curves->steps + curve->start;
    int64_t shift = curve->shift;
    for (int32_t at = 1; at <= curve->last; at++) {
        const struct block *block = &directory.blocks[at];
        shift += block->shift;
        if (at < curve->head) {
            continue;
        }
        const struct step *from = steps_of(curves, &directory, block);
        for (int32_t i = 0; i < block->count; i++) {
            *to = from[i];
            to->price += shift;
            to++;
        }
    }
    curves->work += curve->steps;
    curve->last = 0;
}

/* Makes two blocks of a full one. */
static void split_block(struct curves *curves, struct curve *curve, const struct directory *directory, int32_t at) {
    memmove(&directory->blocks[at + 2], &directory->blocks[at + 1],
            (size_t)(curve->last - at) * sizeof *directory->blocks);
    curve->last++;
    struct block *low = &directory->blocks[at];
    struct block *high = &directory->blocks[at + 1];
    *high = *low;
    high->store = curve->stored++;
    high->shift = 0; /* as much as the low half */
    high->count = low->count / 2;
    high->quantity = 0;
    low->count -= high->count;
    struct step *to = steps_of(curves, directory, high);
    memcpy(to, steps_of(curves, directory, low) + low->count, (size_t)high->count * sizeof *to);
    for (int32_t i = 0; i < high->count; i++) {
        high->quantity += to[i].quantity;
    }
    low->quantity -= high->quantity;
    name_first(curves, directory, high);
    plant_trees(curves, curve, directory);
}

/* Puts a step, its price less the block's shift, behind the first `place` of a block. */
static void put_step(struct curves *curves, struct curve *curve, const struct directory *directory, int32_t at,
                     int32_t place, const struct step *step) {
    struct block *block = &directory->blocks[at];
    struct step *steps = steps_of(curves, directory, block);
    memmove(steps + place + 1, steps + place, (size_t)(block->count - place) * sizeof *steps);
    steps[place] = *step;
    block->count++;
    block->quantity += step->quantity;
    tree_add(directory->quantities, curve->last, at, step->quantity);
    if (place == 0) {
        name_first(curves, directory, block);
    }
    curve->steps++;
    if (block->count == curves->block_steps) {
        split_block(curves, curve, directory, at);
    }
}

static void insert_into_blocks(struct curves *curves, struct curve *curve, const struct directory *directory,
                               struct step step) {
    int32_t at = 0;
    int64_t shift = curve->shift;
    for (int32_t power = highest_power(curve->last); power > 0; power /= 2) {
        const int32_t next = at + power;
        if (next > curve->last) {
            continue;
        }
        const struct block *block = &directory->blocks[next];
        const int64_t price = step.price - shift - directory->shifts[next];
        if (next < curve->head ||
            (block->first_price != price ? block->first_price < price : block->first_key <= step.key)) {
            at = next;
            shift += directory->shifts[next];
        }
    }
    if (at < curve->head) { /* it comes before all */
        at = curve->head;
        shift += directory->blocks[at].shift;
    }
    step.price -= shift;
    const struct block *block = &directory->blocks[at];
    const int32_t place =
        steps_up_to(steps_of(curves, directory, block), block->count, step.price, step.key);
    put_step(curves, curve, directory, at, place, &step);
    curves->work += 16; /* about what the search and the moves come to */
}

/* Merges few sorted steps from the scratch into an array, from the high end, moving whole stretches of the array. */
static void insert_into_array(struct curves *curves, struct curve *curve, int32_t count) {
    struct step *steps = curves->steps + curve->start;
    int32_t end = curve->steps;
    for (int32_t left = count; left > 0; left--) {
        const struct step *step = &curves->scratch.steps[left - 1];
        const int32_t place = steps_up_to(steps, end, step->price, step->key);
        memmove(steps + place + left, steps + place, (size_t)(end - place) * sizeof *steps);
        steps[place + left - 1] = *step;
        end = place;
    }
    curves->work += curve->steps / 4 + count;
    curve->steps += count;
}

void curve_take_in(struct curves *curves, struct curve *curve, int64_t from, int32_t count) {
    if (count == 0) {
        return;
    }
    struct step *further = curves->steps + from;
    if (curve->steps / FEW < count) {
        curve_flatten(curves, curve);
        struct step *steps = curves->steps + curve->start;
        if (steps + curve->steps != further) {
            memmove(steps + curve->steps, further, (size_t)count * sizeof *steps);
        }
        curve->steps += count;
        curves->work += sort_steps(steps, curve->steps, &curves->scratch);
        return;
    }
    curves->work += sort_steps(further, count, &curves->scratch);
    if (curve->last == 0 && curve->steps < BLOCKED_FROM * curves->block_steps) {
        memcpy(curves->scratch.steps, further, (size_t)count * sizeof *further);
        insert_into_array(curves, curve, count);
        return;
    }
    if (curve->last == 0) {
        cut_into_blocks(curves, curve);
    }
    const struct directory directory = directory_of(curves, curve);
    for (int32_t i = 0; i < count; i++) {
        insert_into_blocks(curves, curve, &directory, further[i]);
    }
}

/* ---- edges ---- */

/* Takes up to `cut` off the low end of an array; returns how many steps are gone. */
static int32_t cut_low(struct step *steps, int32_t count, int64_t *cut, int64_t *happened) {
    int32_t gone = 0;
    while (gone < count && *cut > 0) {
        struct step *step = &steps[gone];
        const int64_t lost = smaller(step->quantity, *cut);
        happened[step->group] += lost;
        step->quantity -= lost;
        *cut -= lost;
        gone += step->quantity == 0;
    }
    if (gone > 0) {
        memmove(steps, steps + gone, (size_t)(count - gone) * sizeof *steps);
    }
    return gone;
}

/* Takes up to `excess` off the high end of an array; returns how many steps are gone. */
static int32_t cut_high(struct step *steps, int32_t count, int64_t *excess) {
    int32_t gone = 0;
    while (gone < count && *excess > 0) {
        struct step *step = &steps[count - 1 - gone];
        const int64_t lost = smaller(step->quantity, *excess);
        step->quantity -= lost;
        *excess -= lost;
        gone += step->quantity == 0;
    }
    return gone;
}

static void cut_blocks(struct curves *curves, struct curve *curve, int64_t cut, int64_t excess, int64_t *happened) {
    const struct directory directory = directory_of(curves, curve);
    while (cut > 0) {
        const int64_t before = cut;
        struct block *block = &directory.blocks[curve->head];
        const int32_t gone = cut_low(steps_of(curves, &directory, block), block->count, &cut, happened);
        block->count -= gone;
        block->quantity -= before - cut;
        curve->steps -= gone;
        tree_add(directory.quantities, curve->last, curve->head, cut - before);
        if (block->count == 0) {
            curve->head++;
        } else if (gone > 0) {
            name_first(curves, &directory, block);
        }
        curves->work += gone + 1;
    }
    while (excess > 0) {
        const int64_t before = excess;
        struct block *block = &directory.blocks[curve->last];
        const int32_t gone = cut_high(steps_of(curves, &directory, block), block->count, &excess);
        block->count -= gone;
        block->quantity -= before - excess;
        curve->steps -= gone;
        tree_add(directory.quantities, curve->last, curve->last, excess - before);
        if (block->count == 0) {
            curve->last--;
        }
        curves->work += gone + 1;
    }
}

void curve_cut(struct curves *curves, struct curve *curve, int64_t cut, int64_t excess, int64_t *happened) {
    curve->imports -= cut;
    curve->exports -= excess;
    if (curve->last > 0) {
        cut_blocks(curves, curve, cut, excess, happened);
        if (curve->steps < curves->block_steps) {
            curve_flatten(curves, curve);
        }
        return;
    }
    struct step *steps = curves->steps + curve->start;
    curve->steps -= cut_low(steps, curve->steps, &cut, happened);
    curve->steps -= cut_high(steps, curve->steps, &excess);
}

static void shift_array(struct curves *curves, struct curve *curve, int64_t fee) {
    struct step *steps = curves->steps + curve->start;
    int64_t importing = curve->imports;
    int32_t at = 0;
    for (; at < curve->steps && steps[at].quantity <= importing; at++) {
        importing -= steps[at].quantity;
        steps[at].price -= fee;
    }
    if (importing > 0) { /* export zero is inside a step, which becomes two */
        memmove(steps + at + 1, steps + at, (size_t)(curve->steps - at) * sizeof *steps);
        steps[at].quantity = importing;
        steps[at].price -= fee;
        steps[at + 1].quantity -= importing;
        curve->steps++;
        at++;
    }
    for (; at < curve->steps; at++) {
        steps[at].price += fee;
    }
    curves->work += curve->steps / 4;
}

static void shift_blocks(struct curves *curves, struct curve *curve, int64_t fee) {
    curve->shift -= fee; /* all are shifted down, and what exports twice as far up */
    if (curve->imports == 0) {
        curve->shift += 2 * fee;
    }
    if (curve->imports == 0 || curve->exports == 0) {
        return;
    }
    const struct directory directory = directory_of(curves, curve);
    int32_t at = 0;
    int64_t importing = curve->imports;
    for (int32_t power = highest_power(curve->last); power > 0; power /= 2) {
        if (at + power <= curve->last && directory.quantities[at + power] < importing) {
            at += power;
            importing -= directory.quantities[at];
        }
    }
    at++; /* the block whose steps reach zero, or end there */
    struct block *block = &directory.blocks[at];
    struct step *steps = steps_of(curves, &directory, block);
    int32_t place = 0;
    while (steps[place].quantity < importing) {
        importing -= steps[place].quantity;
        place++;
    }
    struct step rest = steps[place];
    rest.quantity -= importing;
    place++;
    for (int32_t i = place; i < block->count; i++) {
        steps[i].price += 2 * fee;
    }
    if (at < curve->last) {
        directory.blocks[at + 1].shift += 2 * fee;
        tree_add(directory.shifts, curve->last, at + 1, 2 * fee);
    }
    if (rest.quantity > 0) { /* export zero is inside a step, which becomes two */
        rest.price += 2 * fee;
        steps[place - 1].quantity -= rest.quantity;
        block->quantity -= rest.quantity;
        tree_add(directory.quantities, curve->last, at, -rest.quantity);
        put_step(curves, curve, &directory, at, place, &rest);
    }
    curves->work += 16;
}

void curve_shift(struct curves *curves, struct curve *curve, int64_t fee) {
    if (fee == 0) {
        return;
    }
    if (curve->last > 0) {
        shift_blocks(curves, curve, fee);
    } else {
        shift_array(curves, curve, fee);
    }
}
