#include "cuda_blas.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The few declarations of cublasLt.h that are used here (version 11 and later), so that no toolkit is needed. */
typedef int blas_status; /* 0: success */
typedef struct {
    uint64_t data[8];
} blas_algorithm;
typedef struct {
    blas_algorithm algorithm;
    size_t workspace;
    blas_status state;
    float waves;
    int reserved[4];
} blas_heuristic;

enum {
    REAL_F32 = 0,   /* cudaDataType */
    REAL_BF16 = 14, /* cudaDataType */
    COMPUTE_F32 = 68,
    DESCRIPTION_TRANSPOSE_A = 3,
    PREFERENCE_WORKSPACE = 1,
    PREFERENCE_REDUCTION = 3,
    OPERATION_TRANSPOSE = 1,
    ALIGNMENT = 256,
};

/* What is looked up in the library. */
struct interface {
    blas_status (*create)(void **handle);
    blas_status (*destroy)(void *handle);
    size_t (*version)(void);
    blas_status (*description_create)(void **description, int compute, int scale);
    blas_status (*description_destroy)(void *description);
    blas_status (*description_set)(void *description, int attribute, const void *value, size_t bytes);
    blas_status (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading);
    blas_status (*layout_destroy)(void *layout);
    blas_status (*preference_create)(void **preference);
    blas_status (*preference_destroy)(void *preference);
    blas_status (*preference_set)(void *preference, int attribute, const void *value, size_t bytes);
    blas_status (*heuristic)(void *handle, void *description, void *a, void *b, void *c, void *d, void *preference,
                             int wanted, blas_heuristic *results, int *found);
    blas_status (*matmul)(void *handle, void *description, const void *alpha, const void *a, void *a_layout,
                          const void *b, void *b_layout, const void *beta, const void *c, void *c_layout, void *d,
                          void *d_layout, const blas_algorithm *algorithm, void *workspace, size_t workspace_bytes,
                          void *stream);
};

struct cuda_blas_product {
    struct cuda_blas_shape shape;
    void *description, *weight, *input, *output; /* the operation and the layouts of its matrices */
    blas_algorithm algorithm;
    struct cuda_blas_product *next;
};

struct cuda_blas {
    void *library, *handle;
    struct interface call;
    uint64_t workspace, workspace_bytes;
    char version[32];
    struct cuda_blas_product *products;
};

static const char *const NAMES[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"};
enum { NAME_COUNT = sizeof NAMES / sizeof NAMES[0] };

/* Where pip puts the library, below a folder of Python packages. */
static const char *const PIP_PATTERNS[] = {
    "/usr/lib/python3/dist-packages/nvidia/*/lib/libcublasLt.so.1[123]",
    "/usr/local/lib/python3*/dist-packages/nvidia/*/lib/libcublasLt.so.1[123]",
};

static void *open_in_folder(const char *folder)
{
    for (int i = 0; folder && i < NAME_COUNT; i++) {
        char path[4096];
        int length = snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", NAMES[i]);
        void *library = length > 0 && (size_t)length < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        if (library)
            return library;
    }
    return NULL;
}

static void *open_matching(const char *pattern)
{
    glob_t found;
    void *library = NULL;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !library; i++)
            library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
        globfree(&found);
    }
    return library;
}

static void *open_library(const char *path, struct error *error)
{
    const char *named = path ? path : getenv("LATHE_CUBLASLT");
    if (named && *named) {
        void *library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            error_set(error, "%s: cuBLASLt cannot be opened: %s", named, dlerror());
        return library;
    }
    char folder[4096] = "";
    const char *home = getenv("CUDA_HOME");
    if (home && *home && snprintf(folder, sizeof folder, "%s/lib64", home) >= (int)sizeof folder)
        folder[0] = '\0';
    void *library = folder[0] ? open_in_folder(folder) : NULL;
    if (!library)
        library = open_in_folder("");
    if (!library)
        library = open_in_folder("/usr/local/cuda/lib64");
    for (size_t i = 0; i < sizeof PIP_PATTERNS / sizeof PIP_PATTERNS[0] && !library; i++)
        library = open_matching(PIP_PATTERNS[i]);
    const char *environment = getenv("VIRTUAL_ENV");
    if (!library && environment && *environment) {
        int length = snprintf(folder, sizeof folder, "%s/lib/python3*/site-packages/nvidia/*/lib/libcublasLt.so.1[123]",
                              environment);
        if (length > 0 && (size_t)length < sizeof folder)
            library = open_matching(folder);
    }
    if (!library)
        error_set(error, "cuBLASLt: expected libcublasLt.so.13, .12 or .11 in LATHE_CUBLASLT, CUDA_HOME, the loader's "
                         "path, /usr/local/cuda or Python's nvidia-cublas, found none; install it or set one of them");
    return library;
}

