/* The matrix-product kernels of one package against their sums in double precision, and how fast they are.
 *
 *     products DIR test|bench [ROWS]      ROWS: of the largest step that is measured
 *
 * Built with -I of the package's src/cuda (shapes.cuh) and kernels.inc: { stage, kernel, rows, threads, shared bytes,
 * blocks in y,
 * splits, NULL }. DIR has the cubins. Inputs are random, outputs poisoned; every row class must give the same bits.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shapes.cuh"

/* ---- The driver ----------------------------------------------------------------------------------------------------- */

typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef unsigned long long CUdeviceptr;
struct launch_attribute {
    int id, pad;
    union {
        char bytes[64];
        int value;
    } u;
};
struct launch_config {
    unsigned grid[3], block[3], shared;
    CUstream stream;
    struct launch_attribute *attributes;
    unsigned count;
};
enum { PROGRAMMATIC_SERIALIZATION = 6, MAX_DYNAMIC_SHARED = 8 };

#define DRIVER(X)                                                                                                      \
    X(cuInit, (unsigned))                                                                                              \
    X(cuDeviceGet, (int *, int))                                                                                       \
    X(cuDeviceGetName, (char *, int, int))                                                                             \
    X(cuDevicePrimaryCtxRetain, (CUcontext *, int))                                                                    \
    X(cuCtxSetCurrent, (CUcontext))                                                                                    \
    X(cuModuleLoadData, (CUmodule *, const void *))                                                                    \
    X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                                                     \
    X(cuFuncSetAttribute, (CUfunction, int, int))                                                                      \
    X(cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                                          \
    X(cuMemFree_v2, (CUdeviceptr))                                                                                     \
    X(cuMemcpyHtoD_v2, (CUdeviceptr, const void *, size_t))                                                            \
    X(cuMemcpyDtoH_v2, (void *, CUdeviceptr, size_t))                                                                  \
    X(cuMemcpyDtoD_v2, (CUdeviceptr, CUdeviceptr, size_t))                                                             \
    X(cuMemsetD8_v2, (CUdeviceptr, unsigned char, size_t))                                                             \
    X(cuStreamCreate, (CUstream *, unsigned))                                                                          \
    X(cuStreamSynchronize, (CUstream))                                                                                 \
    X(cuStreamBeginCapture_v2, (CUstream, int))                                                                        \
    X(cuStreamEndCapture, (CUstream, CUgraph *))                                                                       \
    X(cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long))                                       \
    X(cuGraphLaunch, (CUgraphExec, CUstream))                                                                          \
    X(cuGraphExecDestroy, (CUgraphExec))                                                                               \
    X(cuGraphDestroy, (CUgraph))                                                                                       \
    X(cuLaunchKernelEx, (const struct launch_config *, CUfunction, void **, void **))                                  \
    X(cuEventCreate, (CUevent *, unsigned))                                                                            \
    X(cuEventRecord, (CUevent, CUstream))                                                                              \
    X(cuEventSynchronize, (CUevent))                                                                                   \
    X(cuEventElapsedTime, (float *, CUevent, CUevent))                                                                 \
    X(cuGetErrorString, (int, const char **))

#define DECLARE(name, parameters) static int(*name) parameters;
DRIVER(DECLARE)

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void checked(int status, const char *call, int line)
{
    const char *text = "unknown error";
    if (status == 0)
        return;
    cuGetErrorString(status, &text);
    die("line %d: %s: %s", line, call, text);
}
#define CHECK(call) checked(call, #call, __LINE__)

static void open_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CUcontext context;
    char name[100];
    int device;
    if (!library)
        die("no driver: %s", dlerror());
#define FIND(name, parameters)                                                                                         \
    *(void **)&name = dlsym(library, #name);                                                                           \
    if (!name)                                                                                                         \
        die("the driver has no %s", #name);
    DRIVER(FIND)
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDeviceGetName(name, sizeof name, device));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    printf("%s\n", name);
}

/* ---- Kernels -------------------------------------------------------------------------------------------------------- */

