/* Small GGUF files, right or wrong, made key by key. */
#ifndef LATHE_TEST_GGUF_FILE_H
#define LATHE_TEST_GGUF_FILE_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
    unsigned char *data;
    size_t length, capacity;
};

/* Everything may be changed before gguf_write: the counts, to lie; the bytes, to damage. */
struct gguf_file {
    char magic[4];
    uint32_t version;
    uint64_t tensor_count, key_count;
    struct bytes keys, tensors, data;
    uint64_t alignment;
};

enum gguf_value {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};
enum gguf_type {
    GGUF_TYPE_F32 = 0,
    GGUF_TYPE_F16 = 1,
    GGUF_TYPE_Q4_1 = 3,
    GGUF_TYPE_Q8_0 = 8,
    GGUF_TYPE_Q6_K = 14,
    GGUF_TYPE_BF16 = 30
};

/* An empty file of version 3. Free with gguf_free. */
void gguf_init(struct gguf_file *file);
void gguf_free(struct gguf_file *file);
void gguf_write(const struct gguf_file *file, const char *path);

void put(struct bytes *bytes, const void *data, size_t length);
void put_u32(struct bytes *bytes, uint32_t value);
void put_u64(struct bytes *bytes, uint64_t value);
void put_string(struct bytes *bytes, const char *text);

/* A key's name and type; the value must follow in file->keys. */
void gguf_key(struct gguf_file *file, const char *name, enum gguf_value type);
void gguf_u32(struct gguf_file *file, const char *name, uint32_t value);
void gguf_f32(struct gguf_file *file, const char *name, float value);
void gguf_bool(struct gguf_file *file, const char *name, int value);
void gguf_string(struct gguf_file *file, const char *name, const char *value);
/* Words separated by single spaces; '~' stands for a space in one. */
void gguf_strings(struct gguf_file *file, const char *name, const char *words);
void gguf_i32s(struct gguf_file *file, const char *name, const int32_t *values, size_t count);
void gguf_f32s(struct gguf_file *file, const char *name, const float *values, size_t count);

/* An entry of the table of tensors, as given: columns first; rows 0 for a vector. */
void gguf_tensor_entry(struct gguf_file *file, const char *name, uint32_t type, uint64_t columns, uint64_t rows,
                       uint64_t offset);
/* A tensor with its bytes, at the next aligned offset. values NULL: zeros. */
void gguf_tensor(struct gguf_file *file, const char *name, uint32_t type, uint64_t columns, uint64_t rows,
                 const void *values, size_t length);

#endif
