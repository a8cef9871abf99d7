/* The two matchers of Energo, in C11: the whole contract on one page.
 *
 * Promises: integers only; no allocation at all (the caller brings the memory, sized by the *_words functions, and it
 * never grows), no globals, no stdio, no recursion, every loop bounded by what was handed in. The same input gives the
 * same output on every machine, whatever the hash key. matcher_c/reference.py is the definition; this must equal it.
 * Refuses: anything out of bounds, by a code and, for arrays, the index of what is wrong; it changes nothing then.
 *
 * Units: energy in Wh; prices and fees in money units (10^-8 of the currency) per Wh. Sides: 0 buy, 1 sell.
 *
 * THE EXCHANGE is one limit order book with price-time priority. An incoming order trades at the resting order's price;
 * a resting order of the same owner that it meets is canceled. Prices in packed records count ticks (price = ticks x
 * tick). Commands are 32 bytes and results 40, little-endian, in any alignment; see struct energo_command and
 * energo_result. A command is carried out whole or, where its results would not fit, not at all. A book with `capacity`
 * orders refuses what would rest and serves everything else. Its memory (book_memory.h), all of it taken at once:
 *
 *     slots    . 3 . . 1 . . . 4 . . .          hash of an id -> its order; 4 to 16 slots an order, probed in line
 *                |     |       '------------------------.
 *                |     '--------------.                 |
 *     orders   [1: id, quantity, owner, end]  [3: ...]  [4: ...]    32 bytes each, from 1; free ones in a list
 *                ^ oldest                next ^    newest ^
 *     levels   [ ... | quantity, oldest, newest, how many | ... ]   24 bytes a tick; both sides share them
 *     bits       ...   1   0   0   1   1   ...                      a bit a level that has orders; a bit a word of
 *     groups            1           1                               bits that is not 0; a bit a word of groups: the
 *     tops                    1                                     next price is three words away
 *     timers   [(end, order), ...]                                  a heap of the orders that end, 16 bytes an order
 *
 * THE CLEARING maximizes, on a rooted tree of buses,
 *     sum(buys: limit x traded) - sum(sells: limit x traded) - sum(edges: fee x |flow|)
 * and among all optima takes the most energy traded by homes, then the least with the grid, then groups (the orders of
 * one bus, side and limit) by the rank of their bus, and inside a group pro rata by largest remainder, ties by index.
 * Buses stand in topological order, root first with parent -1. A capacity of -1 is none. A quantity of -1 is without
 * limit: the public grid, at the root only, at most one buy and one sell. Flows are positive towards the root. It works
 * in words that the caller brings and that hold nothing afterwards: about 270 bytes a bus and 200 an order, of which a
 * shallow tree touches half. Each subtree has a stretch of the steps (curve.h), its largest child's first:
 *
 *     steps    [[[ home 1 | home 2 | own ] [ home 3 ] feeder's own ] ... root's own ]
 *
 * A command needs time in proportion to its fills, whatever the depth of the book; a clearing to its orders and buses,
 * times the logarithm of their number, and on long paths at worst a block of steps (their number's square root) a bus.
 *
 * The slice between the two marks is what build_matcher.py hands to cffi. */
#ifndef ENERGO_MATCHER_H
#define ENERGO_MATCHER_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */
enum energo_bound {
    ENERGO_BUSES_MAX = 1048576,       /* 2^20: sums of quantities stay below 2^53, sums of fees below 2^52 */
    ENERGO_ORDERS_MAX = 1048576,      /* of one clearing; also what a crafted file may make us allocate */
    ENERGO_CAPACITY_MAX = 4194304,    /* orders resting in one book: 2^22, below 300 MB when they all do */
    ENERGO_TICKS_MAX = 1048576,       /* from the lowest to the highest price of a book */
    ENERGO_COMMAND_BYTES = 32,
    ENERGO_RESULT_BYTES = 40,
    ENERGO_NO_OWNER = 0               /* an owner that is nobody in particular, and so never its own counterpart */
};

enum energo_kind {
    ENERGO_LIMIT = 0,                 /* good til canceled: trade what crosses, rest the remainder */
    ENERGO_CANCEL = 1,
    ENERGO_MARKET = 2,                /* trade at any price, drop the remainder */
    ENERGO_IOC = 3,                   /* immediate or cancel: trade what crosses, drop the remainder */
    ENERGO_FOK = 4,                   /* fill or kill: trade the whole quantity, or be rejected */
    ENERGO_POST_ONLY = 5,             /* rest, or be rejected where it would trade */
    ENERGO_REDUCE = 6,                /* take `quantity` off; the rest keeps its place */
    ENERGO_REPLACE = 7,               /* cancel, then a limit order of the same id, side and owner */
    ENERGO_HEIGHT = 8                 /* the ledger's height is now `quantity`: cancel what ends here, by (end, id) */
};

enum energo_event { ENERGO_FILL = 0, ENERGO_REST = 1, ENERGO_CANCELED = 2, ENERGO_REJECTED = 3 };

enum energo_reason {                  /* code of a cancellation */
    ENERGO_ASKED = 0,
    ENERGO_SELF_TRADE = 1,
    ENERGO_UNMATCHED = 2,             /* what is left of an order that does not rest */
    ENERGO_REDUCED = 3,
    ENERGO_REPLACED = 4,
    ENERGO_EXPIRED = 5
};