/* A function pointer out of dlsym, without a cast that ISO C forbids. */
static bool find(void *library, const char *name, void *function, struct error *error)
{
    void *address = dlsym(library, name);
    if (!address) {
        error_set(error, "cuBLASLt: expected the function %s in it, found none; install version 11 or later", name);
        return false;
    }
    memcpy(function, &address, sizeof address);
    return true;
}

static bool find_interface(void *library, struct interface *call, struct error *error)
{
    return find(library, "cublasLtCreate", &call->create, error) &&
           find(library, "cublasLtDestroy", &call->destroy, error) &&
           find(library, "cublasLtGetVersion", &call->version, error) &&
           find(library, "cublasLtMatmulDescCreate", &call->description_create, error) &&
           find(library, "cublasLtMatmulDescDestroy", &call->description_destroy, error) &&
           find(library, "cublasLtMatmulDescSetAttribute", &call->description_set, error) &&
           find(library, "cublasLtMatrixLayoutCreate", &call->layout_create, error) &&
           find(library, "cublasLtMatrixLayoutDestroy", &call->layout_destroy, error) &&
           find(library, "cublasLtMatmulPreferenceCreate", &call->preference_create, error) &&
           find(library, "cublasLtMatmulPreferenceDestroy", &call->preference_destroy, error) &&
           find(library, "cublasLtMatmulPreferenceSetAttribute", &call->preference_set, error) &&
           find(library, "cublasLtMatmulAlgoGetHeuristic", &call->heuristic, error) &&
           find(library, "cublasLtMatmul", &call->matmul, error);
}

