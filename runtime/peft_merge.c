/* Merging an adapter into the base's weights. The order of every sum is fixed (rank ascending, then W + scale * sum; squares of
   a row in double, ascending), and the runtime is compiled without contraction: the same bytes on any machine. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "peft.h"
#include "weights.h"

static bool is_embedding(const struct peft_merge *merge)
{
    return strcmp(merge->peft->sites[merge->site].name, "embedding") == 0;
}

bool peft_changes_weight(const struct peft *peft, int32_t site)
{
    return peft->site[site].a || peft->site[site].full;
}

bool peft_changes_bias(const struct peft *peft, int32_t site)
{
    return peft->site[site].bias || peft->site[site].b_bias;
}

/* All of a tensor as floats of that dtype; NULL and a message when there is no memory. */
static float *decode(const struct peft *peft, const struct stored_tensor *tensor, enum dtype dtype, struct error *error)
{
    float *values = malloc((tensor->elements + 1) * sizeof *values); /* elements: bounded by the file's size */
    if (values)
        tensor_file_floats(&peft->file, tensor, 0, tensor->elements, values);
    else
        error_set(error, "%s: out of memory", peft->file.path);
    for (uint64_t i = 0; values && dtype == DTYPE_BF16 && i < tensor->elements; i++)
        memcpy(&values[i], &(uint32_t){(uint32_t)weights_bf16(values[i]) << 16}, sizeof values[i]);
    return values;
}

int peft_merge_open(struct peft_merge *merge, const struct peft *peft, int32_t number, enum dtype dtype,
                    struct error *error)
{
    const struct peft_site *site = &peft->site[number];
    *merge = (struct peft_merge){.peft = peft, .site = number};
    if (!site->a)
        return 0;
    merge->delta = malloc((size_t)peft->sites[number].columns * sizeof *merge->delta);
    if (!merge->delta)
        error_set(error, "%s: out of memory", peft->file.path);
    if (merge->delta && (merge->a = decode(peft, site->a, dtype, error)) &&
        (merge->b = decode(peft, site->b, dtype, error)) &&
        (!site->magnitude || (merge->magnitude = decode(peft, site->magnitude, DTYPE_F32, error))))
        return 0;
    peft_merge_close(merge);
    return -1;
}

void peft_merge_close(struct peft_merge *merge)
{
    free(merge->a);
    free(merge->b);
    free(merge->magnitude);
    free(merge->delta);
    memset(merge, 0, sizeof *merge);
}

/* delta[columns] = row `row` of B A; of an embedding: of the transpose of B A. */
static void product_row(struct peft_merge *merge, int32_t row)
{
    const struct adapter_site *base = &merge->peft->sites[merge->site];
    int32_t rank = merge->peft->site[merge->site].rank, columns = base->columns;
    float *restrict delta = merge->delta;
    memset(delta, 0, (size_t)columns * sizeof *delta);
    if (is_embedding(merge)) {
        for (int32_t column = 0; column < columns; column++)
            for (int32_t r = 0; r < rank; r++)
                delta[column] += merge->b[(size_t)column * (size_t)rank + (size_t)r] *
                                 merge->a[(size_t)r * (size_t)base->rows + (size_t)row];
        return;
    }
    for (int32_t r = 0; r < rank; r++) {
        float factor = merge->b[(size_t)row * (size_t)rank + (size_t)r];
        const float *restrict a = merge->a + (size_t)r * (size_t)columns;
        for (int32_t column = 0; column < columns; column++)
            delta[column] += factor * a[column];
    }
}

int peft_merge_rows(struct peft_merge *merge, int32_t first, int32_t rows, float *weights, float *row_scale,
                    struct error *error)
{
    const struct peft *peft = merge->peft;
    const struct peft_site *site = &peft->site[merge->site];
    int32_t columns = peft->sites[merge->site].columns;
    for (int32_t i = 0; i < rows; i++) {
        float *restrict weight = weights + (size_t)i * (size_t)columns;
        float factor = 1.0f;
        if (site->a) {
            product_row(merge, first + i);
            for (int32_t column = 0; column < columns; column++)
                weight[column] += site->scale * merge->delta[column];
        }
        if (merge->magnitude) {
            double squares = 0;
            for (int32_t column = 0; column < columns; column++)
                squares += (double)weight[column] * (double)weight[column];
            factor = (float)((double)merge->magnitude[first + i] / sqrt(squares));
            if (!isfinite(factor))
                return error_set(error, "%s: %.120s: row %d: its magnitude over the row's norm is no finite number",
                                 peft->file.path, site->magnitude->name, first + i);
            for (int32_t column = 0; column < columns; column++)
                weight[column] *= factor;
        }
        if (row_scale)
            row_scale[i] = factor;
    }
    return 0;
}

int peft_merge_bias(const struct peft *peft, int32_t number, float *bias, struct error *error)
{
    const struct peft_site *site = &peft->site[number];
    int32_t rows = peft->sites[number].rows;
    if (site->bias)
        tensor_file_floats(&peft->file, site->bias, 0, (uint64_t)rows, bias);
    if (site->b_bias) {
        float *added = decode(peft, site->b_bias, DTYPE_F32, error);
        if (!added)
            return -1;
        for (int32_t i = 0; i < rows; i++)
            bias[i] += site->scale * added[i];
        free(added);
    }
    return 0;
}
