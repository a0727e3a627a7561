#include "mutate.h"

#include <cJSON.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

uint32_t roll(struct dice *dice, uint32_t sides)
{
    dice->state = dice->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((dice->state >> 33) % sides);
}

uint64_t roll_number(struct dice *dice)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     3,
                                     4,
                                     7,
                                     8,
                                     16,
                                     31,
                                     32,
                                     64,
                                     96,
                                     127,
                                     128,
                                     255,
                                     256,
                                     4096,
                                     65535,
                                     65536,
                                     INT32_MAX,
                                     UINT32_MAX,
                                     (uint64_t)1 << 32,
                                     (uint64_t)1 << 53,
                                     INT64_MAX,
                                     UINT64_MAX};
    uint64_t number = edges[roll(dice, sizeof edges / sizeof *edges)];
    switch (roll(dice, 4)) {
    case 0:
        return number - 1;
    case 1:
        return number + 1;
    case 2:
        return number ^ (uint64_t)1 << roll(dice, 64);
    default:
        return number;
    }
}

size_t mutate_bytes(uint8_t *data, size_t size, size_t most)
{
    return most ? LLVMFuzzerMutate(data, size, most) : 0;
}

/* ---- JSON ---- */

/* The `*left`-th value below `item`, itself included, counted down. */
static cJSON *find(cJSON *item, uint32_t *left)
{
    if ((*left)-- == 0)
        return item;
    for (cJSON *child = item->child; child; child = child->next) {
        cJSON *found = find(child, left);
        if (found)
            return found;
    }
    return NULL;
}

static uint32_t count(const cJSON *item)
{
    uint32_t total = 1;
    for (const cJSON *child = item->child; child; child = child->next)
        total += count(child);
    return total;
}

static cJSON *pick(cJSON *root, struct dice *dice)
{
    uint32_t left = roll(dice, count(root));
    return find(root, &left);
}

/* A text changed by libFuzzer, NUL-terminated, newly allocated. */
static char *mutate_text(const char *text, struct dice *dice)
{
    size_t length = text ? strlen(text) : 0, most = length + 16 + roll(dice, 48);
    char *copy = malloc(most + 1);
    if (!copy)
        return NULL;
    if (length)
        memcpy(copy, text, length);
    length = mutate_bytes((uint8_t *)copy, length, most);
    copy[length] = '\0';
    return copy;
}

static void change_string(cJSON *item, struct dice *dice)
{
    char *text = mutate_text(item->valuestring, dice);
    if (text)
        cJSON_SetValuestring(item, text); /* may refuse: nothing changes then */
    free(text);
}

static void change_number(cJSON *item, struct dice *dice)
{
    static const double edges[] = {0, -1, 0.5, 1e-300, 1e300, 1e308 * 10, 16777216, 9007199254740993.0, -0.0};
    switch (roll(dice, 4)) {
    case 0:
        cJSON_SetNumberHelper(item, edges[roll(dice, sizeof edges / sizeof *edges)]);
        break;
    case 1:
        cJSON_SetNumberHelper(item, item->valuedouble + (double)roll(dice, 5) - 2);
        break;
    case 2:
        cJSON_SetNumberHelper(item, item->valuedouble * (roll(dice, 2) ? 2 : 0.5));
        break;
    default:
        cJSON_SetNumberHelper(item, (double)roll_number(dice));
    }
}

static cJSON *fresh(struct dice *dice)
{
    switch (roll(dice, 8)) {
    case 0:
        return cJSON_CreateNull();
    case 1:
        return cJSON_CreateBool((int)roll(dice, 2));
    case 2:
        return cJSON_CreateNumber((double)roll_number(dice));
    case 3:
        return cJSON_CreateString("");
    case 4:
        return cJSON_CreateArray();
    case 5:
        return cJSON_CreateObject();
    case 6:
        return cJSON_CreateNumber(0.5);
    default: {
        char *text = mutate_text("", dice);
        cJSON *item = cJSON_CreateString(text ? text : "");
        free(text);
        return item;
    }
    }
}

/* A collection somewhere in the document; NULL when it holds none. */
static cJSON *pick_collection(cJSON *root, struct dice *dice)
{
    for (int i = 0; i < 16; i++) {
        cJSON *item = pick(root, dice);
        if (cJSON_IsArray(item) || cJSON_IsObject(item))
            return item;
    }
    return NULL;
}

