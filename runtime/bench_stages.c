#include "bench_stages.h"

#include <stdio.h>
#include <string.h>

#include "statistics.h"

void bench_stages_note(struct bench_stages *stages, const struct engine *engine)
{
    const struct stage_time *times;
    int32_t count = engine_stage_times(engine, &times);
    if (stages->steps == BENCH_STEPS_MAX)
        return;
    for (int32_t i = 0; i < count && i < BENCH_STAGES_MAX; i++) {
        stages->stage[i] = times[i];
        stages->seconds[i][stages->steps] = times[i].seconds;
        stages->stages = i + 1;
    }
    stages->steps++;
}

void bench_stages_finish(struct bench_stages *stages)
{
    for (int32_t i = 0; i < stages->stages; i++)
        stages->stage[i].seconds = median(stages->seconds[i], stages->steps);
}

void bench_stages_print(const struct bench_stages *stages, int32_t rows, double bytes_per_second)
{
    double total = 0, bytes = 0;
    for (int32_t i = 0; i < stages->stages; i++)
        total += stages->stage[i].seconds;
    printf("\nstages of a decode step, each by itself (median of %d steps):\n", (int)stages->steps);
    printf("  %-20s %8s %10s %10s %7s %10s %9s %7s\n", "stage", "launches", "us each", "ms a step", "share",
           "MB a step", "TFLOP/s", "roof");
    for (int32_t i = 0; i < stages->stages; i++) {
        const struct stage_time *stage = &stages->stage[i];
        double read = (double)stage->weight_bytes * stage->launches;
        double flops = (double)stage->flops_per_row * stage->launches * rows;
        printf("  %-20s %8d %10.2f %10.4f %6.1f%% %10.1f %9.2f", stage->stage, (int)stage->launches,
               stage->seconds / stage->launches * 1e6, stage->seconds * 1e3, stage->seconds / total * 100, read / 1e6,
               flops / stage->seconds / 1e12);
        if (read > 0 && bytes_per_second > 0)
            printf(" %6.1f%%", read / bytes_per_second / stage->seconds * 100);
        putchar('\n');
        bytes += read;
    }
    printf("  %-20s %8s %10s %10.4f %7s %10.1f %9s", "all", "", "", total * 1e3, "", bytes / 1e6, "");
    if (bytes_per_second > 0)
        printf(" %6.1f%%", bytes / bytes_per_second / total * 100);
    printf("\n");
}

static void key_number(struct json_out *out, const char *key, double value)
{
    json_key(out, key);
    json_double(out, value);
}

void bench_stages_json(const struct bench_stages *stages, struct json_out *out)
{
    json_open_array(out);
    for (int32_t i = 0; i < stages->stages; i++) {
        const struct stage_time *stage = &stages->stage[i];
        json_open_object(out);
        json_key(out, "stage");
        json_text(out, stage->stage);
        json_key(out, "launches");
        json_integer(out, stage->launches);
        key_number(out, "seconds", stage->seconds);
        json_key(out, "weight_bytes");
        json_unsigned(out, stage->weight_bytes);
        json_key(out, "flops_per_row");
        json_unsigned(out, stage->flops_per_row);
        json_close_object(out);
    }
    json_close_array(out);
}