struct kernel {
    const char *stage, *name;
    int rows, threads, shared, groups, splits;
    CUfunction function;
};
static struct kernel kernels[] = {
#include "kernels.inc"
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static CUstream stream;
static CUevent begin, end;

static CUfunction load(const char *directory, const char *file, const char *name)
{
    char path[1000];
    CUmodule module;
    CUfunction function;
    snprintf(path, sizeof path, "%s/%s.cubin", directory, file);
    FILE *stream_of = fopen(path, "rb");
    if (!stream_of)
        die("%s: not there", path);
    static char image[1 << 22];
    size_t bytes = fread(image, 1, sizeof image - 1, stream_of);
    image[bytes] = 0;
    fclose(stream_of);
    CHECK(cuModuleLoadData(&module, image));
    CHECK(cuModuleGetFunction(&function, module, name));
    return function;
}

static void launch(CUfunction function, int x, int y, int threads, int shared, bool early, void **parameters)
{
    struct launch_attribute attribute = {PROGRAMMATIC_SERIALIZATION, 0, {{0}}};
    struct launch_config config = {
        {(unsigned)x, (unsigned)y, 1}, {(unsigned)threads, 1, 1}, (unsigned)shared, stream, &attribute, early ? 1 : 0};
    attribute.u.value = 1;
    CHECK(cuLaunchKernelEx(&config, function, parameters, NULL));
}

static int smallest_class(const char *stage, int rows)
{
    int best = -1;
    for (int i = 0; i < KERNELS; i++)
        if (strcmp(kernels[i].stage, stage) == 0 && (best < 0 || kernels[best].rows < rows))
            best = i;
    if (best < 0)
        die("no kernel of stage %s", stage);
    return best;
}

static void run(const struct kernel *kernel, const struct cuda_step *step, const struct layer *layer, int index,
                int rows, bool early)
{
    void *parameters[] = {(void *)step, (void *)layer, &index};
    launch(kernel->function, (rows + kernel->rows - 1) / kernel->rows * kernel->splits, kernel->groups, kernel->threads,
           kernel->shared, early, parameters);
}

static CUdeviceptr on_device(size_t bytes)
{
    CUdeviceptr result;
    CHECK(cuMemAlloc_v2(&result, bytes));
    return result;
}

/* ---- Numbers -------------------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static float uniform(void) /* in [-1, 1) */
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (float)(int32_t)(seed >> 32) * 0x1p-31f;
}

static uint16_t to_element(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static float to_float(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}

static size_t input_place(int row, int column, int columns)
{
    return ((size_t)(row / 8) * (size_t)(columns / 8) + (size_t)(column / 8)) * 64 + (size_t)(row % 8 * 8 + column % 8);
}

static void *allocate(size_t bytes) /* zeros; as aligned as struct activations wants it */
{
    bytes = (bytes + 511) / 512 * 512;
    void *result = aligned_alloc(512, bytes);
    if (!result)
        die("out of memory");
    return memset(result, 0, bytes);
}

/* ---- Test ----------------------------------------------------------------------------------------------------------- */

enum packing { ROWS = 1, PAIRS = 2, ROTARY = 3 };

static size_t packed_bytes(enum packing packing, int rows, int columns)
{
    size_t tiles = packing == PAIRS ? (size_t)(rows / 2 + 7) / 8 : (size_t)(rows + 15) / 16;
    return tiles * 16 * (size_t)((columns + 63) / 64 * 64) * 2;
}

/* What one stage is tested with. */
struct stage {
    const char *name;
    enum packing packing;
    int weight_rows, depth, depth_padded;
    size_t input; /* where its input lies in the arena, in pieces */
};

struct device {
    struct cuda_step step;
    struct layer layer;
    CUdeviceptr arena, weights, state;
    size_t state_bytes;
    CUfunction pack;
};

enum { TEST_ROWS = MAX_ROWS < 200 ? MAX_ROWS : 200, TEST_PAGES = 8 + MAX_ROWS / PAGE };

static const float epsilon = 1e-5f;
static int failures;

static double check(const char *what, const char *kernel, int rows, const double *expected, const double *bound,
                    const float *found, int columns)
{
    double worst = 0;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            size_t i = (size_t)r * (size_t)columns + (size_t)c;
            double share = fabs(found[i] - expected[i]) / bound[i];
            if (!(share <= 1) && failures++ < 20)
                printf("FAILED %s, %s of %s, %d rows: row %d column %d: expected %.9g +- %.3g, found %.9g\n", kernel,
                       what, kernel, rows, r, c, expected[i], bound[i], found[i]);
            if (!(share <= worst))
                worst = share;
        }
    return worst;
}

