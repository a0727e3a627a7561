#include "json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static void before_value(struct json_out *out)
{
    if (out->comma)
        fputs(", ", out->file);
    out->comma = true;
}

static void open_level(struct json_out *out, char bracket)
{
    before_value(out);
    fputc(bracket, out->file);
    out->comma = false;
}

static void close_level(struct json_out *out, char bracket)
{
    fputc(bracket, out->file);
    out->comma = true;
}

void json_open_object(struct json_out *out)
{
    open_level(out, '{');
}

void json_close_object(struct json_out *out)
{
    close_level(out, '}');
}

void json_open_array(struct json_out *out)
{
    open_level(out, '[');
}

void json_close_array(struct json_out *out)
{
    close_level(out, ']');
}

void json_key(struct json_out *out, const char *key)
{
    json_text(out, key);
    fputs(": ", out->file);
    out->comma = false;
}

void json_integer(struct json_out *out, int64_t value)
{
    before_value(out);
    fprintf(out->file, "%" PRId64, value);
}

void json_unsigned(struct json_out *out, uint64_t value)
{
    before_value(out);
    fprintf(out->file, "%" PRIu64, value);
}

/* printf follows the locale's decimal point; this program never sets one, but a library's host may have. */
static void write_number(FILE *file, char *text)
{
    char *point = strchr(text, ',');
    if (point)
        *point = '.';
    fputs(text, file);
}

void json_float(struct json_out *out, float value)
{
    if (!isfinite(value)) {
        json_null(out);
        return;
    }
    before_value(out);
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    write_number(out->file, text);
}

void json_double(struct json_out *out, double value)
{
    if (!isfinite(value)) {
        json_null(out);
        return;
    }
    before_value(out);
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    write_number(out->file, text);
}

void json_boolean(struct json_out *out, bool value)
{
    before_value(out);
    fputs(value ? "true" : "false", out->file);
}

void json_null(struct json_out *out)
{
    before_value(out);
    fputs("null", out->file);
}

static void write_escaped(FILE *file, unsigned char byte)
{
    switch (byte) {
    case '"':
        fputs("\\\"", file);
        break;
    case '\\':
        fputs("\\\\", file);
        break;
    case '\n':
        fputs("\\n", file);
        break;
    case '\r':
        fputs("\\r", file);
        break;
    case '\t':
        fputs("\\t", file);
        break;
    default:
        fprintf(file, "\\u%04x", byte);
    }
}

void json_string(struct json_out *out, const char *text, size_t length)
{
    before_value(out);
    fputc('"', out->file);
    for (size_t i = 0; i < length;) {
        unsigned char byte = (unsigned char)text[i];
        bool valid;
        size_t bytes = utf8_next(text + i, length - i, &valid);
        if (!valid)
            fputs("\xef\xbf\xbd", out->file);
        else if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f)
            write_escaped(out->file, byte);
        else
            fwrite(text + i, 1, bytes, out->file);
        i += bytes;
    }
    fputc('"', out->file);
}

void json_text(struct json_out *out, const char *text)
{
    if (text)
        json_string(out, text, strlen(text));
    else
        json_null(out);
}

void json_integers(struct json_out *out, const int32_t *values, size_t count)
{
    json_open_array(out);
    for (size_t i = 0; i < count; i++)
        json_integer(out, values[i]);
    json_close_array(out);
}

void json_floats(struct json_out *out, const float *values, size_t count)
{
    json_open_array(out);
    for (size_t i = 0; i < count; i++)
        json_float(out, values[i]);
    json_close_array(out);
}
