#include "gguf_file.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

void put(struct bytes *bytes, const void *data, size_t length)
{
    if (bytes->length + length > bytes->capacity) {
        bytes->capacity = 2 * (bytes->length + length) + 256;
        bytes->data = realloc(bytes->data, bytes->capacity);
        ck_assert_ptr_nonnull(bytes->data);
    }
    if (data)
        memcpy(bytes->data + bytes->length, data, length);
    else
        memset(bytes->data + bytes->length, 0, length);
    bytes->length += length;
}

static void put_little_endian(struct bytes *bytes, uint64_t value, int length)
{
    for (int i = 0; i < length; i++)
        put(bytes, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

void put_u32(struct bytes *bytes, uint32_t value)
{
    put_little_endian(bytes, value, 4);
}

void put_u64(struct bytes *bytes, uint64_t value)
{
    put_little_endian(bytes, value, 8);
}

void put_string(struct bytes *bytes, const char *text)
{
    put_u64(bytes, strlen(text));
    put(bytes, text, strlen(text));
}

static void put_f32(struct bytes *bytes, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u32(bytes, bits);
}

void gguf_init(struct gguf_file *file)
{
    *file = (struct gguf_file){.magic = {'G', 'G', 'U', 'F'}, .version = 3, .alignment = 32};
}

void gguf_free(struct gguf_file *file)
{
    free(file->keys.data);
    free(file->tensors.data);
    free(file->data.data);
}

static void pad(struct bytes *bytes, uint64_t alignment)
{
    if (bytes->length % alignment)
        put(bytes, NULL, (size_t)(alignment - bytes->length % alignment));
}

void gguf_write(const struct gguf_file *file, const char *path)
{
    struct bytes all = {0};
    put(&all, file->magic, 4);
    put_u32(&all, file->version);
    put_u64(&all, file->tensor_count);
    put_u64(&all, file->key_count);
    put(&all, file->keys.data, file->keys.length);
    put(&all, file->tensors.data, file->tensors.length);
    pad(&all, file->alignment);
    put(&all, file->data.data, file->data.length);
    file_write(path, all.data, all.length);
    free(all.data);
}

void gguf_key(struct gguf_file *file, const char *name, enum gguf_value type)
{
    put_string(&file->keys, name);
    put_u32(&file->keys, type);
    file->key_count++;
}

void gguf_u32(struct gguf_file *file, const char *name, uint32_t value)
{
    gguf_key(file, name, GGUF_U32);
    put_u32(&file->keys, value);
}

void gguf_f32(struct gguf_file *file, const char *name, float value)
{
    gguf_key(file, name, GGUF_F32);
    put_f32(&file->keys, value);
}

void gguf_bool(struct gguf_file *file, const char *name, int value)
{
    gguf_key(file, name, GGUF_BOOL);
    put(&file->keys, &(unsigned char){(unsigned char)value}, 1);
}

void gguf_string(struct gguf_file *file, const char *name, const char *value)
{
    gguf_key(file, name, GGUF_STRING);
    put_string(&file->keys, value);
}

static void put_array(struct gguf_file *file, const char *name, enum gguf_value type, size_t count)
{
    gguf_key(file, name, GGUF_ARRAY);
    put_u32(&file->keys, type);
    put_u64(&file->keys, count);
}

void gguf_strings(struct gguf_file *file, const char *name, const char *words)
{
    size_t count = words[0] != '\0';
    for (const char *at = words; *at; at++)
        count += *at == ' ';
    put_array(file, name, GGUF_STRING, count);
    for (const char *at = words; count > 0; count--) {
        size_t length = strcspn(at, " ");
        put_u64(&file->keys, length);
        for (size_t i = 0; i < length; i++)
            put(&file->keys, at[i] == '~' ? " " : at + i, 1);
        at += length + 1;
    }
}

void gguf_i32s(struct gguf_file *file, const char *name, const int32_t *values, size_t count)
{
    put_array(file, name, GGUF_I32, count);
    for (size_t i = 0; i < count; i++)
        put_u32(&file->keys, (uint32_t)values[i]);
}

void gguf_f32s(struct gguf_file *file, const char *name, const float *values, size_t count)
{
    put_array(file, name, GGUF_F32, count);
    for (size_t i = 0; i < count; i++)
        put_f32(&file->keys, values[i]);
}

void gguf_tensor_entry(struct gguf_file *file, const char *name, uint32_t type, uint64_t columns, uint64_t rows,
                       uint64_t offset)
{
    put_string(&file->tensors, name);
    put_u32(&file->tensors, rows ? 2 : 1);
    put_u64(&file->tensors, columns);
    if (rows)
        put_u64(&file->tensors, rows);
    put_u32(&file->tensors, type);
    put_u64(&file->tensors, offset);
    file->tensor_count++;
}

void gguf_tensor(struct gguf_file *file, const char *name, uint32_t type, uint64_t columns, uint64_t rows,
                 const void *values, size_t length)
{
    pad(&file->data, file->alignment);
    gguf_tensor_entry(file, name, type, columns, rows, file->data.length);
    put(&file->data, values, length);
}
