#include "options_value.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int parse_integer(const char *text, int64_t minimum, int64_t maximum, int64_t *value)
{
    /* strtoll would skip white space and accept nothing at all. */
    if (!isdigit((unsigned char)text[text[0] == '-']))
        return -1;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || *end || number < minimum || number > maximum)
        return -1;
    *value = number;
    return 0;
}

static int parse_number(const char *text, double *value)
{
    if (isspace((unsigned char)*text) || !*text)
        return -1;
    char *end;
    *value = strtod(text, &end); /* out of range gives infinity or zero, which the range check sees */
    return *end || isnan(*value) ? -1 : 0;
}

static int parse_seed(const char *text, uint64_t *value)
{
    if (strcmp(text, "-1") == 0) {
        *value = UINT64_MAX;
        return 0;
    }
    if (!isdigit((unsigned char)*text))
        return -1;
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, hexadecimal ? 16 : 10);
    if (errno || *end)
        return -1;
    *value = number;
    return 0;
}

static int parse_bytes(const char *text, uint64_t *value)
{
    if (!isdigit((unsigned char)*text))
        return -1;
    char *end;
    double number = strtod(text, &end);
    int shift = 0;
    switch (toupper((unsigned char)*end)) {
    case 'K':
        shift = 10;
        break;
    case 'M':
        shift = 20;
        break;
    case 'G':
        shift = 30;
        break;
    case 'T':
        shift = 40;
        break;
    }
    if (shift) {
        end++;
        if (strcasecmp(end, "ib") == 0 || strcasecmp(end, "b") == 0)
            end += strlen(end);
    }
    number *= (double)(UINT64_C(1) << shift);
    if (*end || !(number >= 1) || number >= 0x1p62 || (!shift && number != floor(number)))
        return -1;
    *value = (uint64_t)number;
    return 0;
}

static int out_of_memory(struct error *error)
{
    return error_set(error, "out of memory for the command line");
}

/* One more item for a list whose items are `size` bytes; NULL when memory is out. */
static void *grow(void *list, int count, size_t size)
{
    return count == INT32_MAX ? NULL : realloc(list, ((size_t)count + 1) * size);
}

static int add_ids(struct id_list *list, const char *spelled, const char *text, struct error *error)
{
    list->given = true;
    while (*text) {
        char piece[24];
        size_t length = strcspn(text, ", \t\n");
        int64_t id;
        if (length) {
            if (length < sizeof piece) {
                memcpy(piece, text, length);
                piece[length] = 0;
            }
            if (length >= sizeof piece || parse_integer(piece, 0, INT32_MAX, &id))
                return error_set(error, "%s: expected token ids such as 1,2,3, found '%.*s'", spelled,
                                 length > 40 ? 40 : (int)length, text);
            /* Doubling by powers of two keeps long lists linear. */
            if ((list->count & (list->count - 1)) == 0) {
                size_t capacity = list->count ? (size_t)list->count * 2 : 1;
                int32_t *item = realloc(list->item, capacity * sizeof *item);
                if (!item)
                    return out_of_memory(error);
                list->item = item;
            }
            list->item[list->count++] = (int32_t)id;
        }
        text += length;
        text += strspn(text, ", \t\n");
    }
    return 0;
}

static int add_bias(struct bias_list *list, const char *spelled, const char *text, struct error *error)
{
    char id_text[24];
    const char *equals = strchr(text, '=');
    int64_t id;
    double bias;
    size_t length = equals ? (size_t)(equals - text) : sizeof id_text;
    if (length < sizeof id_text) {
        memcpy(id_text, text, length);
        id_text[length] = 0;
    }
    if (length >= sizeof id_text || parse_integer(id_text, 0, INT32_MAX, &id) || parse_number(equals + 1, &bias))
        return error_set(error, "%s: expected ID=VALUE such as 42=-1.5 (or 42=-inf to forbid the token), found '%s'",
                         spelled, text);
    struct logit_bias *item = grow(list->item, list->count, sizeof *item);
    if (!item)
        return out_of_memory(error);
    list->item = item;
    list->item[list->count++] = (struct logit_bias){.token = (int32_t)id, .bias = (float)bias};
    return 0;
}

static int add_string(struct string_list *list, const char *text, struct error *error)
{
    const char **item = grow(list->item, list->count, sizeof *item);
    if (!item)
        return out_of_memory(error);
    list->item = item;
    list->item[list->count++] = text;
    return 0;
}

int option_store(const struct option *option, const char *spelled, const char *text, const char *second,
                 struct error *error)
{
    int64_t integer;
    double number;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->target = true;
        return 0;
    case OPTION_INTEGER:
        if (parse_integer(text, (int64_t)option->minimum, (int64_t)option->maximum, &integer))
            return error_set(error, "%s: expected a whole number from %.0f to %.0f, found '%s'", spelled,
                             option->minimum, option->maximum, text);
        *(int32_t *)option->target = (int32_t)integer;
        return 0;
    case OPTION_SEED:
        if (parse_seed(text, option->target))
            return error_set(error, "%s: expected a whole number from 0 to 18446744073709551615, found '%s'", spelled,
                             text);
        return 0;
    case OPTION_NUMBER:
        if (parse_number(text, &number) || !(number >= option->minimum && number <= option->maximum))
            return error_set(error, "%s: expected a number from %g to %g, found '%s'", spelled, option->minimum,
                             option->maximum, text);
        *(float *)option->target = (float)number;
        return 0;
    case OPTION_STRING:
        *(const char **)option->target = text;
        return 0;
    case OPTION_PAIR:
        ((const char **)option->target)[0] = text;
        ((const char **)option->target)[1] = second;
        return 0;
    case OPTION_BYTES:
        if (parse_bytes(text, option->target))
            return error_set(error, "%s: expected a number of bytes such as 500M or 2G, found '%s'", spelled, text);
        return 0;
    case OPTION_STRINGS:
        return add_string(option->target, text, error);
    case OPTION_IDS:
        return add_ids(option->target, spelled, text, error);
    case OPTION_BIASES:
        return add_bias(option->target, spelled, text, error);
    }
    return error_set(error, "%s: not handled", spelled);
}
