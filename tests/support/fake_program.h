/* The command line over a fake model, as a program of its own: the test program runs itself with FAKE_PROGRAM set. */
#ifndef LATHE_TEST_FAKE_PROGRAM_H
#define LATHE_TEST_FAKE_PROGRAM_H

#include <stdbool.h>

#include "process.h"

/* At the start of main: when this process is to be the fake program, runs its command line and exits. */
void fake_program_main(int argc, char **argv);

/* In the environment, FAKE_TARGETS=both or FAKE_TARGETS=cuda gives the fake program a GPU side too, or alone
   (fake_cuda_model.h). */

/* From now on the fake program has the tokenizer whose tables are in this file; NULL: none. */
void fake_program_tokenizer(const char *tables);

/* Runs `fake ARGUMENTS...` (the list ends with NULL). Its model: 64 tokens, 4096 positions, 16 rows a step, logits for
   8 of them, random weights; greedy, with 63 ending the text. */
void fake_program(struct process_result *result, const char *argument, ...) __attribute__((sentinel));

/* The same with options; `arguments` ends with NULL. options->environment is used here. */
void fake_program_run(struct process_result *result, struct process_options options, const char *const *arguments);

/* What fake_program's model is made from, for computing what it should say. */
struct fake_options;
struct fake_options fake_program_options(void);

#endif
