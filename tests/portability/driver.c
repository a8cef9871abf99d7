/* Runs a file of cases through both matchers and writes everything that they give, so that two machines can be compared
 * byte by byte. The file and the output are words of 64 bits, little-endian; vectors.py describes and writes the file.
 * Exit status 1 for a file that is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../matcher_c/matcher.h"

enum { CLEARING = 1, EXCHANGE = 2, LEVELS = 8 };

static const uint8_t *file, *file_end;

static void give_up(const char *why)
{
    fprintf(stderr, "driver: %s\n", why);
    exit(1);
}

static void *memory(int64_t count, size_t size)
{
    void *found = count < 0 || count > INT32_MAX ? NULL : calloc((size_t)count + 1, size);
    if (found == NULL)
        give_up("out of memory");
    return found;
}

static const uint8_t *bytes(int64_t count)
{
    const uint8_t *found = file;
    if (count < 0 || count > file_end - file)
        give_up("the file ends early");
    file += count;
    return found;
}

static int64_t word(void)
{
    const uint8_t *at = bytes(8);
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | at[i];
    int64_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

static int64_t *column(int64_t count)
{
    int64_t *words = memory(count, sizeof *words);
    for (int64_t i = 0; i < count; i++)
        words[i] = word();
    return words;
}

static void put_bytes(const uint8_t *data, int64_t count)
{
    if (fwrite(data, 1, (size_t)count, stdout) != (size_t)count)
        give_up("cannot write");
}

static void put(int64_t value)
{
    uint8_t out[8];
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)value >> (8 * i) & 0xff);
    put_bytes(out, 8);
}

static void put_column(const int64_t *words, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        put(words[i]);
}

static void clearing(void)
{
    int64_t buses = word(), orders = word(), ranked = word();
    int64_t *parent = column(buses), *fee = column(buses), *up = column(buses), *down = column(buses);
    int64_t *rank = ranked ? column(buses) : NULL;
    int64_t *bus = column(orders), *side = column(orders), *limit = column(orders), *quantity = column(orders);
    int64_t *traded = memory(orders, 8), *price = memory(buses, 8), *flow = memory(buses, 8), where = 0;
    int64_t words = energo_clear_words(buses, orders);
    uint64_t *workspace = memory(words, 8);
    int32_t fault = energo_clear(workspace, words, INT64_MAX, buses, parent, fee, up, down, rank, orders, bus, side, limit,
                                 quantity, traded, price, flow, &where);
    put(fault);
    put(fault ? where : 0);
    if (!fault) {
        put_column(traded, orders);
        put_column(price, buses);
        put_column(flow, buses);
    }
    int64_t *all[] = {parent, fee, up, down, rank, bus, side, limit, quantity, traded, price, flow};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(workspace);
}

static void exchange(void)
{
    int64_t capacity = word(), lowest = word(), ticks = word();
    uint64_t key_low = (uint64_t)word(), key_high = (uint64_t)word();
    int64_t quiet = word(), room = word(), count = word();
    const uint8_t *commands = bytes(count * ENERGO_COMMAND_BYTES);
    int64_t words = energo_book_words(capacity, ticks);
    if (words <= 0)
        give_up("no such instrument");
    uint64_t *place = memory(words, 8);
    struct energo_book *book = energo_book_init(place, capacity, lowest, ticks, key_low, key_high);
    uint8_t *results = memory(room, ENERGO_RESULT_BYTES);
    while (count > 0) {
        int64_t consumed = 0;
        int64_t written = energo_book_run(book, commands, count, results, room, (int32_t)quiet, &consumed);
        put(consumed);
        put(written);
        put_bytes(results, written * ENERGO_RESULT_BYTES);
        if (consumed == 0) { /* not even one command's results fit: make room */
            room *= 2;
            free(results);
            results = memory(room, ENERGO_RESULT_BYTES);
        }
        commands += consumed * ENERGO_COMMAND_BYTES;
        count -= consumed;
    }
    int64_t live = energo_book_live(book);
    put(live);
    put(energo_book_height(book));
    uint8_t *dump = memory(live, ENERGO_COMMAND_BYTES);
    put(energo_book_dump(book, dump, live));
    put_bytes(dump, live * ENERGO_COMMAND_BYTES);
    for (int32_t side = 0; side < 2; side++) {
        int64_t prices[LEVELS], quantities[LEVELS], orders[LEVELS];
        int64_t found = energo_book_depth(book, side, LEVELS, prices, quantities, orders);
        put(energo_book_best(book, side));
        put(found);
        put_column(prices, found);
        put_column(quantities, found);
        put_column(orders, found);
    }
    free(dump);
    free(results);
    free(place);
}

int main(int argc, char **argv)
{
    FILE *stream = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (stream == NULL)
        give_up("give it a file of cases");
    fseek(stream, 0, SEEK_END);
    long size = ftell(stream);
    rewind(stream);
    uint8_t *data = memory(size, 1);
    if (fread(data, 1, (size_t)size, stream) != (size_t)size)
        give_up("cannot read the file");
    fclose(stream);
    file = data;
    file_end = data + size;
    while (file < file_end) {
        int64_t kind = word();
        if (kind == CLEARING)
            clearing();
        else if (kind == EXCHANGE)
            exchange();
        else
            give_up("no such kind of case");
    }
    free(data);
    if (fflush(stdout))
        give_up("cannot write");
    return 0;
}
