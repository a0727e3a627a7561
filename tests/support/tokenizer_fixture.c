#include "tokenizer_fixture.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

/* \u0000 passes through cJSON as U+FDD0, which no text of ours holds. */
#define STAND_IN "\xEF\xB7\x90"

static const char *lathe_program(void)
{
    const char *program = getenv("LATHE");
    ck_assert_msg(program != NULL, "LATHE names no generator");
    return program;
}

char *tokenizer_unpack(const char *name, size_t *length)
{
    struct process_result result;
    process_ok(&result, "xz", "-dc", text("%s/tests/fixtures/tokenizer/%s", TEST_SOURCE_DIR, name), NULL);
    char *data = result.out;
    *length = result.out_length;
    result.out = NULL;
    process_free(&result);
    return data;
}

void tokenizer_compile(struct tokenizer_fixture *fixture, const char *json, size_t length)
{
    const char *input = temporary_path("tokenizer.json"), *output = temporary_path("tokenizer.tables");
    struct process_result result;
    struct error error = {""};
    file_write(input, json, length);
    process_ok(&result, lathe_program(), "tokenizer-tables", input, "-o", output, NULL);
    process_free(&result);
    fixture->tables = file_read(output, &fixture->bytes);
    fixture->tokenizer = tokenizer_open(fixture->tables, fixture->bytes, &error);
    ck_assert_msg(fixture->tokenizer != NULL, "%s", error.message);
}

void tokenizer_fixture_free(struct tokenizer_fixture *fixture)
{
    tokenizer_close(fixture->tokenizer);
    free(fixture->tables);
}

char *tokenizer_refusal(const char *json)
{
    const char *input = temporary_path("refused.json");
    struct process_result result;
    file_write(input, json, strlen(json));
    process(&result, lathe_program(), "tokenizer-tables", input, NULL);
    ck_assert_msg(result.status == 1, "status %d for %.300s", result.status, json);
    ck_assert_msg(strncmp(result.err, "lathe: error: ", 14) == 0, "%s", result.err);
    char *message = result.err;
    result.err = NULL;
    process_free(&result);
    return message;
}

cJSON *cases_parse(char *line)
{
    for (char *at = line; (at = strstr(at, "\\u0000")) != NULL; at += 6) {
        memcpy(at, "\\ufdd0", 6);
    }
    cJSON *json = cJSON_Parse(line);
    ck_assert_msg(json != NULL, "not JSON: %.200s", line);
    return json;
}

char *cases_string(const cJSON *object, const char *name, size_t *length)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    ck_assert_msg(value != NULL, "no member '%s'", name);
    char *copy = malloc(strlen(value) + 1);
    ck_assert_ptr_nonnull(copy);
    *length = 0;
    while (*value) {
        bool stand_in = strncmp(value, STAND_IN, 3) == 0;
        copy[(*length)++] = stand_in ? '\0' : *value;
        value += stand_in ? 3 : 1;
    }
    copy[*length] = '\0';
    return copy;
}

void cases_check_ids(const cJSON *expected, const struct token_list *found, const char *name, const char *text)
{
    ck_assert_msg(cJSON_IsArray(expected), "%s: no ids", name);
    const cJSON *item;
    size_t at = 0;
    cJSON_ArrayForEach(item, expected)
    {
        ck_assert_msg(at < found->count && found->id[at] == item->valueint,
                      "%s: text '%s': id %zu of %zu: expected %d, found %d", name, text, at, found->count,
                      item->valueint, at < found->count ? found->id[at] : -1);
        at++;
    }
    ck_assert_msg(at == found->count, "%s: text '%s': expected %zu ids, found %zu", name, text, at, found->count);
}
