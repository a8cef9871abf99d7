/* The live market's clearing on a radial network. Contract: matcher.h.
 *
 * Each subtree is a net-export curve: steps in order of price, each of which raises the export by its quantity, from
 * -imports upwards. A sell's step starts selling; a buy's step stops buying. An edge splits its child's curve at export
 * zero, shifts what exports up by the fee and what imports down, and cuts both at the capacity: what is cut at the low
 * end happens at any price, what is cut at the high end at none. At the root, the steps below export zero happen.
 *
 * Steps at one price go home sells by rank, the grid's sell, the grid's buy, home buys by rank backwards. That order gives
 * the most energy to homes, the least to the grid, and then each unit to the earliest rank.
 *
 * At each bus the largest of its children's curves takes in the others and the bus's own steps; curve.c does this in
 * proportion to what is taken in where that is little, so that a path costs about as much as a balanced tree. */
#include "matcher.h"

#include "curve.h"

#include <string.h>

#define BUY 0
#define SELL 1
#define NONE (-1)
#define NO_LOWER INT64_MIN
#define NO_UPPER INT64_MAX
#define PRICE_LIMIT INT64_C(0x7fffffff)    /* prices and fees: magnitude below 2^31 */
#define QUANTITY_MAX INT64_C(0xffffffff)   /* quantities: below 2^32 */

struct group {
    int64_t limit;
    int64_t quantity;
    int32_t bus;
    int32_t first; /* of its orders in `sequence` */
    int32_t count;
    int16_t side;
    int16_t grid;
};

struct bus {
    struct curve curve;
    int64_t lower; /* price interval */
    int64_t upper;
    int32_t largest; /* child, by the space of its subtree */
    int32_t first_child;
    int32_t next_sibling;
    int32_t place; /* in the order of ranks */
    int32_t orders;
    int32_t first_order;
    int32_t groups;
    int32_t first_group;
    int32_t space; /* that its subtree's steps may take */
    int32_t size;  /* buses in its subtree */
    int32_t turn;  /* in which the first of its subtree is visited */
};

struct clearing {
    struct curves curves;
    struct group *groups;
    struct bus *buses;
    int64_t *traded;   /* by group; while curves are put together what of its steps happened: sold, or not bought */
    int32_t *sequence; /* orders, bus by bus and group by group, by index inside a group */
    int32_t *visits;   /* buses, each after its children */
    int32_t bus_count;
    int32_t order_count;
    int32_t group_count;
};

static uint64_t words_of(uint64_t bytes) { return (bytes + 7U) / 8U; }

