/* Methods of strings, lists and dictionaries, as Python has them. */
#include <string.h>

#include <utf8proc.h>

#include "chat_internal.h"

/* ---- arguments */

/* A string argument, or failure. */
static bool need_text(struct chat_render *r, const char *method, struct chat_value value)
{
    if (value.kind != CHAT_STRING)
        chat_fail(r, "%s: expected a string, found %s", method, value.kind == CHAT_MISSING ? "none" : chat_type(value));
    return value.kind == CHAT_STRING && !r->failed;
}

static bool optional_int(struct chat_render *r, const char *method, struct chat_value value, int64_t otherwise,
                         int64_t *out)
{
    *out = otherwise;
    if (value.kind != CHAT_MISSING && value.kind != CHAT_NONE && !chat_as_int(value, out))
        chat_fail(r, "%s: expected an integer, found %s", method, chat_type(value));
    return !r->failed;
}

#define SIGNATURE struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments
#define BIND(name, names, count)                                                                                       \
    struct chat_value a[count];                                                                                        \
    if (!chat_bind(r, name, names, arguments, a, count))                                                               \
    return chat_undefined(name)

static bool no_arguments(struct chat_render *r, const char *method, const struct chat_arguments *arguments)
{
    if (arguments->count || arguments->named_count)
        chat_fail(r, "%s() takes no arguments", method);
    return !r->failed;
}

/* ---- case */

static struct chat_value text_upper(SIGNATURE)
{
    return no_arguments(r, "upper", arguments) ? chat_case(r, self, 'u') : self;
}

static struct chat_value text_lower(SIGNATURE)
{
    return no_arguments(r, "lower", arguments) ? chat_case(r, self, 'l') : self;
}

static struct chat_value text_title(SIGNATURE)
{
    return no_arguments(r, "title", arguments) ? chat_case(r, self, 't') : self;
}

static struct chat_value text_capitalize(SIGNATURE)
{
    return no_arguments(r, "capitalize", arguments) ? chat_case(r, self, 'c') : self;
}

static struct chat_value text_swapcase(SIGNATURE)
{
    return no_arguments(r, "swapcase", arguments) ? chat_case(r, self, 's') : self;
}

/* ---- ends */

static struct chat_value strip(struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments,
                               const char *method, bool left, bool right)
{
    BIND(method, "chars", 1);
    if (a[0].kind != CHAT_MISSING && a[0].kind != CHAT_NONE && !need_text(r, method, a[0]))
        return self;
    return chat_strip(self, a[0], left, right);
}

static struct chat_value text_strip(SIGNATURE)
{
    return strip(r, self, arguments, "strip", true, true);
}

static struct chat_value text_lstrip(SIGNATURE)
{
    return strip(r, self, arguments, "lstrip", true, false);
}

static struct chat_value text_rstrip(SIGNATURE)
{
    return strip(r, self, arguments, "rstrip", false, true);
}

static bool has_end(struct chat_value text, struct chat_value part, bool at_start)
{
    return part.length <= text.length &&
           memcmp(text.text + (at_start ? 0 : text.length - part.length), part.text, part.length) == 0;
}

/* text[start:end] of startswith, find and their like; false when start lies beyond the end. */
static bool window(struct chat_render *r, const char *method, struct chat_value *text, struct chat_value start,
                   struct chat_value end, size_t *from)
{
    int64_t first, last, count = (int64_t)chat_characters(*text);
    if (!optional_int(r, method, start, 0, &first) || !optional_int(r, method, end, count, &last))
        return false;
    first = first < 0 ? (first < -count ? 0 : first + count) : first;
    last = last < 0 ? (last < -count ? 0 : last + count) : last > count ? count : last;
    if (first > count || first > last)
        return false;
    *from = (size_t)first;
    *text = chat_substring(*text, chat_byte_of(*text, (size_t)first), chat_byte_of(*text, (size_t)last));
    return true;
}