enum energo_rejection {               /* code of a rejection; the first that applies, in this order */
    ENERGO_BAD_KIND = 1,
    ENERGO_BAD_FLAGS = 2,             /* not 0 where the kind does not rest */
    ENERGO_BAD_SIDE = 3,
    ENERGO_BAD_QUANTITY = 4,          /* must be 1 .. 2^32 - 1 */
    ENERGO_PRICE_OUTSIDE_BAND = 5,
    ENERGO_PRICE_OFF_TICK = 6,        /* only where a price is given in money units */
    ENERGO_DUPLICATE_ID = 7,
    ENERGO_UNKNOWN_ID = 8,
    ENERGO_BOOK_FULL = 9,
    ENERGO_WOULD_TRADE = 10,
    ENERGO_NOT_FILLABLE = 11,
    ENERGO_BAD_HEIGHT = 12            /* below the height that the book has, or above 2^62 */
};

enum energo_fault {                   /* what energo_clear refuses; *where is the bus or the order */
    ENERGO_FINE = 0,
    ENERGO_BAD_BUS_COUNT = 1,
    ENERGO_BAD_ORDER_COUNT = 2,
    ENERGO_BAD_ROOT = 3,
    ENERGO_BAD_PARENT = 4,
    ENERGO_BAD_FEE = 5,               /* must be 0 .. 2^31 - 1 */
    ENERGO_BAD_CAPACITY = 6,          /* must be -1 or more */
    ENERGO_ORDER_BUS = 7,
    ENERGO_ORDER_SIDE = 8,
    ENERGO_ORDER_PRICE = 9,           /* magnitude below 2^31 */
    ENERGO_ORDER_QUANTITY = 10,       /* must be 1 .. 2^32 - 1, or -1 */
    ENERGO_GRID_NOT_AT_ROOT = 11,
    ENERGO_GRID_TWICE = 12,
    ENERGO_GRID_CROSSED = 13,         /* feed-in above retail */
    ENERGO_SMALL_WORKSPACE = 14,
    ENERGO_TOO_MUCH_WORK = 15,
    ENERGO_BROKEN = 16                /* an invariant failed: a bug in here, never the input's fault */
};

struct energo_command {
    uint64_t id;
    int64_t price;                    /* ticks; of limit, immediate-or-cancel, fill-or-kill, post-only and replace */
    int64_t quantity;                 /* Wh, 1 .. 2^32 - 1; of all but cancel */
    uint32_t owner;                   /* of new orders; who may change one is the caller's rule */
    uint8_t kind;
    uint8_t side;                     /* of new orders */
    uint16_t flags;                   /* of what may rest: heights until it ends, 0 for never; else 0 */
};

struct energo_result {
    uint8_t kind;
    uint8_t side;                     /* side and owner are those of the order `id`; a rejection repeats its command */
    uint16_t code;
    uint32_t owner;
    uint64_t id;                      /* of a fill: the maker's */
    uint64_t other_id;                /* of a fill: the taker's; else 0 */
    int64_t quantity;                 /* filled, resting or canceled */
    int64_t price;                    /* ticks; of an unmatched market order 0 */
};

struct energo_book;                   /* lives in the caller's words; not to be moved; one thread at a time */

/* Words of 8 bytes for a book of prices lowest .. lowest + ticks; 0 where a bound is broken. */
int64_t energo_book_words(int64_t capacity, int64_t ticks);

/* An empty book in `words`, of the size that energo_book_words said and all 0. lowest in ticks. The key (any 128 bits that
 * outsiders do not know) only scatters ids in the hash table. */
struct energo_book *energo_book_init(uint64_t *words, int64_t capacity, int64_t lowest, int64_t ticks,
                                     uint64_t key_low, uint64_t key_high);

/* Carries out commands until one's results do not fit into what is left of `room` records. Returns the number of
 * records written; *consumed is the number of commands carried out. quiet writes fills and rejections only. */
int64_t energo_book_run(struct energo_book *book, const uint8_t *commands, int64_t count, uint8_t *results,
                        int64_t room, int32_t quiet, int64_t *consumed);

/* One command by its fields. Returns the number of records written, -1 where they do not fit. */
int64_t energo_book_one(struct energo_book *book, uint64_t id, int64_t price, int64_t quantity, uint32_t owner,
                        uint8_t kind, uint8_t side, uint16_t flags, uint8_t *results, int64_t room);

int64_t energo_book_live(const struct energo_book *book);

int64_t energo_book_height(const struct energo_book *book);

/* The best price of a side in ticks, INT64_MIN where it is empty. */
int64_t energo_book_best(const struct energo_book *book, int32_t side);

/* Levels of a side, best first, at most `room`; each is price in ticks, quantity, number of orders. Returns how many. */
int64_t energo_book_depth(const struct energo_book *book, int32_t side, int64_t room, int64_t *prices,
                          int64_t *quantities, int64_t *orders);

/* Every resting order as the limit command that puts it back: buys, then sells, best first, oldest first. Running them
 * on an empty book of the same bounds gives the same book. Returns how many were written, at most `room`. */
int64_t energo_book_dump(const struct energo_book *book, uint8_t *commands, int64_t room);

/* Words of 8 bytes that a clearing works in; 0 where a bound is broken. */
int64_t energo_clear_words(int64_t buses, int64_t orders);

/* One clearing, with at most `work` moves of a step (about a nanosecond each; clearings need some tens of moves an order or
 * bus). rank may be NULL (a bus's rank is its index); equal ranks go by index. Results: traded by order, price
 * and flow by bus (flow[0] = 0). Returns an energo_fault. */
int32_t energo_clear(uint64_t *workspace, int64_t words, int64_t work, int64_t buses, const int64_t *parent,
                     const int64_t *fee, const int64_t *capacity_up, const int64_t *capacity_down,
                     const int64_t *rank, int64_t orders, const int64_t *bus, const int64_t *side,
                     const int64_t *limit, const int64_t *quantity, int64_t *traded,
                     int64_t *price, int64_t *flow, int64_t *where);
/* cffi: end */

#endif