int64_t energo_clear_words(int64_t buses, int64_t orders) {
    if (buses < 1 || buses > ENERGO_BUSES_MAX || orders < 0 || orders > ENERGO_ORDERS_MAX) {
        return 0;
    }
    return curve_words(buses + orders) + (int64_t)(words_of((uint64_t)orders * sizeof(struct group)) +
                                                   words_of((uint64_t)buses * sizeof(struct bus)) + (uint64_t)orders +
                                                   words_of((uint64_t)orders * sizeof(int32_t)) +
                                                   words_of((uint64_t)buses * sizeof(int32_t)));
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* A buy's number negated, a sell's as it is. Sides come at random: a branch would be guessed wrongly every other time. */
static int64_t signed_by(int64_t side, int64_t number) { return (number ^ (side - 1)) - (side - 1); }

/* A buy's number, 0 for a sell. */
static int64_t of_buy(int64_t side, int64_t number) { return number & (side - 1); }

/* ---- checking ---- */

static int32_t check_buses(int64_t buses, const int64_t *parent, const int64_t *fee, const int64_t *capacity_up,
                           const int64_t *capacity_down, int64_t *where) {
    for (int64_t b = 0; b < buses; b++) {
        *where = b;
        if (b == 0 && parent[b] != -1) {
            return ENERGO_BAD_ROOT;
        }
        if (b > 0 && (parent[b] < 0 || parent[b] >= b)) {
            return ENERGO_BAD_PARENT;
        }
        if (fee[b] < 0 || fee[b] > PRICE_LIMIT) {
            return ENERGO_BAD_FEE;
        }
        if (capacity_up[b] < -1 || capacity_down[b] < -1) {
            return ENERGO_BAD_CAPACITY;
        }
    }
    return ENERGO_FINE;
}

static int32_t check_orders(int64_t buses, int64_t orders, const int64_t *bus, const int64_t *side,
                            const int64_t *limit, const int64_t *quantity, int64_t *where) {
    int64_t grid[2] = {-1, -1};
    for (int64_t o = 0; o < orders; o++) {
        *where = o;
        if (bus[o] < 0 || bus[o] >= buses) {
            return ENERGO_ORDER_BUS;
        }
        if (side[o] != BUY && side[o] != SELL) {
            return ENERGO_ORDER_SIDE;
        }
        if (limit[o] < -PRICE_LIMIT || limit[o] > PRICE_LIMIT) {
            return ENERGO_ORDER_PRICE;
        }
        if (quantity[o] != -1 && (quantity[o] < 1 || quantity[o] > QUANTITY_MAX)) {
            return ENERGO_ORDER_QUANTITY;
        }
        if (quantity[o] == -1) {
            if (bus[o] != 0) {
                return ENERGO_GRID_NOT_AT_ROOT;
            }
            if (grid[side[o]] >= 0) {
                return ENERGO_GRID_TWICE;
            }
            grid[side[o]] = o;
            if (grid[BUY] >= 0 && grid[SELL] >= 0 && limit[grid[BUY]] > limit[grid[SELL]]) {
                return ENERGO_GRID_CROSSED;
            }
        }
    }
    return ENERGO_FINE;
}

/* ---- setting up ---- */

/* Gives each bus its place in the order of ranks, equal ranks by index. */
static void rank_buses(struct clearing *clearing, const int64_t *rank) {
    struct item *items = clearing->curves.scratch.items;
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        items[b].key = (uint64_t)(rank == NULL ? b : rank[b]) ^ (UINT64_C(1) << 63); /* negative ranks come first */
        items[b].value = (uint32_t)b;
    }
    if (rank != NULL) {
        sort_items(items, clearing->curves.scratch.more_items, clearing->bus_count);
    }
    for (int32_t place = 0; place < clearing->bus_count; place++) {
        clearing->buses[items[place].value].place = place;
    }
}

/* The order at equal price: home sells by rank, grid sell, grid buy, home buys by rank backwards. */
static int32_t key_of(const struct clearing *clearing, const struct group *group) {
    const int32_t place = clearing->buses[group->bus].place;
    if (group->grid) {
        return clearing->bus_count + (group->side == SELL ? 0 : 1);
    }
    return (int32_t)(of_buy(group->side, 2 * (int64_t)clearing->bus_count + 1) + signed_by(group->side, place));
}

/* Gathers the orders of a bus that are of equal limit and side into groups. At equal limit the order is that of key_of; it
 * takes 2 bits, and a limit 32. */
static void group_bus(struct clearing *clearing, int32_t b, const int64_t *side, const int64_t *limit,
                      const int64_t *quantity, const int64_t of_homes[2]) {
    struct bus *bus = &clearing->buses[b];
    struct item *items = clearing->curves.scratch.items;
    int32_t *sequence = clearing->sequence + bus->first_order;
    for (int32_t i = 0; i < bus->orders; i++) {
        const int32_t o = sequence[i];
        const int64_t kind = quantity[o] != -1 ? of_buy(side[o], 3) : 1 + of_buy(side[o], 1);
        items[i].key = ((uint64_t)(limit[o] + PRICE_LIMIT) << 2) | (uint64_t)kind;
        items[i].value = (uint32_t)o;
    }
    sort_items(items, clearing->curves.scratch.more_items, bus->orders);
    bus->first_group = clearing->group_count;
    struct group *group = clearing->groups + clearing->group_count - 1;
    for (int32_t i = 0; i < bus->orders; i++) {
        const int32_t o = (int32_t)items[i].value;
        if (i == 0 || items[i].key != items[i - 1].key) {
            group++;
            group->limit = limit[o];
            group->quantity = 0;
            group->bus = b;
            group->first = bus->first_order + i;
            group->count = 0;
            group->side = (int16_t)side[o];
            group->grid = quantity[o] == -1;
        }
        group->quantity += quantity[o] != -1 ? quantity[o] : of_homes[1 - side[o]];
        group->count++;
        sequence[i] = o;
    }
    clearing->group_count = (int32_t)(group + 1 - clearing->groups);
    bus->groups = clearing->group_count - bus->first_group;
}

