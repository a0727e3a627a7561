#include "fixture.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "process.h"

const char *const fixture_names[FIXTURE_COUNT] = {
    "llama-576",    "llama-linear", "llama-llama3", "llama-bias",   "llama-text", "mistral-window",
    "mistral-full", "qwen2-896",    "qwen2-ratio7", "qwen2-window", "qwen3-128",  "qwen3-ratio3",
};

const char *fixture_folder(const char *name)
{
    return text("%s/tests/fixtures/models/%s", TEST_SOURCE_DIR, name);
}

cJSON *json_parse(const char *source, const char *what)
{
    cJSON *json = cJSON_ParseWithOpts(source, NULL, 1);
    ck_assert_msg(json != NULL, "%s: not JSON: %.500s", what, source);
    return json;
}

const cJSON *json_member(const cJSON *object, const char *name, const char *what)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
    ck_assert_msg(member != NULL, "%s: no member '%s'", what, name);
    return member;
}

struct ids json_ids(const cJSON *object, const char *name, const char *what)
{
    const cJSON *array = json_member(object, name, what), *item;
    ck_assert_msg(cJSON_IsArray(array), "%s: '%s' is not an array", what, name);
    struct ids ids = {calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof *ids.id), 0};
    ck_assert_ptr_nonnull(ids.id);
    cJSON_ArrayForEach(item, array)
    {
        ck_assert_msg(cJSON_IsNumber(item), "%s: '%s' holds something that is not a number", what, name);
        ids.id[ids.count++] = item->valueint;
    }
    return ids;
}

void fixture_load(struct fixture *fixture, const char *name)
{
    const char *folder = fixture_folder(name);
    char *source = file_read(text("%s/reference/case.json", folder), NULL);
    memset(fixture, 0, sizeof *fixture);
    fixture->name = name;
    fixture->folder = folder;
    fixture->json = json_parse(source, name);
    free(source);
    fixture->prompt = json_ids(fixture->json, "prompt", name);
    fixture->positions = json_ids(fixture->json, "positions", name);
    const cJSON *greedy = json_member(fixture->json, "greedy", name);
    fixture->greedy_prompt = json_ids(greedy, "prompt", name);
    fixture->greedy = json_ids(greedy, "ids", name);
    npy_read(&fixture->logits, text("%s/reference/logits.npy", folder));
    ck_assert_uint_eq(fixture->logits.rows, fixture->positions.count);
}

void fixture_free(struct fixture *fixture)
{
    free(fixture->prompt.id);
    free(fixture->positions.id);
    free(fixture->greedy_prompt.id);
    free(fixture->greedy.id);
    npy_free(&fixture->logits);
    cJSON_Delete(fixture->json);
    memset(fixture, 0, sizeof *fixture);
}

char *ids_text(const int32_t *ids, size_t count)
{
    char *line = malloc(count * 12 + 1), *end = line;
    ck_assert_ptr_nonnull(line);
    *line = 0;
    for (size_t i = 0; i < count; i++)
        end += sprintf(end, "%s%d", i ? "," : "", ids[i]);
    return line;
}

const char *lathe(void)
{
    const char *program = getenv("LATHE");
    return program && program[0] ? program : TEST_BINARY_DIR "/lathe";
}

const char *executable(const char *output)
{
    const char *slash = strrchr(output, '/');
    return text("%s/%s", output, slash ? slash + 1 : output);
}

int processor_sets(const char *dtype, const char *names[MOST_VARIANTS])
{
    int count = 0;
#if defined(__x86_64__)
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16") && strcmp(dtype, "bf16") == 0)
        names[count++] = "bf16";
    if (avx512)
        names[count++] = "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        names[count++] = "avx2";
#endif
    names[count++] = "scalar";
    return count;
}

/* lathe VERB MODEL -o OUTPUT --quiet OPTIONS..., the folders above OUTPUT being made first; compiled for `most` of the
   instruction sets that this processor has, the best, unless the options name one. */
static void make(const char *verb, const char *model, const char *output, int most, va_list options)
{
    enum { MOST_WORDS = 128 };
    const char *arguments[MOST_WORDS] = {lathe(), verb, model, "-o", output, "--quiet"}, *more;
    const char *dtype = "bf16", *sets[MOST_VARIANTS];
    int count = 6;
    bool chosen = strcmp(verb, "build") != 0;
    while ((more = va_arg(options, const char *)) && count < MOST_WORDS - 2 * MOST_VARIANTS - 1) {
        if (strcmp(arguments[count - 1], "--dtype") == 0)
            dtype = more;
        chosen |= strcmp(more, "--cpu") == 0;
        arguments[count++] = more;
    }
    int found = chosen ? 0 : processor_sets(dtype, sets);
    for (int i = 0; i < found && i < most; i++) {
        arguments[count++] = "--cpu";
        arguments[count++] = sets[i];
    }
    arguments[count] = NULL;
    struct process_result result;
    process_ok(&result, "mkdir", "-p", "--", text("%.*s", (int)(strrchr(output, '/') - output), output), NULL);
    process_free(&result);
    process_run(&result, NULL, arguments);
    ck_assert_msg(result.status == 0, "lathe %s %s: status %d: %.3000s", verb, model, result.status, result.err);
    process_free(&result);
}

void use_a_quick_compiler(void)
{
    static const char script[] = "#!/bin/sh\nexec cc \"$@\" -O0\n";
    const char *path = temporary_path("quick-cc");
    file_write(path, script, sizeof script - 1);
    ck_assert(chmod(path, 0755) == 0 && setenv("CC", path, 1) == 0);
}

const char *lathe_build(const char *model, const char *output, ...)
{
    va_list options;
    va_start(options, output);
    make("build", model, output, 1, options);
    va_end(options);
    return executable(output);
}

const char *lathe_build_sets(const char *model, const char *output, ...)
{
    va_list options;
    va_start(options, output);
    make("build", model, output, MOST_VARIANTS, options);
    va_end(options);
    return executable(output);
}

void lathe_generate(const char *model, const char *output, ...)
{
    va_list options;
    va_start(options, output);
    make("generate", model, output, 0, options);
    va_end(options);
}

int package_variants(const char *program, const char *names[MOST_VARIANTS])
{
    static char kept[MOST_VARIANTS][32];
    struct process_result result;
    int count = 0;
    process_ok(&result, program, "info", "--json", NULL);
    cJSON *json = json_parse(result.out, "info --json");
    const cJSON *variant, *variants = json_member(json, "variants", "info --json");
    cJSON_ArrayForEach(variant, variants)
    {
        if (!cJSON_IsTrue(json_member(variant, "supported", "info --json")))
            continue;
        ck_assert_int_lt(count, MOST_VARIANTS);
        snprintf(kept[count], sizeof kept[count], "%s", json_member(variant, "name", "info --json")->valuestring);
        names[count] = kept[count];
        count++;
    }
    cJSON_Delete(json);
    process_free(&result);
    ck_assert_int_ge(count, 1);
    return count;
}
