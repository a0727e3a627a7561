/* Speculation in a package: the default model with its EAGLE-3 head and two adapters says the same with guesses and without,
   whatever ends the text and however tokens are chosen; a chain's cycles are as many as those of the reference in PyTorch
   (tests/fixtures/default). LATHE_SPECULATION=N: N prompts of the 32 instead of a few. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "process.h"

enum { CASES = 32, MOST_ARGUMENTS = 48 };

#define MODEL TEST_SOURCE_DIR "/models/default"

static char program[512];
static cJSON *cases[CASES], *drafts[CASES];
static int prompts = 4;

static void load_lines(const char *name, cJSON **lines)
{
    char *all = file_read(text("%s/tests/fixtures/default/%s", TEST_SOURCE_DIR, name), NULL);
    int count = 0;
    for (char *line = strtok(all, "\n"); line && count < CASES; line = strtok(NULL, "\n"))
        lines[count++] = json_parse(line, name);
    ck_assert_int_eq(count, CASES);
    free(all);
}

static void load(void)
{
    load_lines("base.jsonl", cases);
    load_lines("base.eagle3.jsonl", drafts);
    /* In f32, as the reference computed; a context that a text can fill. */
    snprintf(program, sizeof program, "%s",
             lathe_build(MODEL, temporary_path("story"), "--dtype", "f32", "--max-seq", "320", "--eagle",
                         MODEL "/eagle3", "--eagle-gap", "1", "--lora", "pirate=" MODEL "/lora/pirate", "--lora",
                         "news=" MODEL "/lora/news", NULL));
    const char *wanted = getenv("LATHE_SPECULATION");
    if (wanted && atoi(wanted) > 0)
        prompts = atoi(wanted) < CASES ? atoi(wanted) : CASES;
}

/* What `run --json` says of case `number` with the options [..., NULL] and `draft`'s [..., NULL]. */
static cJSON *run(int number, const char *const *options, const char *const *draft)
{
    struct process_result result;
    struct ids prompt = json_ids(cases[number], "prompt_ids", "base.jsonl");
    char *ids = ids_text(prompt.id, prompt.count);
    const char *arguments[MOST_ARGUMENTS] = {program, "run", "--json", "--ids", ids};
    int count = 5;
    for (; *options; options++)
        arguments[count++] = *options;
    for (; *draft; draft++)
        arguments[count++] = *draft;
    process_run(&result, NULL, arguments);
    ck_assert_msg(result.status == 0, "status %d: %s", result.status, result.err);
    cJSON *json = json_parse(result.out, "run --json");
    process_free(&result);
    free(ids);
    free(prompt.id);
    return json;
}

static int whole_number(const cJSON *json, const char *name)
{
    return (int)json_member(json, name, "run --json")->valuedouble;
}

/* What a text is: everything but how it came about. */
static void expect_same_text(const cJSON *plain, const cJSON *found, const char *what)
{
    static const char *const parts[] = {"prompt_ids", "ids", "logprobs", "top_logprobs", "text", "finish", "seed"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const cJSON *a = cJSON_GetObjectItem(plain, parts[i]), *b = cJSON_GetObjectItem(found, parts[i]);
        ck_assert_msg((!a && !b) || cJSON_Compare(a, b, true),
                      "%s: \"%s\" differs from the plain text's:\n%.1500s\nplain:\n%.1500s", what, parts[i],
                      cJSON_PrintUnformatted(b), cJSON_PrintUnformatted(a));
    }
}

static const char *const no_draft[] = {"--draft", "none", NULL};
static const char *const kinds[][8] = {
    {NULL},
    {"--draft", "ngram", "--draft-ngram", "1", NULL},
    {"--draft-top-k", "1", NULL},
    {"--draft", "eagle", "--draft-tokens", "30", "--draft-depth", "7", "--draft-top-k", "6"},
};

enum { KINDS = 4 };

/* With each kind of guesses what it is without. */
static void expect_same(int number, const char *const *options)
{
    cJSON *plain = run(number, options, no_draft);
    ck_assert_ptr_null(cJSON_GetObjectItem(plain, "steps"));
    for (int kind = 0; kind < KINDS; kind++) {
        const char *draft[9] = {0};
        memcpy(draft, kinds[kind], sizeof kinds[kind]);
        cJSON *found = run(number, options, draft);
        expect_same_text(plain, found, text("prompt %d, guesses of kind %d", number, kind));
        int tokens = cJSON_GetArraySize(json_member(found, "ids", "run --json"));
        int steps = whole_number(found, "steps"), accepted = whole_number(found, "accepted");
        ck_assert_int_eq(steps, whole_number(found, "decode_steps"));
        ck_assert_int_le(accepted, whole_number(found, "drafted"));
        ck_assert_int_ge(1 + steps + accepted, tokens); /* more than the text has: it ended within a path */
        ck_assert(tokens < 20 || kind == 1 || steps * 2 < tokens);
        cJSON_Delete(found);
    }
    cJSON_Delete(plain);
}