static void test_stage(const char *directory, struct device *device, struct stage stage)
{
    size_t weights = (size_t)stage.weight_rows * (size_t)stage.depth;
    uint16_t *weight = allocate(weights * 2);
    float *x = allocate((size_t)TEST_ROWS * (size_t)stage.depth * 4), *bias = allocate((size_t)stage.weight_rows * 4);
    float *gain = allocate(HIDDEN * 4);
    struct activations *arena = allocate(sizeof *arena);
    bool residual = strstr("attention_output down", stage.name) != NULL, head = strcmp(stage.name, "head") == 0;
    bool normed = !residual;

    for (size_t i = 0; i < weights; i++)
        weight[i] = to_element(uniform() * sqrtf(3.0f / (float)stage.depth));
    for (int i = 0; i < stage.weight_rows; i++)
        bias[i] = BIAS && !head ? uniform() : 0.0f;
    for (int i = 0; i < HIDDEN; i++)
        gain[i] = 1.0f + 0.5f * uniform();
    uint16_t *input = (uint16_t *)((char *)arena + stage.input);
    for (int r = 0; r < TEST_ROWS; r++)
        for (int c = 0; c < stage.depth; c++) {
            uint16_t value = to_element(uniform() * 2.0f);
            x[(size_t)r * (size_t)stage.depth + (size_t)c] = to_float(value);
            input[input_place(r, c, stage.depth_padded)] = value;
        }
    for (int r = 0; r < TEST_ROWS; r++) {
        for (int c = 0; c < HIDDEN; c++)
            arena->residual[r][c] = uniform();
        for (int t = 0; t < HIDDEN_TILES; t++)
            arena->squares[r][t] = 16.0f * (1.0f + 0.5f * uniform());
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            double angle = 3.0 * uniform();
            arena->cosine[r][i] = (float)cos(angle);
            arena->sine[r][i] = (float)sin(angle);
        }
    }

    /* The weights, packed by the device. */
    size_t bytes = packed_bytes(stage.packing, stage.weight_rows, stage.depth), small = 512 * 512;
    CUdeviceptr plain = on_device(weights * 2), packed = on_device(bytes + small);
    CHECK(cuMemcpyHtoD_v2(plain, weight, weights * 2));
    CHECK(cuMemsetD8_v2(packed, 0xff, bytes + small));
    int packing = stage.packing, first_tile = 0, tiles = (int)(bytes / 32 / (size_t)stage.depth_padded);
    void *parameters[] = {&packed, &plain, &stage.weight_rows, &stage.depth, &packing, &first_tile};
    launch(device->pack, tiles, 1, 256, 0, false, parameters);
    CHECK(cuStreamSynchronize(stream));
    device->step.weights = (unsigned char *)packed;
    struct layer layer;
    memset(&layer, 0, sizeof layer);
    layer.attention_norm = layer.mlp_norm = layer.next_norm = bytes;
    layer.qkv_bias = layer.attention_output_bias = layer.gate_up_bias = layer.down_bias = bytes + HIDDEN * 4;
    if (HIDDEN * 4 + (size_t)stage.weight_rows * 4 > small)
        small = 0; /* no bias fits: such a shape has none */
    CHECK(cuMemcpyHtoD_v2(packed + bytes, gain, HIDDEN * 4));
    if (small)
        CHECK(cuMemcpyHtoD_v2(packed + bytes + HIDDEN * 4, bias, (size_t)stage.weight_rows * 4));

    /* What is expected: [row][output], and how far off an f32 sum may be. */
    int outputs = strcmp(stage.name, "gate_up") == 0 ? INTERMEDIATE : stage.weight_rows;
    size_t values = (size_t)TEST_ROWS * (size_t)outputs;
    double *expected = allocate(values * 8), *bound = allocate(values * 8),
           *sum = allocate((size_t)stage.weight_rows * 8);
    double *error = allocate((size_t)stage.weight_rows * 8);
    float *found = allocate(values * 4);
    static const int row_counts[] = {1, 2, 8, 31, 64, 200};
    int tested = TEST_ROWS;
    if ((double)weights * TEST_ROWS > 2e9)
        tested = (int)fmax(9, 2e9 / (double)weights);
    for (int r = 0; r < tested; r++) {
        float all = 0;
        for (int t = 0; t < HIDDEN_TILES; t++)
            all += arena->squares[r][t];
        double scale = normed ? 1.0 / sqrt((double)all / HIDDEN + epsilon) : 1.0;
        for (int n = 0; n < stage.weight_rows; n++) {
            const uint16_t *w = weight + (size_t)n * (size_t)stage.depth;
            const float *row = x + (size_t)r * (size_t)stage.depth;
            double total = 0, magnitude = 0;
            for (int k = 0; k < stage.depth; k++) {
                double product = (double)to_float(w[k]) * row[k];
                total += product;
                magnitude += fabs(product);
            }
            sum[n] = total * scale + bias[n];
            /* Tensor cores may truncate each of their sums: 2 units for each of the 32 mma of a chain, 1 a unit. */
            error[n] = magnitude * scale * 0x1p-24 * (64 + stage.depth / 512.0 + 8) + 1e-6;
        }
        for (int n = 0; n < outputs; n++) {
            size_t i = (size_t)r * (size_t)outputs + (size_t)n;
            if (strcmp(stage.name, "gate_up") == 0) {
                double g = sum[n], u = sum[INTERMEDIATE + n], silu = g / (1 + exp(-g));
                expected[i] = silu * u;
                bound[i] =
                    fabs(silu * u) * 0x1.1p-8 + 1.1 * error[n] * fabs(u) + error[INTERMEDIATE + n] * fabs(silu) + 1e-6;
            } else if (residual) {
                expected[i] = arena->residual[r][n] + sum[n];
                bound[i] = error[n] + 0x1p-23 * (fabs(expected[i]) + fabs(sum[n]));
            } else {
                expected[i] = sum[n];
                bound[i] = error[n] + 0x1p-23 * fabs(sum[n]);
            }
        }
        if (strcmp(stage.name, "qkv") == 0 && !QK_NORM)
            for (int h = 0; h < HEADS + 2 * KV_HEADS; h++)
                for (int d = 0; d < HEAD_DIM / 2; d++) {
                    size_t i = (size_t)r * (size_t)outputs + (size_t)(h * HEAD_DIM + d), j = i + HEAD_DIM / 2;
                    double first = expected[i], second = expected[j], both = bound[i] + bound[j];
                    if (h < HEADS + KV_HEADS) {
                        expected[i] = first * arena->cosine[r][d] - second * arena->sine[r][d];
                        expected[j] = second * arena->cosine[r][d] + first * arena->sine[r][d];
                    }
                    bound[i] = both + fabs(expected[i]) * 0x1.1p-8 + 1e-6;
                    bound[j] = both + fabs(expected[j]) * 0x1.1p-8 + 1e-6;
                }
    }

    float *reference = NULL;
    struct activations *result = allocate(sizeof *result);
    uint16_t *state = allocate(device->state_bytes);
    float *logits = allocate((size_t)TEST_ROWS * VOCAB * 4);
    for (int k = 0; k < KERNELS; k++) {
        if (strcmp(kernels[k].stage, stage.name) != 0)
            continue;
        double worst = 0;
        int different = 0;
        for (size_t n = 0; n < sizeof row_counts / sizeof *row_counts; n++) {
            int rows = row_counts[n] < tested ? row_counts[n] : tested;
            if (rows > kernels[k].rows && rows > 64 && kernels[k].rows < 8)
                continue;
            struct cuda_counts counts = {rows, rows, {0}};
            CHECK(cuMemcpyHtoD_v2((CUdeviceptr)device->step.counts, &counts, sizeof counts));
            /* Poison: NaN everywhere but in the inputs. */
            struct activations *poisoned = result;
            memset(poisoned, 0xff, sizeof *poisoned);
            memcpy(poisoned->residual, arena->residual, sizeof arena->residual);
            memcpy((char *)poisoned + stage.input, input, (size_t)PADDED_ROWS * (size_t)stage.depth_padded * 2);
            if (!residual)
                memcpy(poisoned->squares, arena->squares, sizeof arena->squares);
            memcpy(poisoned->cosine, arena->cosine, sizeof arena->cosine);
            memcpy(poisoned->sine, arena->sine, sizeof arena->sine);
            /* Logits of rows in order, or from the last to the first: rows that do not lie together in the input. */
            bool backwards = n % 2 == 1;
            int32_t output_row[PADDED_ROWS];
            for (int r = 0; r < rows; r++)
                output_row[r] = backwards ? rows - 1 - r : r;
            CHECK(cuMemcpyHtoD_v2((CUdeviceptr)device->step.output_row, output_row, (size_t)rows * sizeof *output_row));
            CHECK(cuMemcpyHtoD_v2(device->arena, poisoned, sizeof *poisoned));
            CHECK(cuMemsetD8_v2(device->state, 0xff, device->state_bytes));
            CHECK(cuMemsetD8_v2((CUdeviceptr)device->step.logits, 0xff, (size_t)TEST_ROWS * VOCAB * 4));
            run(&kernels[k], &device->step, &layer, LAYERS - 1, rows, true);
            CHECK(cuStreamSynchronize(stream));
            CHECK(cuMemcpyDtoH_v2(result, device->arena, sizeof *result));
            CHECK(cuMemcpyDtoH_v2(state, device->state, device->state_bytes));
            CHECK(cuMemcpyDtoH_v2(logits, (CUdeviceptr)device->step.logits, (size_t)TEST_ROWS * VOCAB * 4));

            for (int r = 0; r < rows; r++)
                for (int c = 0; c < outputs; c++) {
                    float *to = found + (size_t)r * (size_t)outputs + (size_t)c;
                    if (head) {
                        *to = logits[(size_t)(backwards ? rows - 1 - r : r) * VOCAB + (size_t)c];
                    } else if (residual) {
                        *to = result->residual[r][c];
                        uint16_t next = result->input[input_place(r, c, HIDDEN_PADDED)];
                        if (next != to_element(*to * gain[c]) && failures++ < 20)
                            printf("FAILED %s: input of row %d column %d: expected %.9g, found %.9g\n", kernels[k].name,
                                   r, c, *to * gain[c], to_float(next));
                    } else if (strcmp(stage.name, "gate_up") == 0) {
                        *to = to_float(result->gated[input_place(r, c, INTERMEDIATE_PADDED)]);
#if QK_NORM /* said by who compiles this: queries and keys have norms, and come out as they are */
                    } else if (strcmp(stage.name, "qkv") == 0) {
                        *to = result->qkv[r][c];
#endif
                    } else if (c < QUERY) {
                        *to = to_float(result->query[r][c]);
                    } else {
                        int h = (c - QUERY) / HEAD_DIM, slot = (TEST_PAGES - 1 - r / PAGE) * PAGE + r % PAGE;
                        if (r % 5 == 4)
                            slot = (TEST_PAGES + r / PAGE) * PAGE + r % PAGE;
                        *to =
                            to_float(state[(size_t)(slot / PAGE) * PAGE_ELEMENTS +
                                           ((size_t)(LAYERS - 1) * KV_HEADS + (size_t)(h % KV_HEADS)) * HEAD_ELEMENTS +
                                           (size_t)(slot % PAGE) * HEAD_DIM + (size_t)(c % HEAD_DIM) +
                                           (h < KV_HEADS ? 0 : VALUE_OFFSET)]);
                    }
                }
            if (residual)
                for (int r = 0; r < rows; r++)
                    for (int t = 0; t < HIDDEN_TILES; t++) {
                        double squares = 0;
                        for (int c = t * 16; c < HIDDEN && c < t * 16 + 16; c++)
                            squares += (double)result->residual[r][c] * result->residual[r][c];
                        if (!(fabs(result->squares[r][t] - squares) <= squares * 1e-6) && failures++ < 20)
                            printf("FAILED %s: squares of row %d tile %d: expected %.9g, found %.9g\n", kernels[k].name,
                                   r, t, squares, result->squares[r][t]);
                    }
            double share = check(stage.name, kernels[k].name, rows, expected, bound, found, outputs);
            worst = share > worst ? share : worst;
            if (!reference) {
                reference = allocate(values * 4);
                memset(reference, 0xff, values * 4);
            }
            for (int r = 0; r < rows; r++) {
                float *of_row = reference + (size_t)r * (size_t)outputs, *now = found + (size_t)r * (size_t)outputs;
                if (of_row[0] != of_row[0])
                    memcpy(of_row, now, (size_t)outputs * 4);
                else if (memcmp(of_row, now, (size_t)outputs * 4) != 0)
                    different++;
            }
        }
        if (different) {
            failures++;
            printf("FAILED %s: %d rows have other bits than the same rows of another class\n", kernels[k].name,
                   different);
        }
        printf("%-22s worst error %.3f of its bound, %d rows with other bits\n", kernels[k].name, worst, different);
    }
    CHECK(cuMemFree_v2(plain));
    CHECK(cuMemFree_v2(packed));
    free(weight), free(x), free(bias), free(gain), free(arena), free(expected), free(bound), free(sum), free(error);
    free(found), free(reference), free(result), free(state), free(logits);
    (void)directory;
}

