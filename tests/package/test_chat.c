/* chat and render on the default model: prompts, answers, what is kept between turns, the context's end; and a person at a
   terminal, played through a pseudo-terminal. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "process.h"

static char program[512], small[512]; /* small: a context of 64 positions */

static void build(void)
{
    snprintf(program, sizeof program, "%s",
             lathe_build(TEST_SOURCE_DIR "/models/default", temporary_path("story"), NULL));
    snprintf(small, sizeof small, "%s",
             lathe_build(TEST_SOURCE_DIR "/models/default", temporary_path("small"), "--max-seq", "64", NULL));
}

/* Runs a command with this on its standard input; fails the test unless it ends with `status`. */
static void run(struct process_result *result, const char *input, int status, const char *const *arguments)
{
    struct process_options options = {.input = input, .seconds = 120};
    process_run(result, &options, arguments);
    ck_assert_msg(result->status == status && !result->timed_out, "status %d, expected %d: %.1000s", result->status,
                  status, result->err);
}

#define RUN(result, input, status, ...) run(result, input, status, (const char *const[]){__VA_ARGS__, NULL})

/* ---- render */

START_TEST(render_prints_the_prompt)
{
    struct process_result result;
    const char *messages =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": "
        "\" Hi \"}, {\"role\": \"assistant\", \"content\": \"Ho\"}]}";
    RUN(&result, messages, 0, program, "render");
    ck_assert_str_eq(result.out,
                     "<s><|system|>\nS<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHo</s>\n<|assistant|>\n");
    process_free(&result);
    RUN(&result, messages, 0, program, "render", "--no-generation-prompt");
    ck_assert_str_eq(result.out, "<s><|system|>\nS<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHo</s>\n");
    process_free(&result);
    /* A key of the conversation comes before the package's own. */
    RUN(&result, "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"bos_token\": \"B\"}", 0, program,
        "render");
    ck_assert_str_eq(result.out, "B<|user|>\nx<|end|>\n<|assistant|>\n");
    process_free(&result);
}
END_TEST

START_TEST(render_refuses_in_one_line)
{
    static const char *const inputs[][2] = {
        {"", "standard input: JSON: line 1, column 1: expected a JSON value"},
        {"{\"messages\": 1}", "messages: expected a list"},
        {"{\"messages\": [{\"role\": 1, \"content\": \"a\"}]}", "chat template, line 3: "},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}", "expected UTF-8"},
    };
    struct process_result result;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        RUN(&result, inputs[i][0], 1, program, "render");
        ck_assert_msg(strstr(result.err, inputs[i][1]) &&
                          strchr(result.err, '\n') == result.err + result.err_length - 1,
                      "%s: %s", inputs[i][1], result.err);
        process_free(&result);
    }
    RUN(&result, "", 1, program, "render", "--template", "rag");
    ck_assert_msg(strstr(result.err, "no chat template called 'rag', only: default"), "%s", result.err);
    process_free(&result);
}
END_TEST

/* A template of the user's own; none; one that cannot be translated. */
START_TEST(templates_at_build_time)
{
    struct process_result result;
    const char *own = temporary_path("own.jinja"), *bad = temporary_path("bad.jinja");
    file_write(own, "{{ messages|length }}{{ eos_token }}", 36);
    file_write(bad, "\n{{ x | urlize }}", 17);
    const char *model = fixture_folder("llama-text"), *output = temporary_path("own");
    RUN(&result, "", 0, lathe(), "build", model, "-o", output, "--quiet", "--cpu", "scalar", "--chat-template", own);
    process_free(&result);
    RUN(&result, "{\"messages\": [{}, {}]}", 0, executable(output), "render");
    ck_assert_int_eq(result.out[0], '2');
    process_free(&result);
    RUN(&result, "", 0, lathe(), "build", model, "-o", output, "--quiet", "--cpu", "scalar", "--chat-template", "none");
    process_free(&result);
    RUN(&result, "", 1, executable(output), "render");
    ck_assert_msg(strstr(result.err, "has no chat template"), "%s", result.err);
    process_free(&result);
    RUN(&result, "hi\n", 1, executable(output), "chat");
    ck_assert_msg(strstr(result.err, "has no chat template"), "%s", result.err);
    process_free(&result);
    RUN(&result, "", 1, lathe(), "build", model, "-o", output, "--quiet", "--cpu", "scalar", "--chat-template", bad);
    ck_assert_msg(strstr(result.err,
                         "bad.jinja: line 2: the filter 'urlize' is outside the subset; give another template "
                         "with --chat-template FILE, or build without one: --chat-template none"),
                  "%s", result.err);
    process_free(&result);
}
END_TEST

/* ---- chat, from a file */

