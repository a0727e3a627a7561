#include "peft_pattern.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Module names are short: what needs more than this was made to take long. */
#define MATCH_LIMIT 50000u
#define DEPTH_LIMIT 2000u
#define HEAP_LIMIT 4096u /* KiB */
#define LONGEST 8192u    /* bytes of a pattern */

int peft_pattern_compile(struct peft_pattern *pattern, const char *front, const char *text, const char *back,
                         bool whole, const char *where, struct error *error)
{
    memset(pattern, 0, sizeof *pattern);
    snprintf(pattern->shown, sizeof pattern->shown, "%s", text);
    if (strlen(text) > LONGEST)
        return error_set(error, "%s: expected a pattern of at most %u bytes, found %zu", where, LONGEST, strlen(text));
    size_t length = strlen(front) + strlen(text) + strlen(back);
    char *joined = malloc(length + 1);
    if (!joined)
        return error_set(error, "%s: out of memory", where);
    snprintf(joined, length + 1, "%s%s%s", front, text, back);
    int code = 0;
    PCRE2_SIZE offset = 0;
    /* Python has no verbs and no \C; ANCHORED is re.match, ENDANCHORED makes it re.fullmatch. */
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C;
    pattern->code =
        pcre2_compile((PCRE2_SPTR)joined, length, whole ? options | PCRE2_ENDANCHORED : options, &code, &offset, NULL);
    free(joined);
    if (!pattern->code) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(code, message, sizeof message);
        return error_set(error, "%s: expected a regular expression, found \"%s\": %s", where, pattern->shown,
                         (const char *)message);
    }
    pattern->match = pcre2_match_data_create_from_pattern(pattern->code, NULL);
    return pattern->match ? 0 : error_set(error, "%s: out of memory", where);
}

void peft_pattern_free(struct peft_pattern *pattern)
{
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    memset(pattern, 0, sizeof *pattern);
}

/* The digits of the group idx of the last match. */
static int64_t layer_of(const struct peft_pattern *pattern, const char *name)
{
    int group = pcre2_substring_number_from_name(pattern->code, (PCRE2_SPTR) "idx");
    if (group <= 0 || (uint32_t)group >= pcre2_get_ovector_count(pattern->match))
        return -1;
    const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(pattern->match) + 2 * group;
    if (pair[0] == PCRE2_UNSET || pair[1] <= pair[0] || pair[1] - pair[0] > 9)
        return -1;
    int64_t value = 0;
    for (PCRE2_SIZE i = pair[0]; i < pair[1]; i++) {
        if (name[i] < '0' || name[i] > '9')
            return -1;
        value = 10 * value + (name[i] - '0');
    }
    return value;
}

int peft_pattern_match(struct peft_pattern *pattern, const char *name, const char *where, bool *result, int64_t *layer,
                       struct error *error)
{
    *result = false;
    if (layer)
        *layer = -1;
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (!limits)
        return error_set(error, "%s: out of memory", where);
    pcre2_set_match_limit(limits, MATCH_LIMIT);
    pcre2_set_depth_limit(limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(limits, HEAP_LIMIT);
    int found = pcre2_match(pattern->code, (PCRE2_SPTR)name, strlen(name), 0, 0, pattern->match, limits);
    pcre2_match_context_free(limits);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return error_set(error, "%s: expected a pattern that is quickly matched against \"%.80s\", found \"%s\"", where,
                         name, pattern->shown);
    *result = found >= 0;
    if (layer && found >= 0)
        *layer = layer_of(pattern, name);
    return 0;
}