static void test(const char *directory)
{
    struct device device;
    memset(&device, 0, sizeof device);
    device.pack = load(directory, "pack", "pack");
    device.arena = on_device(sizeof(struct activations));
    device.state_bytes = (size_t)(TEST_PAGES + TEST_ROWS / PAGE + 1) * PAGE_ELEMENTS * 2;
    device.state = on_device(device.state_bytes);
    device.step.arena = (unsigned char *)device.arena;
    device.step.state = (unsigned char *)device.state;
    device.step.logits = (float *)on_device((size_t)TEST_ROWS * VOCAB * 4);
    device.step.counts = (struct cuda_counts *)on_device(sizeof(struct cuda_counts));
    device.step.row = (struct cuda_row *)on_device(sizeof(struct cuda_row) * PADDED_ROWS);
    device.step.output_row = (int32_t *)on_device(sizeof(int32_t) * PADDED_ROWS);
    device.step.pages = (int32_t *)on_device(sizeof(int32_t) * TEST_PAGES);
    device.step.table = TEST_PAGES;
    device.step.pages_total = TEST_PAGES;
    /* One sequence whose pages lie backwards; every fifth row writes to a scratch slot. */
    struct cuda_row row[PADDED_ROWS];
    int32_t pages[TEST_PAGES];
    memset(row, 0, sizeof row);
    for (int r = 0; r < PADDED_ROWS; r++) {
        row[r].position = r;
        row[r].shared = r + 1;
        row[r].scratch = r % 5 == 4 ? r : -1;
    }
    for (int p = 0; p < TEST_PAGES; p++)
        pages[p] = TEST_PAGES - 1 - p;
    CHECK(cuMemcpyHtoD_v2((CUdeviceptr)device.step.row, row, sizeof row));
    CHECK(cuMemcpyHtoD_v2((CUdeviceptr)device.step.pages, pages, sizeof pages));

    size_t input = offsetof(struct activations, input);
    test_stage(directory, &device, (struct stage){"qkv", QK_NORM ? ROWS : ROTARY, QKV, HIDDEN, HIDDEN_PADDED, input});
    test_stage(
        directory, &device,
        (struct stage){"attention_output", ROWS, HIDDEN, QUERY, QUERY_PADDED, offsetof(struct activations, attention)});
    test_stage(directory, &device, (struct stage){"gate_up", PAIRS, 2 * INTERMEDIATE, HIDDEN, HIDDEN_PADDED, input});
    test_stage(
        directory, &device,
        (struct stage){"down", ROWS, HIDDEN, INTERMEDIATE, INTERMEDIATE_PADDED, offsetof(struct activations, gated)});
    test_stage(directory, &device, (struct stage){"head", ROWS, VOCAB, HIDDEN, HIDDEN_PADDED, input});
    printf(failures ? "%d FAILURES\n" : "all good, %d failures\n", failures);
}