static struct chat_value begins_or_ends(struct chat_render *r, struct chat_value self,
                                        const struct chat_arguments *arguments, const char *method, bool at_start)
{
    BIND(method, "prefix start end", 3);
    size_t from;
    bool inside = window(r, method, &self, a[1], a[2], &from);
    if (a[0].kind == CHAT_LIST && a[0].list->form == FORM_TUPLE) {
        for (size_t i = 0; i < a[0].list->count; i++)
            if (need_text(r, method, a[0].list->item[i]) && inside && has_end(self, a[0].list->item[i], at_start))
                return chat_bool(true);
        return chat_bool(false);
    }
    return chat_bool(need_text(r, method, a[0]) && inside && has_end(self, a[0], at_start));
}

static struct chat_value text_startswith(SIGNATURE)
{
    return begins_or_ends(r, self, arguments, "startswith", true);
}

static struct chat_value text_endswith(SIGNATURE)
{
    return begins_or_ends(r, self, arguments, "endswith", false);
}

static struct chat_value text_removeprefix(SIGNATURE)
{
    BIND("removeprefix", "prefix", 1);
    return need_text(r, "removeprefix", a[0]) && has_end(self, a[0], true)
               ? chat_substring(self, a[0].length, self.length)
               : self;
}

static struct chat_value text_removesuffix(SIGNATURE)
{
    BIND("removesuffix", "suffix", 1);
    return need_text(r, "removesuffix", a[0]) && has_end(self, a[0], false)
               ? chat_substring(self, 0, self.length - a[0].length)
               : self;
}

/* ---- parts */

static void split_words(struct chat_render *r, struct chat_value list, struct chat_value text, int64_t most)
{
    for (text = chat_strip(text, chat_none(), true, false); text.length && chat_step(r);
         text = chat_strip(text, chat_none(), true, false)) {
        size_t end = 0, bytes;
        while (end < text.length &&
               (most == 0 || !chat_is_space(chat_decode(text.text + end, text.length - end, &bytes))))
            end += most == 0 ? text.length - end : bytes;
        chat_append(r, list, chat_substring(text, 0, end));
        text = chat_substring(text, end, text.length);
        most -= most > 0;
    }
}

static void split_at(struct chat_render *r, struct chat_value list, struct chat_value text, struct chat_value separator,
                     int64_t most)
{
    size_t from = 0;
    for (int64_t found; most != 0 && (found = chat_find_bytes(text, separator, from)) >= 0 && chat_step(r);) {
        chat_append(r, list, chat_substring(text, from, (size_t)found));
        from = (size_t)found + separator.length;
        most -= most > 0;
    }
    chat_append(r, list, chat_substring(text, from, text.length));
}

/* The byte at which the last `part` in text[0 .. end) begins, or -1. */
static int64_t find_last(struct chat_value text, struct chat_value part, size_t end)
{
    if (part.length > end)
        return -1;
    for (size_t at = end - part.length + 1; at-- > 0;)
        if (memcmp(text.text + at, part.text, part.length) == 0)
            return (int64_t)at;
    return -1;
}

static struct chat_value reversed(struct chat_render *r, struct chat_value list)
{
    struct chat_value result = chat_new_list_of(r, FORM_LIST, list.list->count);
    for (size_t i = list.list->count; i-- > 0;)
        chat_append(r, result, list.list->item[i]);
    return result;
}

static struct chat_value split_words_from_end(struct chat_render *r, struct chat_value text, int64_t most)
{
    struct chat_value list = chat_new_list(r);
    for (text = chat_strip(text, chat_none(), false, true); text.length && chat_step(r);
         text = chat_strip(text, chat_none(), false, true)) {
        size_t begin = text.length, bytes;
        if (most == 0)
            begin = 0;
        while (begin > 0) {
            size_t before = begin - 1;
            while (before > 0 && ((unsigned char)text.text[before] & 0xc0) == 0x80)
                before--;
            if (chat_is_space(chat_decode(text.text + before, begin - before, &bytes)))
                break;
            begin = before;
        }
        chat_append(r, list, chat_substring(text, begin, text.length));
        text = chat_substring(text, 0, begin);
        most -= most > 0;
    }
    return reversed(r, list);
}