static void group_orders(struct clearing *clearing, const int64_t *bus, const int64_t *side, const int64_t *limit,
                         const int64_t *quantity) {
    int64_t of_homes[2] = {0, 0}; /* the most that the grid can ever buy, or sell, is what homes sell, or buy */
    for (int32_t o = 0; o < clearing->order_count; o++) {
        clearing->buses[bus[o]].orders++;
        if (quantity[o] != -1) {
            of_homes[side[o]] += quantity[o];
        }
    }
    int32_t position = 0;
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        clearing->buses[b].first_order = position;
        position += clearing->buses[b].orders;
        clearing->buses[b].orders = 0;
    }
    for (int32_t o = 0; o < clearing->order_count; o++) {
        struct bus *at = &clearing->buses[bus[o]];
        clearing->sequence[at->first_order + at->orders++] = o;
    }
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        group_bus(clearing, b, side, limit, quantity, of_homes);
    }
    memset(clearing->traded, 0, (size_t)clearing->group_count * sizeof *clearing->traded);
}

/* Gives each subtree a stretch of the array of steps and of the visits: its largest child's, which so starts where its own
 * does, the other children's, its own groups. */
static void lay_out(struct clearing *clearing, const int64_t *parent) {
    struct bus *buses = clearing->buses;
    for (int32_t b = clearing->bus_count - 1; b >= 0; b--) {
        buses[b].space += buses[b].groups + 1; /* one step more, for the split at its edge */
        buses[b].size += 1;
        if (b > 0) {
            struct bus *above = &buses[parent[b]];
            buses[b].next_sibling = above->first_child;
            above->first_child = b;
            above->space += buses[b].space;
            above->size += buses[b].size;
            if (above->largest == NONE || buses[b].space > buses[above->largest].space) {
                above->largest = b;
            }
        }
    }
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        int32_t start = buses[b].curve.start;
        int32_t turn = buses[b].turn;
        if (buses[b].largest != NONE) {
            struct bus *largest = &buses[buses[b].largest];
            largest->curve.start = start;
            largest->turn = turn;
            start += largest->space;
            turn += largest->size;
        }
        for (int32_t child = buses[b].first_child; child != NONE; child = buses[child].next_sibling) {
            if (child != buses[b].largest) {
                buses[child].curve.start = start;
                buses[child].turn = turn;
                start += buses[child].space;
                turn += buses[child].size;
            }
        }
        clearing->visits[turn] = b;
    }
}

/* ---- curves ---- */

/* Puts the curve of a bus together: its largest child's takes in the other children's and its own steps. */
static void gather(struct clearing *clearing, int32_t b) {
    struct bus *bus = &clearing->buses[b];
    struct step *steps = clearing->curves.steps;
    int64_t imports = 0;
    int64_t exports = 0;
    int64_t from = bus->curve.start;
    if (bus->largest != NONE) {
        bus->curve = clearing->buses[bus->largest].curve;
        from += clearing->buses[bus->largest].space;
    }
    int64_t at = from;
    for (int32_t child = bus->first_child; child != NONE; child = clearing->buses[child].next_sibling) {
        if (child == bus->largest) {
            continue;
        }
        struct curve *curve = &clearing->buses[child].curve;
        curve_flatten(&clearing->curves, curve);
        memmove(steps + at, steps + curve->start, (size_t)curve->steps * sizeof *steps);
        at += curve->steps;
        imports += curve->imports;
        exports += curve->exports;
    }
    for (int32_t g = bus->first_group; g < bus->first_group + bus->groups; g++) {
        const struct group *group = &clearing->groups[g];
        if (group->quantity > 0) {
            struct step *step = &steps[at++];
            step->price = group->limit;
            step->quantity = group->quantity;
            step->key = key_of(clearing, group);
            step->group = g;
            imports += of_buy(group->side, group->quantity);
            exports += group->quantity - of_buy(group->side, group->quantity);
        }
    }
    curve_take_in(&clearing->curves, &bus->curve, from, (int32_t)(at - from));
    bus->curve.imports += imports;
    bus->curve.exports += exports;
}

