#include "model.h"

#include <string.h>

const struct tensor *model_tensor(const struct model *model, const char *name)
{
    for (int32_t i = 0; i < model->tensor_count; i++)
        if (strcmp(model->tensors[i].name, name) == 0)
            return &model->tensors[i];
    return NULL;
}
