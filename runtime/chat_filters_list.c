/* Jinja's filters on sequences and mappings. */
#include <string.h>

#include "chat_filters.h"

static bool given(struct chat_value value)
{
    return value.kind != CHAT_MISSING && value.kind != CHAT_NONE;
}

/* item.a.b for the attribute "a.b"; numbers are indices. `otherwise` stands for what is undefined, if it is given. */
static struct chat_value dotted(struct chat_render *r, struct chat_value item, struct chat_value attribute,
                                struct chat_value otherwise)
{
    if (!given(attribute))
        return item;
    if (attribute.kind != CHAT_STRING) {
        item = chat_item(r, item, attribute);
        return item.kind == CHAT_UNDEFINED && given(otherwise) ? otherwise : item;
    }
    for (size_t from = 0; from <= attribute.length && !r->failed;) {
        int64_t dot = chat_find_bytes(attribute, CHAT_TEXT("."), from);
        struct chat_value part = chat_substring(attribute, from, dot < 0 ? attribute.length : (size_t)dot);
        bool digits = part.length > 0 && part.length < 10;
        int64_t index = 0;
        for (size_t i = 0; i < part.length && digits; i++) {
            digits = part.text[i] >= '0' && part.text[i] <= '9';
            index = index * 10 + part.text[i] - '0';
        }
        item = chat_item(r, item, digits ? chat_int(index) : part);
        if (item.kind == CHAT_UNDEFINED && given(otherwise))
            item = otherwise;
        from += part.length + 1;
    }
    return item;
}

static struct chat_value folded(struct chat_render *r, struct chat_value value, bool case_sensitive)
{
    return value.kind == CHAT_STRING && !case_sensitive ? chat_case(r, value, 'l') : value;
}

/* ---- parts and whole */

LIST_FILTER(first)
{
    (void)a;
    if (value.kind == CHAT_LIST && value.list->form == FORM_GENERATOR && value.list->taken < value.list->count)
        return value.list->item[value.list->taken++];
    const struct chat_list *list = chat_iterate(r, value);
    return list->count ? list->item[0] : chat_undefined_with(r, "No first item, sequence was empty.");
}

LIST_FILTER(last)
{
    (void)a;
    if (value.kind == CHAT_LIST && value.list->form == FORM_GENERATOR)
        return chat_fail(r, "last: 'generator' object is not reversible: put `| list` before it");
    const struct chat_list *list = chat_iterate(r, value);
    return list->count ? list->item[list->count - 1] : chat_undefined_with(r, "No last item, sequence was empty.");
}

static struct chat_value copy_of(struct chat_render *r, const struct chat_list *list, enum chat_form form)
{
    struct chat_value copy = chat_new_list_of(r, form, list->count);
    for (size_t i = 0; i < list->count; i++)
        chat_append(r, copy, list->item[i]);
    return copy;
}

LIST_FILTER(list)
{
    (void)a;
    return copy_of(r, chat_iterate(r, value), FORM_LIST);
}

LIST_FILTER(items)
{
    (void)a;
    if (value.kind != CHAT_UNDEFINED && value.kind != CHAT_DICT)
        return chat_fail(r, "items: Can only get item pairs from a mapping.");
    if (value.kind == CHAT_UNDEFINED)
        return chat_new_list_of(r, FORM_GENERATOR, 0);
    return copy_of(r, chat_call_method(r, value, "items", NO_ARGS).list, FORM_GENERATOR);
}

LIST_FILTER(reverse)
{
    (void)a;
    if (value.kind == CHAT_STRING)
        return chat_slice(r, value, chat_none(), chat_none(), chat_int(-1));
    const struct chat_list *list = chat_iterate(r, value);
    struct chat_value result = chat_new_list_of(r, FORM_GENERATOR, list->count);
    for (size_t i = list->count; i-- > 0;)
        chat_append(r, result, list->item[i]);
    return result;
}

