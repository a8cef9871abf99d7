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
 * Curves are plain sorted arrays, each subtree's contiguous, so the work is O(orders x depth). A step carries one group;
 * an edge splits at most one step in two, which bounds the memory. */
#include "matcher.h"

#include <string.h>

#define BUY 0
#define SELL 1
#define NO_LOWER INT64_MIN
#define NO_UPPER INT64_MAX
#define PRICE_LIMIT INT64_C(0x7fffffff)    /* prices and fees: magnitude below 2^31 */
#define QUANTITY_MAX INT64_C(0xffffffff)   /* quantities: below 2^32 */

struct step {
    int64_t price; /* as seen at the bus whose curve it is in */
    int64_t quantity;
    int32_t key;   /* order at equal price */
    int32_t group; /* while orders are being grouped: the order */
};

struct group {
    int64_t limit;
    int64_t quantity;
    int64_t happened; /* sold, or not bought */
    int32_t bus;
    int32_t first; /* of its orders in `sequence` */
    int32_t count;
    int16_t side;
    int16_t grid;
};

struct bus {
    int64_t imports; /* of its curve, at the lowest price */
    int64_t lower;   /* price interval */
    int64_t upper;
    int32_t first_child;
    int32_t next_sibling;
    int32_t place; /* in the order of ranks */
    int32_t orders;
    int32_t first_order;
    int32_t groups;
    int32_t first_group;
    int32_t start; /* of its subtree's steps */
    int32_t space; /* that its subtree's steps may take */
    int32_t steps; /* of its curve as its parent sees it */
};

struct clearing {
    struct step *steps;
    struct step *scratch;
    struct group *groups;
    struct bus *buses;
    int32_t *sequence; /* orders, bus by bus and group by group, by index inside a group */
    int32_t bus_count;
    int32_t order_count;
    int32_t group_count;
};

static uint64_t words_of(uint64_t bytes) { return (bytes + 7U) / 8U; }

int64_t energo_clear_words(int64_t buses, int64_t orders) {
    if (buses < 1 || buses > ENERGO_BUSES_MAX || orders < 0 || orders > ENERGO_ORDERS_MAX) {
        return 0;
    }
    const uint64_t steps = (uint64_t)buses + (uint64_t)orders;
    return (int64_t)(2U * words_of(steps * sizeof(struct step)) + words_of((uint64_t)orders * sizeof(struct group)) +
                     words_of((uint64_t)buses * sizeof(struct bus)) + words_of((uint64_t)orders * sizeof(int32_t)));
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- sorting ---- */

static int goes_before(const struct step *a, const struct step *b) {
    return a->price != b->price ? a->price < b->price : a->key < b->key;
}

/* The end of the ascending run that starts at `from`. */
static int32_t run_end(const struct step *steps, int32_t from, int32_t count) {
    int32_t end = from + 1;
    while (end < count && !goes_before(&steps[end], &steps[end - 1])) {
        end++;
    }
    return end;
}

/* Stable merge sort of the runs that are already there; every pass at least halves their number. */
static void sort_steps(struct step *steps, struct step *scratch, int32_t count) {
    while (count > 0 && run_end(steps, 0, count) < count) {
        int32_t written = 0;
        for (int32_t left = 0; left < count;) {
            const int32_t middle = run_end(steps, left, count);
            const int32_t end = middle < count ? run_end(steps, middle, count) : middle;
            int32_t a = left;
            int32_t b = middle;
            while (a < middle || b < end) {
                if (b == end || (a < middle && !goes_before(&steps[b], &steps[a]))) {
                    scratch[written++] = steps[a++];
                } else {
                    scratch[written++] = steps[b++];
                }
            }
            left = end;
        }
        memcpy(steps, scratch, (size_t)count * sizeof *steps);
    }
}

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
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        clearing->steps[b].price = rank == NULL ? b : rank[b];
        clearing->steps[b].key = b;
        clearing->steps[b].group = b;
    }
    sort_steps(clearing->steps, clearing->scratch, clearing->bus_count);
    for (int32_t place = 0; place < clearing->bus_count; place++) {
        clearing->buses[clearing->steps[place].group].place = place;
    }
}

