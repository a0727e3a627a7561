/* Runs a fuzz target over files and the files of folders, in an ordinary build: replay FILE|FOLDER... */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

enum { SECONDS = 60 }; /* of one input: more is a finding */

static unsigned count;

static void run(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0)
        fuzz_abort("%s: %s", path, strerror(errno));
    size_t size = (size_t)status.st_size;
    uint8_t *data = malloc(size ? size : 1); /* exactly as long: reading beyond its end is seen by the sanitizers */
    if (!data || fread(data, 1, size, file) != size)
        fuzz_abort("%s: cannot be read", path);
    fclose(file);
    fprintf(stderr, "%s\n", path);
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
    free(data);
    count++;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_all(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 && errno == ENOENT) /* a target without regressions */
        return;
    if (!S_ISDIR(status.st_mode)) {
        run(path);
        return;
    }
    struct dirent **entries;
    int found = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < found; i++) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run(inner);
        free(entries[i]);
    }
    if (found >= 0)
        free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_all(argv[i]);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
