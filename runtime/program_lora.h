/* The adapters of a command line: --lora-dir, which every command has, and --lora of those that make or read tokens. */
#ifndef LATHE_PROGRAM_LORA_H
#define LATHE_PROGRAM_LORA_H

#include "program.h"

/* The rows of a command's table. */
struct option lora_option(const char **name);
struct option lora_dir_option(struct string_list *list);

/* NAME=DIR of each --lora-dir, newly allocated in one piece; NULL and a message: one of them is not so. No --lora-dir: NULL
   and *count 0, which is no failure. */
struct adapter_folder *lora_folders(const struct string_list *list, int *count, struct error *error);

/* The slot of the adapter that --lora names, known before the engine is opened; -1 when name is NULL. -2 and a message that
   lists the adapters that there are. */
int32_t lora_slot(const struct program *program, const char *name, struct error *error);
/* How many adapters there will be, built in and read. */
int32_t lora_count(const struct program *program);

#endif