/* Turns the curve of a bus into what its parent sees through the edge. */
static void pass_edge(struct clearing *clearing, int32_t b, int64_t fee, int64_t capacity_up, int64_t capacity_down) {
    struct curve *curve = &clearing->buses[b].curve;
    const int64_t cut = capacity_down >= 0 ? larger(curve->imports - capacity_down, 0) : 0;
    const int64_t excess = capacity_up >= 0 ? larger(curve->exports - capacity_up, 0) : 0;
    curve_cut(&clearing->curves, curve, cut, excess, clearing->traded);
    curve_shift(&clearing->curves, curve, fee);
}

/* The steps below export zero at the root happen. */
static void close_root(struct clearing *clearing) {
    struct curve *curve = &clearing->buses[0].curve;
    curve_flatten(&clearing->curves, curve);
    const struct step *step = clearing->curves.steps + curve->start;
    for (int64_t left = curve->imports; left > 0; step++) {
        clearing->traded[step->group] += smaller(step->quantity, left);
        left -= step->quantity;
    }
}

/* Turns what happened into what was traded: a step of a buy is that it stops. */
static void find_traded(struct clearing *clearing) {
    for (int32_t g = 0; g < clearing->group_count; g++) {
        const struct group *group = &clearing->groups[g];
        clearing->traded[g] = of_buy(group->side, group->quantity) + signed_by(group->side, clearing->traded[g]);
    }
}

/* Where retail equals feed-in the curve lets the grid sell to itself; that part is nothing. */
static void net_grid(struct clearing *clearing) {
    int32_t grid[2] = {NONE, NONE};
    const struct bus *root = &clearing->buses[0];
    for (int32_t g = root->first_group; g < root->first_group + root->groups; g++) {
        if (clearing->groups[g].grid) {
            grid[clearing->groups[g].side] = g;
        }
    }
    if (grid[BUY] != NONE && grid[SELL] != NONE) {
        const int64_t both = smaller(clearing->traded[grid[BUY]], clearing->traded[grid[SELL]]);
        clearing->traded[grid[BUY]] -= both;
        clearing->traded[grid[SELL]] -= both;
    }
}

/* ---- sharing out ---- */

/* floor(part x quantity / whole) and the remainder, for part <= whole < 2^53 and quantity < 2^32. The product takes up to
 * 85 bits, which 32-bit ARM has no integer for: a long division, 8 bits of the quantity at a time. */
static int64_t share_of(int64_t part, int64_t quantity, int64_t whole, int64_t *remainder) {
    int64_t share = 0;
    int64_t rest = 0;
    for (int bit = 24; bit >= 0; bit -= 8) {
        rest = rest * 256 + ((quantity >> bit) & 255) * part; /* below 2^62 */
        share = share * 256 + rest / whole;
        rest %= whole;
    }
    *remainder = rest;
    return share;
}

/* What a group traded, to its orders. */
static void share_out(struct clearing *clearing, int32_t g, const int64_t *quantity, int64_t *traded) {
    const struct group *group = &clearing->groups[g];
    const int64_t part = clearing->traded[g];
    const int32_t *orders = clearing->sequence + group->first;
    if (group->count == 1) {
        traded[orders[0]] = part;
        return;
    }
    if (part == 0 || part == group->quantity) {
        for (int32_t i = 0; i < group->count; i++) {
            traded[orders[i]] = part == 0 ? 0 : quantity[orders[i]];
        }
        return;
    }
    struct item *items = clearing->curves.scratch.items;
    int64_t left = part;
    for (int32_t i = 0; i < group->count; i++) {
        int64_t remainder = 0;
        traded[orders[i]] = share_of(part, quantity[orders[i]], group->quantity, &remainder);
        left -= traded[orders[i]];
        items[i].key = ~(uint64_t)remainder; /* largest first; the sort is stable, so ties keep the order of indices */
        items[i].value = (uint32_t)orders[i];
    }
    if (left > 0) {
        sort_items(items, clearing->curves.scratch.more_items, group->count);
        for (int64_t i = 0; i < left; i++) {
            traded[items[i].value]++;
        }
    }
}