/* Puts `item` into a collection, under a new or an old key; takes ownership. */
static void insert(cJSON *root, cJSON *item, const char *key, struct dice *dice)
{
    cJSON *place = item ? pick_collection(root, dice) : NULL;
    cJSON_bool inserted = false;
    if (cJSON_IsArray(place)) {
        item->prev = item; /* 1.7.15 asks the new item for one, instead of the item that it goes before */
        inserted = cJSON_InsertItemInArray(place, (int)roll(dice, (uint32_t)cJSON_GetArraySize(place) + 1), item);
    } else if (place) {
        char *text = roll(dice, 2) ? mutate_text(key, dice) : NULL;
        inserted = cJSON_AddItemToObject(place, text ? text : key ? key : "", item);
        free(text);
    }
    if (!inserted)
        cJSON_Delete(item);
}

static void remove_one(cJSON *root, struct dice *dice)
{
    cJSON *place = pick_collection(root, dice);
    int size = place ? cJSON_GetArraySize(place) : 0;
    if (size > 0)
        cJSON_DeleteItemFromArray(place, (int)roll(dice, (uint32_t)size));
}

static void rename_one(cJSON *root, struct dice *dice)
{
    cJSON *item = pick(root, dice);
    char *text = item->string ? mutate_text(item->string, dice) : NULL;
    if (text) {
        free(item->string);
        item->string = text;
    }
}

static void change(cJSON *root, struct dice *dice)
{
    cJSON *item = pick(root, dice);
    switch (roll(dice, 10)) {
    case 0:
        remove_one(root, dice);
        break;
    case 1:
        insert(root, cJSON_Duplicate(item, true), item->string, dice);
        break;
    case 2:
        insert(root, fresh(dice), item->string, dice);
        break;
    case 3:
        rename_one(root, dice);
        break;
    case 4: { /* another value in its place */
        cJSON *new = fresh(dice);
        if (item != root && new) {
            struct cJSON swap = *item;
            item->type = new->type;
            item->child = new->child, new->child = swap.child;
            item->valuestring = new->valuestring, new->valuestring = swap.valuestring;
            item->valueint = new->valueint;
            item->valuedouble = new->valuedouble;
            new->type = swap.type & 0xff;
        }
        cJSON_Delete(new);
        break;
    }
    default:
        if (cJSON_IsString(item))
            change_string(item, dice);
        else if (cJSON_IsNumber(item))
            change_number(item, dice);
        else if (cJSON_IsBool(item))
            item->type = cJSON_IsTrue(item) ? cJSON_False : cJSON_True;
        else
            insert(root, fresh(dice), NULL, dice);
    }
}

size_t mutate_json(uint8_t *data, size_t size, size_t most, struct dice *dice)
{
    cJSON *root = roll(dice, 8) ? cJSON_ParseWithLength((const char *)data, size) : NULL;
    if (!root)
        return mutate_bytes(data, size, most);
    for (uint32_t changes = 1 + roll(dice, 3); changes > 0; changes--)
        change(root, dice);
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    size_t length = text ? strlen(text) : 0;
    bool fits = text && length <= most;
    if (fits)
        memcpy(data, text, length);
    cJSON_free(text);
    return fits ? length : mutate_bytes(data, size, most);
}

size_t mutate_part(uint8_t *data, size_t size, size_t most, struct dice *dice,
                   size_t (*mutate)(uint8_t *, size_t, size_t, struct dice *))
{
    size_t first = 0, parts = 1;
    for (size_t i = 0; i < size; i++)
        parts += data[i] == '\0';
    for (size_t skip = roll(dice, (uint32_t)parts); skip > 0; skip--)
        first = (size_t)((uint8_t *)memchr(data + first, '\0', size - first) - data) + 1;
    uint8_t *end = first < size ? memchr(data + first, '\0', size - first) : NULL;
    size_t length = end ? (size_t)(end - data) - first : size - first, behind = size - first - length;
    if (roll(dice, 16) == 0)
        return mutate_bytes(data, size, most);

    size_t room = most - behind - first;
    uint8_t *part = malloc(room ? room : 1);
    if (!part)
        return size;
    if (length)
        memcpy(part, data + first, length);
    size_t changed = mutate(part, length, room, dice);
    memmove(data + first + changed, data + first + length, behind);
    if (changed)
        memcpy(data + first, part, changed);
    free(part);
    return first + changed + behind;
}

double safetensors_data_end(const uint8_t *header, size_t length)
{
    double last = 0;
    cJSON *root = cJSON_ParseWithLength((const char *)header, length), *tensor;
    cJSON_ArrayForEach(tensor, root)
    {
        const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(tensor, "data_offsets"),
                    *end = cJSON_GetArrayItem(offsets, 1);
        if (cJSON_IsNumber(end) && end->valuedouble > last)
            last = end->valuedouble;
    }
    cJSON_Delete(root);
    return last;
}
