/* LoRA adapters of peft (tests/fixtures/make_adapters.py) against what peft computes: chosen per row and merged, in f32 (2e-5)
   and bf16 (1e-2); and the default model's two adapters against their greedy outputs. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "fixture.h"
#include "host.h"
#include "process.h"

static const struct {
    const char *name;
    double tolerance;
} dtypes[] = {{"f32", 2e-5}, {"bf16", 1e-2}};

static const char *const bases[] = {"llama-text", "llama-bias", "llama-llama3", "qwen2-window", "qwen3-ratio3"};
enum { BASES = sizeof bases / sizeof *bases };

static const char *const adapters[] = {"plain", "all-linear", "regex", "layers",    "patterns",  "wide",
                                       "dora",  "dora-bias",  "bias",  "lora-bias", "embedding", "head",
                                       "saved", "saved-tied", "norms", "resized",   "torch"};
enum { ADAPTERS = sizeof adapters / sizeof *adapters };

struct adapter_case {
    const char *base;
    struct ids prompt, positions;
    struct npy logits;
    bool merged_only;
    int extra;
    cJSON *json;
};

static const char *adapter_folder(const char *name)
{
    return text("%s/tests/fixtures/adapters/%s", TEST_SOURCE_DIR, name);
}

static void load(struct adapter_case *item, const char *name)
{
    size_t length;
    char *source = file_read(text("%s/case.json", adapter_folder(name)), &length);
    item->json = json_parse(source, name);
    free(source);
    item->base = json_member(item->json, "base", name)->valuestring;
    item->prompt = json_ids(item->json, "prompt", name);
    item->positions = json_ids(item->json, "positions", name);
    item->merged_only = cJSON_IsTrue(json_member(item->json, "merged", name));
    item->extra = json_member(item->json, "extra", name)->valueint;
    npy_read(&item->logits, text("%s/logits.npy", adapter_folder(name)));
    /* A reference that the adapter hardly changes, or that bf16 cannot hold, would say nothing. */
    ck_assert_double_ge(json_member(item->json, "effect", name)->valuedouble, 0.1);
    ck_assert_double_le(json_member(item->json, "bf16_estimate", name)->valuedouble, 1e-2);
    ck_assert_double_le(json_member(item->json, "bf16_merged_estimate", name)->valuedouble, 1e-2); /* null: 0 */
}

static void unload(struct adapter_case *item)
{
    free(item->prompt.id);
    free(item->positions.id);
    npy_free(&item->logits);
    cJSON_Delete(item->json);
}

/* The logits of the case's positions, `columns` of each row, against the reference. */
static double error_of(const char *program, const struct adapter_case *item, size_t columns, const char *option,
                       const char *adapter)
{
    struct process_result result;
    struct npy logits;
    const char *file = text("%s.npy", program);
    char *ids = ids_text(item->prompt.id, item->prompt.count);
    process_ok(&result, program, "score", "--ids", ids, "--logits", file, "--json", option, adapter, NULL);
    process_free(&result);
    free(ids);
    npy_read(&logits, file);
    ck_assert_uint_eq(logits.columns, columns);
    size_t count = item->positions.count;
    float *found = calloc(count * columns, sizeof *found), *expected = calloc(count * columns, sizeof *expected);
    ck_assert(found && expected);
    for (size_t i = 0; i < count; i++) {
        memcpy(found + i * columns, logits.data + (size_t)item->positions.id[i] * columns, columns * sizeof *found);
        memcpy(expected + i * columns, item->logits.data + i * item->logits.columns, columns * sizeof *expected);
    }
    double error = relative_error(found, expected, count * columns);
    free(found);
    free(expected);
    npy_free(&logits);
    return error;
}

static void check_error(const char *name, const char *way, int dtype, double error)
{
    printf("%-12s %-7s %-5s %.2e\n", name, way, dtypes[dtype].name, error);
    fflush(stdout);
    ck_assert_msg(error <= dtypes[dtype].tolerance, "%s, %s, %s: logits differ by %.3e, at most %.0e allowed", name,
                  way, dtypes[dtype].name, error, dtypes[dtype].tolerance);
}