/* The order at equal price: home sells by rank, grid sell, grid buy, home buys by rank backwards. */
static int32_t key_of(const struct clearing *clearing, int32_t bus, int64_t side, int grid) {
    const int32_t place = clearing->buses[bus].place;
    if (grid) {
        return clearing->bus_count + (side == SELL ? 0 : 1);
    }
    return side == SELL ? place : 2 * clearing->bus_count + 1 - place;
}

/* Sorts the orders of each bus by limit and gathers those of equal limit and side into groups. */
static void group_orders(struct clearing *clearing, const int64_t *bus, const int64_t *side, const int64_t *limit,
                         const int64_t *quantity) {
    int64_t supply = 0; /* of homes: the most that the grid can ever buy, or sell, is what homes sell, or buy */
    int64_t demand = 0;
    for (int32_t o = 0; o < clearing->order_count; o++) {
        clearing->buses[bus[o]].orders++;
        if (quantity[o] != -1) {
            supply += side[o] == SELL ? quantity[o] : 0;
            demand += side[o] == BUY ? quantity[o] : 0;
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
        struct step *step = &clearing->steps[at->first_order + at->orders++];
        step->price = limit[o];
        step->quantity = quantity[o] != -1 ? quantity[o] : side[o] == SELL ? demand : supply;
        step->key = key_of(clearing, (int32_t)bus[o], side[o], quantity[o] == -1);
        step->group = o;
    }
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        struct bus *at = &clearing->buses[b];
        struct step *steps = clearing->steps + at->first_order;
        sort_steps(steps, clearing->scratch, at->orders);
        at->first_group = clearing->group_count;
        for (int32_t i = 0; i < at->orders; i++) {
            const int32_t order = steps[i].group;
            struct group *group = &clearing->groups[clearing->group_count];
            if (i == 0 || steps[i].price != steps[i - 1].price || steps[i].key != steps[i - 1].key) {
                clearing->group_count++;
                group->limit = steps[i].price;
                group->quantity = 0;
                group->happened = 0;
                group->bus = b;
                group->first = at->first_order + i;
                group->count = 0;
                group->side = (int16_t)side[order];
                group->grid = quantity[order] == -1;
            } else {
                group--;
            }
            group->quantity += steps[i].quantity;
            group->count++;
            clearing->sequence[at->first_order + i] = order;
        }
        at->groups = clearing->group_count - at->first_group;
    }
}

/* Gives each subtree a contiguous stretch of the array of steps: its own groups, then child after child. */
static void lay_out(struct clearing *clearing, const int64_t *parent) {
    struct bus *buses = clearing->buses;
    for (int32_t b = clearing->bus_count - 1; b >= 0; b--) {
        buses[b].space += buses[b].groups + 1; /* one step more, for the split at its edge */
        if (b > 0) {
            buses[b].next_sibling = buses[parent[b]].first_child;
            buses[parent[b]].first_child = b;
            buses[parent[b]].space += buses[b].space;
        }
    }
    buses[0].start = 0;
    for (int32_t b = 0; b < clearing->bus_count; b++) {
        int32_t start = buses[b].start + buses[b].groups;
        for (int32_t child = buses[b].first_child; child >= 0; child = buses[child].next_sibling) {
            buses[child].start = start;
            start += buses[child].space;
        }
    }
}

/* ---- curves ---- */

/* Puts the curve of a bus together: its own steps and its children's, in order. */
static void gather(struct clearing *clearing, int32_t b) {
    struct bus *bus = &clearing->buses[b];
    struct step *steps = clearing->steps + bus->start;
    int32_t count = 0;
    bus->imports = 0;
    for (int32_t g = bus->first_group; g < bus->first_group + bus->groups; g++) {
        const struct group *group = &clearing->groups[g];
        if (group->quantity > 0) {
            struct step *step = &steps[count++];
            step->price = group->limit;
            step->quantity = group->quantity;
            step->key = key_of(clearing, b, group->side, group->grid);
            step->group = g;
            bus->imports += group->side == BUY ? group->quantity : 0;
        }
    }
    for (int32_t child = bus->first_child; child >= 0; child = clearing->buses[child].next_sibling) {
        const struct bus *below = &clearing->buses[child];
        memmove(steps + count, clearing->steps + below->start, (size_t)below->steps * sizeof *steps);
        count += below->steps;
        bus->imports += below->imports;
    }
    bus->steps = count;
    sort_steps(steps, clearing->scratch, count);
}

