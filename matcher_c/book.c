/* The exchange's order book: one array entry per tick, intrusive lists in a bounded arena, a bitmap to find the next
 * price, and an open-addressed table of ids whose hash is keyed, because crafted ids would otherwise make every node
 * walk long probes in the same block. Contract: matcher.h. */
#include "matcher.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed records are little-endian");
_Static_assert(sizeof(struct energo_command) == ENERGO_COMMAND_BYTES, "a command is 32 bytes");
_Static_assert(sizeof(struct energo_result) == ENERGO_RESULT_BYTES, "a result is 40 bytes");

#define NIL UINT32_MAX
#define BUY 0U
#define SELL 1U
#define QUANTITY_MAX ((int64_t)UINT32_MAX)

struct order {
    uint64_t id;
    int64_t quantity;
    uint32_t owner;
    uint32_t place; /* level x 2 + side */
    uint32_t previous;
    uint32_t next; /* in its level, or in the free list */
};

struct level {
    uint32_t oldest;
    uint32_t newest;
};

struct slot {
    uint32_t hash;
    uint32_t order;
};

struct energo_book {
    uint64_t key_low;
    uint64_t key_high;
    int64_t lowest;
    struct order *orders;
    struct level *levels;
    struct slot *slots;
    uint64_t *bits;   /* a bit a level that has orders */
    uint64_t *groups; /* a bit a word of bits that is not 0 */
    uint64_t *tops;   /* a bit a word of groups that is not 0 */
    uint32_t level_count;
    uint32_t bit_words;
    uint32_t group_words;
    uint32_t top_words;
    uint32_t slot_mask;
    uint32_t capacity;
    uint32_t live;
    uint32_t free;
    int32_t best_buy;  /* highest level with buys, -1 where there is none */
    int32_t best_sell; /* lowest level with sells, level_count where there is none */
};

struct output {
    uint8_t *next;
    int64_t written;
    int quiet;
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
    shape.slots = 4U;
    while (shape.slots < (uint64_t)capacity * 2U) { /* at most half full: probes stay short */
        shape.slots *= 2U;
    }
    shape.bit_words = (shape.levels + 63U) / 64U;
    shape.group_words = (shape.bit_words + 63U) / 64U;
    shape.top_words = (shape.group_words + 63U) / 64U;
    return shape;
}

int64_t energo_book_words(int64_t capacity, int64_t ticks) {
    if (capacity < 1 || capacity > ENERGO_CAPACITY_MAX || ticks < 0 || ticks > ENERGO_TICKS_MAX) {
        return 0;
    }
    const struct shape shape = shape_of(capacity, ticks);
    const uint64_t total = words_of(sizeof(struct energo_book)) + words_of((uint64_t)capacity * sizeof(struct order)) +
                           words_of(shape.levels * sizeof(struct level)) + words_of(shape.slots * sizeof(struct slot)) +
                           shape.bit_words + shape.group_words + shape.top_words;
    return (int64_t)total;
}

