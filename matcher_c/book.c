/* The exchange's order book: what each command does to the orders at rest, which book_memory.h keeps. Contract: matcher.h. */
#include "matcher.h"

#include "book_memory.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed records are little-endian");
_Static_assert(sizeof(struct energo_command) == ENERGO_COMMAND_BYTES, "a command is 32 bytes");
_Static_assert(sizeof(struct energo_result) == ENERGO_RESULT_BYTES, "a result is 40 bytes");

#define HEIGHT_MAX (INT64_C(1) << 62)

/* How many commands ahead memory is asked for: the slot of the id, then the order and the level, then their neighbors.
 * A miss of the last cache takes about as long as four commands. */
#define AHEAD_SLOT 12
#define AHEAD_ORDER 8
#define AHEAD_NEIGHBOR 4
#define RING 16
#ifndef ENERGO_TIGHT
#define AHEAD_FROM 4096U /* live orders: below it everything is in the cache already */
#else
#define AHEAD_FROM 1U    /* for tests */
#endif

/* A command where it lies, in any alignment. Copying it whole first would stall the loads of its fields. */
struct packed_command {
    uint64_t id;
    int64_t price;
    int64_t quantity;
    uint32_t owner;
    uint8_t kind;
    uint8_t side;
    uint16_t flags;
} __attribute__((packed));

struct output {
    uint8_t *next;
    int64_t written;
    int quiet;
};

/* ---- a new book ---- */

int64_t energo_book_words(int64_t capacity, int64_t ticks) {
    if (capacity < 1 || capacity > ENERGO_CAPACITY_MAX || ticks < 0 || ticks > ENERGO_TICKS_MAX) {
        return 0;
    }
    const struct shape shape = shape_of(capacity, ticks);
    const uint64_t places = (uint64_t)capacity + 1U;
    const uint64_t total = words_of(sizeof(struct energo_book)) + words_of(places * sizeof(struct order)) +
                           words_of(shape.levels * sizeof(struct level)) + words_of(shape.slots * sizeof(uint32_t)) +
                           words_of(places * sizeof(struct timer)) + shape.bit_words + shape.group_words +
                           shape.top_words;
    return (int64_t)total;
}

