#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "options_value.h"

/* What is left to parse. */
struct arguments {
    char **argv;
    int argc, next;
};

static const struct option *find_long(const struct option_group *groups, int group_count, const char *name,
                                      size_t length)
{
    for (int g = 0; g < group_count; g++)
        for (int i = 0; i < groups[g].count; i++) {
            const struct option *option = &groups[g].options[i];
            if (strncmp(option->name, name, length) == 0 && !option->name[length])
                return option;
        }
    return NULL;
}

static const struct option *find_letter(const struct option_group *groups, int group_count, char letter)
{
    for (int g = 0; g < group_count; g++)
        for (int i = 0; i < groups[g].count; i++)
            if (groups[g].options[i].letter == letter)
                return &groups[g].options[i];
    return NULL;
}

/* Edit distance, insertions, deletions and replacements; more than `limit` may be any larger number. */
static int distance(const char *a, const char *b, int limit)
{
    enum { LONGEST = 31 };
    int row[LONGEST + 1];
    int n = (int)strnlen(a, LONGEST + 1), m = (int)strnlen(b, LONGEST + 1);
    if (n > LONGEST || m > LONGEST)
        return limit + 1;
    for (int j = 0; j <= m; j++)
        row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int removed = row[j] + 1, inserted = row[j - 1] + 1;
            row[j] = replaced < removed ? replaced : removed;
            row[j] = row[j] < inserted ? row[j] : inserted;
        }
    }
    return row[m];
}

const char *options_closest(const char *word, const char *const *candidates, int count)
{
    const char *best = NULL;
    int best_distance = 0;
    size_t length = strlen(word);
    int limit = length < 4 ? 1 : length < 8 ? 2 : 3;
    for (int i = 0; i < count; i++) {
        /* A beginning of the name is as good as a slip of the finger: --temperature for --temp, --rep for
           --repetition-penalty. */
        size_t other = strlen(candidates[i]);
        bool begins = length >= 3 && other >= 3 && strncmp(word, candidates[i], length < other ? length : other) == 0;
        int d = begins ? 1 : distance(word, candidates[i], limit);
        if (d <= limit && (!best || d < best_distance)) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}

static int unknown(const struct option_group *groups, int group_count, const char *spelled, const char *name,
                   struct error *error)
{
    enum { MOST = 64 };
    const char *names[MOST];
    int count = 0;
    for (int g = 0; g < group_count; g++)
        for (int i = 0; i < groups[g].count && count < MOST; i++)
            names[count++] = groups[g].options[i].name;
    const char *closest = options_closest(name, names, count);
    if (closest)
        return error_set(error, "unknown option %s; did you mean --%s? (--help lists the options)", spelled, closest);
    return error_set(error, "unknown option %s (--help lists the options)", spelled);
}

/* Takes the values that the option needs. `attached`: the text after = or the letter, or NULL. */
static int take(const struct option *option, const char *spelled, const char *attached, struct arguments *arguments,
                struct error *error)
{
    int needed = option->kind == OPTION_FLAG ? 0 : option->kind == OPTION_PAIR ? 2 : 1;
    const char *values[2] = {0};
    int have = 0;
    if (attached && !needed)
        return error_set(error, "%s takes no value, found '%s'", spelled, attached);
    if (attached)
        values[have++] = attached;
    while (have < needed && arguments->next < arguments->argc)
        values[have++] = arguments->argv[arguments->next++];
    if (have < needed)
        return error_set(error, "%s needs a value: %s %s", spelled, spelled, option->value);
    return option_store(option, spelled, values[0], values[1], error);
}

static int parse_long(const struct option_group *groups, int group_count, char *argument, struct arguments *arguments,
                      struct error *error)
{
    char *name = argument + 2, *equals = strchr(name, '=');
    if (equals)
        *equals = 0; /* the messages show the name alone */
    const struct option *option = find_long(groups, group_count, name, strlen(name));
    if (!option)
        return unknown(groups, group_count, argument, name, error);
    return take(option, argument, equals ? equals + 1 : NULL, arguments, error);
}

static int parse_letters(const struct option_group *groups, int group_count, const char *argument,
                         struct arguments *arguments, struct error *error)
{
    for (const char *letter = argument + 1; *letter; letter++) {
        char spelled[] = {'-', *letter, 0};
        const struct option *option = find_letter(groups, group_count, *letter);
        if (!option)
            return unknown(groups, group_count, argument, argument + 1, error);
        if (option->kind != OPTION_FLAG)
            return take(option, spelled, letter[1] ? letter + 1 : NULL, arguments, error);
        if (take(option, spelled, NULL, arguments, error))
            return -1;
    }
    return 0;
}

int options_parse(const struct option_group *groups, int group_count, int argc, char **argv, int *operands,
                  struct error *error)
{
    struct arguments arguments = {.argv = argv, .argc = argc};
    bool ended = false;
    *operands = 0;
    while (arguments.next < argc) {
        char *argument = argv[arguments.next++];
        int failed = 0;
        if (ended || argument[0] != '-' || !argument[1])
            argv[(*operands)++] = argument;
        else if (strcmp(argument, "--") == 0)
            ended = true;
        else if (argument[1] == '-')
            failed = parse_long(groups, group_count, argument, &arguments, error);
        else
            failed = parse_letters(groups, group_count, argument, &arguments, error);
        if (failed)
            return -1;
    }
    return 0;
}

void options_free(const struct option_group *groups, int group_count)
{
    for (int g = 0; g < group_count; g++)
        for (int i = 0; i < groups[g].count; i++) {
            const struct option *option = &groups[g].options[i];
            if (option->kind == OPTION_STRINGS) {
                struct string_list *list = option->target;
                free(list->item);
                *list = (struct string_list){0};
            } else if (option->kind == OPTION_IDS) {
                struct id_list *list = option->target;
                free(list->item);
                *list = (struct id_list){0};
            } else if (option->kind == OPTION_BIASES) {
                struct bias_list *list = option->target;
                free(list->item);
                *list = (struct bias_list){0};
            }
        }
}
