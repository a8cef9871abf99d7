/* Sorting by insertion, by merging and by digits. Contract: sorting.h. */
#include "sorting.h"

#include <string.h>

#define DIGIT_BITS 11
#define DIGITS (1U << DIGIT_BITS)
#define SMALL_DIGIT_BITS 8
#ifndef ENERGO_TIGHT
#define SMALL_ITEMS 1024  /* up to here the counts of a large digit cost more than a second pass */
#define INSERTION_MAX 24  /* up to here plain insertion is quickest */
#define MERGED_RUNS_MAX 6 /* more runs than this are sorted by digits */
#else                     /* for tests: small networks go through everything that large ones do */
#define SMALL_ITEMS 64
#define INSERTION_MAX 3
#define MERGED_RUNS_MAX 3
#endif

static int comes_before(const struct step *a, const struct step *b) {
    return a->price != b->price ? a->price < b->price : a->key < b->key;
}

static void insert_items(struct item *items, int32_t count) {
    for (int32_t i = 1; i < count; i++) {
        const struct item item = items[i];
        int32_t at = i;
        while (at > 0 && items[at - 1].key > item.key) {
            items[at] = items[at - 1];
            at--;
        }
        items[at] = item;
    }
}

void sort_items(struct item *items, struct item *scratch, int32_t count) {
    if (count <= INSERTION_MAX) {
        insert_items(items, count);
        return;
    }
    uint64_t differs = 0;
    for (int32_t i = 1; i < count; i++) {
        differs |= items[i].key ^ items[0].key;
    }
    const int bits = count <= SMALL_ITEMS ? SMALL_DIGIT_BITS : DIGIT_BITS;
    const uint64_t mask = (UINT64_C(1) << bits) - 1U;
    struct item *from = items;
    struct item *to = scratch;
    for (int low = 0; low < 64; low += bits) {
        if (((differs >> low) & mask) == 0) {
            continue;
        }
        uint32_t places[DIGITS];
        memset(places, 0, (size_t)(mask + 1U) * sizeof *places);
        for (int32_t i = 0; i < count; i++) {
            places[(from[i].key >> low) & mask]++;
        }
        uint32_t place = 0;
        for (uint64_t digit = 0; digit <= mask; digit++) {
            const uint32_t many = places[digit];
            places[digit] = place;
            place += many;
        }
        for (int32_t i = 0; i < count; i++) {
            to[places[(from[i].key >> low) & mask]++] = from[i];
        }
        struct item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) {
        memcpy(items, from, (size_t)count * sizeof *items);
    }
}

static void insert_steps(struct step *steps, int32_t count) {
    for (int32_t i = 1; i < count; i++) {
        if (!comes_before(&steps[i], &steps[i - 1])) {
            continue;
        }
        const struct step step = steps[i];
        int32_t at = i;
        while (at > 0 && comes_before(&step, &steps[at - 1])) {
            steps[at] = steps[at - 1];
            at--;
        }
        steps[at] = step;
    }
}

/* The end of the ascending run that starts at `from`. */
static int32_t run_end(const struct step *steps, int32_t from, int32_t count) {
    int32_t end = from + 1;
    while (end < count && !comes_before(&steps[end], &steps[end - 1])) {
        end++;
    }
    return end;
}

static void merge_two(const struct step *a, const struct step *a_end, const struct step *b, const struct step *b_end,
                      struct step *to) {
    while (a < a_end && b < b_end) {
        const int take_b = comes_before(b, a);
        *to++ = *(take_b ? b : a);
        a += !take_b;
        b += take_b;
    }
    memcpy(to, a, (size_t)(a_end - a) * sizeof *to);
    memcpy(to + (a_end - a), b, (size_t)(b_end - b) * sizeof *to);
}

/* Every pass at least halves the number of runs. */
static int64_t merge_runs(struct step *steps, struct step *scratch, int32_t count) {
    int64_t moves = 0;
    struct step *from = steps;
    struct step *to = scratch;
    while (run_end(from, 0, count) < count) {
        for (int32_t left = 0; left < count;) {
            const int32_t middle = run_end(from, left, count);
            const int32_t end = middle < count ? run_end(from, middle, count) : middle;
            merge_two(from + left, from + middle, from + middle, from + end, to + left);
            left = end;
        }
        struct step *swap = from;
        from = to;
        to = swap;
        moves += count;
    }
    if (from != steps) {
        memcpy(steps, from, (size_t)count * sizeof *steps);
    }
    return moves;
}

/* First by key, then by price. */
static int64_t sort_by_digits(struct step *steps, int32_t count, const struct scratch *scratch) {
    struct item *items = scratch->items;
    for (int32_t i = 0; i < count; i++) {
        items[i].key = (uint32_t)steps[i].key;
        items[i].value = (uint32_t)i;
    }
    sort_items(items, scratch->more_items, count);
    for (int32_t i = 0; i < count; i++) {
        items[i].key = (uint64_t)steps[items[i].value].price ^ (UINT64_C(1) << 63); /* negative prices come first */
    }
    sort_items(items, scratch->more_items, count);
    for (int32_t i = 0; i < count; i++) {
        scratch->steps[i] = steps[items[i].value];
    }
    memcpy(steps, scratch->steps, (size_t)count * sizeof *steps);
    return 4 * (int64_t)count; /* the items' moves, about */
}

int64_t sort_steps(struct step *steps, int32_t count, const struct scratch *scratch) {
    if (count <= INSERTION_MAX) {
        insert_steps(steps, count);
        return count;
    }
    int32_t runs = 0;
    for (int32_t at = 0; at < count && runs <= MERGED_RUNS_MAX; runs++) {
        at = run_end(steps, at, count);
    }
    return runs <= MERGED_RUNS_MAX ? merge_runs(steps, scratch->steps, count) : sort_by_digits(steps, count, scratch);
}
