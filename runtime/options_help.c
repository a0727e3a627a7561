#include <string.h>

#include "options.h"

enum { LEFT = 30, WIDTH = 100 };

/* Prints words from column `column` on, breaking before WIDTH and indenting by LEFT. */
static int print_words(FILE *file, const char *text, int column)
{
    while (*text) {
        text += strspn(text, " ");
        int length = (int)strcspn(text, " ");
        if (column > LEFT && column + 1 + length > WIDTH) {
            fprintf(file, "\n%*s", LEFT, "");
            column = LEFT;
        }
        column += fprintf(file, "%s%.*s", column > LEFT ? " " : "", length, text);
        text += length;
    }
    return column;
}

/* " (default: 40)", or nothing where there is no default worth showing. */
static void default_text(const struct option *option, char *text, size_t size)
{
    text[0] = 0;
    if (option->kind == OPTION_INTEGER)
        snprintf(text, size, "(default: %d)", (int)*(int32_t *)option->target);
    else if (option->kind == OPTION_NUMBER)
        snprintf(text, size, "(default: %g)", (double)*(float *)option->target);
}

static void print_option(FILE *file, const struct option *option)
{
    char left[80], defaults[40];
    char letter[] = {'-', option->letter, ',', ' ', 0};
    snprintf(left, sizeof left, "  %s--%s%s%s", option->letter ? letter : "", option->name, option->value ? " " : "",
             option->value ? option->value : "");
    default_text(option, defaults, sizeof defaults);
    int column = fprintf(file, "%-*s", LEFT, left);
    if (column > LEFT) {
        fprintf(file, "\n%*s", LEFT, "");
        column = LEFT;
    }
    column = print_words(file, option->help, column);
    print_words(file, defaults, column);
    fputc('\n', file);
}

void options_help(FILE *file, const struct option_group *groups, int group_count)
{
    for (int g = 0; g < group_count; g++) {
        fprintf(file, "\n%s:\n", groups[g].title);
        for (int i = 0; i < groups[g].count; i++)
            print_option(file, &groups[g].options[i]);
    }
}
