#include <string.h>

#include "peft.h"

static int rows_of_package(void *context, int32_t number, int32_t first, int32_t rows, float *out, struct error *error)
{
    const struct peft_package_base *base = context;
    const struct adapter_site *site = &base->model->sites[number];
    const struct tensor *tensor = &base->model->tensors[site->tensor];
    uint64_t count = (uint64_t)rows * (uint64_t)site->columns;
    uint64_t at = ((uint64_t)site->first_row + (uint64_t)first) * (uint64_t)site->columns;
    (void)error;
    if (tensor->dtype == DTYPE_F32) {
        memcpy(out, base->payload + tensor->offset + 4 * at, 4 * count);
        return 0;
    }
    const unsigned char *data = base->payload + tensor->offset + 2 * at;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i, sizeof bits);
        memcpy(&out[i], &(uint32_t){(uint32_t)bits << 16}, sizeof out[i]);
    }
    return 0;
}

static int bias_of_package(void *context, int32_t number, float *out, struct error *error)
{
    const struct peft_package_base *base = context;
    const struct adapter_site *site = &base->model->sites[number];
    const struct tensor *tensor = &base->model->tensors[site->bias_tensor];
    (void)error;
    memcpy(out, base->payload + tensor->offset + 4 * (uint64_t)site->first_row, 4 * (uint64_t)site->rows);
    return 0;
}

struct peft_base peft_base_of_package(struct peft_package_base *package_base)
{
    return (struct peft_base){rows_of_package, bias_of_package, package_base};
}
