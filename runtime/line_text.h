/* A line being edited: UTF-8 text with a cursor, and where its characters stand on a terminal. No input or output. */
#ifndef LATHE_LINE_TEXT_H
#define LATHE_LINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "text_buffer.h"

/* Start with {0}; free text.data. The cursor is a byte offset between characters. */
struct line_text {
    struct text_buffer text;
    size_t cursor;
};

enum line_move { LINE_LEFT, LINE_RIGHT, LINE_WORD_LEFT, LINE_WORD_RIGHT, LINE_START, LINE_STOP };

/* Replaces everything, with the cursor at the end. -1 when memory is out, as below. */
int line_set(struct line_text *line, const char *text, size_t length);
/* Inserts at the cursor, which moves behind it. */
int line_insert(struct line_text *line, const char *text, size_t length);
/* Moves the cursor. LINE_START and LINE_STOP: of the row between line feeds in which it stands. */
void line_move(struct line_text *line, enum line_move move);
/* Erases what lies between the cursor and where the move would take it. */
void line_erase(struct line_text *line, enum line_move move);

/* The place of text[0 .. length) 's end on a screen of `columns`, when it begins at column `indent` of row 0, and every line
   feed continues at column `indent` of the next row. */
struct line_place {
    int row, column;
};
struct line_place line_place(const char *text, size_t length, int indent, int columns);

#endif
