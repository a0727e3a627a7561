#include "prompt.h"

int prompt_encode(const struct program *program, const char *text, size_t length, bool special, struct token_list *out,
                  struct error *error)
{
    if (!program->tokenizer)
        return error_set(error, "this package has no tokenizer (its checkpoint had none), so it cannot read text: give "
                                "token ids with --ids 1,2,3, or build it from a folder with tokenizer.json");
    return tokenizer_encode(program->tokenizer, text, length, special, out, error);
}

int prompt_ids(const struct program *program, const int32_t *ids, size_t count, const char *from,
               struct token_list *out, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= program->model->vocab)
            return error_set(error, "%s: token %zu is id %d: expected 0 to %d, the vocabulary's last", from, i + 1,
                             (int)ids[i], (int)program->model->vocab - 1);
        if (token_list_add(out, ids[i]))
            return error_set(error, "%s: out of memory for %zu ids", from, count);
    }
    return 0;
}
