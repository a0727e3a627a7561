/* Runs a fuzz target over files and the files of folders, in an ordinary build: replay FILE|FOLDER... */
#include <stdio.h>
#include <unistd.h>

#include "files.h"
#include "support.h"

enum { SECONDS = 60 }; /* of one input: more is a finding */

static void run(const char *path, uint8_t *data, size_t size)
{
    fprintf(stderr, "%s\n", path);
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
}

int main(int argc, char **argv)
{
    unsigned count = files_in(argv + 1, argc - 1, run);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
