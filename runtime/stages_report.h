/* Stages beside what the machine can do: as a table for people, or as JSON. */
#ifndef LATHE_STAGES_REPORT_H
#define LATHE_STAGES_REPORT_H

#include "json_out.h"
#include "stages.h"

/* Measured in the same run; 0: could not be. */
struct roofs {
    double bandwidth; /* bytes a second */
    double peak;      /* operations a second */
};

/* Figures are of one of the `times` runs or steps that were watched. */
void stages_print(const char *title, const struct stages *stages, int times, struct roofs roofs);
/* An array of an object for each stage. */
void stages_json(struct json_out *out, const struct stages *stages, int times, struct roofs roofs);

#endif
