/* What `lathe generate` writes compiles without a warning: by gcc and clang, for every instruction set. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "host.h"
#include "process.h"

/* A window and biases, head norms, all biases; the last ones for a GPU: head norms, two runs of layers. */
static const struct package {
    const char *model, *dtype, *target, *rows;
} packages[] = {{"qwen2-window", "bf16", "c", "512"},
                {"qwen3-ratio3", "f32", "c", "512"},
                {"llama-bias", "bf16", "c", "512"},
                {"qwen3-ratio3", "bf16", "cuda", "8"},
                {"qwen2-window", "bf16", "cuda", "512"}};

enum { PACKAGES = sizeof packages / sizeof *packages, FOR_CPU = 3 };

static const char *made_folder(const struct package *package)
{
    return temporary_path("%s-%s/%s", package->target, package->dtype, package->model);
}

/* Draft heads: no norm and biases, a tap of the last layer and biases; both with slots for adapters. */
static const char *const heads[] = {"safeailab-eagle1-qwen", "speculators"};
enum { HEADS = sizeof heads / sizeof *heads };

static void generate_all(void)
{
    for (int i = 0; i < HEADS; i++)
        lathe_generate(TEST_SOURCE_DIR "/tests/fixtures/heads/target", temporary_path("heads/%s", heads[i]), "--eagle",
                       text("%s/tests/fixtures/heads/%s", TEST_SOURCE_DIR, heads[i]), "--lora-slots", "1", NULL);
    for (int i = 0; i < PACKAGES; i++)
        lathe_generate(fixture_folder(packages[i].model), made_folder(&packages[i]), "--dtype", packages[i].dtype,
                       "--target", packages[i].target, "--max-rows", packages[i].rows, NULL);
}

/* The compiler's flags, from the generator itself, and those of each instruction set, from the manifest. */
static const char *common_flags(void)
{
    lua_State *lua = host_state();
    ck_assert_ptr_nonnull(lua);
    ck_assert_msg(luaL_dostring(lua, "return require('compile.cc').flags()") == LUA_OK, "%s", lua_tostring(lua, -1));
    const char *flags = text("%s", lua_tostring(lua, -1));
    lua_close(lua);
    return flags;
}

/* thorough: with the warnings that need the flow of data, which take an optimising compiler, and longer. */
static void compile(const char *folder, const char *compiler, const char *variant, const char *flags, const char *files,
                    bool thorough)
{
    struct process_options options = {.directory = text("%s/src", folder)};
    struct process_result result;
    const char *command = text("%s %s %s -DVARIANT=%s -Wpedantic -Werror", compiler, common_flags(), flags, variant);
    const char *script = thorough
                             ? text("for file in %s; do %s -O1 -S -o /dev/null $file || exit 1; done", files, command)
                             : text("%s -fsyntax-only %s", command, files);
    const char *arguments[] = {"sh", "-c", script, NULL};
    process_run(&result, &options, arguments);
    ck_assert_msg(result.status == 0 && result.err_length == 0, "%s, %s, %s: %.2000s", folder, compiler, variant,
                  result.err);
    process_free(&result);
}

static const char *const compilers[] = {"gcc", "clang"};

static bool is_here(const char *compiler)
{
    struct process_result result;
    process(&result, "sh", "-c", text("command -v %s", compiler), NULL);
    bool here = result.status == 0;
    if (!here)
        printf("  %s is not here: skipped\n", compiler);
    process_free(&result);
    return here;
}

START_TEST(compiles_without_warnings)
{
    const char *compiler = compilers[_i / FOR_CPU];
    const char *folder = made_folder(&packages[_i % FOR_CPU]);
    if (!is_here(compiler))
        return;
    char *source = file_read(text("%s/MANIFEST.json", folder), NULL);
    cJSON *manifest = json_parse(source, "MANIFEST.json");
    const cJSON *variant, *flag, *path;
    char files[2048] = "";
    cJSON_ArrayForEach(path, json_member(manifest, "compiled_per_variant", "MANIFEST.json"))
        snprintf(files + strlen(files), sizeof files - strlen(files), " %s", path->valuestring + strlen("src/"));
    ck_assert_ptr_nonnull(strstr(files, "attention.c"));
    int variants = 0;
    cJSON_ArrayForEach(variant, json_member(manifest, "variants", "MANIFEST.json"))
    {
        char flags[512] = "";
        cJSON_ArrayForEach(flag, json_member(variant, "flags", "variants"))
            snprintf(flags + strlen(flags), sizeof flags - strlen(flags), " %s", flag->valuestring);
        const char *name = json_member(variant, "name", "variants")->valuestring;
        bool scalar = strcmp(name, "scalar") == 0;
        if (scalar || _i % FOR_CPU < 2) /* what the instruction sets change is in the prelude: once a dtype is enough */
            compile(folder, compiler, name, flags, files, scalar && _i == 0);
        variants++;
    }
    ck_assert_int_ge(variants, 3);
    compile(folder, compiler, "common", "", "package.c main.c", true);
    compile(folder, compiler, "common", "-DSOURCES_EDITED", "package.c", true);
    cJSON_Delete(manifest);
    free(source);
}
END_TEST

/* Taps and features in the model, and the head's own step. */
START_TEST(heads_compile_without_warnings)
{
    const char *folder = temporary_path("heads/%s", heads[_i / 2]), *compiler = compilers[_i % 2];
    if (is_here(compiler))
        compile(folder, compiler, "scalar", "", "*.c draft/*.c", false);
}
END_TEST

/* The C of a package for the GPU; tests/cuda has its kernels. */
START_TEST(gpu_compiles_without_warnings)
{
    const char *folder = made_folder(&packages[FOR_CPU + _i / 2]), *compiler = compilers[_i % 2];
    if (is_here(compiler))
        compile(folder, compiler, "common", "-DCUDA_VERSION=13000", "cuda/model.c cuda/package.c package.c main.c",
                true);
}
END_TEST

/* The check above sees a warning when there is one. */
START_TEST(a_warning_is_seen)
{
    struct process_result result;
    const char *folder = temporary_path("warned");
    file_copy(made_folder(&packages[0]), folder);
    const char *script = text("%s %s -DVARIANT=scalar -Wpedantic -Werror -S -o /dev/null head.c", "cc", common_flags());
    const char *arguments[] = {"sh", "-c", script, NULL};
    process_ok(&result, "sed", "-i", "s/int start = /int unused, start = /", text("%s/src/head.c", folder), NULL);
    process_free(&result);
    process_run(&result, &(struct process_options){.directory = text("%s/src", folder)}, arguments);
    ck_assert_int_ne(result.status, 0);
    ck_assert_ptr_nonnull(strstr(result.err, "unused"));
    process_free(&result);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/warnings");
    TCase *warnings = tcase_create("warnings");
    tcase_set_timeout(warnings, 180);
    tcase_add_unchecked_fixture(warnings, generate_all, NULL);
    tcase_add_loop_test(warnings, gpu_compiles_without_warnings, 0, 2 * (PACKAGES - FOR_CPU));
    tcase_add_loop_test(warnings, heads_compile_without_warnings, 0, 2 * HEADS);
    tcase_add_test(warnings, a_warning_is_seen);
    tcase_add_loop_test(warnings, compiles_without_warnings, 0, 2 * FOR_CPU);
    suite_add_tcase(suite, warnings);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
