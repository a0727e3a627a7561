#include "draft_ngram.h"

/* How many tokens before `end` are the same as before the end of the text, `longest` at most. */
static int32_t match(const struct draft_text *text, size_t end, int32_t longest)
{
    int32_t length = 0;
    while (length < longest && (size_t)length < end &&
           text->id[end - 1 - (size_t)length] == text->id[text->count - 1 - (size_t)length])
        length++;
    return length;
}

void draft_ngram(const struct draft_text *text, int32_t shortest, int32_t longest, struct draft_tree *tree)
{
    int32_t best = shortest - 1;
    size_t from = 0; /* what followed begins here */
    for (size_t end = text->count > 0 ? text->count - 1 : 0; end > 0 && best < longest; end--) {
        int32_t length = match(text, end, longest);
        if (length > best) {
            best = length;
            from = end;
        }
    }
    tree->count = 0;
    int32_t count = tree->most < tree->depth ? tree->most : tree->depth;
    for (int32_t i = 0; from > 0 && i < count; i++) {
        /* Beyond its end the text goes on as the draft does: a loop is drafted round and round. */
        size_t at = from + (size_t)i;
        tree->token[i] = at < text->count ? text->id[at] : tree->token[at - text->count];
        tree->parent[i] = i - 1;
        tree->count++;
    }
}