/* ---- flows and prices ---- */

static int32_t find_flows(const struct clearing *clearing, const int64_t *parent, const int64_t *capacity_up,
                          const int64_t *capacity_down, int64_t *flow) {
    memset(flow, 0, (size_t)clearing->bus_count * sizeof *flow);
    for (int32_t g = 0; g < clearing->group_count; g++) {
        const struct group *group = &clearing->groups[g];
        flow[group->bus] += signed_by(group->side, clearing->traded[g]);
    }
    for (int32_t b = clearing->bus_count - 1; b > 0; b--) {
        const int above = capacity_up[b] >= 0 && flow[b] > capacity_up[b];        /* only a bug of ours */
        const int below = capacity_down[b] >= 0 && -flow[b] > capacity_down[b];   /* only a bug of ours */
        if (above || below) {     /* only a bug of ours */
            return ENERGO_BROKEN; /* only a bug of ours */
        }
        flow[parent[b]] += flow[b];
    }
    return flow[0] == 0 ? ENERGO_FINE : ENERGO_BROKEN; /* only a bug of ours */
}

static void at_least(struct bus *bus, int64_t price) { bus->lower = larger(bus->lower, price); }

static void at_most(struct bus *bus, int64_t price) { bus->upper = smaller(bus->upper, price); }

/* What the fills say about the price at each bus, from the leaves to the root. */
static int32_t find_intervals(struct clearing *clearing, const int64_t *parent, const int64_t *fee,
                              const int64_t *capacity_up, const int64_t *capacity_down, const int64_t *flow) {
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        clearing->buses[b].lower = NO_LOWER;
        clearing->buses[b].upper = NO_UPPER;
    }
    for (int32_t g = 0; g < clearing->group_count; g++) {
        const struct group *group = &clearing->groups[g];
        struct bus *bus = &clearing->buses[group->bus];
        const int64_t traded = clearing->traded[g];
        /* What traded is not better off at another price; what did not trade in full would not be, either. */
        const int some = traded > 0;
        const int not_all = (traded < group->quantity) | !some | group->grid;
        const int sells = group->side == SELL;
        at_least(bus, (sells ? some : not_all) ? group->limit : NO_LOWER);
        at_most(bus, (sells ? not_all : some) ? group->limit : NO_UPPER);
    }
    for (int32_t b = clearing->bus_count - 1; b >= 0; b--) {
        const struct bus *bus = &clearing->buses[b];
        if (bus->lower > bus->upper) { /* only a bug of ours */
            return ENERGO_BROKEN;      /* only a bug of ours */
        }
        if (b == 0) {
            continue; /* the last */
        }
        struct bus *above = &clearing->buses[parent[b]];
        const int full_up = capacity_up[b] >= 0 && flow[b] == capacity_up[b];
        const int full_down = capacity_down[b] >= 0 && -flow[b] == capacity_down[b];
        /* Flow up fixes the parent's price at the child's plus the fee, flow down at the child's minus it, no flow leaves
         * it anywhere between; an edge full upwards lets the parent's be higher, one full downwards lower. */
        if (bus->lower != NO_LOWER && !full_down) {
            at_least(above, flow[b] > 0 ? bus->lower + fee[b] : bus->lower - fee[b]);
        }
        if (bus->upper != NO_UPPER && !full_up) {
            at_most(above, flow[b] < 0 ? bus->upper - fee[b] : bus->upper + fee[b]);
        }
    }
    return ENERGO_FINE;
}