static struct chat_value split(struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments,
                               const char *method, bool from_end)
{
    BIND(method, "sep maxsplit", 2);
    int64_t most;
    if (!optional_int(r, method, a[1], -1, &most))
        return self;
    struct chat_value list = chat_new_list(r);
    if (a[0].kind == CHAT_MISSING || a[0].kind == CHAT_NONE) {
        if (from_end)
            return split_words_from_end(r, self, most);
        split_words(r, list, self, most);
        return list;
    }
    if (!need_text(r, method, a[0]))
        return list;
    if (!a[0].length)
        return chat_fail(r, "%s: empty separator", method);
    if (!from_end) {
        split_at(r, list, self, a[0], most);
        return list;
    }
    size_t end = self.length;
    for (int64_t found; most != 0 && (found = find_last(self, a[0], end)) >= 0 && chat_step(r);) {
        chat_append(r, list, chat_substring(self, (size_t)found + a[0].length, end));
        end = (size_t)found;
        most -= most > 0;
    }
    chat_append(r, list, chat_substring(self, 0, end));
    return reversed(r, list);
}

static struct chat_value text_split(SIGNATURE)
{
    return split(r, self, arguments, "split", false);
}

static struct chat_value text_rsplit(SIGNATURE)
{
    return split(r, self, arguments, "rsplit", true);
}

static bool ends_line(int32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static struct chat_value text_splitlines(SIGNATURE)
{
    BIND("splitlines", "keepends", 1);
    struct chat_value list = chat_new_list(r);
    size_t from = 0;
    for (size_t at = 0, bytes; at < self.length && !r->failed;) {
        int32_t c = chat_decode(self.text + at, self.length - at, &bytes);
        if (!ends_line(c)) {
            at += bytes;
            continue;
        }
        size_t end = at + bytes + (c == '\r' && at + 1 < self.length && self.text[at + 1] == '\n');
        chat_append(r, list, chat_substring(self, from, chat_true(a[0]) ? end : at));
        from = at = end;
    }
    if (from < self.length)
        chat_append(r, list, chat_substring(self, from, self.length));
    return list;
}

static struct chat_value partition(struct chat_render *r, struct chat_value self,
                                   const struct chat_arguments *arguments, const char *method, bool last)
{
    BIND(method, "sep", 1);
    if (!need_text(r, method, a[0]))
        return self;
    if (!a[0].length)
        return chat_fail(r, "%s: empty separator", method);
    int64_t found = last ? find_last(self, a[0], self.length) : chat_find_bytes(self, a[0], 0);
    if (found < 0)
        return last ? chat_tuple(r, 3, VALUES(CHAT_TEXT(""), CHAT_TEXT(""), self))
                    : chat_tuple(r, 3, VALUES(self, CHAT_TEXT(""), CHAT_TEXT("")));
    return chat_tuple(r, 3,
                      VALUES(chat_substring(self, 0, (size_t)found), a[0],
                             chat_substring(self, (size_t)found + a[0].length, self.length)));
}

static struct chat_value text_partition(SIGNATURE)
{
    return partition(r, self, arguments, "partition", false);
}

static struct chat_value text_rpartition(SIGNATURE)
{
    return partition(r, self, arguments, "rpartition", true);
}

static struct chat_value text_join(SIGNATURE)
{
    BIND("join", "iterable", 1);
    const struct chat_list *list = chat_iterate(r, a[0]);
    struct text_buffer out = {0};
    for (size_t i = 0; i < list->count && chat_step(r); i++) {
        if (!need_text(r, "join", list->item[i]))
            break;
        if (i)
            chat_buffer_add(r, &out, self.text, self.length);
        chat_buffer_add(r, &out, list->item[i].text, list->item[i].length);
    }
    return chat_buffer_string(r, &out);
}

static struct chat_value text_replace(SIGNATURE)
{
    BIND("replace", "old new count", 3);
    int64_t count;
    if (!need_text(r, "replace", a[0]) || !need_text(r, "replace", a[1]) ||
        !optional_int(r, "replace", a[2], -1, &count))
        return self;
    return chat_replace(r, self, a[0], a[1], count);
}

/* ---- places */

static struct chat_value find(struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments,
                              const char *method, bool last, bool must)
{
    BIND(method, "sub start end", 3);
    size_t from = 0;
    struct chat_value part = self;
    int64_t found = -1;
    if (need_text(r, method, a[0]) && window(r, method, &part, a[1], a[2], &from))
        found = last ? find_last(part, a[0], part.length) : chat_find_bytes(part, a[0], 0);
    if (found < 0)
        return must ? chat_fail(r, "%s: substring not found", method) : chat_int(-1);
    return chat_int((int64_t)(from + chat_characters(chat_substring(part, 0, (size_t)found))));
}

static struct chat_value text_find(SIGNATURE)
{
    return find(r, self, arguments, "find", false, false);
}

static struct chat_value text_rfind(SIGNATURE)
{
    return find(r, self, arguments, "rfind", true, false);
}

static struct chat_value text_index(SIGNATURE)
{
    return find(r, self, arguments, "index", false, true);
}

static struct chat_value text_rindex(SIGNATURE)
{
    return find(r, self, arguments, "rindex", true, true);
}

static struct chat_value text_count(SIGNATURE)
{
    BIND("count", "sub start end", 3);
    size_t from;
    int64_t count = 0;
    if (!need_text(r, "count", a[0]) || !window(r, "count", &self, a[1], a[2], &from))
        return chat_int(0);
    if (!a[0].length)
        return chat_int((int64_t)chat_characters(self) + 1);
    for (int64_t at = 0; (at = chat_find_bytes(self, a[0], (size_t)at)) >= 0; at += a[0].length)
        count++;
    return chat_int(count);
}

/* ---- kinds of characters */

enum { UPPER = 1, LOWER = 2, TITLE = 4, OTHER_LETTER = 8, DIGIT = 16, NUMBER = 32, SPACE = 64 };

static unsigned kind_of(int32_t c)
{
    unsigned space = chat_is_space(c) ? SPACE : 0;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
        return UPPER;
    case UTF8PROC_CATEGORY_LL:
        return LOWER;
    case UTF8PROC_CATEGORY_LT:
        return TITLE;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return OTHER_LETTER;
    case UTF8PROC_CATEGORY_ND:
        return DIGIT;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    default:
        return space;
    }
}