LIST_FILTER(join)
{
    const struct chat_list *list = chat_iterate(r, value);
    struct chat_value separator = a[0].kind == CHAT_MISSING ? CHAT_TEXT("") : chat_str(r, a[0]);
    struct text_buffer out = {0};
    for (size_t i = 0; i < list->count && chat_step(r); i++) {
        struct chat_value text = chat_str(r, dotted(r, list->item[i], a[1], chat_missing()));
        if (i)
            chat_buffer_add(r, &out, separator.text, separator.length);
        if (!r->failed)
            chat_buffer_add(r, &out, text.text, text.length);
    }
    return chat_buffer_string(r, &out);
}

LIST_FILTER(batch)
{
    int64_t size;
    if (!chat_as_int(a[0], &size) || size < 1)
        return chat_fail(r, "batch: expected a number of items above 0");
    const struct chat_list *list = chat_iterate(r, value);
    struct chat_value result = chat_new_list_of(r, FORM_GENERATOR, 0), part = chat_new_list(r);
    for (size_t i = 0; i < list->count && chat_step(r); i++) {
        if ((int64_t)part.list->count == size) {
            chat_append(r, result, part);
            part = chat_new_list(r);
        }
        chat_append(r, part, list->item[i]);
    }
    while (given(a[1]) && part.list->count && (int64_t)part.list->count < size && chat_step(r))
        chat_append(r, part, a[1]);
    if (part.list->count)
        chat_append(r, result, part);
    return result;
}

LIST_FILTER(slice)
{
    int64_t slices;
    if (!chat_as_int(a[0], &slices) || slices < 1)
        return chat_fail(r, "slice: expected a number of slices above 0");
    const struct chat_list *list = chat_iterate(r, value);
    int64_t count = (int64_t)list->count, size = count / slices, larger = count % slices, next = 0;
    struct chat_value result = chat_new_list_of(r, FORM_GENERATOR, 0);
    for (int64_t i = 0; i < slices && chat_step(r); i++) {
        struct chat_value part = chat_new_list(r);
        for (int64_t k = 0; k < size + (i < larger); k++)
            chat_append(r, part, list->item[next++]);
        if (given(a[1]) && i >= larger)
            chat_append(r, part, a[1]);
        chat_append(r, result, part);
    }
    return result;
}

/* ---- order */

struct keyed {
    struct chat_value key, item;
};

/* A merge sort, which keeps equal ones in their order, also when reversed, as Python's. */
static void sort_keyed(struct chat_render *r, struct keyed *items, struct keyed *other, size_t count, bool reverse)
{
    for (size_t width = 1; width < count && !r->failed; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = middle + width < count ? middle + width : count;
            size_t left = begin, right = middle;
            for (size_t i = begin; i < end; i++) {
                bool from_right = left == middle;
                if (!from_right && right < end) {
                    int order = chat_compare(r, items[right].key, items[left].key);
                    from_right = reverse ? order > 0 : order < 0;
                }
                other[i] = from_right ? items[right++] : items[left++];
            }
        }
        memcpy(items, other, count * sizeof *items);
    }
}

static struct chat_value sorted(struct chat_render *r, struct keyed *items, size_t count, bool reverse)
{
    struct keyed *other = chat_allocate_many(r, count + 1, sizeof *other);
    struct chat_value result = chat_new_list_of(r, FORM_LIST, count);
    if (other && items)
        sort_keyed(r, items, other, count, reverse);
    for (size_t i = 0; i < count && !r->failed; i++)
        chat_append(r, result, items[i].item);
    return result;
}

/* By one attribute, or several separated by commas: always a list, in which what is equal need not have an order. */
static struct chat_value sort_key(struct chat_render *r, struct chat_value item, struct chat_value attribute,
                                  bool case_sensitive)
{
    struct chat_value key = chat_new_list(r);
    if (attribute.kind != CHAT_STRING) {
        chat_append(r, key, folded(r, dotted(r, item, attribute, chat_missing()), case_sensitive));
        return key;
    }
    struct chat_value names = chat_call_method(r, attribute, "split", ARGS(1, CHAT_TEXT(",")));
    for (size_t i = 0; i < names.list->count && !r->failed; i++)
        chat_append(r, key, folded(r, dotted(r, item, names.list->item[i], chat_missing()), case_sensitive));
    return key;
}