/* Turns the curve of a bus into what its parent sees through the edge. */
static void pass_edge(struct clearing *clearing, int32_t b, int64_t fee, int64_t capacity_up, int64_t capacity_down) {
    struct bus *bus = &clearing->buses[b];
    struct step *steps = clearing->steps + bus->start;
    int64_t cut = capacity_down >= 0 ? larger(bus->imports - capacity_down, 0) : 0;
    int64_t importing = bus->imports - cut;
    int64_t exporting = capacity_up >= 0 ? capacity_up : NO_UPPER;
    int32_t written = 0;
    bus->imports = importing;
    for (int32_t i = 0; i < bus->steps; i++) {
        struct step step = steps[i];
        const int64_t low = smaller(step.quantity, cut);
        clearing->groups[step.group].happened += low;
        cut -= low;
        step.quantity -= low;
        const int64_t in = smaller(step.quantity, importing);
        importing -= in;
        const int64_t out = smaller(step.quantity - in, exporting);
        exporting -= out;
        const int64_t price = step.price;
        if (in > 0) {
            step.price = price - fee;
            step.quantity = in;
            clearing->scratch[written++] = step;
        }
        if (out > 0) {
            step.price = price + fee;
            step.quantity = out;
            clearing->scratch[written++] = step;
        }
    }
    memcpy(steps, clearing->scratch, (size_t)written * sizeof *steps);
    bus->steps = written;
}

/* The steps below export zero at the root happen. */
static void close_root(struct clearing *clearing) {
    int64_t left = clearing->buses[0].imports;
    for (int32_t i = 0; i < clearing->buses[0].steps; i++) {
        const int64_t quantity = smaller(clearing->steps[i].quantity, left);
        clearing->groups[clearing->steps[i].group].happened += quantity;
        left -= quantity;
    }
}

static int64_t traded_of(const struct group *group) {
    return group->side == SELL ? group->happened : group->quantity - group->happened;
}

static void set_traded(struct group *group, int64_t traded) {
    group->happened = group->side == SELL ? traded : group->quantity - traded;
}

/* Where retail equals feed-in the curve lets the grid sell to itself; that part is nothing. */
static void net_grid(struct clearing *clearing) {
    struct group *grid[2] = {NULL, NULL};
    for (int32_t g = clearing->buses[0].first_group; g < clearing->buses[0].first_group + clearing->buses[0].groups;
         g++) {
        if (clearing->groups[g].grid) {
            grid[clearing->groups[g].side] = &clearing->groups[g];
        }
    }
    if (grid[BUY] != NULL && grid[SELL] != NULL) {
        const int64_t both = smaller(traded_of(grid[BUY]), traded_of(grid[SELL]));
        set_traded(grid[BUY], traded_of(grid[BUY]) - both);
        set_traded(grid[SELL], traded_of(grid[SELL]) - both);
    }
}

/* ---- sharing out ---- */

/* floor(part x quantity / whole) and the remainder, for part <= whole < 2^53 and quantity < 2^32. The product takes up to
 * 85 bits, which 32-bit ARM has no integer for, so it is built bit by bit and reduced as it grows. */
static int64_t share_of(int64_t part, int64_t quantity, int64_t whole, int64_t *remainder) {
    int64_t share = 0;
    int64_t rest = 0;
    for (int bit = 31; bit >= 0; bit--) {
        rest = 2 * rest + (((quantity >> bit) & 1) ? part : 0);
        share *= 2;
        while (rest >= whole) { /* at most twice */
            rest -= whole;
            share++;
        }
    }
    *remainder = rest;
    return share;
}