/* Whether all characters are of `allowed` kinds, and there is one at least. */
static struct chat_value all_are(struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments,
                                 const char *method, unsigned allowed)
{
    no_arguments(r, method, arguments);
    for (size_t at = 0, bytes; at < self.length; at += bytes)
        if (!(kind_of(chat_decode(self.text + at, self.length - at, &bytes)) & allowed))
            return chat_bool(false);
    return chat_bool(self.length > 0);
}

static struct chat_value text_isalpha(SIGNATURE)
{
    return all_are(r, self, arguments, "isalpha", UPPER | LOWER | TITLE | OTHER_LETTER);
}

static struct chat_value text_isalnum(SIGNATURE)
{
    return all_are(r, self, arguments, "isalnum", UPPER | LOWER | TITLE | OTHER_LETTER | DIGIT | NUMBER);
}

static struct chat_value text_isdigit(SIGNATURE)
{
    return all_are(r, self, arguments, "isdigit", DIGIT);
}

static struct chat_value text_isnumeric(SIGNATURE)
{
    return all_are(r, self, arguments, "isnumeric", DIGIT | NUMBER);
}

static struct chat_value text_isspace(SIGNATURE)
{
    return all_are(r, self, arguments, "isspace", SPACE);
}

/* Cased characters are all of one case, and there is one at least. */
static struct chat_value one_case(struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments,
                                  const char *method, unsigned wanted)
{
    bool found = false;
    no_arguments(r, method, arguments);
    for (size_t at = 0, bytes; at < self.length; at += bytes) {
        unsigned kind = kind_of(chat_decode(self.text + at, self.length - at, &bytes));
        if (kind & (UPPER | LOWER | TITLE) & ~wanted)
            return chat_bool(false);
        found = found || kind == wanted;
    }
    return chat_bool(found);
}

