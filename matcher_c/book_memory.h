/* The memory of a book, for book.c alone: the orders at rest, found by price, by age, by id and by their end.
 *
 * One array entry per tick with its intrusive list of orders, a bitmap of three levels that finds the next price, an
 * open-addressed table of ids whose hash is keyed (crafted ids would otherwise make every node walk long probes in the same
 * block), and a heap of the orders that end. Picture: matcher.h.
 *
 * Index 0 is nobody in every array, so zeroed memory is an empty book, and a wide band costs nothing where no order is. */
#ifndef ENERGO_BOOK_MEMORY_H
#define ENERGO_BOOK_MEMORY_H

#include "matcher.h"

#include <string.h>

#define NOBODY 0U
#define BUY 0U
#define SELL 1U
/* Sixteen slots an order: nearly every id is where its hash says, or nowhere. From 4 MB on, misses cost more than probes. */
#define SLOTS_PER_ORDER 16U
#define SLOTS_PER_ORDER_MIN 4U
#define SLOTS_GENEROUS (UINT64_C(1) << 20)

struct order { /* half a cache line */
    uint64_t id;
    uint32_t quantity;
    uint32_t owner;
    uint32_t place; /* level x 2 + side */
    uint32_t previous;
    uint32_t next;  /* in its level, or in the free list */
    uint32_t timer; /* its place in the heap of expiries, from 1 */
};

struct level {
    uint64_t quantity; /* at most 2^22 orders below 2^32 Wh */
    uint32_t oldest;
    uint32_t newest;
    uint32_t orders;
    uint32_t unused;
};

struct timer {
    int64_t expiry;
    uint32_t order;
    uint32_t unused;
};

struct energo_book {
    uint64_t key[3];
    int64_t lowest;
    int64_t height;
    struct order *orders; /* from 1 */
    struct level *levels;
    uint32_t *slots;      /* orders by their ids' hash */
    struct timer *timers; /* a binary heap from 1, earliest first, then smallest id */
    uint64_t *bits;       /* a bit a level that has orders */
    uint64_t *groups;     /* a bit a word of bits that is not 0 */
    uint64_t *tops;       /* a bit a word of groups that is not 0 */
    uint32_t level_count;
    uint32_t top_words;
    uint32_t slot_mask;
    uint32_t capacity;
    uint32_t live;
    uint32_t free;  /* first of the list of places that were given back */
    uint32_t fresh; /* places from here on were never taken */
    uint32_t timer_count;
    int32_t best[2]; /* highest level with buys, -1 where there is none; lowest with sells, level_count where none */
};

struct shape {
    uint64_t levels;
    uint64_t slots;
    uint64_t bit_words;
    uint64_t group_words;
    uint64_t top_words;
};

static uint64_t words_of(uint64_t bytes) { return (bytes + 7U) / 8U; }

static struct shape shape_of(int64_t capacity, int64_t ticks) {
    struct shape shape;
    shape.levels = (uint64_t)ticks + 1U;
    shape.slots = SLOTS_PER_ORDER;
    while (shape.slots < (uint64_t)capacity * SLOTS_PER_ORDER_MIN ||
           (shape.slots < (uint64_t)capacity * SLOTS_PER_ORDER && shape.slots < SLOTS_GENEROUS)) {
        shape.slots *= 2U;
    }
    shape.bit_words = (shape.levels + 63U) / 64U;
    shape.group_words = (shape.bit_words + 63U) / 64U;
    shape.top_words = (shape.group_words + 63U) / 64U;
    return shape;
}

/* ---- which levels have orders ---- */

static void mark(struct energo_book *book, uint32_t level) {
    book->bits[level >> 6] |= UINT64_C(1) << (level & 63U);
    book->groups[level >> 12] |= UINT64_C(1) << ((level >> 6) & 63U);
    book->tops[level >> 18] |= UINT64_C(1) << ((level >> 12) & 63U);
}

static void unmark(struct energo_book *book, uint32_t level) {
    book->bits[level >> 6] &= ~(UINT64_C(1) << (level & 63U));
    if (book->bits[level >> 6] == 0) {
        book->groups[level >> 12] &= ~(UINT64_C(1) << ((level >> 6) & 63U));
        if (book->groups[level >> 12] == 0) {
            book->tops[level >> 18] &= ~(UINT64_C(1) << ((level >> 12) & 63U));
        }
    }
}