/* splitmix64 (Steele, Lea, Flood): spreads the caller's key over the words of the hash. */
static uint64_t spread(uint64_t word) {
    word += UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

struct energo_book *energo_book_init(uint64_t *words, int64_t capacity, int64_t lowest, int64_t ticks, uint64_t key_low,
                                     uint64_t key_high) {
    const struct shape shape = shape_of(capacity, ticks);
    const uint64_t places = (uint64_t)capacity + 1U;
    struct energo_book *book = (struct energo_book *)(void *)words;
    uint64_t *at = words + words_of(sizeof(struct energo_book));
    book->orders = (struct order *)(void *)at;
    at += words_of(places * sizeof(struct order));
    book->levels = (struct level *)(void *)at;
    at += words_of(shape.levels * sizeof(struct level));
    book->slots = (uint32_t *)(void *)at;
    at += words_of(shape.slots * sizeof(uint32_t));
    book->timers = (struct timer *)(void *)at;
    at += words_of(places * sizeof(struct timer));
    /* Zero already; but the system hands out a page when it is first written to, and not in the middle of a block, please. The
     * levels' pages are many and few of them are used. */
    memset(book->orders, 0, (size_t)places * sizeof(struct order));
    memset(book->slots, 0, (size_t)shape.slots * sizeof(uint32_t));
    memset(book->timers, 0, (size_t)places * sizeof(struct timer));
    book->bits = at;
    book->groups = at + shape.bit_words;
    book->tops = at + shape.bit_words + shape.group_words;
    book->key[0] = spread(key_low);
    book->key[1] = spread(key_low ^ spread(key_high)) | 1U;
    book->key[2] = spread(key_high) | 1U;
    book->lowest = lowest;
    book->level_count = (uint32_t)shape.levels;
    book->top_words = (uint32_t)shape.top_words;
    book->slot_mask = (uint32_t)(shape.slots - 1U);
    book->capacity = (uint32_t)capacity;
    book->fresh = 1U;
    book->best[BUY] = -1;
    book->best[SELL] = (int32_t)shape.levels;
    return book;
}

/* ---- results ---- */

static void write_result(struct output *output, const struct energo_result *result) {
    memcpy(output->next, result, sizeof *result);
    output->next += sizeof *result;
    output->written++;
}

static void write_canceled(const struct energo_book *book, const struct order *order, uint32_t quantity,
                           enum energo_reason reason, struct output *output) {
    if (output->quiet) {
        return;
    }
    const struct energo_result result = {
        ENERGO_CANCELED, (uint8_t)(order->place & 1U), (uint16_t)reason, order->owner, order->id, 0, quantity,
        book->lowest + (int64_t)(order->place >> 1)};
    write_result(output, &result);
}

static void write_rest(uint64_t id, uint32_t owner, uint8_t side, int64_t quantity, int64_t price,
                       struct output *output) {
    if (output->quiet) {
        return;
    }
    const struct energo_result result = {ENERGO_REST, side, 0, owner, id, 0, quantity, price};
    write_result(output, &result);
}

/* ---- commands ---- */

static int32_t best_against(const struct energo_book *book, uint8_t side) { return book->best[1 - side]; }

static int32_t next_against(const struct energo_book *book, uint8_t side, int32_t level) {
    return side == BUY ? next_above(book, (uint32_t)level) : next_below(book, (uint32_t)level);
}

static int is_own(const struct order *maker, const struct energo_command *command) {
    return maker->owner == command->owner && maker->owner != ENERGO_NO_OWNER;
}

/* How many records an order would write, counted no further than past `room`, and in *left what nobody would fill. */
static int64_t records_of(const struct energo_book *book, const struct energo_command *command, int32_t limit,
                          int64_t room, int quiet, int64_t *left) {
    int64_t records = 0;
    int32_t level = best_against(book, command->side);
    *left = command->quantity;
    while (*left > 0 && crosses(command->side, limit, level)) {
        uint32_t at = book->levels[level].oldest;
        while (at != NOBODY && *left > 0) {
            const struct order *maker = &book->orders[at];
            if (is_own(maker, command)) {
                records += quiet ? 0 : 1;
            } else {
                records++;
                *left -= maker->quantity < *left ? maker->quantity : *left;
            }
            if (records > room) {
                return records;
            }
            at = maker->next;
        }
        level = next_against(book, command->side, level);
    }
    return records;
}

/* Whether a fill-or-kill order would be filled. Whole levels are added up first, so that one that asks for more than there
 * is costs levels and not orders. */
static int is_fillable(const struct energo_book *book, const struct energo_command *command, int32_t limit) {
    uint64_t offered = 0;
    int32_t level = best_against(book, command->side);
    while (offered < (uint64_t)command->quantity && crosses(command->side, limit, level)) {
        offered += book->levels[level].quantity;
        level = next_against(book, command->side, level);
    }
    if (offered < (uint64_t)command->quantity) {
        return 0;
    }
    int64_t left = 0;
    records_of(book, command, limit, INT64_MAX, 0, &left);
    return left == 0;
}

/* Trades an order as far as it goes; returns what is left of it. */
static int64_t trade(struct energo_book *book, const struct energo_command *command, int32_t limit,
                     struct output *output) {
    int64_t left = command->quantity;
    int32_t level = best_against(book, command->side);
    while (left > 0 && crosses(command->side, limit, level)) {
        const uint32_t at = book->levels[level].oldest;
        struct order *maker = &book->orders[at];
        if (is_own(maker, command)) {
            write_canceled(book, maker, maker->quantity, ENERGO_SELF_TRADE, output);
            take_out_by_id(book, at);
        } else {
            const int64_t quantity = maker->quantity < left ? maker->quantity : left;
            const struct energo_result result = {ENERGO_FILL, (uint8_t)(maker->place & 1U), 0, maker->owner, maker->id,
                                                 command->id, quantity, book->lowest + level};
            write_result(output, &result);
            left -= quantity;
            if (quantity == maker->quantity) {
                take_out_by_id(book, at);
            } else {
                maker->quantity -= (uint32_t)quantity;
                book->levels[level].quantity -= (uint64_t)quantity;
            }
        }
        level = best_against(book, command->side);
    }
    return left;
}

static int is_resting_kind(uint8_t kind) {
    return kind == ENERGO_LIMIT || kind == ENERGO_POST_ONLY || kind == ENERGO_REPLACE;
}

static int has_side(uint8_t kind) {
    return kind != ENERGO_CANCEL && kind != ENERGO_REDUCE && kind != ENERGO_REPLACE;
}

static int has_price(uint8_t kind) { return is_resting_kind(kind) || kind == ENERGO_IOC || kind == ENERGO_FOK; }

/* The level at which an order of this kind stops trading. */
static int32_t limit_of(const struct energo_book *book, const struct energo_command *command) {
    if (has_price(command->kind)) {
        return (int32_t)(command->price - book->lowest);
    }
    return command->side == BUY ? (int32_t)book->level_count - 1 : 0;
}

/* What is wrong with a command, 0 where nothing is; `found` is the order that its id has. */
static uint16_t rejection_of(const struct energo_book *book, const struct energo_command *command, uint32_t found) {
    const uint8_t kind = command->kind;
    if (kind > ENERGO_HEIGHT) {
        return ENERGO_BAD_KIND;
    }
    if (command->flags != 0 && !is_resting_kind(kind)) {
        return ENERGO_BAD_FLAGS;
    }
    if (kind == ENERGO_HEIGHT) {
        return command->quantity < book->height || command->quantity > HEIGHT_MAX ? ENERGO_BAD_HEIGHT : 0;
    }
    if (has_side(kind) && command->side > SELL) {
        return ENERGO_BAD_SIDE;
    }
    if (kind != ENERGO_CANCEL && (command->quantity < 1 || command->quantity > (int64_t)UINT32_MAX)) {
        return ENERGO_BAD_QUANTITY;
    }
    if (has_price(kind) &&
        (command->price < book->lowest || command->price > book->lowest + (int64_t)book->level_count - 1)) {
        return ENERGO_PRICE_OUTSIDE_BAND;
    }
    if (!has_side(kind)) {
        return found == NOBODY ? ENERGO_UNKNOWN_ID : 0;
    }
    if (found != NOBODY) {
        return ENERGO_DUPLICATE_ID;
    }
    if (is_resting_kind(kind) && book->live == book->capacity) {
        return ENERGO_BOOK_FULL;
    }
    const int32_t limit = limit_of(book, command);
    if (kind == ENERGO_POST_ONLY && crosses(command->side, limit, best_against(book, command->side))) {
        return ENERGO_WOULD_TRADE;
    }
    return kind == ENERGO_FOK && !is_fillable(book, command, limit) ? ENERGO_NOT_FILLABLE : 0;
}

/* Trades, then rests or drops what is left. Needs room for all of its records. */
static void place(struct energo_book *book, const struct energo_command *command, uint32_t slot, uint32_t hash,
                  struct output *output) {
    const int32_t limit = limit_of(book, command);
    int64_t left = command->quantity;
    if (crosses(command->side, limit, best_against(book, command->side))) {
        left = trade(book, command, limit, output);
        slot = slot_of(book, command->id, hash); /* makers that left may have moved the empty slot */
    }
    if (left == 0) {
        return;
    }
    if (is_resting_kind(command->kind)) {
        insert(book, command->id, command->owner, command->side, command->flags, (uint32_t)limit, left, slot);
        write_rest(command->id, command->owner, command->side, left, command->price, output);
    } else if (!output->quiet) {
        const struct energo_result result = {
            ENERGO_CANCELED, command->side, ENERGO_UNMATCHED, command->owner, command->id, 0, left,
            command->kind == ENERGO_MARKET ? 0 : command->price};
        write_result(output, &result);
    }
}

static void reduce(struct energo_book *book, const struct energo_command *command, uint32_t at, uint32_t slot,
                   struct output *output) {
    struct order *order = &book->orders[at];
    if (command->quantity >= order->quantity) {
        write_canceled(book, order, order->quantity, ENERGO_REDUCED, output);
        take_out(book, at, slot);
    } else {
        const uint32_t quantity = (uint32_t)command->quantity;
        write_canceled(book, order, quantity, ENERGO_REDUCED, output);
        order->quantity -= quantity;
        book->levels[order->place >> 1].quantity -= quantity;
    }
}

static void advance(struct energo_book *book, int64_t height, struct output *output) {
    while (book->timer_count > 0 && book->timers[1].expiry <= height) {
        const uint32_t at = book->timers[1].order;
        write_canceled(book, &book->orders[at], book->orders[at].quantity, ENERGO_EXPIRED, output);
        take_out_by_id(book, at);
    }
    book->height = height;
}

static void reject(const struct energo_command *command, uint16_t code, struct output *output) {
    const struct energo_result result = {ENERGO_REJECTED, command->side, code, command->owner, command->id, 0,
                                         command->quantity, command->price};
    write_result(output, &result);
}

/* Whether what a command that is in order would write fits into `room` records. */
static int fits(const struct energo_book *book, const struct energo_command *command, int64_t room, int quiet) {
    if (command->kind == ENERGO_HEIGHT) {
        return quiet || due_at(book, command->quantity, room) <= room;
    }
    if (command->kind == ENERGO_CANCEL || command->kind == ENERGO_REDUCE) {
        return quiet || room >= 1;
    }
    /* An order meets each resting order at most once, and ends with one record; a replacement starts with one. */
    if (room >= (int64_t)book->live + 2) {
        return 1;
    }
    const int64_t replaced = command->kind == ENERGO_REPLACE && !quiet ? 1 : 0;
    int64_t left = 0;
    const int64_t records = records_of(book, command, limit_of(book, command), room, quiet, &left);
    return records + replaced + (left > 0 && !quiet ? 1 : 0) <= room;
}

/* The two commands that a busy book consists of, where nothing stands in their way: a limit order that only rests, and
 * the cancel of one. Returns 0, having done nothing, for all else: carry_out has the rules. */
static inline int carry_out_quickly(struct energo_book *book, const struct packed_command *command, uint32_t hash,
                                    int64_t room, struct output *output) {
    const uint32_t slot = hash & book->slot_mask;
    const uint32_t found = book->slots[slot];
    if (command->kind == ENERGO_CANCEL) {
        if ((found == NOBODY) | (book->orders[found].id != command->id) | (command->flags != 0) | (room < 1)) {
            return 0;
        }
        write_canceled(book, &book->orders[found], book->orders[found].quantity, ENERGO_ASKED, output);
        take_out(book, found, slot);
        return 1;
    }
    const uint64_t level = (uint64_t)command->price - (uint64_t)book->lowest;
    if ((command->kind != ENERGO_LIMIT) | (found != NOBODY) | (command->flags != 0) | (command->side > SELL) |
        ((uint64_t)command->quantity - 1U >= UINT32_MAX) | (level >= book->level_count) |
        (book->live == book->capacity) | (room < 1)) {
        return 0;
    }
    if (crosses(command->side, (int32_t)level, best_against(book, command->side))) {
        return 0;
    }
    insert(book, command->id, command->owner, command->side, 0, (uint32_t)level, command->quantity, slot);
    write_rest(command->id, command->owner, command->side, command->quantity, command->price, output);
    return 1;
}

/* Carries out one command; 0 where its results do not fit, and nothing has changed. */
static int carry_out(struct energo_book *book, struct energo_command *command, uint32_t hash, int64_t room,
                     struct output *output) {
    uint32_t slot = slot_of(book, command->id, hash);
    const uint32_t found = book->slots[slot];
    const uint16_t code = rejection_of(book, command, found);
    if (code != 0) {
        if (room < 1) {
            return 0;
        }
        reject(command, code, output);
        return 1;
    }
    if (command->kind == ENERGO_REPLACE) {
        command->side = (uint8_t)(book->orders[found].place & 1U);
        command->owner = book->orders[found].owner;
    }
    if (!fits(book, command, room, output->quiet)) {
        return 0;
    }
    switch (command->kind) {
    case ENERGO_CANCEL:
        write_canceled(book, &book->orders[found], book->orders[found].quantity, ENERGO_ASKED, output);
        take_out(book, found, slot);
        break;
    case ENERGO_REDUCE:
        reduce(book, command, found, slot, output);
        break;
    case ENERGO_HEIGHT:
        advance(book, command->quantity, output);
        break;
    case ENERGO_REPLACE:
        write_canceled(book, &book->orders[found], book->orders[found].quantity, ENERGO_REPLACED, output);
        take_out(book, found, slot);
        place(book, command, slot_of(book, command->id, hash), hash, output);
        break;
    default:
        place(book, command, slot, hash, output);
        break;
    }
    return 1;
}

/* ---- a batch ---- */

static void fetch_slot(const struct energo_book *book, uint32_t hash) {
    __builtin_prefetch(&book->slots[hash & book->slot_mask], 1);
}

/* The order that an id seems to have, by its hash alone; it is there whether or not it is the one. */
static const struct order *guess(const struct energo_book *book, uint32_t hash) {
    return &book->orders[book->slots[hash & book->slot_mask]];
}

/* The level of a price, or some level: of a cancel, or where the price is out of the band. */
static const struct level *level_of(const struct energo_book *book, const struct packed_command *command) {
    const uint64_t level = (uint64_t)command->price - (uint64_t)book->lowest;
    return &book->levels[level < book->level_count ? level : 0];
}

/* What a cancel needs and what a new order needs, both for every command: asking for what is in the cache already costs
 * less than a wrong guess about the kind. */
static void fetch_order(const struct energo_book *book, const struct packed_command *command, uint32_t hash) {
    __builtin_prefetch(level_of(book, command), 1);
    __builtin_prefetch(guess(book, hash), 1);
}

static void fetch_neighbors(const struct energo_book *book, const struct packed_command *command, uint32_t hash) {
    const struct order *order = guess(book, hash);
    __builtin_prefetch(&book->orders[level_of(book, command)->newest], 1);
    __builtin_prefetch(&book->orders[order->previous], 1);
    __builtin_prefetch(&book->orders[order->next], 1);
    __builtin_prefetch(&book->levels[order->place >> 1], 1);
}

int64_t energo_book_run(struct energo_book *book, const uint8_t *commands, int64_t count, uint8_t *results,
                        int64_t room, int32_t quiet, int64_t *consumed) {
    const struct packed_command *packed = (const struct packed_command *)(const void *)commands;
    struct output output = {results, 0, quiet != 0};
    uint32_t hashes[RING] = {0};
    int64_t done = 0;
    for (int64_t at = 0; at < count && at < AHEAD_SLOT; at++) {
        hashes[at] = hash_of(book, packed[at].id);
    }
    for (; done < count; done++) {
        const uint32_t hash = hashes[done % RING];
        const int64_t left = room - output.written;
        if (done + AHEAD_SLOT < count) {
            hashes[(done + AHEAD_SLOT) % RING] = hash_of(book, packed[done + AHEAD_SLOT].id);
            if (book->live >= AHEAD_FROM) {
                fetch_slot(book, hashes[(done + AHEAD_SLOT) % RING]);
                fetch_order(book, &packed[done + AHEAD_ORDER], hashes[(done + AHEAD_ORDER) % RING]);
                fetch_neighbors(book, &packed[done + AHEAD_NEIGHBOR], hashes[(done + AHEAD_NEIGHBOR) % RING]);
            }
        }
        if (!carry_out_quickly(book, &packed[done], hash, left, &output)) {
            struct energo_command command;
            memcpy(&command, &packed[done], sizeof command);
            if (!carry_out(book, &command, hash, left, &output)) {
                break;
            }
        }
    }
    *consumed = done;
    return output.written;
}

int64_t energo_book_one(struct energo_book *book, uint64_t id, int64_t price, int64_t quantity, uint32_t owner,
                        uint8_t kind, uint8_t side, uint16_t flags, uint8_t *results, int64_t room) {
    struct output output = {results, 0, 0};
    struct energo_command command = {id, price, quantity, owner, kind, side, flags};
    return carry_out(book, &command, hash_of(book, id), room, &output) ? output.written : -1;
}

/* ---- reading ---- */

int64_t energo_book_live(const struct energo_book *book) { return book->live; }

int64_t energo_book_height(const struct energo_book *book) { return book->height; }

int64_t energo_book_best(const struct energo_book *book, int32_t side) {
    const int32_t level = book->best[side & 1];
    return level < 0 || level >= (int32_t)book->level_count ? INT64_MIN : book->lowest + level;
}

int64_t energo_book_depth(const struct energo_book *book, int32_t side, int64_t room, int64_t *prices,
                          int64_t *quantities, int64_t *orders) {
    int32_t level = book->best[side & 1];
    int64_t written = 0;
    while (written < room && level >= 0 && level < (int32_t)book->level_count) {
        prices[written] = book->lowest + level;
        quantities[written] = (int64_t)book->levels[level].quantity;
        orders[written] = book->levels[level].orders;
        written++;
        level = side == (int32_t)BUY ? next_below(book, (uint32_t)level) : next_above(book, (uint32_t)level);
    }
    return written;
}

int64_t energo_book_dump(const struct energo_book *book, uint8_t *commands, int64_t room) {
    int64_t written = 0;
    for (uint8_t side = BUY; side <= SELL; side++) {
        int32_t level = book->best[side & 1];
        while (level >= 0 && level < (int32_t)book->level_count) {
            for (uint32_t at = book->levels[level].oldest; at != NOBODY; at = book->orders[at].next) {
                const struct order *order = &book->orders[at];
                if (written == room) {
                    return written;
                }
                const int64_t lifetime = order->timer != 0 ? book->timers[order->timer].expiry - book->height : 0;
                const struct energo_command command = {order->id,    book->lowest + level, order->quantity,
                                                       order->owner, ENERGO_LIMIT,         side,
                                                       (uint16_t)lifetime};
                memcpy(commands + written * ENERGO_COMMAND_BYTES, &command, sizeof command);
                written++;
            }
            level = side == BUY ? next_below(book, (uint32_t)level) : next_above(book, (uint32_t)level);
        }
    }
    return written;
}