static void find_prices(const struct clearing *clearing, const int64_t *parent, const int64_t *fee,
                        const int64_t *flow, int64_t *price) {
    const struct bus *root = &clearing->buses[0];
    if (root->lower != NO_LOWER && root->upper != NO_UPPER) {
        price[0] = root->lower + (root->upper - root->lower) / 2; /* never negative: the floor */
    } else if (root->lower != NO_LOWER) {
        price[0] = root->lower;
    } else {
        price[0] = root->upper != NO_UPPER ? root->upper : 0;
    }
    for (int32_t b = 1; b < clearing->bus_count; b++) {
        const int64_t above = price[parent[b]];
        const int64_t aim = flow[b] > 0 ? above - fee[b] : flow[b] < 0 ? above + fee[b] : above;
        price[b] = larger(clearing->buses[b].lower, smaller(clearing->buses[b].upper, aim));
    }
}

int32_t energo_clear(uint64_t *workspace, int64_t words, int64_t work, int64_t buses, const int64_t *parent, const int64_t *fee,
                     const int64_t *capacity_up, const int64_t *capacity_down, const int64_t *rank, int64_t orders,
                     const int64_t *bus, const int64_t *side, const int64_t *limit, const int64_t *quantity,
                     int64_t *traded, int64_t *price, int64_t *flow, int64_t *where) {
    *where = 0;
    if (buses < 1 || buses > ENERGO_BUSES_MAX) {
        return ENERGO_BAD_BUS_COUNT;
    }
    if (orders < 0 || orders > ENERGO_ORDERS_MAX) {
        return ENERGO_BAD_ORDER_COUNT;
    }
    if (words < energo_clear_words(buses, orders)) {
        return ENERGO_SMALL_WORKSPACE;
    }
    int32_t fault = check_buses(buses, parent, fee, capacity_up, capacity_down, where);
    if (fault == ENERGO_FINE) {
        fault = check_orders(buses, orders, bus, side, limit, quantity, where);
    }
    if (fault != ENERGO_FINE) {
        return fault;
    }

    struct clearing clearing = {0};
    uint64_t *at = workspace + curve_words(buses + orders);
    curve_init(&clearing.curves, workspace, buses + orders);
    clearing.groups = (struct group *)(void *)at;
    at += words_of((uint64_t)orders * sizeof(struct group));
    clearing.buses = (struct bus *)(void *)at;
    at += words_of((uint64_t)buses * sizeof(struct bus));
    clearing.traded = (int64_t *)(void *)at;
    at += orders;
    clearing.sequence = (int32_t *)(void *)at;
    at += words_of((uint64_t)orders * sizeof(int32_t));
    clearing.visits = (int32_t *)(void *)at;
    clearing.bus_count = (int32_t)buses;
    clearing.order_count = (int32_t)orders;
    memset(clearing.buses, 0, (size_t)buses * sizeof *clearing.buses);
    for (int32_t b = 0; b < clearing.bus_count; b++) {
        clearing.buses[b].largest = NONE;
        clearing.buses[b].first_child = NONE;
        clearing.buses[b].next_sibling = NONE;
    }

    rank_buses(&clearing, rank);
    group_orders(&clearing, bus, side, limit, quantity);
    lay_out(&clearing, parent);
    *where = -1;
    for (int32_t turn = 0; turn < clearing.bus_count; turn++) {
        const int32_t b = clearing.visits[turn];
        gather(&clearing, b);
        if (b > 0) { /* the root comes last */
            pass_edge(&clearing, b, fee[b], capacity_up[b], capacity_down[b]);
        }
        if (clearing.curves.work > work) {
            return ENERGO_TOO_MUCH_WORK;
        }
    }
    close_root(&clearing);
    find_traded(&clearing);
    net_grid(&clearing);

    fault = find_flows(&clearing, parent, capacity_up, capacity_down, flow);
    if (fault == ENERGO_FINE) { /* only a bug of ours */
        fault = find_intervals(&clearing, parent, fee, capacity_up, capacity_down, flow);
    }
    if (fault != ENERGO_FINE) { /* only a bug of ours */
        return fault;           /* only a bug of ours */
    }

    find_prices(&clearing, parent, fee, flow, price);
    for (int32_t g = 0; g < clearing.group_count; g++) {
        share_out(&clearing, g, quantity, traded);
    }
    return ENERGO_FINE;
}