static struct chat_value text_isupper(SIGNATURE)
{
    return one_case(r, self, arguments, "isupper", UPPER);
}

static struct chat_value text_islower(SIGNATURE)
{
    return one_case(r, self, arguments, "islower", LOWER);
}

static struct chat_value text_isascii(SIGNATURE)
{
    no_arguments(r, "isascii", arguments);
    for (size_t i = 0; i < self.length; i++)
        if ((unsigned char)self.text[i] >= 0x80)
            return chat_bool(false);
    return chat_bool(true);
}

/* ---- width */

static struct chat_value pad(struct chat_render *r, struct chat_value self, const struct chat_arguments *arguments,
                             const char *method, char side)
{
    BIND(method, "width fillchar", 2);
    int64_t width, count = (int64_t)chat_characters(self);
    struct chat_value fill = a[1].kind == CHAT_MISSING ? CHAT_TEXT(" ") : a[1];
    if (!optional_int(r, method, a[0], 0, &width) || !need_text(r, method, fill))
        return self;
    if (chat_characters(fill) != 1)
        return chat_fail(r, "%s: the fill character must be exactly one character long", method);
    int64_t more = width > count ? width - count : 0;
    int64_t left = side == 'l' ? 0 : side == 'r' ? more : more / 2 + (more & width & 1);
    struct text_buffer out = {0};
    for (int64_t i = 0; i < left && !r->failed; i++)
        chat_buffer_add(r, &out, fill.text, fill.length);
    chat_buffer_add(r, &out, self.text, self.length);
    for (int64_t i = left; i < more && !r->failed; i++)
        chat_buffer_add(r, &out, fill.text, fill.length);
    return chat_buffer_string(r, &out);
}

static struct chat_value text_ljust(SIGNATURE)
{
    return pad(r, self, arguments, "ljust", 'l');
}

static struct chat_value text_rjust(SIGNATURE)
{
    return pad(r, self, arguments, "rjust", 'r');
}

static struct chat_value text_center(SIGNATURE)
{
    return pad(r, self, arguments, "center", 'c');
}

static struct chat_value text_zfill(SIGNATURE)
{
    BIND("zfill", "width", 1);
    int64_t width;
    if (!optional_int(r, "zfill", a[0], 0, &width))
        return self;
    size_t sign = self.length && (self.text[0] == '-' || self.text[0] == '+');
    struct text_buffer out = {0};
    chat_buffer_add(r, &out, self.text, sign);
    for (int64_t i = (int64_t)chat_characters(self); i < width && !r->failed; i++)
        chat_buffer_add(r, &out, "0", 1);
    chat_buffer_add(r, &out, self.text + sign, self.length - sign);
    return chat_buffer_string(r, &out);
}

static struct chat_value text_format(SIGNATURE)
{
    return chat_format(r, self, arguments);
}

/* ---- dictionaries */

static struct chat_value dict_get(SIGNATURE)
{
    BIND("get", "key default", 2);
    if (a[0].kind == CHAT_MISSING)
        return chat_fail(r, "get expected at least 1 argument, got 0");
    if (!chat_hashable(a[0]))
        return chat_fail(r, "unhashable type: '%s'", chat_type(a[0]));
    const struct chat_value *found = chat_dict_find(r, self.dict, a[0]);
    return found ? *found : a[1].kind == CHAT_MISSING ? chat_none() : a[1];
}

static struct chat_value dict_view(struct chat_render *r, struct chat_value self,
                                   const struct chat_arguments *arguments, const char *method, enum chat_form form)
{
    const struct chat_dict *dict = self.dict;
    struct chat_value list = chat_new_list_of(r, form, dict->count);
    no_arguments(r, method, arguments);
    for (uint32_t i = 0; i < dict->count && !r->failed; i++) {
        const struct chat_entry *entry = &dict->entry[i];
        chat_append(r, list,
                    form == FORM_KEYS     ? entry->key
                    : form == FORM_VALUES ? entry->value
                                          : chat_tuple(r, 2, VALUES(entry->key, entry->value)));
    }
    return list;
}

