#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"

typedef void use_function(const char *path, uint8_t *data, size_t size);

static void use_file(const char *path, use_function *use)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0)
        fuzz_abort("%s: %s", path, strerror(errno));
    size_t size = (size_t)status.st_size;
    uint8_t *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size)
        fuzz_abort("%s: cannot be read", path);
    fclose(file);
    use(path, data, size);
    free(data);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static unsigned use_all(const char *path, use_function *use)
{
    struct stat status;
    if (stat(path, &status) != 0 && errno == ENOENT) /* a target without regressions */
        return 0;
    if (!S_ISDIR(status.st_mode)) {
        use_file(path, use);
        return 1;
    }
    unsigned used = 0;
    struct dirent **entries;
    int found = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < found; i++) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            used += use_all(inner, use);
        free(entries[i]);
    }
    if (found >= 0)
        free(entries);
    return used;
}

unsigned files_in(char **paths, int count, use_function *use)
{
    unsigned used = 0;
    for (int i = 0; i < count; i++)
        used += use_all(paths[i], use);
    return used;
}
