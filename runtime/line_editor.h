/* Reads lines from a person: editing, history, pasting, several lines in one. Where standard input or output is no terminal
   (or a dumb one), lines are read as they come and nothing is printed. */
#ifndef LATHE_LINE_EDITOR_H
#define LATHE_LINE_EDITOR_H

#include <stdbool.h>

#include "error.h"
#include "text_buffer.h"

struct line_editor;

enum line_result {
    LINE_READ,
    LINE_INTERRUPTED, /* Ctrl-C on an empty line */
    LINE_END,         /* Ctrl-D on an empty line, or the input's end */
    LINE_FAILED,
};

struct line_editor *line_editor_open(void); /* NULL when memory is out */
void line_editor_close(struct line_editor *editor);
/* Whether a person is there to edit. */
bool line_editor_interactive(const struct line_editor *editor);

/* Reads a line into *line (replaced), without its line feed; it may hold others: pasted ones, and those after a backslash at
   the end of a line. What was read is added to the history. */
enum line_result line_editor_read(struct line_editor *editor, const char *prompt, struct text_buffer *line,
                                  struct error *error);

#endif