static struct chat_value dict_items(SIGNATURE)
{
    return dict_view(r, self, arguments, "items", FORM_ITEMS);
}

static struct chat_value dict_keys(SIGNATURE)
{
    return dict_view(r, self, arguments, "keys", FORM_KEYS);
}

static struct chat_value dict_values(SIGNATURE)
{
    return dict_view(r, self, arguments, "values", FORM_VALUES);
}

/* Values do not change, so a copy is the thing itself. */
static struct chat_value copy(SIGNATURE)
{
    no_arguments(r, "copy", arguments);
    return self;
}

/* ---- lists */

static struct chat_value list_index(SIGNATURE)
{
    BIND("index", "value", 1);
    for (size_t i = 0; i < self.list->count && chat_step(r); i++)
        if (chat_equal(r, self.list->item[i], a[0]))
            return chat_int((int64_t)i);
    return chat_fail(r, "index: the value is not in the list");
}

static struct chat_value list_count(SIGNATURE)
{
    BIND("count", "value", 1);
    int64_t count = 0;
    for (size_t i = 0; i < self.list->count && chat_step(r); i++)
        count += chat_equal(r, self.list->item[i], a[0]);
    return chat_int(count);
}

/* ---- finding them */

struct method {
    const char *name;
    chat_function *function; /* NULL: one that changes its object, which the sandbox forbids */
};

static const struct method text_methods[] = {
    {"capitalize", text_capitalize},
    {"casefold", text_lower},
    {"center", text_center},
    {"count", text_count},
    {"endswith", text_endswith},
    {"find", text_find},
    {"format", text_format},
    {"index", text_index},
    {"isalnum", text_isalnum},
    {"isalpha", text_isalpha},
    {"isascii", text_isascii},
    {"isdecimal", text_isdigit},
    {"isdigit", text_isdigit},
    {"islower", text_islower},
    {"isnumeric", text_isnumeric},
    {"isspace", text_isspace},
    {"isupper", text_isupper},
    {"join", text_join},
    {"ljust", text_ljust},
    {"lower", text_lower},
    {"lstrip", text_lstrip},
    {"partition", text_partition},
    {"removeprefix", text_removeprefix},
    {"removesuffix", text_removesuffix},
    {"replace", text_replace},
    {"rfind", text_rfind},
    {"rindex", text_rindex},
    {"rjust", text_rjust},
    {"rpartition", text_rpartition},
    {"rsplit", text_rsplit},
    {"rstrip", text_rstrip},
    {"split", text_split},
    {"splitlines", text_splitlines},
    {"startswith", text_startswith},
    {"strip", text_strip},
    {"swapcase", text_swapcase},
    {"title", text_title},
    {"upper", text_upper},
    {"zfill", text_zfill},
    {NULL, NULL},
};

static const struct method dict_methods[] = {
    {"copy", copy},          {"get", dict_get}, {"items", dict_items}, {"keys", dict_keys},
    {"values", dict_values}, {"clear", NULL},   {"pop", NULL},         {"popitem", NULL},
    {"setdefault", NULL},    {"update", NULL},  {NULL, NULL},
};

static const struct method list_methods[] = {
    {"copy", copy},   {"count", list_count}, {"index", list_index}, {"append", NULL},
    {"clear", NULL},  {"extend", NULL},      {"insert", NULL},      {"pop", NULL},
    {"remove", NULL}, {"reverse", NULL},     {"sort", NULL},        {NULL, NULL},
};

struct chat_value chat_method(struct chat_render *r, struct chat_value object, const char *name)
{
    const struct method *method = NULL;
    if (object.kind == CHAT_STRING)
        method = text_methods;
    else if (object.kind == CHAT_DICT)
        method = dict_methods;
    else if (object.kind == CHAT_LIST && object.list->form <= FORM_TUPLE)
        method = list_methods;
    for (; method && method->name; method++) {
        if (strcmp(method->name, name) != 0)
            continue;
        if (!method->function)
            return chat_undefined_with(r, "access to attribute '%s' of '%s' object is unsafe.", name,
                                       chat_type(object));
        return chat_bound(r, method->name, method->function, object);
    }
    return chat_missing();
}