START_TEST(greedy)
{
    static const char *const adapters[][7] = {{"--temp", "0", "-n", "64", NULL},
                                              {"--temp", "0", "-n", "64", "--lora", "pirate", NULL},
                                              {"--temp", "0", "-n", "64", "--lora", "news", NULL}};
    for (int i = 0; i < prompts; i++)
        expect_same(i, adapters[_i]);
}
END_TEST

START_TEST(sampled)
{
    static const char *const options[][20] = {
        {"--temp", "1", "-n", "64", "--seed", "7", NULL},
        {"--temp", "1.3", "-n", "64", "--top-k", "50", "--top-p", "0.9", "--min-p", "0.01", "--seed", "8", NULL},
        {"--temp", "0.8", "-n", "64", "--repetition-penalty", "1.2", "--presence-penalty", "0.4", "--frequency-penalty",
         "0.2", "--logit-bias", "20=-1.5", "--logit-bias", "265=-inf", "--logprobs", "3", NULL},
    };
    for (int i = 0; i < prompts; i++)
        expect_same(i + 4 < CASES ? i + 4 : i, options[_i]);
}
END_TEST

/* Everything that ends a text, also in the middle of an accepted path. */
START_TEST(ends)
{
    static const char *const options[][10] = {
        {"--temp", "0", "-n", "-1", NULL},                                          /* the model's own end */
        {"--temp", "0", "-n", "-1", "--ignore-eos", NULL},                          /* the context's */
        {"--temp", "0", "-n", "100", "--stop", "the ", NULL},                       /* a text across tokens */
        {"--temp", "0", "-n", "100", "--stop", "e a", "--min-tokens", "25", NULL},  /* not too early */
        {"--temp", "0", "-n", "100", "--stop-id", "20", NULL},                      /* a token */
        {"--temp", "0", "-n", "100", "--stop-id", "20", "--min-tokens", "33", NULL} /* which may not come before */
    };
    expect_same(_i + 8, options[_i]);
}
END_TEST

START_TEST(every_length)
{
    for (int length = 1; length <= 8; length++) {
        const char *options[] = {"--temp", "0", "-n", text("%d", length), NULL};
        expect_same(3, options);
    }
}
END_TEST

/* A prompt in chunks of any size: the head reads it as it is read. */
START_TEST(chunks)
{
    static const char *const options[][7] = {{"--temp", "0", "-n", "40", "--chunk", "1", NULL},
                                             {"--temp", "0", "-n", "40", "--chunk", "7", NULL}};
    static const char *const whole[] = {"--temp", "0", "-n", "40", NULL}, *const none[] = {NULL};
    cJSON *plain = run(2, whole, none);
    for (int i = 0; i < 2; i++) {
        cJSON *found = run(2, options[i], none);
        expect_same_text(plain, found, "in chunks");
        ck_assert_int_eq(whole_number(found, "steps"), whole_number(plain, "steps"));
        ck_assert_int_eq(whole_number(found, "accepted"), whole_number(plain, "accepted"));
        cJSON_Delete(found);
    }
    cJSON_Delete(plain);
}
END_TEST

/* Every cycle gains as many tokens as the reference's. The last one may be cut off there. */
static void expect_gains(const cJSON *found, const cJSON *lengths, int number)
{
    const cJSON *gained = json_member(found, "gained", "run --json")->child;
    int cycle = 0;
    for (const cJSON *length = lengths->child; length && gained; cycle++, length = length->next, gained = gained->next)
        ck_assert_msg(gained->valuedouble == length->valuedouble || (!gained->next && !length->next),
                      "prompt %d: cycle %d gains %g, the reference's %g", number, cycle, gained->valuedouble,
                      length->valuedouble);
}

