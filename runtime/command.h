/* One file a command. Each takes what follows its name on the command line and returns the exit status, having printed
   everything, errors included. docs/commands.md describes what they take and print. */
#ifndef LATHE_COMMAND_H
#define LATHE_COMMAND_H

#include "model.h"

typedef int command_function(const struct model *model, int argc, char **argv);

command_function command_run, command_chat, command_render, command_score, command_bench, command_info,
    command_tokenize, command_detokenize;

#endif
