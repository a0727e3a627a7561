/* Renders the cases of a file with templates that were translated to C and compared with what Jinja made of them: the program
   that test_templates.c makes of each folder of templates. `cases` (generated) is the table of the templates.

   A line of the file is {"template": NAME, "input": CONVERSATION, "text": PROMPT}, or "error": true instead of the text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_internal.h"

extern const struct chat_templates test_templates;

static const struct chat_value *member(struct chat_value object, const char *key)
{
    return object.kind == CHAT_DICT ? chat_dict_text(object.dict, key) : NULL;
}

static void show(const char *what, const char *text, size_t length)
{
    printf("  %s: ", what);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n')
            printf("\\n");
        else
            putchar(text[i]);
    putchar('\n');
}

/* 1 if the case is as expected. */
static int check(const char *line, size_t length, int number)
{
    struct chat_render *reader = chat_open(), *r = chat_open();
    struct text_buffer out = {0};
    struct error error = {""};
    struct chat_value entry = chat_parse_json(reader, line, length);
    const struct chat_value *name = member(entry, "template"), *input = member(entry, "input");
    const struct chat_value *text = member(entry, "text");
    const struct chat_template *found = NULL;
    for (int i = 0; name && i < test_templates.count; i++)
        if (chat_is_text(*name, test_templates.items[i].name))
            found = &test_templates.items[i];
    if (!found || !input) {
        printf("case %d: no such template, or no input\n", number);
        exit(2);
    }
    struct chat_template one = {"default", found->render};
    struct chat_templates templates = {&one, 1, NULL, 0};
    int failed = chat_render(r, &templates, NULL, *input, -1, &out, &error);
    int good =
        text ? !failed && out.length == text->length && memcmp(out.data ? out.data : "", text->text, out.length) == 0
             : failed != 0;
    if (!good) {
        printf("case %d: %s\n", number, found->name);
        if (text)
            show("expected", text->text, text->length);
        else
            printf("  expected an error\n");
        if (failed)
            printf("  error: %s\n", error.message);
        else
            show("found   ", out.data ? out.data : "", out.length);
    }
    free(out.data);
    chat_close(r);
    chat_close(reader);
    return good;
}

int main(int argc, char **argv)
{
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : stdin;
    char *line = NULL;
    size_t capacity = 0;
    int count = 0, good = 0;
    if (!file) {
        perror(argv[1]);
        return 2;
    }
    for (ssize_t length; (length = getline(&line, &capacity, file)) > 0;) {
        count++;
        good += check(line, (size_t)length, count);
    }
    free(line);
    fclose(file);
    printf("%d of %d cases\n", good, count);
    return good == count && count ? 0 : 1;
}