/* As many cycles as the reference's, whose text it is: what is drafted and accepted is the same. */
START_TEST(cycles_of_the_reference)
{
    static const char *const chain[] = {"--draft-top-k", "1", "--draft-tokens", "5", NULL};
    for (int i = 0; i < prompts; i++) {
        int tokens = cJSON_GetArraySize(json_member(cases[i], "ids", "base.jsonl"));
        if (tokens > 250)
            continue; /* the context is full */
        const char *options[] = {"--temp", "0", "-n", text("%d", tokens), NULL};
        cJSON *found = run(i, options, chain);
        ck_assert(cJSON_Compare(json_member(found, "ids", "run"), json_member(cases[i], "ids", "base.jsonl"), true));
        int cycles = cJSON_GetArraySize(json_member(drafts[i], "chain_lengths", "base.eagle3.jsonl"));
        ck_assert_msg(whole_number(found, "steps") == cycles, "prompt %d: %d cycles, the reference has %d", i,
                      whole_number(found, "steps"), cycles);
        expect_gains(found, json_member(drafts[i], "chain_lengths", "base.eagle3.jsonl"), i);
        cJSON_Delete(found);
        /* Its first trees. */
        static const char *const none[] = {NULL};
        cJSON *lengths = cJSON_CreateArray();
        const cJSON *trees = json_member(drafts[i], "trees", "base.eagle3.jsonl"), *tree;
        cJSON_ArrayForEach(tree, trees)
            cJSON_AddItemToArray(lengths, cJSON_CreateNumber(json_member(tree, "gained", "trees")->valuedouble));
        found = run(i, options, none);
        expect_gains(found, lengths, i);
        cJSON_Delete(found);
        cJSON_Delete(lengths);
    }
}
END_TEST

/* Texts beside each other, each with its tree, each with its adapter: bench compares every token with plain steps. */
START_TEST(beside_each_other)
{
    static const char *const batches[] = {"1", "3", "16"};
    struct process_result result;
    for (int kind = 0; kind < 2; kind++) {
        process_ok(&result, program, "bench", "--prompt", "24", "--gen", "40", "--batch", batches[_i], "--repeat", "1",
                   "--lora", "all", "--json", "--draft", kind ? "ngram" : "eagle", NULL);
        cJSON *json = json_parse(result.out, "bench --json");
        const cJSON *figures = json_member(json, "drafts", "bench --json");
        int cycles = whole_number(figures, "cycles"), accepted = whole_number(figures, "accepted");
        ck_assert_int_eq(cycles + accepted, 40 * atoi(batches[_i]));
        ck_assert_str_eq(json_member(figures, "kind", "drafts")->valuestring, kind ? "ngram" : "eagle");
        ck_assert(kind || json_member(figures, "accepted_length", "drafts")->valuedouble > 1.2);
        cJSON_Delete(json);
        process_free(&result);
    }
}
END_TEST

/* Turns that keep what the head has read. */
START_TEST(chat)
{
    static const char input[] =
        "Tell me a story about a fox.\nAnd one about an owl.\n/again\n/reset\nTell me a bedtime "
        "story.\n";
    struct process_result plain, found;
    const char *arguments[] = {program, "chat", "-n", "40", "--temp", "0", "--draft", "none", NULL};
    process_run(&plain, &(struct process_options){.input = input}, arguments);
    ck_assert_msg(plain.status == 0, "%s", plain.err);
    for (int kind = 0; kind < 2; kind++) {
        arguments[7] = kind ? "ngram" : "eagle";
        process_run(&found, &(struct process_options){.input = input}, arguments);
        ck_assert_msg(found.status == 0, "%s", found.err);
        ck_assert_str_eq(found.out, plain.out);
        process_free(&found);
    }
    process_free(&plain);
}
END_TEST

START_TEST(refusals)
{
    struct process_result result;
    process(&result, program, "run", "--ids", "1", "--draft", "oracle", NULL);
    ck_assert_int_eq(result.status, 2);
    ck_assert_msg(strstr(result.err, "--draft: expected none, ngram or eagle, found 'oracle'") != NULL, "%s",
                  result.err);
    process_free(&result);
    process(&result, program, "run", "--ids", "1", "--draft", "eagle", "--no-eagle", NULL);
    ck_assert_int_eq(result.status, 2);
    process_free(&result);
    process_ok(&result, program, "run", "--ids", "1,2,3", "-n", "5", "--no-eagle", "--json", NULL);
    ck_assert_ptr_null(strstr(result.out, "\"steps\""));
    process_free(&result);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/speculation");
    TCase *tests = tcase_create("speculation");
    tcase_set_timeout(tests, 600);
    tcase_add_unchecked_fixture(tests, load, NULL);
    tcase_add_loop_test(tests, greedy, 0, 3);
    tcase_add_loop_test(tests, sampled, 0, 3);
    tcase_add_loop_test(tests, ends, 0, 6);
    tcase_add_test(tests, every_length);
    tcase_add_test(tests, chunks);
    tcase_add_test(tests, cycles_of_the_reference);
    tcase_add_loop_test(tests, beside_each_other, 0, 3);
    tcase_add_test(tests, chat);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
