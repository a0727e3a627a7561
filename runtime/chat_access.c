/* Attributes, items, slices, unpacking: Jinja's rules, in which object.name and object['name'] find each other. */
#include <string.h>

#include "chat_internal.h"

static struct chat_value of_undefined(struct chat_render *r, struct chat_value object)
{
    return chat_fail(r, object.flags ? "'%s' is undefined" : "%s", object.text);
}

static struct chat_value no_attribute(struct chat_render *r, struct chat_value object, const char *name)
{
    if (object.kind == CHAT_NONE)
        return chat_undefined_with(r, "'None' has no attribute '%s'", name);
    return chat_undefined_with(r, "'%s object' has no attribute '%s'", chat_type(object), name);
}

struct chat_value chat_attribute(struct chat_render *r, struct chat_value object, const char *name)
{
    if (object.kind == CHAT_UNDEFINED)
        return of_undefined(r, object);
    if (object.kind == CHAT_LOOP)
        return chat_loop_attribute(r, object.loop, name);
    struct chat_value method = chat_method(r, object, name);
    if (method.kind != CHAT_MISSING)
        return method;
    if (object.kind == CHAT_DICT || object.kind == CHAT_NAMESPACE) {
        const struct chat_value *value = chat_dict_text(object.dict, name);
        if (value)
            return *value;
    }
    return no_attribute(r, object, name);
}

static struct chat_value list_item(struct chat_render *r, struct chat_value object, int64_t index)
{
    const struct chat_list *list = object.list;
    int64_t count = (int64_t)list->count;
    bool indexed = list->form == FORM_LIST || list->form == FORM_TUPLE || list->form == FORM_RANGE;
    if (!indexed || index >= count || index < -count)
        return chat_undefined_with(r, "%s object has no element %lld", chat_type(object), (long long)index);
    return list->item[index < 0 ? index + count : index];
}

static struct chat_value text_item(struct chat_render *r, struct chat_value object, int64_t index)
{
    int64_t count = (int64_t)chat_characters(object);
    if (index >= count || index < -count)
        return chat_undefined_with(r, "str object has no element %lld", (long long)index);
    size_t from = chat_byte_of(object, (size_t)(index < 0 ? index + count : index)), bytes;
    chat_decode(object.text + from, object.length - from, &bytes);
    return chat_substring(object, from, from + bytes);
}

struct chat_value chat_item(struct chat_render *r, struct chat_value object, struct chat_value key)
{
    int64_t index;
    if (object.kind == CHAT_UNDEFINED)
        return of_undefined(r, object);
    if (object.kind == CHAT_DICT) {
        const struct chat_value *value = chat_dict_find(r, object.dict, key);
        if (value)
            return *value;
    } else if (object.kind == CHAT_LIST && chat_as_int(key, &index)) {
        return list_item(r, object, index);
    } else if (object.kind == CHAT_STRING && chat_as_int(key, &index)) {
        return text_item(r, object, index);
    }
    if (key.kind == CHAT_STRING) {
        struct chat_value name = chat_string(r, key.text, key.length); /* with a NUL at its end */
        if (name.kind == CHAT_STRING && !memchr(name.text, 0, name.length))
            return object.kind == CHAT_DICT && chat_method(r, object, name.text).kind == CHAT_MISSING
                       ? no_attribute(r, object, name.text)
                       : chat_attribute(r, object, name.text);
    }
    return chat_undefined_with(r, "'%s object' has no such element", chat_type(object));
}

/* One bound of a slice as Python clamps it. */
static bool bound(struct chat_render *r, struct chat_value given, int64_t count, int64_t otherwise, bool backwards,
                  int64_t *out)
{
    *out = otherwise;
    if (given.kind == CHAT_NONE || given.kind == CHAT_MISSING)
        return true;
    if (!chat_as_int(given, out)) {
        if (given.kind == CHAT_UNDEFINED)
            of_undefined(r, given);
        else
            chat_fail(r, "slice indices must be integers or None, found %s", chat_type(given));
        return false;
    }
    if (*out < 0)
        *out = *out < -count ? (backwards ? -1 : 0) : *out + count;
    int64_t most = backwards ? count - 1 : count;
    if (*out > most)
        *out = most;
    return true;
}

struct chat_value chat_slice(struct chat_render *r, struct chat_value object, struct chat_value start,
                             struct chat_value stop, struct chat_value step)
{
    bool text = object.kind == CHAT_STRING;
    bool list = object.kind == CHAT_LIST && (object.list->form <= FORM_TUPLE || object.list->form == FORM_RANGE);
    int64_t stride = 1, from, to;
    if (object.kind == CHAT_UNDEFINED)
        return of_undefined(r, object);
    if (!text && !list)
        return chat_fail(r, "'%s' object is not subscriptable", chat_type(object));
    if (step.kind != CHAT_NONE && step.kind != CHAT_MISSING && !chat_as_int(step, &stride))
        return chat_fail(r, "slice indices must be integers or None, found %s", chat_type(step));
    if (stride == 0)
        return chat_fail(r, "slice step cannot be zero");
    int64_t count = (int64_t)(text ? chat_characters(object) : object.list->count);
    bool backwards = stride < 0;
    if (!bound(r, start, count, backwards ? count - 1 : 0, backwards, &from) ||
        !bound(r, stop, count, backwards ? -1 : count, backwards, &to))
        return chat_undefined("a slice");
    if (text && stride == 1)
        return chat_substring(object, chat_byte_of(object, (size_t)from), chat_byte_of(object, (size_t)to));
    const struct chat_list *items = chat_iterate(r, object);
    struct chat_value result = chat_new_list_of(r, text ? FORM_LIST : object.list->form, 0);
    if (stride > count || stride < -count)
        stride = backwards ? -count - 1 : count + 1; /* no overflow below */
    for (int64_t i = from; (backwards ? i > to : i < to) && chat_step(r); i += stride)
        chat_append(r, result, items->item[i]);
    return text ? chat_concat(r, (int)result.list->count, result.list->item) : result;
}

void chat_unpack(struct chat_render *r, struct chat_value value, int count, struct chat_value *const *targets)
{
    if (value.kind == CHAT_UNDEFINED && !r->failed)
        of_undefined(r, value);
    const struct chat_list *list = chat_iterate(r, value);
    if (!r->failed && list->count < (size_t)count)
        chat_fail(r, "not enough values to unpack (expected %d, got %zu)", count, list->count);
    else if (!r->failed && list->count > (size_t)count)
        chat_fail(r, "too many values to unpack (expected %d)", count);
    for (int i = 0; i < count; i++)
        *targets[i] = r->failed ? chat_undefined("a value that an error left out") : list->item[i];
}

void chat_set_member(struct chat_render *r, struct chat_value space, const char *name, struct chat_value value)
{
    if (space.kind != CHAT_NAMESPACE)
        chat_fail(r, "cannot assign attribute '%s' on a non-namespace object", name);
    else if (name[0] == '_')
        chat_fail(r, "a namespace cannot have the attribute '%s': rename it", name);
    else
        chat_dict_set(r, space.dict, chat_string_in_place(name, strlen(name)), value);
}