LIST_FILTER(sort)
{
    const struct chat_list *list = chat_iterate(r, value);
    struct keyed *items = chat_allocate_many(r, list->count + 1, sizeof *items);
    for (size_t i = 0; items && i < list->count && chat_step(r); i++)
        items[i] = (struct keyed){sort_key(r, list->item[i], a[2], chat_true(a[1])), list->item[i]};
    return sorted(r, items, list->count, chat_true(a[0]));
}

LIST_FILTER(dictsort)
{
    bool by_value = given(a[1]) && chat_is_text(a[1], "value");
    if (given(a[1]) && !by_value && !chat_is_text(a[1], "key"))
        return chat_fail(r, "dictsort: You can only sort by either \"key\" or \"value\"");
    if (value.kind != CHAT_DICT)
        return chat_fail(r, "dictsort: expected a mapping, found %s", chat_type(value));
    const struct chat_dict *dict = value.dict;
    struct keyed *items = chat_allocate_many(r, (size_t)dict->count + 1, sizeof *items);
    for (uint32_t i = 0; items && i < dict->count && chat_step(r); i++) {
        struct chat_value key = dict->entry[i].key, item = dict->entry[i].value;
        items[i] =
            (struct keyed){folded(r, by_value ? item : key, chat_true(a[0])), chat_tuple(r, 2, VALUES(key, item))};
    }
    return sorted(r, items, dict->count, chat_true(a[2]));
}

LIST_FILTER(unique)
{
    const struct chat_list *list = chat_iterate(r, value);
    struct chat_value seen = chat_new_dict(r), result = chat_new_list_of(r, FORM_GENERATOR, 0);
    for (size_t i = 0; i < list->count && chat_step(r); i++) {
        struct chat_value key = folded(r, dotted(r, list->item[i], a[1], chat_missing()), chat_true(a[0]));
        if (chat_hashable(key) && chat_dict_find(r, seen.dict, key))
            continue;
        chat_dict_set(r, seen.dict, key, chat_none());
        chat_append(r, result, list->item[i]);
    }
    return result;
}

static struct chat_value extreme(struct chat_render *r, struct chat_value value, const struct chat_value *a, int sign)
{
    const struct chat_list *list = chat_iterate(r, value);
    if (!list->count)
        return chat_undefined_with(r, "No aggregated item, sequence was empty.");
    struct chat_value best = list->item[0],
                      best_key = folded(r, dotted(r, best, a[1], chat_missing()), chat_true(a[0]));
    for (size_t i = 1; i < list->count && chat_step(r); i++) {
        struct chat_value key = folded(r, dotted(r, list->item[i], a[1], chat_missing()), chat_true(a[0]));
        if (chat_compare(r, key, best_key) * sign > 0) {
            best = list->item[i];
            best_key = key;
        }
    }
    return best;
}

LIST_FILTER(max)
{
    return extreme(r, value, a, 1);
}

LIST_FILTER(min)
{
    return extreme(r, value, a, -1);
}

LIST_FILTER(sum)
{
    const struct chat_list *list = chat_iterate(r, value);
    struct chat_value sum = a[1].kind == CHAT_MISSING ? chat_int(0) : a[1];
    if (sum.kind == CHAT_STRING)
        return chat_fail(r, "sum: strings cannot be summed: use `| join`");
    for (size_t i = 0; i < list->count && chat_step(r); i++)
        sum = chat_sum(r, 2, VALUES(sum, dotted(r, list->item[i], a[0], chat_missing())));
    return sum;
}

/* ---- filters that apply others */

static struct chat_value named(const struct chat_arguments *arguments, const char *name)
{
    for (int i = 0; i < arguments->named_count; i++)
        if (strcmp(arguments->named[i].name, name) == 0)
            return arguments->named[i].value;
    return chat_missing();
}

/* The arguments after the first `skip`. */
static struct chat_arguments rest(const struct chat_arguments *arguments, int skip)
{
    struct chat_arguments others = *arguments;
    skip = skip < others.count ? skip : others.count;
    others.item = others.count > skip ? others.item + skip : NULL;
    others.count -= skip;
    return others;
}

