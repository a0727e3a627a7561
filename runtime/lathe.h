/* The C interface of a package's library, libNAME.so: one language model, compiled in, driven step by step.

       lathe_model *model = lathe_open(NULL, message, sizeof message);
       int32_t ids[1000];
       long count = lathe_tokenize(model, "Hello", 5, true, ids, 1000);
       int sequence = lathe_sequence_open(model);
       int row = -1;
       for (long i = 0; i < count; i++)
           row = lathe_add(model, sequence, ids[i], i == count - 1);
       lathe_run(model);
       const float *logits = lathe_logits(model, row);   ... choose a token, lathe_add it, and so on
       lathe_close(model);

   A model is used by one thread at a time; its own threads compute. Different models are independent. Functions that
   can fail return -1 or NULL, and lathe_error says why in one line. Strings are UTF-8 and need not end in NUL where a
   length is given. Functions, constants and the fields of the structures are only ever added. */
#ifndef LATHE_H
#define LATHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATHE_API __attribute__((visibility("default")))

typedef struct lathe_model lathe_model;

/* A LoRA adapter and the folder that peft saved it in. */
struct lathe_adapter {
    const char *name, *folder;
};

struct lathe_options {
    size_t bytes;        /* sizeof(struct lathe_options): tells newer libraries which fields there are */
    const char *weights; /* the file with the weights: weights.bin or the fat executable. NULL: the executable NAME or
                            weights.bin in the folder that the library was loaded from */
    const char *cpu;     /* instruction set: "scalar", "avx2", ...; NULL: the best that this processor has */
    int32_t threads;     /* 0: one a processor that this process may use */
    bool skip_verify;    /* do not check the checksum of the weights (start faster) */
    uint64_t kv_memory;  /* bytes for the state of sequences; 0: enough for one of full length */
    const char *device;  /* "cpu" or "cuda"; NULL: the GPU if the package was built for one. There is no falling back */
    bool exact;          /* on a GPU: the same bits however a prompt is cut; long prompts are slower */
    const struct lathe_adapter
        *adapters;         /* [adapter_count] LoRA adapters to read into the slots that the package has for */
    int32_t adapter_count; /* them, beside those that were built in */
};

/* Opens the model. options: NULL for all defaults. On failure NULL, and the reason in message [message_bytes], which
   may be NULL. */
LATHE_API lathe_model *lathe_open(const struct lathe_options *options, char *message, size_t message_bytes);
/* Frees everything, sequences too; NULL is allowed. */
LATHE_API void lathe_close(lathe_model *model);

/* Why the last function that failed on this model did; "" when none has. Valid until the next call on the model. */
LATHE_API const char *lathe_error(const lathe_model *model);

struct lathe_info {
    const char *name, *architecture, *generator; /* "llama-3.2-1b", "LlamaForCausalLM", "lathe 0.1.0" */
    const char *dtype, *cpu;                     /* of the weights: "bf16"; the instruction set in use */
    int32_t vocab;                               /* token ids are 0 to vocab - 1 */
    int32_t max_seq;                             /* positions that a sequence can have */
    int32_t max_rows;                            /* tokens that a step can have */
    int32_t max_outputs;                         /* and how many of them can ask for logits */
    int32_t threads;
    const int32_t *eos; /* [eos_count] ids that end the text */
    int32_t eos_count;
    const char *chat_template; /* as the checkpoint has it (Jinja), or NULL */
    uint64_t parameters, weight_bytes, state_bytes_total;
    const char *device, *gpu; /* "cpu" or "cuda"; the GPU's name or NULL. On a GPU `cpu` is its target, "sm_90a" */
};

/* Valid until the model is closed. Never fails. */
LATHE_API const struct lathe_info *lathe_info(const lathe_model *model);
/* lathe_info(model)->vocab. */
LATHE_API int32_t lathe_vocab(const lathe_model *model);

/* The ids of text [length]. add_special: with what belongs around a text (usually a first token). Writes the first
   `capacity` ids and returns how many there are in all (call again with more room if that is more); -1 on error. */
LATHE_API long lathe_tokenize(lathe_model *model, const char *text, size_t length, bool add_special, int32_t *ids,
                              size_t capacity);
/* The text of ids [count], valid UTF-8. Writes at most `capacity` bytes, with a NUL behind them if it fits, and returns
   the length of the whole text; -1 on error. skip_special: leave special tokens out. */
LATHE_API long lathe_detokenize(lathe_model *model, const int32_t *ids, size_t count, bool skip_special, char *text,
                                size_t capacity);

/* A new, empty sequence: a small number, used again after it is closed; -1 on error. */
LATHE_API int lathe_sequence_open(lathe_model *model);
/* The same with a LoRA adapter, by its name. */
LATHE_API int lathe_sequence_open_adapter(lathe_model *model, const char *adapter);
/* The names of the adapters that there are, in order: number 0, 1, ...; NULL behind the last one. */
LATHE_API const char *lathe_adapter_name(const lathe_model *model, int32_t number);
/* With tokens in the step being assembled, the sequence ends when that step has run or is discarded. */
LATHE_API void lathe_sequence_close(lathe_model *model, int sequence);
/* Tokens that the sequence has been run on; -1 when there is no such sequence. */
LATHE_API int32_t lathe_sequence_length(const lathe_model *model, int sequence);
/* Forgets all tokens from position `length` on. 0, or -1 on error. */
LATHE_API int lathe_sequence_rollback(lathe_model *model, int sequence, int32_t length);
/* A new sequence with the same tokens, sharing memory until they differ; -1 on error. */
LATHE_API int lathe_sequence_fork(lathe_model *model, int sequence);

/* Adds the sequence's next token to the step being assembled; tokens of several sequences may be mixed. logits: they
   will be wanted. Returns the number of its row, or -1: the step, the sequence or the memory for state is full, or the
   token does not exist; the step is unchanged then and can still be run. */
LATHE_API int lathe_add(lathe_model *model, int sequence, int32_t token, bool logits);
/* A token that may turn out to follow row `parent` of the step, which is the sequence's last row or another such token's; -1:
   the sequence. The rows are a tree, level by level, each reading its own ancestors only. None is stored unless lathe_accept
   says so. As lathe_add otherwise. */
LATHE_API int lathe_add_child(lathe_model *model, int sequence, int parent, int32_t token, bool logits);
/* After lathe_run, before the next row is added: stores the tokens of a path, rows from the top of a tree downwards. The rest
   of the tree is forgotten. 0, or -1 on error. */
LATHE_API int lathe_accept(lathe_model *model, const int32_t *rows, size_t count);
/* Tokens for which the step still has room. */
LATHE_API int32_t lathe_room(const lathe_model *model);
/* Runs the step; the next one is empty. 0, or -1 on error. */
LATHE_API int lathe_run(lathe_model *model);
/* Drops the step being assembled. */
LATHE_API void lathe_discard(lathe_model *model);
/* Logits [vocab] of a row of the last step that was run, for the token that follows; NULL when the row did not ask for
   them. Valid until the next lathe_run; may be changed by the caller. */
LATHE_API float *lathe_logits(lathe_model *model, int row);

#ifdef __cplusplus
}
#endif

#endif