static void share_out(struct clearing *clearing, const struct group *group, const int64_t *quantity,
                      int64_t *traded) {
    const int64_t part = traded_of(group);
    const int32_t *orders = clearing->sequence + group->first;
    if (group->grid) {
        traded[orders[0]] = part;
        return;
    }
    int64_t left = part;
    for (int32_t i = 0; i < group->count; i++) {
        struct step *step = &clearing->steps[i]; /* the curves are no longer needed */
        int64_t remainder = 0;
        traded[orders[i]] = share_of(part, quantity[orders[i]], group->quantity, &remainder);
        left -= traded[orders[i]];
        step->price = -remainder; /* largest first; the sort is stable, so ties keep the order of indices */
        step->key = 0;
        step->group = orders[i];
    }
    if (left > 0) {
        sort_steps(clearing->steps, clearing->scratch, group->count);
        for (int64_t i = 0; i < left; i++) {
            traded[clearing->steps[i].group]++;
        }
    }
}

/* ---- flows and prices ---- */

static int32_t find_flows(const struct clearing *clearing, const int64_t *parent, const int64_t *capacity_up,
                          const int64_t *capacity_down, int64_t *flow) {
    memset(flow, 0, (size_t)clearing->bus_count * sizeof *flow);
    for (int32_t g = 0; g < clearing->group_count; g++) {
        const struct group *group = &clearing->groups[g];
        flow[group->bus] += group->side == SELL ? traded_of(group) : -traded_of(group);
    }
    for (int32_t b = clearing->bus_count - 1; b > 0; b--) {
        if ((capacity_up[b] >= 0 && flow[b] > capacity_up[b]) ||
            (capacity_down[b] >= 0 && -flow[b] > capacity_down[b])) {
            return ENERGO_BROKEN;
        }
        flow[parent[b]] += flow[b];
    }
    return flow[0] == 0 ? ENERGO_FINE : ENERGO_BROKEN;
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
        const int64_t traded = traded_of(group);
        const int some = traded > 0;
        const int all = some && !group->grid && traded == group->quantity;
        if (group->side == SELL ? some : !all) {
            at_least(bus, group->limit);
        }
        if (group->side == SELL ? !all : some) {
            at_most(bus, group->limit);
        }
    }
    for (int32_t b = clearing->bus_count - 1; b >= 0; b--) {
        const struct bus *bus = &clearing->buses[b];
        if (bus->lower > bus->upper) {
            return ENERGO_BROKEN;
        }
        if (b == 0) {
            break;
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

int32_t energo_clear(uint64_t *workspace, int64_t words, int64_t buses, const int64_t *parent, const int64_t *fee,
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
    const uint64_t step_words = words_of((uint64_t)(buses + orders) * sizeof(struct step));
    uint64_t *at = workspace;
    clearing.steps = (struct step *)(void *)at;
    at += step_words;
    clearing.scratch = (struct step *)(void *)at;
    at += step_words;
    clearing.groups = (struct group *)(void *)at;
    at += words_of((uint64_t)orders * sizeof(struct group));
    clearing.buses = (struct bus *)(void *)at;
    at += words_of((uint64_t)buses * sizeof(struct bus));
    clearing.sequence = (int32_t *)(void *)at;
    clearing.bus_count = (int32_t)buses;
    clearing.order_count = (int32_t)orders;
    memset(clearing.buses, 0, (size_t)buses * sizeof *clearing.buses);
    for (int32_t b = 0; b < clearing.bus_count; b++) {
        clearing.buses[b].first_child = -1;
        clearing.buses[b].next_sibling = -1;
    }

    rank_buses(&clearing, rank);
    group_orders(&clearing, bus, side, limit, quantity);
    lay_out(&clearing, parent);
    for (int32_t b = clearing.bus_count - 1; b > 0; b--) {
        gather(&clearing, b);
        pass_edge(&clearing, b, fee[b], capacity_up[b], capacity_down[b]);
    }
    gather(&clearing, 0);
    close_root(&clearing);
    net_grid(&clearing);

    *where = -1;
    fault = find_flows(&clearing, parent, capacity_up, capacity_down, flow);
    if (fault == ENERGO_FINE) {
        fault = find_intervals(&clearing, parent, fee, capacity_up, capacity_down, flow);
    }
    if (fault != ENERGO_FINE) {
        return fault;
    }
    find_prices(&clearing, parent, fee, flow, price);
    for (int32_t g = 0; g < clearing.group_count; g++) {
        share_out(&clearing, &clearing.groups[g], quantity, traded);
    }
    return ENERGO_FINE;
}