/* ---- Benchmark ------------------------------------------------------------------------------------------------------ */

enum { LAYER_STAGES = 5 };
static const char *const layer_stages[LAYER_STAGES] = {"qkv", "gap", "attention_output", "gate_up", "down"};

static size_t stage_bytes(int stage)
{
    switch (stage) {
    case 0:
        return packed_bytes(ROWS, QKV, HIDDEN);
    case 2:
        return packed_bytes(ROWS, HIDDEN, QUERY);
    case 3:
        return packed_bytes(PAIRS, 2 * INTERMEDIATE, HIDDEN);
    case 4:
        return packed_bytes(ROWS, HIDDEN, INTERMEDIATE);
    default:
        return 0;
    }
}

static int compare(const void *a, const void *b)
{
    return *(const float *)a < *(const float *)b ? -1 : *(const float *)a > *(const float *)b;
}

/* Milliseconds of a graph: the median of eleven, each of `times` replays. */
static float timed(CUgraphExec graph, int times)
{
    float samples[11];
    for (int i = -1; i < 11; i++) {
        float ms;
        CHECK(cuEventRecord(begin, stream));
        for (int j = 0; j < times; j++)
            CHECK(cuGraphLaunch(graph, stream));
        CHECK(cuEventRecord(end, stream));
        CHECK(cuEventSynchronize(end));
        CHECK(cuEventElapsedTime(&ms, begin, end));
        if (i >= 0)
            samples[i] = ms / (float)times;
    }
    qsort(samples, 11, sizeof *samples, compare);
    return samples[5];
}