/* A name from the template as a C string. */
static const char *name_of(struct chat_render *r, struct chat_value value, const char *what)
{
    if (value.kind != CHAT_STRING) {
        chat_fail(r, "%s: expected a name in quotes, found %s", what, chat_type(value));
        return "";
    }
    struct chat_value copy = chat_string(r, value.text, value.length);
    return copy.kind == CHAT_STRING ? copy.text : "";
}

/* These filters take anything that is false for an empty sequence. */
static const struct chat_list *items_of(struct chat_render *r, struct chat_value value)
{
    return chat_iterate(r, chat_true(value) ? value : chat_new_list(r));
}

static struct chat_value map(struct chat_render *r, struct chat_value value, const struct chat_arguments *arguments)
{
    struct chat_value attribute = arguments->count ? chat_missing() : named(arguments, "attribute");
    const struct chat_list *list = items_of(r, value);
    struct chat_value result = chat_new_list_of(r, FORM_GENERATOR, list->count);
    if (attribute.kind == CHAT_MISSING && !arguments->count)
        return chat_fail(r, "map: expected the name of a filter, or attribute='NAME'");
    const char *filter = arguments->count ? name_of(r, arguments->item[0], "map") : NULL;
    struct chat_arguments others = rest(arguments, 1);
    for (size_t i = 0; i < list->count && chat_step(r); i++)
        chat_append(r, result,
                    filter ? chat_filter(r, filter, list->item[i], &others)
                           : dotted(r, list->item[i], attribute, named(arguments, "default")));
    return result;
}

static struct chat_value choose(struct chat_render *r, struct chat_value value, const struct chat_arguments *arguments,
                                bool by_attribute, bool wanted)
{
    struct chat_value attribute = chat_missing();
    struct chat_arguments others = *arguments;
    const struct chat_list *list = items_of(r, value);
    struct chat_value result = chat_new_list_of(r, FORM_GENERATOR, 0);
    if (by_attribute) {
        if (!arguments->count)
            return chat_fail(r, "selectattr, rejectattr: expected the name of an attribute");
        attribute = arguments->item[0];
        others = rest(&others, 1);
    }
    const char *test = others.count ? name_of(r, others.item[0], "select, reject") : NULL;
    others = rest(&others, 1);
    for (size_t i = 0; i < list->count && chat_step(r); i++) {
        struct chat_value item = dotted(r, list->item[i], attribute, chat_missing());
        bool passes = test ? chat_test(r, test, item, &others) : chat_true(item);
        if (passes == wanted)
            chat_append(r, result, list->item[i]);
    }
    return result;
}

static struct chat_value format(struct chat_render *r, struct chat_value value, const struct chat_arguments *arguments)
{
    struct chat_value dict = chat_new_dict(r);
    if (arguments->count && arguments->named_count)
        return chat_fail(r, "format: can't handle positional and keyword arguments at the same time");
    for (int i = 0; i < arguments->named_count; i++)
        chat_dict_set(r, dict.dict, chat_string_in_place(arguments->named[i].name, strlen(arguments->named[i].name)),
                      arguments->named[i].value);
    return chat_percent(r, chat_str(r, value),
                        arguments->named_count ? dict : chat_tuple(r, arguments->count, arguments->item));
}

struct chat_value chat_filter_variadic(struct chat_render *r, const char *name, struct chat_value value,
                                       const struct chat_arguments *arguments)
{
    if (strcmp(name, "map") == 0)
        return map(r, value, arguments);
    if (strcmp(name, "select") == 0 || strcmp(name, "reject") == 0)
        return choose(r, value, arguments, false, name[0] == 's');
    if (strcmp(name, "selectattr") == 0 || strcmp(name, "rejectattr") == 0)
        return choose(r, value, arguments, true, name[0] == 's');
    if (strcmp(name, "format") == 0)
        return format(r, value, arguments);
    return chat_fail(r, "No filter named '%s'", name);
}
