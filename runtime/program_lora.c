#include "program_lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option lora_option(const char **name)
{
    return (struct option){.name = "lora",
                           .kind = OPTION_STRING,
                           .target = name,
                           .value = "NAME",
                           .help =
                               "the LoRA adapter to use: one that was built in (info lists them) or a --lora-dir's"};
}

struct option lora_dir_option(struct string_list *list)
{
    return (struct option){.name = "lora-dir",
                           .kind = OPTION_STRINGS,
                           .target = list,
                           .value = "NAME=DIR",
                           .help =
                               "read a LoRA adapter, a folder of peft's, into one of the slots that the package has "
                               "for it (lathe build --lora-slots); repeatable"};
}

struct adapter_folder *lora_folders(const struct string_list *list, int *count, struct error *error)
{
    *count = list->count;
    if (!list->count)
        return NULL;
    size_t bytes = (size_t)list->count * sizeof(struct adapter_folder), names = 0;
    for (int i = 0; i < list->count; i++)
        names += strlen(list->item[i]) + 1;
    struct adapter_folder *folders = malloc(bytes + names);
    if (!folders) {
        error_set(error, "out of memory");
        return NULL;
    }
    char *text = (char *)folders + bytes;
    for (int i = 0; i < list->count; i++) {
        size_t length = strlen(list->item[i]) + 1;
        memcpy(text, list->item[i], length);
        char *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1]) {
            error_set(error, "--lora-dir: expected NAME=DIR, found '%.100s'", list->item[i]);
            free(folders);
            return NULL;
        }
        *equals = 0;
        folders[i] = (struct adapter_folder){.name = text, .folder = equals + 1};
        text += length;
    }
    return folders;
}

int32_t lora_count(const struct program *program)
{
    return program->model->adapter_count + program->lora_folder_count;
}

static const char *name_of(const struct program *program, int32_t slot)
{
    int32_t built_in = program->model->adapter_count;
    return slot < built_in ? program->model->adapters[slot].name : program->lora_folders[slot - built_in].name;
}

int32_t lora_slot(const struct program *program, const char *name, struct error *error)
{
    char names[600] = "";
    size_t length = 0;
    if (!name)
        return -1;
    for (int32_t i = 0; i < lora_count(program); i++) {
        if (strcmp(name_of(program, i), name) == 0)
            return i;
        if (length < sizeof names)
            length +=
                (size_t)snprintf(names + length, sizeof names - length, "%s%.100s", i ? ", " : "", name_of(program, i));
    }
    if (lora_count(program))
        error_set(error, "--lora '%.100s': expected one of %s", name, names);
    else if (program->model->adapter_slots)
        error_set(error,
                  "--lora '%.100s': this package has room for adapters, but none: read one with --lora-dir NAME=DIR",
                  name);
    else
        error_set(error,
                  "--lora '%.100s': this package was built without adapters: build it with --lora NAME=DIR, or with "
                  "--lora-slots",
                  name);
    return -2;
}
