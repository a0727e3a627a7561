/* Compiled tokenizers for tests, and JSON with \u0000 in it, which cJSON would cut. */
#ifndef LATHE_TEST_TOKENIZER_FIXTURE_H
#define LATHE_TEST_TOKENIZER_FIXTURE_H

#include <cJSON.h>
#include <stddef.h>

#include "tokenizer.h"

struct tokenizer_fixture {
    void *tables;
    size_t bytes;
    struct tokenizer *tokenizer;
};

/* tests/fixtures/tokenizer/NAME, unpacked, followed by a NUL; free it. */
char *tokenizer_unpack(const char *name, size_t *length);
/* Compiles a tokenizer.json with $LATHE and opens it; fails the test when that fails. */
void tokenizer_compile(struct tokenizer_fixture *fixture, const char *json, size_t length);
void tokenizer_fixture_free(struct tokenizer_fixture *fixture);
/* What lathe says when it refuses a tokenizer.json, newly allocated; fails the test when it accepts it. */
char *tokenizer_refusal(const char *json);

/* Parses one line of cases; changes it. Free with cJSON_Delete. */
cJSON *cases_parse(char *line);
/* The bytes of a string that cases_parse made, newly allocated. */
char *cases_string(const cJSON *object, const char *name, size_t *length);

/* Fails the test unless the ids are those of the JSON array. */
void cases_check_ids(const cJSON *expected, const struct token_list *found, const char *name, const char *text);

#endif
