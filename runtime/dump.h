/* `--dump TENSOR[,...] DIR`: writes the tensors between the stages to files, DIR/layer.3.attention.npy, each
   [rows, columns] in float32 with the rows of all steps below each other. */
#ifndef LATHE_DUMP_H
#define LATHE_DUMP_H

#include "error.h"
#include "model.h"

struct dump;

/* `names`: comma-separated names of model.traces, or "all"; "layer.*.NAME" stands for that tensor of every layer. The
   folder is made if it is not there. Unknown names are an error that lists what there is. */
struct dump *dump_open(const struct model *model, const char *names, const char *folder, struct error *error);
/* For engine_set_trace. */
const struct trace *dump_trace(const struct dump *dump);
/* Completes the files and frees. Returns the first error of all the writing. NULL is allowed. */
int dump_close(struct dump *dump, struct error *error);

#endif
