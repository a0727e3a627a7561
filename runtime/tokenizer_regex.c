/* PCRE2 behind a walk over all matches. Patterns come translated from the reference's syntax (Oniguruma) by
   codegen/lua/tokenizer/regex.lua. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "tokenizer_internal.h"

/* Memory that matching may use for backtracking. Patterns of tokenizers need little; hostile text for a pattern with
   nested repeats must end in an error, not in an exhausted machine. */
#define JIT_STACK_START ((size_t)64 << 10)
#define JIT_STACK_MOST ((size_t)64 << 20)
#define HEAP_LIMIT_KIB (256u << 10)
#define MATCH_LIMIT 200000000u

struct regex {
    pcre2_code *code;
};

struct regex_state {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    struct text copy;
};

struct regex *regex_open(const char *pattern, size_t length, struct error *error)
{
    int code;
    PCRE2_SIZE offset;
    struct regex *regex = calloc(1, sizeof *regex);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!regex || !context) {
        out_of_memory(error);
        goto fail;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, length, PCRE2_UTF | PCRE2_UCP, &code, &offset, context);
    if (!regex->code) {
        PCRE2_UCHAR message[256];
        pcre2_get_error_message(code, message, sizeof message);
        error_set(error, "tokenizer: pattern '%.*s': %s at offset %zu", (int)(length < 200 ? length : 200), pattern,
                  (char *)message, (size_t)offset);
        goto fail;
    }
    /* Where there is no JIT, or no memory that may be executed, pcre2_match interprets. */
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    pcre2_compile_context_free(context);
    return regex;
fail:
    pcre2_compile_context_free(context);
    free(regex);
    return NULL;
}

void regex_close(struct regex *regex)
{
    if (regex) {
        pcre2_code_free(regex->code);
        free(regex);
    }
}

struct regex_state *regex_state_open(void)
{
    struct regex_state *state = calloc(1, sizeof *state);
    if (!state) {
        return NULL;
    }
    state->data = pcre2_match_data_create(1, NULL); /* only the whole match is asked for */
    state->context = pcre2_match_context_create(NULL);
    if (!state->data || !state->context) {
        regex_state_close(state);
        return NULL;
    }
    pcre2_set_match_limit(state->context, MATCH_LIMIT);
    pcre2_set_heap_limit(state->context, HEAP_LIMIT_KIB);
    state->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MOST, NULL);
    if (state->stack) { /* without it the JIT uses 32 KiB of the machine stack */
        pcre2_jit_stack_assign(state->context, NULL, state->stack);
    }
    return state;
}

void regex_state_close(struct regex_state *state)
{
    if (state) {
        pcre2_match_data_free(state->data);
        pcre2_match_context_free(state->context);
        pcre2_jit_stack_free(state->stack);
        free(state->copy.data);
        free(state);
    }
}

/* Sets walk->subject. Characters below U+0897, the first with a stand-in, begin with a byte below 0xE0. */
static int prepare(struct regex_walk *walk)
{
    struct text *copy = NULL;
    walk->subject = walk->text ? walk->text : "";
    for (size_t i = 0; i < walk->length;) {
        if ((unsigned char)walk->text[i] < 0xE0) {
            i++;
            continue;
        }
        uint32_t character;
        size_t bytes = utf8_read(walk->text + i, &character);
        uint32_t stand_in = unicode_stand_in(character);
        if (stand_in != character) {
            if (!copy) {
                copy = &walk->state->copy;
                copy->length = 0;
                if (text_add(copy, walk->text, walk->length)) {
                    return -1;
                }
                walk->subject = copy->data;
            }
            utf8_write(copy->data + i, stand_in);
        }
        i += bytes;
    }
    return 0;
}

int regex_next(struct regex_walk *walk, size_t *start, size_t *end, struct error *error)
{
    if (!walk->subject && prepare(walk)) {
        return out_of_memory(error);
    }
    while (walk->at <= walk->length) {
        int found = pcre2_match(walk->regex->code, (PCRE2_SPTR)walk->subject, walk->length, walk->at,
                                PCRE2_NO_UTF_CHECK, walk->state->data, walk->state->context);
        if (found == PCRE2_ERROR_NOMATCH) {
            walk->at = walk->length + 1;
            return 0;
        }
        if (found < 0) {
            PCRE2_UCHAR message[256];
            pcre2_get_error_message(found, message, sizeof message);
            return error_set(error, "tokenizer: a split pattern failed on this text: %s", (char *)message);
        }
        const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(walk->state->data);
        size_t from = bounds[0], to = bounds[1];
        if (from > to || from < walk->at) { /* \K inside a lookaround can do this */
            return error_set(error, "tokenizer: a split pattern matched backwards");
        }
        if (from == to && walk->any && walk->last_end == to) {
            uint32_t skipped;
            walk->at += walk->at < walk->length ? utf8_read(walk->text + walk->at, &skipped) : 1;
            continue;
        }
        walk->at = walk->last_end = to;
        walk->any = true;
        *start = from;
        *end = to;
        return 1;
    }
    return 0;
}
