/* The command line of every generated executable: run, score, bench, info, tokenize, detokenize.
   One file a command (command_run.c and so on); docs/commands.md describes them and their --json output. */
#ifndef LATHE_COMMANDS_H
#define LATHE_COMMANDS_H

#include "model.h"

/* What main() of a package calls. Returns the exit status: 0; 1 after an error, which it has printed as one line on
   stderr; 2 for a wrong command line; 130 after Ctrl-C;
   141 when nobody reads stdout any more. */
int commands_main(const struct model *model, int argc, char **argv);

#endif