struct cuda_blas *cuda_blas_open(const char *path, struct error *error)
{
    struct cuda_blas *blas = calloc(1, sizeof *blas);
    if (!blas) {
        error_set(error, "out of memory");
        return NULL;
    }
    blas->library = open_library(path, error);
    if (!blas->library || !find_interface(blas->library, &blas->call, error)) {
        cuda_blas_close(blas);
        return NULL;
    }
    size_t version = blas->call.version(); /* 130100: 13.1.0; 111103: 11.11.3 */
    snprintf(blas->version, sizeof blas->version, "%zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    blas_status status = blas->call.create(&blas->handle);
    if (status != 0) {
        error_set(error, "cuBLASLt %s cannot start: status %d; it may be newer than the driver", blas->version, status);
        blas->handle = NULL;
        cuda_blas_close(blas);
        return NULL;
    }
    return blas;
}

void cuda_blas_workspace(struct cuda_blas *blas, uint64_t workspace, uint64_t bytes)
{
    blas->workspace = workspace;
    blas->workspace_bytes = bytes;
}

static void close_product(const struct interface *call, struct cuda_blas_product *product)
{
    if (product->description)
        call->description_destroy(product->description);
    void *layouts[] = {product->weight, product->input, product->output};
    for (int i = 0; i < 3; i++) {
        if (layouts[i])
            call->layout_destroy(layouts[i]);
    }
    free(product);
}

void cuda_blas_close(struct cuda_blas *blas)
{
    if (!blas)
        return;
    while (blas->products) {
        struct cuda_blas_product *next = blas->products->next;
        close_product(&blas->call, blas->products);
        blas->products = next;
    }
    if (blas->handle)
        blas->call.destroy(blas->handle);
    if (blas->library)
        dlclose(blas->library);
    free(blas);
}

const char *cuda_blas_version(const struct cuda_blas *blas)
{
    return blas->version;
}

/* The library thinks in columns: a row-major [rows, columns] matrix is its [columns, rows] with leading dimension
   `columns`. So output^T [outputs, rows] = weight^T^T x input^T, weight transposed and input as it is. */
static blas_status describe(const struct interface *call, struct cuda_blas_product *product)
{
    const struct cuda_blas_shape *shape = &product->shape;
    const int transpose = OPERATION_TRANSPOSE, type = shape->f32 ? REAL_F32 : REAL_BF16;
    uint64_t rows = (uint64_t)shape->rows, outputs = (uint64_t)shape->outputs, depth = (uint64_t)shape->depth;
    blas_status status = call->description_create(&product->description, COMPUTE_F32, REAL_F32);
    if (status == 0)
        status = call->description_set(product->description, DESCRIPTION_TRANSPOSE_A, &transpose, sizeof transpose);
    if (status == 0)
        status = call->layout_create(&product->weight, REAL_BF16, depth, outputs, shape->depth);
    if (status == 0)
        status = call->layout_create(&product->input, REAL_BF16, depth, rows, shape->depth);
    if (status == 0)
        status = call->layout_create(&product->output, type, outputs, rows, shape->outputs);
    return status;
}

/* The library's first choice among the algorithms that add no partial sums of several blocks. */
static blas_status choose(const struct cuda_blas *blas, struct cuda_blas_product *product)
{
    const struct interface *call = &blas->call;
    const size_t workspace = (size_t)blas->workspace_bytes;
    const uint32_t reductions = 0;
    blas_heuristic best = {0};
    int found = 0;
    void *preference = NULL;
    blas_status status = call->preference_create(&preference);
    if (status == 0)
        status = call->preference_set(preference, PREFERENCE_WORKSPACE, &workspace, sizeof workspace);
    if (status == 0)
        status = call->preference_set(preference, PREFERENCE_REDUCTION, &reductions, sizeof reductions);
    if (status == 0)
        status = call->heuristic(blas->handle, product->description, product->weight, product->input, product->output,
                                 product->output, preference, 1, &best, &found);
    if (preference)
        call->preference_destroy(preference);
    if (status == 0 && (found < 1 || best.state != 0))
        status = found < 1 ? 15 /* not supported */ : best.state;
    product->algorithm = best.algorithm;
    return status;
}

const struct cuda_blas_product *cuda_blas_product(struct cuda_blas *blas, const struct cuda_blas_shape *shape,
                                                  struct error *error)
{
    for (const struct cuda_blas_product *known = blas->products; known; known = known->next) {
        const struct cuda_blas_shape *other = &known->shape;
        if (other->rows == shape->rows && other->outputs == shape->outputs && other->depth == shape->depth &&
            other->f32 == shape->f32 && other->accumulate == shape->accumulate)
            return known;
    }
    struct cuda_blas_product *product = calloc(1, sizeof *product);
    if (!product) {
        error_set(error, "out of memory");
        return NULL;
    }
    product->shape = *shape;
    blas_status status = describe(&blas->call, product);
    if (status == 0)
        status = choose(blas, product);
    if (status != 0) {
        close_product(&blas->call, product);
        error_set(error, "cuBLASLt %s has no algorithm for a product [%d, %d] x [%d, %d]: status %d", blas->version,
                  shape->rows, shape->depth, shape->depth, shape->outputs, status);
        return NULL;
    }
    product->next = blas->products;
    return blas->products = product;
}

/* A device address as the library takes it. */
static void *device(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

int cuda_blas_run(struct cuda_blas *blas, const struct cuda_blas_product *product, uint64_t weight, uint64_t input,
                  uint64_t output, void *stream, struct error *error)
{
    const float one = 1.0f, beta = product->shape.accumulate ? 1.0f : 0.0f;
    if ((weight | input | output) % ALIGNMENT)
        return error_set(error, "cuBLASLt: expected addresses aligned to %d", ALIGNMENT);
    blas_status status =
        blas->call.matmul(blas->handle, product->description, &one, device(weight), product->weight, device(input),
                          product->input, &beta, device(output), product->output, device(output), product->output,
                          &product->algorithm, device(blas->workspace), (size_t)blas->workspace_bytes, stream);
    if (status != 0)
        return error_set(error, "cuBLASLt %s: a product [%d, %d] x [%d, %d] failed: status %d", blas->version,
                         product->shape.rows, product->shape.depth, product->shape.depth, product->shape.outputs,
                         status);
    return 0;
}