struct energo_book *energo_book_init(uint64_t *words, int64_t capacity, int64_t lowest, int64_t ticks, uint64_t key_low,
                                     uint64_t key_high) {
    const struct shape shape = shape_of(capacity, ticks);
    struct energo_book *book = (struct energo_book *)(void *)words;
    uint64_t *at = words + words_of(sizeof(struct energo_book));
    book->orders = (struct order *)(void *)at;
    at += words_of((uint64_t)capacity * sizeof(struct order));
    book->levels = (struct level *)(void *)at;
    at += words_of(shape.levels * sizeof(struct level));
    book->slots = (struct slot *)(void *)at;
    at += words_of(shape.slots * sizeof(struct slot));
    book->bits = at;
    book->groups = at + shape.bit_words;
    book->tops = at + shape.bit_words + shape.group_words;
    memset(at, 0, (size_t)(shape.bit_words + shape.group_words + shape.top_words) * sizeof(uint64_t));
    book->key_low = key_low;
    book->key_high = key_high;
    book->lowest = lowest;
    book->level_count = (uint32_t)shape.levels;
    book->bit_words = (uint32_t)shape.bit_words;
    book->group_words = (uint32_t)shape.group_words;
    book->top_words = (uint32_t)shape.top_words;
    book->slot_mask = (uint32_t)(shape.slots - 1U);
    book->capacity = (uint32_t)capacity;
    book->live = 0;
    book->best_buy = -1;
    book->best_sell = (int32_t)shape.levels;
    for (uint32_t i = 0; i < book->level_count; i++) {
        book->levels[i].oldest = NIL;
        book->levels[i].newest = NIL;
    }
    for (uint64_t i = 0; i < shape.slots; i++) {
        book->slots[i].hash = 0;
        book->slots[i].order = NIL;
    }
    for (uint32_t i = 0; i < book->capacity; i++) {
        book->orders[i].next = i + 1U < book->capacity ? i + 1U : NIL;
    }
    book->free = 0;
    return book;
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

/* Bits above, or below, bit `bit` of a word. */
static uint64_t above(uint32_t bit) { return bit == 63U ? 0 : ~UINT64_C(0) << (bit + 1U); }

static uint64_t below(uint32_t bit) { return (UINT64_C(1) << bit) - 1U; }

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
                if (top >= book->top_words) {
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

static uint64_t turn(uint64_t value, unsigned int by) { return (value << by) | (value >> (64U - by)); }

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = turn(v[1], 13) ^ v[0];
    v[0] = turn(v[0], 32);
    v[2] += v[3];
    v[3] = turn(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = turn(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = turn(v[1], 17) ^ v[2];
    v[2] = turn(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein) of the eight bytes of an id. */
static uint32_t hash_of(const struct energo_book *book, uint64_t id) {
    const uint64_t length = UINT64_C(8) << 56;
    uint64_t v[4] = {book->key_low ^ UINT64_C(0x736f6d6570736575), book->key_high ^ UINT64_C(0x646f72616e646f6d),
                     book->key_low ^ UINT64_C(0x6c7967656e657261), book->key_high ^ UINT64_C(0x7465646279746573)};
    v[3] ^= id;
    sip_round(v);
    v[0] ^= id;
    v[3] ^= length;
    sip_round(v);
    v[0] ^= length;
    v[2] ^= 0xffU;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* The slot of an id, or the empty slot where it would go. The table is at most half full, so this ends. */
static uint32_t slot_of(const struct energo_book *book, uint64_t id, uint32_t hash) {
    uint32_t at = hash & book->slot_mask;
    while (book->slots[at].order != NIL &&
           (book->slots[at].hash != hash || book->orders[book->slots[at].order].id != id)) {
        at = (at + 1U) & book->slot_mask;
    }
    return at;
}

static uint32_t find(const struct energo_book *book, uint64_t id) {
    return book->slots[slot_of(book, id, hash_of(book, id))].order;
}

/* Takes an id out and moves later ones of its probe back, so that no tombstones pile up. */
static void forget(struct energo_book *book, uint64_t id) {
    uint32_t hole = slot_of(book, id, hash_of(book, id));
    uint32_t at = hole;
    for (;;) {
        at = (at + 1U) & book->slot_mask;
        if (book->slots[at].order == NIL) {
            break;
        }
        const uint32_t home = book->slots[at].hash & book->slot_mask;
        if (((at - home) & book->slot_mask) >= ((at - hole) & book->slot_mask)) {
            book->slots[hole] = book->slots[at];
            hole = at;
        }
    }
    book->slots[hole].order = NIL;
}

/* ---- putting orders in and taking them out ---- */

static void insert(struct energo_book *book, const struct energo_command *command, uint32_t level, int64_t quantity) {
    const uint32_t at = book->free;
    struct order *order = &book->orders[at];
    struct level *line = &book->levels[level];
    book->free = order->next;
    order->id = command->id;
    order->quantity = quantity;
    order->owner = command->owner;
    order->place = level * 2U + command->side;
    order->previous = line->newest;
    order->next = NIL;
    if (line->newest == NIL) {
        line->oldest = at;
        mark(book, level);
        if (command->side == BUY && (int32_t)level > book->best_buy) {
            book->best_buy = (int32_t)level;
        }
        if (command->side == SELL && (int32_t)level < book->best_sell) {
            book->best_sell = (int32_t)level;
        }
    } else {
        book->orders[line->newest].next = at;
    }
    line->newest = at;
    const uint32_t hash = hash_of(book, command->id);
    const uint32_t slot = slot_of(book, command->id, hash);
    book->slots[slot].hash = hash;
    book->slots[slot].order = at;
    book->live++;
}

static void take_out(struct energo_book *book, uint32_t at) {
    struct order *order = &book->orders[at];
    const uint32_t level = order->place >> 1;
    struct level *line = &book->levels[level];
    forget(book, order->id);
    if (order->previous == NIL) {
        line->oldest = order->next;
    } else {
        book->orders[order->previous].next = order->next;
    }
    if (order->next == NIL) {
        line->newest = order->previous;
    } else {
        book->orders[order->next].previous = order->previous;
    }
    if (line->oldest == NIL) {
        unmark(book, level);
        if ((int32_t)level == book->best_buy) { /* every level below the best buy holds buys */
            book->best_buy = next_below(book, level);
        } else if ((int32_t)level == book->best_sell) {
            book->best_sell = next_above(book, level);
        }
    }
    order->next = book->free;
    book->free = at;
    book->live--;
}

/* ---- commands ---- */

static void write_result(struct output *output, const struct energo_result *result) {
    if (output->quiet && result->kind != ENERGO_FILL && result->kind != ENERGO_REJECTED) {
        return;
    }
    memcpy(output->next, result, sizeof *result);
    output->next += sizeof *result;
    output->written++;
}

static uint16_t rejection_of(const struct energo_book *book, const struct energo_command *command) {
    if (command->kind > ENERGO_MARKET) {
        return ENERGO_BAD_KIND;
    }
    if (command->flags != 0) {
        return ENERGO_BAD_FLAGS;
    }
    if (command->kind == ENERGO_CANCEL) {
        return find(book, command->id) == NIL ? ENERGO_UNKNOWN_ID : 0;
    }
    if (command->side > SELL) {
        return ENERGO_BAD_SIDE;
    }
    if (command->quantity < 1 || command->quantity > QUANTITY_MAX) {
        return ENERGO_BAD_QUANTITY;
    }
    if (command->kind == ENERGO_LIMIT &&
        (command->price < book->lowest || command->price > book->lowest + (int64_t)book->level_count - 1)) {
        return ENERGO_PRICE_OUTSIDE_BAND;
    }
    if (find(book, command->id) != NIL) {
        return ENERGO_DUPLICATE_ID;
    }
    if (command->kind == ENERGO_LIMIT && book->live == book->capacity) {
        return ENERGO_BOOK_FULL;
    }
    return 0;
}

static int32_t best_against(const struct energo_book *book, uint8_t side) {
    return side == BUY ? book->best_sell : book->best_buy;
}

/* Whether an order of `side` with limit `limit` trades at `level`; a level that does not exist trades with nobody. */
static int crosses(const struct energo_book *book, uint8_t side, int32_t limit, int32_t level) {
    return side == BUY ? level <= limit && level < (int32_t)book->level_count : level >= limit && level >= 0;
}

/* How many records a limit or market order would write, counted no further than past `room`. */
static int64_t records_of(const struct energo_book *book, const struct energo_command *command, int32_t limit,
                          int64_t room, int quiet) {
    int64_t remaining = command->quantity;
    int64_t records = 0;
    int32_t level = best_against(book, command->side);
    while (remaining > 0 && crosses(book, command->side, limit, level)) {
        uint32_t at = book->levels[level].oldest;
        while (at != NIL && remaining > 0) {
            const struct order *maker = &book->orders[at];
            if (maker->owner == command->owner) {
                records += quiet ? 0 : 1;
            } else {
                records++;
                remaining -= maker->quantity < remaining ? maker->quantity : remaining;
            }
            if (records > room) {
                return records;
            }
            at = maker->next;
        }
        level = command->side == BUY ? next_above(book, (uint32_t)level) : next_below(book, (uint32_t)level);
    }
    return records + (remaining > 0 && !quiet ? 1 : 0);
}

static void trade(struct energo_book *book, const struct energo_command *command, int32_t limit,
                  struct output *output) {
    int64_t remaining = command->quantity;
    int32_t level = best_against(book, command->side);
    while (remaining > 0 && crosses(book, command->side, limit, level)) {
        const uint32_t at = book->levels[level].oldest;
        struct order *maker = &book->orders[at];
        struct energo_result result = {0};
        result.side = (uint8_t)(maker->place & 1U);
        result.owner = maker->owner;
        result.id = maker->id;
        result.price = book->lowest + level;
        if (maker->owner == command->owner) {
            result.kind = ENERGO_CANCELED;
            result.code = ENERGO_SELF_TRADE;
            result.quantity = maker->quantity;
            take_out(book, at);
        } else {
            result.kind = ENERGO_FILL;
            result.other_id = command->id;
            result.quantity = maker->quantity < remaining ? maker->quantity : remaining;
            remaining -= result.quantity;
            maker->quantity -= result.quantity;
            if (maker->quantity == 0) {
                take_out(book, at);
            }
        }
        write_result(output, &result);
        level = best_against(book, command->side);
    }
    if (remaining > 0) {
        struct energo_result result = {0};
        result.side = command->side;
        result.owner = command->owner;
        result.id = command->id;
        result.quantity = remaining;
        if (command->kind == ENERGO_LIMIT) {
            result.kind = ENERGO_REST;
            result.price = command->price;
            insert(book, command, (uint32_t)limit, remaining);
        } else {
            result.kind = ENERGO_CANCELED;
            result.code = ENERGO_UNMATCHED;
        }
        write_result(output, &result);
    }
}

static void cancel(struct energo_book *book, uint64_t id, struct output *output) {
    const uint32_t at = find(book, id);
    const struct order *order = &book->orders[at];
    struct energo_result result = {0};
    result.kind = ENERGO_CANCELED;
    result.code = ENERGO_ASKED;
    result.side = (uint8_t)(order->place & 1U);
    result.owner = order->owner;
    result.id = id;
    result.quantity = order->quantity;
    result.price = book->lowest + (int64_t)(order->place >> 1);
    take_out(book, at);
    write_result(output, &result);
}

static void reject(const struct energo_command *command, uint16_t code, struct output *output) {
    struct energo_result result = {0};
    result.kind = ENERGO_REJECTED;
    result.code = code;
    result.side = command->side;
    result.owner = command->owner;
    result.id = command->id;
    result.quantity = command->quantity;
    result.price = command->price;
    write_result(output, &result);
}

int64_t energo_book_run(struct energo_book *book, const uint8_t *commands, int64_t count, uint8_t *results,
                        int64_t room, int32_t quiet, int64_t *consumed) {
    struct output output = {results, 0, quiet != 0};
    int64_t done = 0;
    for (; done < count; done++) {
        struct energo_command command;
        memcpy(&command, commands + done * ENERGO_COMMAND_BYTES, sizeof command);
        const int64_t left = room - output.written;
        const uint16_t code = rejection_of(book, &command);
        if (code != 0) {
            if (left < 1) {
                break;
            }
            reject(&command, code, &output);
        } else if (command.kind == ENERGO_CANCEL) {
            if (left < 1 && !output.quiet) {
                break;
            }
            cancel(book, command.id, &output);
        } else {
            int32_t limit = command.side == BUY ? (int32_t)book->level_count - 1 : 0;
            if (command.kind == ENERGO_LIMIT) {
                limit = (int32_t)(command.price - book->lowest);
            }
            /* An order meets each resting order at most once and ends with one record: counting is needed near the end. */
            if (left < (int64_t)book->live + 1 && records_of(book, &command, limit, left, output.quiet) > left) {
                break;
            }
            trade(book, &command, limit, &output);
        }
    }
    *consumed = done;
    return output.written;
}

/* ---- reading ---- */

int64_t energo_book_live(const struct energo_book *book) { return book->live; }

int64_t energo_book_depth(const struct energo_book *book, int32_t side, int64_t room, int64_t *prices,
                          int64_t *quantities, int64_t *orders) {
    int32_t level = side == (int32_t)BUY ? book->best_buy : book->best_sell;
    int64_t written = 0;
    while (written < room && level >= 0 && level < (int32_t)book->level_count) {
        prices[written] = book->lowest + level;
        quantities[written] = 0;
        orders[written] = 0;
        for (uint32_t at = book->levels[level].oldest; at != NIL; at = book->orders[at].next) {
            quantities[written] += book->orders[at].quantity; /* at most 2^22 orders below 2^32 Wh */
            orders[written]++;
        }
        written++;
        level = side == (int32_t)BUY ? next_below(book, (uint32_t)level) : next_above(book, (uint32_t)level);
    }
    return written;
}

int64_t energo_book_dump(const struct energo_book *book, uint8_t *commands, int64_t room) {
    int64_t written = 0;
    for (uint8_t side = BUY; side <= SELL; side++) {
        int32_t level = side == BUY ? book->best_buy : book->best_sell;
        while (level >= 0 && level < (int32_t)book->level_count) {
            for (uint32_t at = book->levels[level].oldest; at != NIL; at = book->orders[at].next) {
                if (written == room) {
                    return written;
                }
                struct energo_command command = {0};
                command.id = book->orders[at].id;
                command.price = book->lowest + level;
                command.quantity = book->orders[at].quantity;
                command.owner = book->orders[at].owner;
                command.kind = ENERGO_LIMIT;
                command.side = side;
                memcpy(commands + written * ENERGO_COMMAND_BYTES, &command, sizeof command);
                written++;
            }
            level = side == BUY ? next_below(book, (uint32_t)level) : next_above(book, (uint32_t)level);
        }
    }
    return written;
}