/* Every adapter of a base in one package. */
START_TEST(chosen_per_row)
{
    const char *base = bases[_i / 2], *name = dtypes[_i % 2].name;
    const char *arguments[2 * ADAPTERS + 1] = {NULL}; /* they outlive the buffers of text() */
    int used = 0;
    for (int a = 0; a < ADAPTERS; a++) {
        struct adapter_case item;
        load(&item, adapters[a]);
        if (strcmp(item.base, base) == 0 && !item.merged_only) {
            arguments[used++] = "--lora";
            arguments[used++] = strdup(text("%s=%s", adapters[a], adapter_folder(adapters[a])));
        }
        unload(&item);
    }
    ck_assert_int_ge(used, 2);
    if (_i % 2 == 0) /* those of bf16 as users build them */
        use_a_quick_compiler();
    const char *sets[MOST_VARIANTS];
    processor_sets(name, sets);
    const char *words[2 * ADAPTERS + 11] = {
        lathe(), "build", fixture_folder(base), "-o", temporary_path("%s-%s", base, name), "--quiet", "--dtype", name,
        "--cpu", sets[0]};
    memcpy(words + 10, arguments, (size_t)used * sizeof *words);
    struct process_result result;
    process_run(&result, NULL, words);
    ck_assert_msg(result.status == 0, "lathe build: %s", result.err);
    process_free(&result);
    char *program = strdup(executable(temporary_path("%s-%s", base, name)));
    for (int a = 0; a < ADAPTERS; a++) {
        struct adapter_case item;
        load(&item, adapters[a]);
        if (strcmp(item.base, base) == 0 && !item.merged_only)
            check_error(adapters[a], "rows", _i % 2,
                        error_of(program, &item, item.logits.columns - (size_t)item.extra, "--lora", adapters[a]));
        unload(&item);
    }
    free(program);
    while (used-- > 0)
        if (used % 2)
            free((void *)arguments[used]);
}
END_TEST

/* Writes the payload of a package with that adapter merged to `payload`; returns the package's sources, newly allocated. */
static char *pack(const char *model, const char *dtype, const char *name, const char *folder, const char *payload)
{
    static const char chunk[] =
        "local model, dtype, name, folder, payload = ...\n"
        "local pipeline = require 'pipeline'\n"
        "local recipe = pipeline.recipe({ dtype = dtype, lora = { [name] = folder }, merge_lora = name }, model)\n"
        "local plan, checkpoint, tokenizer = pipeline.plan(recipe, 'model')\n"
        "recipe.lora = {} -- the sources name it\n"
        "require 'pack.payload'.write(payload, 'new', plan, checkpoint, tokenizer, require 'progress' (true))\n"
        "local texts = { model }\n"
        "for i, file in ipairs(pipeline.sources(plan, recipe)) do texts[i + 1] = file.path .. file.text end\n"
        "return (table.concat(texts):gsub('//[^\\n]*\\n', ''))";
    lua_State *lua = host_state();
    ck_assert_ptr_nonnull(lua);
    ck_assert_msg(luaL_loadstring(lua, chunk) == LUA_OK, "%s", lua_tostring(lua, -1));
    const char *arguments[] = {model, dtype, name, folder, payload};
    for (int i = 0; i < 5; i++)
        lua_pushstring(lua, arguments[i]);
    if (lua_pcall(lua, 5, 1, 0) != LUA_OK) {
        if (lua_istable(lua, -1))
            lua_getfield(lua, -1, "message");
        ck_abort_msg("%s: %s", name, lua_tostring(lua, -1));
    }
    char *sources = strdup(lua_tostring(lua, -1));
    ck_assert_ptr_nonnull(sources);
    lua_close(lua);
    return sources;
}