/* What `run` makes of this prompt, greedily: an answer and the line feed after it. */
static char *answer_of(const char *prompt, const char *count)
{
    struct process_result result;
    RUN(&result, prompt, 0, program, "run", "-", "--no-special", "-n", count, "--temp", "0");
    char *answer = strdup(result.out);
    process_free(&result);
    return answer;
}

/* Two turns are what `run` makes of the rendered prompts, and the second reads only what is new. */
START_TEST(turns_are_the_rendered_prompts)
{
    struct process_result result;
    char *first = answer_of("<s><|user|>\nTell me a story about a fox.<|end|>\n<|assistant|>\n", "24");
    char *prompt;
    size_t kept = 0, whole = 0;
    ck_assert_int_gt(
        asprintf(&prompt,
                 "<s><|user|>\nTell me a story about a fox.<|end|>\n<|assistant|>\n%s</s>\n<|user|>\nAnd a "
                 "dog?<|end|>\n<|assistant|>\n",
                 strtok(first, "\n")),
        0);
    char *second = answer_of(prompt, "24");
    RUN(&result, "Tell me a story about a fox.\n\nAnd a dog?\n", 0, program, "chat", "--temp", "0", "-n", "24", "-v");
    ck_assert_str_eq(result.out, text("%s\n%s", first, second));
    const char *speed = strstr(strstr(result.err, "prompt: ") + 1, "prompt: ");
    ck_assert_msg(speed && sscanf(speed, "prompt: %zu tokens, %zu of them kept", &whole, &kept) == 2, "%s", result.err);
    ck_assert_msg(kept > 30 && kept < whole && whole - kept < 25, "%zu of %zu kept", kept, whole);
    process_free(&result);
    free(first);
    free(second);
    free(prompt);
}
END_TEST

/* /reset and /system make the prompt anew; an unknown command is no message. */
START_TEST(commands_in_a_conversation)
{
    struct process_result result;
    char *plain = answer_of("<s><|user|>\nHi<|end|>\n<|assistant|>\n", "12");
    char *pirate =
        answer_of("<s><|system|>\nYou talk like a pirate.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n", "12");
    RUN(&result, "Hi\n/reset\nHi\n/system You talk like a pirate.\n/reset\nHi\n/system\n/rest\n/reset\nHi\n/quit\nHi\n",
        0, program, "chat", "--temp", "0", "-n", "12");
    ck_assert_str_eq(result.out, text("%s%s%s%s", plain, plain, pirate, plain));
    ck_assert_msg(strstr(result.err, "/rest is no command; did you mean /reset?"), "%s", result.err);
    process_free(&result);
    free(plain);
    free(pirate);
}
END_TEST

/* Another answer draws other numbers; the whole is the same each time. */
START_TEST(another_answer)
{
    struct process_result one, two;
    const char *input = "Tell me a story about a fox.\n/again\n";
    RUN(&one, input, 0, program, "chat", "--temp", "1.5", "-n", "12");
    RUN(&two, input, 0, program, "chat", "--temp", "1.5", "-n", "12");
    ck_assert_str_eq(one.out, two.out);
    char *end = strchr(one.out, '\n');
    ck_assert(end && strncmp(one.out, end + 1, 12) != 0);
    process_free(&one);
    process_free(&two);
}
END_TEST

START_TEST(the_context_is_full)
{
    struct process_result result;
    RUN(&result, "Tell me a story about a fox.\nAnother one, please.\n/reset\nHi\n", 1, small, "chat", "--temp", "0");
    ck_assert_msg(strstr(result.err, "[the context is full: /reset forgets the conversation]"), "%s", result.err);
    ck_assert_msg(strstr(result.err, "tokens and the context holds 64: /reset forgets it"), "%s", result.err);
    /* After the reset there is an answer again. */
    const char *last = strchr(result.out, '\n');
    ck_assert_msg(last && strlen(last) > 20, "%s", result.out);
    process_free(&result);
}
END_TEST

START_TEST(wrong_command_lines)
{
    struct process_result result;
    RUN(&result, "", 2, program, "chat", "hello");
    ck_assert_msg(strstr(result.err, "unexpected 'hello'"), "%s", result.err);
    process_free(&result);
    RUN(&result, "", 2, program, "chat", "--temp", "-1");
    process_free(&result);
    RUN(&result, "\xff\xfe\n", 1, program, "chat");
    ck_assert_msg(strstr(result.err, "not UTF-8"), "%s", result.err);
    process_free(&result);
}
END_TEST

/* ---- chat, at a terminal */

static struct {
    pid_t child;
    int terminal;
    char seen[1 << 16]; /* everything that it printed, and how far it has been looked through */
    size_t length, read;
} person;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void sit_down(const char *const *arguments)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    person.length = person.read = 0;
    person.child = forkpty(&person.terminal, NULL, NULL, &size);
    ck_assert_int_ge(person.child, 0);
    if (person.child == 0) {
        setenv("TERM", "xterm", 1);
        execv(arguments[0], (char *const *)arguments);
        _exit(127);
    }
}