static uint32_t lowest_bit(uint64_t word) { return (uint32_t)__builtin_ctzll(word); }

static uint32_t highest_bit(uint64_t word) { return 63U - (uint32_t)__builtin_clzll(word); }

/* The bits above, or below, bit `at` of a word. */
static uint64_t above(uint32_t at) { return at == 63U ? 0 : UINT64_MAX << (at + 1U); }

static uint64_t below(uint32_t at) { return (UINT64_C(1) << at) - 1U; }

/* The lowest level above `level` that has orders, or level_count. */
static int32_t next_above(const struct energo_book *book, uint32_t level) {
    uint32_t word = level >> 6;
    uint64_t found = book->bits[word] & above(level & 63U);
    if (found == 0) {
        uint32_t group = word >> 6;
        uint64_t marked = book->groups[group] & above(word & 63U);
        if (marked == 0) {
            uint32_t top = group >> 6;
            uint64_t high = book->tops[top] & above(group & 63U);
            while (high == 0) {
                top++;
                if (top == book->top_words) {
                    return (int32_t)book->level_count;
                }
                high = book->tops[top];
            }
            group = top * 64U + lowest_bit(high);
            marked = book->groups[group];
        }
        word = group * 64U + lowest_bit(marked);
        found = book->bits[word];
    }
    return (int32_t)(word * 64U + lowest_bit(found));
}

/* The highest level below `level` that has orders, or -1. */
static int32_t next_below(const struct energo_book *book, uint32_t level) {
    uint32_t word = level >> 6;
    uint64_t found = book->bits[word] & below(level & 63U);
    if (found == 0) {
        uint32_t group = word >> 6;
        uint64_t marked = book->groups[group] & below(word & 63U);
        if (marked == 0) {
            uint32_t top = group >> 6;
            uint64_t high = book->tops[top] & below(group & 63U);
            while (high == 0) {
                if (top == 0) {
                    return -1;
                }
                top--;
                high = book->tops[top];
            }
            group = top * 64U + highest_bit(high);
            marked = book->groups[group];
        }
        word = group * 64U + highest_bit(marked);
        found = book->bits[word];
    }
    return (int32_t)(word * 64U + highest_bit(found));
}

/* ---- ids ---- */

/* Two rounds of a multiply by a secret odd number and a fold: 32-bit ARM multiplies 64 bits, but not to 128. */
static uint32_t hash_of(const struct energo_book *book, uint64_t id) {
    uint64_t mixed = id + book->key[0];
    mixed = (mixed ^ (mixed >> 32)) * book->key[1];
    mixed = (mixed ^ (mixed >> 32)) * book->key[2];
    return (uint32_t)(mixed >> 32);
}

/* The slot of an id, or the empty slot where it would go. The table is never full, so this ends. */
static uint32_t slot_of(const struct energo_book *book, uint64_t id, uint32_t hash) {
    uint32_t at = hash & book->slot_mask;
    while (book->slots[at] != NOBODY && book->orders[book->slots[at]].id != id) {
        at = (at + 1U) & book->slot_mask;
    }
    return at;
}

/* Empties a slot and moves later ones of its probe back, so that no tombstones pile up. */
static void empty_slot(struct energo_book *book, uint32_t hole) {
    uint32_t at = (hole + 1U) & book->slot_mask;
    while (book->slots[at] != NOBODY) {
        const uint32_t home = hash_of(book, book->orders[book->slots[at]].id);
        if (((at - home) & book->slot_mask) >= ((at - hole) & book->slot_mask)) {
            book->slots[hole] = book->slots[at];
            hole = at;
        }
        at = (at + 1U) & book->slot_mask;
    }
    book->slots[hole] = NOBODY;
}

/* ---- expiry ---- */

static int is_earlier(const struct energo_book *book, const struct timer *a, const struct timer *b) {
    return a->expiry != b->expiry ? a->expiry < b->expiry : book->orders[a->order].id < book->orders[b->order].id;
}

static void put_timer(struct energo_book *book, uint32_t at, struct timer timer) {
    book->timers[at] = timer;
    book->orders[timer.order].timer = at;
}

