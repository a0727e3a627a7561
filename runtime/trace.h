/* `--dump TENSOR[,...] DIR`: writes the tensors between the stages to files, for comparing targets and
   references.

   Each tensor goes to DIR/NAME.npy ("layer.3.qkv.npy"), float32 [rows, columns], bf16 widened. The rows of
   successive steps follow each other; "logits" has only the rows that asked for them. The files are whole
   after every step. */
#ifndef LATHE_TRACE_H
#define LATHE_TRACE_H

#include "error.h"
#include "model.h"

struct trace_dump;

/* names [count]: what there is to see (engine_traces). selection: some of them, separated by commas, where `*` stands for any one part between
   dots: "logits", "layer.3.qkv", "layer.*.qkv"; or "all". Makes `directory` if it is not there; files of
   earlier dumps are replaced when their tensor is written. NULL and a message: a name that does not exist
   (the message lists those that do), or a directory that cannot be written. */
struct trace_dump *trace_dump_open(const struct model *model, const char *const *names, int32_t count,
                                   const char *selection, const char *directory, struct error *error);

/* What to hand to engine_set_trace; valid until the dump is closed. */
const struct trace *trace_dump_trace(const struct trace_dump *dump);

/* Ends the dump; NULL is allowed. -1 and the message of the first failure since it was opened (a full disk,
   for example), after which nothing more was written. */
int trace_dump_close(struct trace_dump *dump, struct error *error);

#endif