#define SIT_DOWN(...) sit_down((const char *const[]){program, "chat", __VA_ARGS__, NULL})

/* Waits until this is printed, after what was waited for before. */
static void see(const char *part)
{
    double end = now() + 60;
    char *found;
    person.seen[person.length] = 0;
    while (!(found = strstr(person.seen + person.read, part))) {
        struct pollfd wait = {.fd = person.terminal, .events = POLLIN};
        ck_assert_msg(now() < end, "expected '%s', found '%s'", part, person.seen + person.read);
        if (poll(&wait, 1, 1000) <= 0)
            continue;
        ssize_t got = read(person.terminal, person.seen + person.length, sizeof person.seen - 1 - person.length);
        ck_assert_msg(got > 0, "ended; expected '%s', found '%s'", part, person.seen + person.read);
        person.length += (size_t)got;
        person.seen[person.length] = 0;
    }
    person.read = (size_t)(found - person.seen) + strlen(part);
}

static void type(const char *keys)
{
    ck_assert_int_eq(write(person.terminal, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* The exit status; -1 if the program does not end. */
static int leave(void)
{
    int status = 0;
    double end = now() + 60;
    char ignored[4096];
    pid_t ended;
    while ((ended = waitpid(person.child, &status, WNOHANG)) == 0 && now() < end) {
        struct pollfd wait = {.fd = person.terminal, .events = POLLIN};
        if (poll(&wait, 1, 50) > 0 && read(person.terminal, ignored, sizeof ignored) < 0 && errno != EIO)
            break;
    }
    if (ended == 0)
        kill(person.child, SIGKILL);
    close(person.terminal);
    return ended == person.child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define LEFT "\x1b[D"
#define UP "\x1b[A"

START_TEST(a_person_edits)
{
    SIT_DOWN("--temp", "0", "-n", "4");
    see("write a message, or /help");
    see("> ");
    /* "/hepx", then back and forth until it is /help. */
    type("/hepx\x7f" LEFT "l\x05\r");
    see("forget the conversation");
    see("> ");
    type(UP); /* the line before */
    see("/help");
    type("\x15/sys\x17/quix" LEFT "\x0b" LEFT "\x01\x05");
    type("it\x7f\x7f\x7f\x7f\x7f\x7f\x7f\xc3\xa9\x7f/quit\r");
    ck_assert_int_eq(leave(), 0);
}
END_TEST

/* A backslash, or pasting, puts several lines into one message. */
START_TEST(a_person_writes_several_lines)
{
    SIT_DOWN("--temp", "0", "-n", "4", "-v");
    see("> ");
    type("a\\\rb\r");
    see("prompt: 10 tokens");
    see("> ");
    type("/reset\r");
    see("begins anew");
    see("> ");
    type("\x1b[200~a\rb\x1b[201~");
    type("\r");
    see("prompt: 10 tokens");
    see("> ");
    type("\x04");
    ck_assert_int_eq(leave(), 0);
}
END_TEST

START_TEST(a_person_interrupts)
{
    SIT_DOWN("--temp", "0", "--ignore", "x");
    ck_assert_int_eq(leave(), 2); /* no such option */
    SIT_DOWN("--logit-bias", "1=-inf", "--temp", "0");
    see("> ");
    type("Tell me a story about a fox.\r");
    see("\x1b[?2004l"); /* the line is taken: what is seen from here on is the answer */
    see(" a");
    type("\x03"); /* ends the answer, which would fill the context: its end-of-text token is forbidden */
    see("> ");
    type("abc\x03"); /* empties the line */
    type("/help\r");
    see("set the system message");
    see("> ");
    type("\x03");
    see("Ctrl-C again");
    see("> ");
    type("\x03");
    ck_assert_int_eq(leave(), 0);
}
END_TEST

int main(void)
{
    temporary_folder();
    Suite *suite = suite_create("package/chat");
    TCase *tests = tcase_create("chat");
    tcase_set_timeout(tests, 240);
    tcase_add_unchecked_fixture(tests, build, NULL);
    tcase_add_test(tests, render_prints_the_prompt);
    tcase_add_test(tests, render_refuses_in_one_line);
    tcase_add_test(tests, templates_at_build_time);
    tcase_add_test(tests, turns_are_the_rendered_prompts);
    tcase_add_test(tests, commands_in_a_conversation);
    tcase_add_test(tests, another_answer);
    tcase_add_test(tests, the_context_is_full);
    tcase_add_test(tests, wrong_command_lines);
    tcase_add_test(tests, a_person_edits);
    tcase_add_test(tests, a_person_writes_several_lines);
    tcase_add_test(tests, a_person_interrupts);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