/* Puts a timer where it belongs, starting from the hole at `at`. */
static void sift(struct energo_book *book, uint32_t at, struct timer timer) {
    while (at > 1U && is_earlier(book, &timer, &book->timers[at / 2U])) {
        put_timer(book, at, book->timers[at / 2U]);
        at /= 2U;
    }
    for (;;) {
        uint32_t child = 2U * at;
        if (child > book->timer_count) {
            break;
        }
        if (child < book->timer_count && is_earlier(book, &book->timers[child + 1U], &book->timers[child])) {
            child++;
        }
        if (!is_earlier(book, &book->timers[child], &timer)) {
            break;
        }
        put_timer(book, at, book->timers[child]);
        at = child;
    }
    put_timer(book, at, timer);
}

static void start_timer(struct energo_book *book, uint32_t order, uint16_t lifetime) {
    const struct timer timer = {book->height + lifetime, order, 0};
    book->timer_count++;
    sift(book, book->timer_count, timer);
}

static void stop_timer(struct energo_book *book, uint32_t order) {
    const uint32_t hole = book->orders[order].timer;
    const struct timer last = book->timers[book->timer_count];
    book->timer_count--;
    if (last.order != order) {
        sift(book, hole, last);
    }
}

/* How many orders end at or before `height`, counted no further than past `room`. */
static int64_t due_at(const struct energo_book *book, int64_t height, int64_t room) {
    int64_t due = 0;
    for (uint32_t at = 1U; at <= book->timer_count && due <= room; at++) {
        due += book->timers[at].expiry <= height ? 1 : 0;
    }
    return due;
}

/* ---- putting orders in and taking them out ---- */

/* Whether an order of `side` with limit `limit` reaches `level`: a buy what is not above it, a sell what is not below. An
 * empty side's best level, -1 or level_count, is out of reach of every order of the other. Written without a branch:
 * sides come at random. */
static int crosses(uint8_t side, int32_t limit, int32_t level) {
    return (limit - level) * (1 - 2 * (int32_t)side) >= 0;
}

static void insert(struct energo_book *book, uint64_t id, uint32_t owner, uint8_t side, uint16_t lifetime,
                   uint32_t level, int64_t quantity, uint32_t slot) {
    uint32_t at = book->free;
    if (at != NOBODY) {
        book->free = book->orders[at].next;
    } else {
        at = book->fresh++;
    }
    struct order *order = &book->orders[at];
    struct level *line = &book->levels[level];
    order->id = id;
    order->quantity = (uint32_t)quantity;
    order->owner = owner;
    order->place = level * 2U + side;
    order->previous = line->newest;
    order->next = NOBODY;
    order->timer = 0;
    line->quantity += (uint64_t)quantity;
    line->orders++;
    book->orders[line->newest].next = at; /* nobody's, where the level was empty */
    line->newest = at;
    book->slots[slot] = at;
    if (line->oldest == NOBODY) {
        line->oldest = at;
        mark(book, level);
        if (crosses(side, (int32_t)level, book->best[side])) { /* at least as good as the best of its own side */
            book->best[side] = (int32_t)level;
        }
    }
    book->live++;
    if (lifetime != 0) {
        start_timer(book, at, lifetime);
    }
}

/* Takes out an order whose id is in `slot`. Its record stays readable until the next insert. */
static void take_out(struct energo_book *book, uint32_t at, uint32_t slot) {
    struct order *order = &book->orders[at];
    const uint32_t level = order->place >> 1;
    struct level *line = &book->levels[level];
    if (order->timer != 0) {
        stop_timer(book, at);
    }
    empty_slot(book, slot);
    line->quantity -= order->quantity;
    line->orders--;
    /* Without branches, which would be guessed wrongly as often as not; what has no neighbor writes to nobody. */
    book->orders[order->previous].next = order->next;
    book->orders[order->next].previous = order->previous;
    line->oldest ^= (line->oldest ^ order->next) & (0U - (uint32_t)(line->oldest == at));
    line->newest ^= (line->newest ^ order->previous) & (0U - (uint32_t)(line->newest == at));
    if (line->oldest == NOBODY) {
        unmark(book, level);
        if ((int32_t)level == book->best[BUY]) { /* every level below the best buy holds buys */
            book->best[BUY] = next_below(book, level);
        } else if ((int32_t)level == book->best[SELL]) {
            book->best[SELL] = next_above(book, level);
        }
    }
    order->next = book->free;
    book->free = at;
    book->live--;
}

static void take_out_by_id(struct energo_book *book, uint32_t at) {
    const uint64_t id = book->orders[at].id;
    take_out(book, at, slot_of(book, id, hash_of(book, id)));
}

#endif
