/* The checkpoints of tests/fixtures/models, what transformers computed from them, and building them with lathe. */
#ifndef LATHE_TEST_FIXTURE_H
#define LATHE_TEST_FIXTURE_H

#include <cJSON.h>
#include <stdint.h>

#include "npy.h"

struct ids {
    int32_t *id;
    size_t count;
};

struct fixture {
    const char *name;
    const char *folder; /* the checkpoint */
    struct ids prompt;
    struct ids positions; /* of the prompt; rows of `logits` */
    struct npy logits;    /* the reference's, float32 */
    struct ids greedy_prompt, greedy;
    cJSON *json; /* the whole of case.json */
};

enum { MOST_VARIANTS = 8 };

#define FIXTURE_COUNT 12
extern const char *const fixture_names[FIXTURE_COUNT];

void fixture_load(struct fixture *fixture, const char *name);
void fixture_free(struct fixture *fixture);
/* tests/fixtures/models/NAME, in a static buffer of text(). */
const char *fixture_folder(const char *name);

/* Parses `source`, failing the test with `what` in the message when it is not JSON. Free with cJSON_Delete. */
cJSON *json_parse(const char *source, const char *what);
/* A member that must be there; fails the test with `what` otherwise. */
const cJSON *json_member(const cJSON *object, const char *name, const char *what);
/* A member that must be an array of whole numbers; free .id. */
struct ids json_ids(const cJSON *object, const char *name, const char *what);

/* "1,2,3" of ids[0 .. count), newly allocated. */
char *ids_text(const int32_t *ids, size_t count);

/* The generator under test: $LATHE. */
const char *lathe(void);
/* The instruction sets of packages of that dtype which this processor has, best first; how many. */
int processor_sets(const char *dtype, const char *names[MOST_VARIANTS]);
/* lathe build MODEL -o OUTPUT --quiet and more options (NULL ends them), the folders above OUTPUT being made first; fails
   the test with lathe's stderr. Its kernels are compiled for the best of the processor's instruction sets alone, which
   takes a third of the time. Returns the executable's path, in a static buffer of text(). */
const char *lathe_build(const char *model, const char *output, ...) __attribute__((sentinel));
/* The same for all instruction sets that this processor has. */
const char *lathe_build_sets(const char *model, const char *output, ...) __attribute__((sentinel));
/* Packages are not optimised from here on, in this test: for packages of little work, where the compiler is not what the test
   is about. Their bits are the same, since the order of every sum is in the sources. */
void use_a_quick_compiler(void);
/* The same as lathe_build with lathe generate. */
void lathe_generate(const char *model, const char *output, ...) __attribute__((sentinel));
/* The instruction sets of the package that this processor has, best first; how many. The names hold until the next call. */
int package_variants(const char *program, const char *names[MOST_VARIANTS]);
/* OUTPUT/NAME, NAME being the folder's own name; in a static buffer of text(). */
const char *executable(const char *output);

#endif
