/* The filters of the two files chat_filters.c and chat_filters_list.c. */
#ifndef LATHE_CHAT_FILTERS_H
#define LATHE_CHAT_FILTERS_H

#include "chat_internal.h"

/* a: one place for each parameter, missing where nothing was given. */
typedef struct chat_value chat_filter_function(struct chat_render *r, struct chat_value value,
                                               const struct chat_value *a);

#define FILTER(name)                                                                                                   \
    static struct chat_value filter_##name(struct chat_render *r, struct chat_value value, const struct chat_value *a)
#define LIST_FILTER(name)                                                                                              \
    struct chat_value filter_##name(struct chat_render *r, struct chat_value value, const struct chat_value *a)

LIST_FILTER(batch);
LIST_FILTER(dictsort);
LIST_FILTER(first);
LIST_FILTER(items);
LIST_FILTER(join);
LIST_FILTER(last);
LIST_FILTER(list);
LIST_FILTER(max);
LIST_FILTER(min);
LIST_FILTER(reverse);
LIST_FILTER(slice);
LIST_FILTER(sort);
LIST_FILTER(sum);
LIST_FILTER(unique);

/* Those that take any number of arguments: map, select, reject, selectattr, rejectattr, format. */
struct chat_value chat_filter_variadic(struct chat_render *r, const char *name, struct chat_value value,
                                       const struct chat_arguments *arguments);

#endif