static CUgraphExec captured(CUgraph *graph)
{
    CUgraphExec result;
    CHECK(cuStreamEndCapture(stream, graph));
    CHECK(cuGraphInstantiateWithFlags(&result, *graph, 0));
    return result;
}

static void bench(const char *directory, int most_rows)
{
    CUfunction roof = load(directory, "roof", "roof"), gap = load(directory, "roof", "gap");
    size_t layer_bytes = 0, norm_bytes = (HIDDEN * 4 + 511) / 512 * 512;
    for (int s = 0; s < LAYER_STAGES; s++)
        layer_bytes += stage_bytes(s);
    size_t head_bytes = packed_bytes(ROWS, VOCAB, HIDDEN);
    size_t total = norm_bytes + head_bytes + layer_bytes * LAYERS;
    CUdeviceptr weights = on_device(total), extra = on_device(sizeof(struct activations));
    /* Random weights: 64 MB of them, over and over. */
    size_t block = 64 << 20;
    uint16_t *random = allocate(block);
    for (size_t i = 0; i < block / 2; i++)
        random[i] = to_element(uniform() * sqrtf(3.0f / HIDDEN));
    if (total < block)
        die("a model this small is not worth measuring");
    CHECK(cuMemcpyHtoD_v2(weights, random, block));
    for (size_t have = block; have < total; have *= 2)
        CHECK(cuMemcpyDtoD_v2(weights + have, weights, have < total - have ? have : total - have));
    struct activations *arena = allocate(sizeof *arena);
    for (size_t i = 0; i < sizeof arena->input / 2; i++)
        arena->input[i] = to_element(uniform());
    for (size_t i = 0; i < sizeof arena->attention / 2; i++)
        arena->attention[i] = to_element(uniform());
    CHECK(cuMemcpyHtoD_v2(extra, arena, sizeof *arena));

    struct cuda_step step;
    memset(&step, 0, sizeof step);
    step.weights = (unsigned char *)weights;
    step.arena = (unsigned char *)extra;
    step.logits = (float *)on_device((size_t)MAX_ROWS * VOCAB * 4);
    step.counts = (struct cuda_counts *)on_device(sizeof(struct cuda_counts));
    step.row = (struct cuda_row *)on_device(sizeof(struct cuda_row) * PADDED_ROWS);
    step.output_row = (int32_t *)on_device(sizeof(int32_t) * PADDED_ROWS);
    step.pages = (int32_t *)on_device(sizeof(int32_t) * (MAX_ROWS / PAGE + 1));
    step.table = step.pages_total = MAX_ROWS / PAGE + 1;
    step.state = (unsigned char *)on_device((size_t)(MAX_ROWS / PAGE + 1) * PAGE_ELEMENTS * 2);
    struct cuda_row row[PADDED_ROWS];
    int32_t pages[MAX_ROWS / PAGE + 1], output_row[PADDED_ROWS];
    memset(row, 0, sizeof row);
    for (int r = 0; r < PADDED_ROWS; r++) {
        row[r].position = output_row[r] = r;
        row[r].shared = r + 1;
        row[r].scratch = -1;
    }
    for (int p = 0; p < MAX_ROWS / PAGE + 1; p++)
        pages[p] = p;
    CHECK(cuMemcpyHtoD_v2((CUdeviceptr)step.row, row, sizeof row));
    CHECK(cuMemcpyHtoD_v2((CUdeviceptr)step.output_row, output_row, sizeof output_row));
    CHECK(cuMemcpyHtoD_v2((CUdeviceptr)step.pages, pages, sizeof pages));

    static struct layer layers[LAYERS];
    uint64_t at = head_bytes + norm_bytes;
    for (int l = 0; l < LAYERS; l++) {
        layers[l].attention_norm = layers[l].mlp_norm = layers[l].next_norm = head_bytes;
        layers[l].qkv = at;
        layers[l].attention_output = layers[l].qkv + stage_bytes(0);
        layers[l].gate_up = layers[l].attention_output + stage_bytes(2);
        layers[l].down = layers[l].gate_up + stage_bytes(3);
        at = layers[l].down + stage_bytes(4);
    }

    /* The roof: all weights, 16 bytes a load. */
    CUgraph graph;
    unsigned long long pieces = total / 16;
    CUdeviceptr sink = (CUdeviceptr)step.logits;
    void *roof_parameters[] = {&weights, &pieces, &sink};
    CHECK(cuStreamBeginCapture_v2(stream, 2));
    launch(roof, 132 * 4, 1, 512, 0, false, roof_parameters);
    CUgraphExec exec = captured(&graph);
    float roof_ms = timed(exec, 3);
    double bandwidth = (double)total / roof_ms / 1e6;
    size_t weights_of_token = head_bytes + layer_bytes * LAYERS;
    printf("read %.3f GB in %.4f ms: %.0f GB/s\n", (double)total / 1e9, roof_ms, bandwidth);

    static const int row_counts[] = {1, 8, 16, 32, 64, 128, 256, 512};
    for (size_t n = 0; n < sizeof row_counts / sizeof *row_counts && row_counts[n] <= most_rows; n++) {
        int rows = row_counts[n];
        struct cuda_counts counts = {rows, rows, {0}};
        CHECK(cuMemcpyHtoD_v2((CUdeviceptr)step.counts, &counts, sizeof counts));
        printf("%3d rows:", rows);
        double sum = 0;
        /* A stage of all layers alone, then everything. */
        for (int only = -1; only <= LAYER_STAGES; only++) {
            if (only == 1)
                continue;
            int launches = 0;
            size_t bytes = only < 0 ? weights_of_token : only == LAYER_STAGES ? head_bytes : stage_bytes(only) * LAYERS;
            CHECK(cuStreamBeginCapture_v2(stream, 2));
            for (int l = 0; l < LAYERS; l++)
                for (int s = 0; s < LAYER_STAGES; s++) {
                    if (only >= 0 && only != s)
                        continue;
                    if (s == 1) {
                        launch(gap, 8, rows < 64 ? rows : 64, 128, 0, true, NULL);
                    } else {
                        int k = smallest_class(layer_stages[s], rows);
                        run(&kernels[k], &step, &layers[l], l, rows, launches > 0);
                    }
                    launches++;
                }
            if (only < 0 || only == LAYER_STAGES)
                run(&kernels[smallest_class("head", rows)], &step, &layers[0], 0, rows, launches > 0);
            exec = captured(&graph);
            float ms = timed(exec, LAYERS > 20 ? 4 : 10);
            CHECK(cuGraphExecDestroy(exec));
            CHECK(cuGraphDestroy(graph));
            if (only < 0)
                printf(" token %.4f ms, %.0f GB/s, %.1f%% of roof;", ms, (double)bytes / ms / 1e6,
                       100.0 * (double)bytes / ms / 1e6 / bandwidth);
            else
                printf(" %s %.2f us %.0f%%", only == LAYER_STAGES ? "head" : layer_stages[only],
                       ms * 1e3 / (only == LAYER_STAGES ? 1 : LAYERS), 100.0 * (double)bytes / ms / 1e6 / bandwidth);
            if (only >= 0)
                sum += ms;
        }
        printf("; stages alone %.4f ms\n", sum);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    setbuf(stdout, NULL);
    if (argc != 3 && argc != 4)
        die("usage: products DIR test|bench [ROWS]");
    int most_rows = argc > 3 ? atoi(argv[3]) : MAX_ROWS;
    open_driver();
    CHECK(cuStreamCreate(&stream, 0)); /* ordered with the copies and fills, which take no stream */
    CHECK(cuEventCreate(&begin, 0));
    CHECK(cuEventCreate(&end, 0));
    for (int i = 0; i < KERNELS; i++) {
        kernels[i].function = load(argv[1], kernels[i].name, kernels[i].name);
        CHECK(cuFuncSetAttribute(kernels[i].function, MAX_DYNAMIC_SHARED, kernels[i].shared));
    }
    if (strcmp(argv[2], "test") == 0)
        test(argv[1]);
    else
        bench(argv[1], most_rows < MAX_ROWS ? most_rows : MAX_ROWS);
    return failures > 0;
}
