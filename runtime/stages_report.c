#include "stages_report.h"

#include <stdio.h>

/* work / seconds / roof, or 0 where one of them could not be measured */
static double share(double work, double seconds, double roof)
{
    return seconds > 0 && roof > 0 ? work / seconds / roof : 0;
}

static void print_line(const char *name, int layers, struct stage_work time, int times, double all, struct roofs roofs)
{
    printf("  %-24s %5d %10.3f %6.1f %% %6.1f %% %9.1f %9.2f %6.1f %% %9.1f %6.1f %%\n", name, layers,
           time.seconds / times * 1e3, share(time.seconds, 1, all) * 100, share(time.waiting, time.seconds, 1) * 100,
           time.bytes / times / 1e6, share(time.bytes, time.seconds, 1e9),
           share(time.bytes, time.seconds, roofs.bandwidth) * 100, share(time.flops, time.seconds, 1e9),
           share(time.flops, time.seconds, roofs.peak) * 100);
}

void stages_print(const char *title, const struct stages *stages, int times, struct roofs roofs)
{
    const struct model *model = stages_model(stages);
    struct stage_work total = stages_total(stages);
    printf("\n%-25s layers         ms    share  waiting        MB      GB/s  of read   GFLOP/s  of peak\n", title);
    for (int32_t s = 0; s < model->stage_count; s++)
        print_line(model->stages[s].name, model->stages[s].layers, stages_time(stages, s), times, total.seconds, roofs);
    print_line("all", model->layers, total, times, total.seconds, roofs);
}

static void key_number(struct json_out *out, const char *key, double value)
{
    json_key(out, key);
    json_double(out, value);
}

void stages_json(struct json_out *out, const struct stages *stages, int times, struct roofs roofs)
{
    const struct model *model = stages_model(stages);
    json_open_array(out);
    for (int32_t s = 0; s < model->stage_count; s++) {
        struct stage_work time = stages_time(stages, s);
        json_open_object(out);
        json_key(out, "name");
        json_text(out, model->stages[s].name);
        json_key(out, "layers");
        json_integer(out, model->stages[s].layers);
        key_number(out, "seconds", time.seconds / times);
        key_number(out, "waiting_seconds", time.waiting / times);
        key_number(out, "bytes", time.bytes / times);
        key_number(out, "flops", time.flops / times);
        key_number(out, "bandwidth_share", share(time.bytes, time.seconds, roofs.bandwidth));
        key_number(out, "peak_share", share(time.flops, time.seconds, roofs.peak));
        json_close_object(out);
    }
    json_close_array(out);
}
