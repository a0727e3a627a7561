/* The for loop and its `loop` object. */
#include <string.h>

#include "chat_internal.h"

struct chat_loop *chat_loop_begin(struct chat_render *r, struct chat_value sequence)
{
    struct chat_loop *loop = chat_allocate(r, sizeof *loop);
    loop->items = chat_iterate(r, sequence);
    loop->changed = chat_missing();
    return loop;
}

bool chat_next(struct chat_render *r, struct chat_loop *loop, struct chat_value *item)
{
    if (!chat_step(r) || loop->next >= loop->items->count)
        return false;
    loop->index0 = loop->next++;
    *item = loop->items->item[loop->index0];
    return true;
}

bool chat_loop_empty(const struct chat_loop *loop)
{
    return loop->next == 0;
}

struct chat_value chat_loop_value(struct chat_loop *loop)
{
    return (struct chat_value){.kind = CHAT_LOOP, .loop = loop};
}

static struct chat_value loop_cycle(struct chat_render *r, struct chat_value self,
                                    const struct chat_arguments *arguments)
{
    if (!arguments->count || arguments->named_count)
        return chat_fail(r, "loop.cycle: no items for cycling given");
    return arguments->item[self.loop->index0 % (size_t)arguments->count];
}

static struct chat_value loop_changed(struct chat_render *r, struct chat_value self,
                                      const struct chat_arguments *arguments)
{
    struct chat_value now = chat_tuple(r, arguments->count, arguments->item);
    struct chat_loop *loop = self.loop;
    if (loop->changed.kind != CHAT_MISSING && chat_equal(r, loop->changed, now))
        return chat_bool(false);
    loop->changed = now;
    return chat_bool(true);
}

struct chat_value chat_loop_attribute(struct chat_render *r, struct chat_loop *loop, const char *name)
{
    size_t count = loop->items->count, index0 = loop->index0;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"index", (int64_t)index0 + 1},
        {"index0", (int64_t)index0},
        {"revindex", (int64_t)(count - index0)},
        {"revindex0", (int64_t)(count - index0) - 1},
        {"length", (int64_t)count},
        {"depth", 1},
        {"depth0", 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return chat_int(numbers[i].value);
    if (strcmp(name, "first") == 0)
        return chat_bool(index0 == 0);
    if (strcmp(name, "last") == 0)
        return chat_bool(index0 + 1 >= count);
    if (strcmp(name, "previtem") == 0)
        return index0 ? loop->items->item[index0 - 1] : chat_undefined_with(r, "there is no previous item");
    if (strcmp(name, "nextitem") == 0)
        return index0 + 1 < count ? loop->items->item[index0 + 1] : chat_undefined_with(r, "there is no next item");
    if (strcmp(name, "cycle") == 0)
        return chat_bound(r, "cycle", loop_cycle, chat_loop_value(loop));
    if (strcmp(name, "changed") == 0)
        return chat_bound(r, "changed", loop_changed, chat_loop_value(loop));
    return chat_undefined_with(r, "'LoopContext object' has no attribute '%s'", name);
}