/* Adapters that leave the sources the same differ in their payloads alone: one executable reads them all. */
START_TEST(merged)
{
    const char *dtype = dtypes[_i].name;
    char *sources[ADAPTERS], *programs[ADAPTERS];
    use_a_quick_compiler();
    for (int a = 0; a < ADAPTERS; a++) {
        struct adapter_case item;
        load(&item, adapters[a]);
        char *model = strdup(fixture_folder(item.base)), *folder = strdup(adapter_folder(adapters[a]));
        char *payload = strdup(temporary_path("%s-%s.bin", adapters[a], dtype));
        sources[a] = pack(model, dtype, adapters[a], folder, payload);
        int same = 0;
        while (strcmp(sources[same], sources[a]) != 0)
            same++;
        if (same == a)
            programs[a] = strdup(lathe_build(model, temporary_path("merged-%s-%s", adapters[a], dtype), "--dtype",
                                             dtype, "--merge-lora", text("%s=%s", adapters[a], folder), NULL));
        else
            programs[a] = strdup(programs[same]);
        check_error(adapters[a], "merged", _i, error_of(programs[a], &item, item.logits.columns, "--weights", payload));
        free(model);
        free(folder);
        free(payload);
        unload(&item);
    }
    for (int a = 0; a < ADAPTERS; a++) {
        free(sources[a]);
        free(programs[a]);
    }
}
END_TEST

/* The adapter that is chosen, or merged, continues every prompt as the reference does. */
static void check_greedy(const char *built, const char *name, const char *option)
{
    size_t length;
    char *program = strdup(built);
    char *lines = file_read(text("%s/tests/fixtures/default/%s.jsonl", TEST_SOURCE_DIR, name), &length), *rest = lines;
    int count = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line && count < 12; count++) {
        struct process_result result;
        cJSON *json = json_parse(line, name);
        struct ids prompt = json_ids(json, "prompt_ids", name), expected = json_ids(json, "ids", name);
        char *ids = ids_text(prompt.id, prompt.count);
        process_ok(&result, program, "run", "--ids", ids, "-n", text("%zu", expected.count), "--temp", "0", "--json",
                   option, name, NULL);
        cJSON *output = json_parse(result.out, "run --json");
        struct ids found = json_ids(output, "ids", "run --json");
        ck_assert_msg(found.count == expected.count &&
                          memcmp(found.id, expected.id, found.count * sizeof *found.id) == 0,
                      "%s: other tokens than the reference's for %s", name, ids);
        free(ids);
        free(prompt.id);
        free(expected.id);
        free(found.id);
        cJSON_Delete(json);
        cJSON_Delete(output);
        process_free(&result);
    }
    ck_assert_int_eq(count, 12);
    free(lines);
    free(program);
}

START_TEST(default_model)
{
    const char *model = text("%s/models/default", TEST_SOURCE_DIR);
    const char *pirate = text("pirate=%s/lora/pirate", model), *news = text("news=%s/lora/news", model);
    if (_i == 0) {
        char *program = strdup(
            lathe_build(model, temporary_path("default"), "--dtype", "f32", "--lora", pirate, "--lora", news, NULL));
        check_greedy(program, "pirate", "--lora");
        check_greedy(program, "news", "--lora");
        free(program);
    } else {
        check_greedy(
            lathe_build(model, temporary_path("default-pirate"), "--dtype", "f32", "--merge-lora", pirate, NULL),
            "pirate", NULL);
    }
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/adapters");
    TCase *rows = tcase_create("rows"), *in_weights = tcase_create("merged"), *greedy = tcase_create("greedy");
    tcase_set_timeout(rows, 300);
    tcase_set_timeout(in_weights, 800);
    tcase_set_timeout(greedy, 300);
    tcase_add_loop_test(rows, chosen_per_row, 0, 2 * BASES);
    tcase_add_loop_test(in_weights, merged, 0, 2);
    tcase_add_loop_test(greedy, default_model, 0, 2);
    suite_add_tcase(suite, rows);
    suite_add_tcase(suite, in_weights);
    suite_add_tcase(suite, greedy);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
