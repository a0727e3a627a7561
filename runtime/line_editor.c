#include "line_editor.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "line_text.h"
#include "utf8.h"

enum {
    MOST_HISTORY = 1000,
    ESCAPE_MILLISECONDS = 60, /* a key's further bytes follow its ESC at once */
    LONGEST_LINE = 1 << 20,
};

struct line_editor {
    bool interactive;
    struct termios before;
    char **history;
    size_t history_count;
    size_t at; /* which of the history is shown; history_count: the line being written */
    struct text_buffer draft;
    struct line_text line;
    const char *prompt;
    int cursor_row; /* on the screen, below the prompt's row */
    bool pasting;
};

/* Keys that are more than a character. */
enum key {
    KEY_NONE = -1, /* nothing that means anything */
    KEY_END_OF_INPUT = -2,
    KEY_UP = 0x110000,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_WORD_LEFT,
    KEY_WORD_RIGHT,
    KEY_HOME,
    KEY_LAST,
    KEY_DELETE,
    KEY_PASTE_BEGIN,
    KEY_PASTE_END,
};

#define CONTROL(letter) ((letter)-64)

struct line_editor *line_editor_open(void)
{
    struct line_editor *editor = calloc(1, sizeof *editor);
    const char *terminal = getenv("TERM");
    if (editor)
        editor->interactive = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && terminal &&
                              strcmp(terminal, "dumb") != 0 && tcgetattr(STDIN_FILENO, &editor->before) == 0;
    return editor;
}

void line_editor_close(struct line_editor *editor)
{
    if (!editor)
        return;
    for (size_t i = 0; i < editor->history_count; i++)
        free(editor->history[i]);
    free(editor->history);
    free(editor->draft.data);
    free(editor->line.text.data);
    free(editor);
}

bool line_editor_interactive(const struct line_editor *editor)
{
    return editor->interactive;
}

/* ---- the terminal */

static void put(const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(STDOUT_FILENO, text, length);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
}

static int screen_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col < 10)
        return 80;
    return size.ws_col;
}

static bool raw_mode(struct line_editor *editor)
{
    if (tcgetattr(STDIN_FILENO, &editor->before))
        return false;
    struct termios raw = editor->before;
    raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    raw.c_oflag |= OPOST;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
        return false;
    put("\x1b[?2004h", 8); /* pasted text comes marked */
    return true;
}

static void cooked_mode(struct line_editor *editor)
{
    put("\x1b[?2004l", 8);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &editor->before);
}

/* Draws prompt and line anew, and puts the cursor where it belongs. */
static void draw(struct line_editor *editor)
{
    struct text_buffer out = {0};
    char text[64];
    const struct line_text *line = &editor->line;
    int columns = screen_columns(), indent = (int)strlen(editor->prompt);
    const char *data = line->text.data ? line->text.data : "";
    if (editor->cursor_row > 0)
        text_buffer_add(&out, text, (size_t)snprintf(text, sizeof text, "\x1b[%dA", editor->cursor_row));
    text_buffer_add(&out, "\r\x1b[J", 4);
    text_buffer_add(&out, editor->prompt, (size_t)indent);
    for (size_t at = 0; at < line->text.length; at++) {
        unsigned char byte = (unsigned char)data[at];
        if (byte == '\n')
            text_buffer_add(&out, text, (size_t)snprintf(text, sizeof text, "\r\n%*s", indent, ""));
        else if (byte < 0x20 || byte == 0x7f)
            text_buffer_add(&out, "?", 1);
        else
            text_buffer_add(&out, data + at, 1);
    }
    struct line_place end = line_place(data, line->text.length, indent, columns);
    struct line_place cursor = line_place(data, line->cursor, indent, columns);
    if (end.column == 0 && end.row > 0) /* terminals wait at the right edge until something follows */
        text_buffer_add(&out, "\r\n", 2);
    if (end.row > cursor.row)
        text_buffer_add(&out, text, (size_t)snprintf(text, sizeof text, "\x1b[%dA", end.row - cursor.row));
    text_buffer_add(&out, "\r", 1);
    if (cursor.column > 0)
        text_buffer_add(&out, text, (size_t)snprintf(text, sizeof text, "\x1b[%dC", cursor.column));
    editor->cursor_row = cursor.row;
    if (out.data)
        put(out.data, out.length);
    free(out.data);
}

/* Leaves the cursor on a fresh row below the line. */
static void leave(struct line_editor *editor)
{
    editor->line.cursor = editor->line.text.length;
    draw(editor);
    put("\r\n", 2);
}

/* ---- keys */

/* The next byte; -1 at the end of the input, or when none comes within the time (-1: however long it takes). */
static int read_byte(int milliseconds)
{
    unsigned char byte;
    for (;;) {
        struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = milliseconds < 0 ? 1 : poll(&wait, 1, milliseconds);
        if (ready == 0)
            return -1;
        ssize_t got = ready < 0 ? -1 : read(STDIN_FILENO, &byte, 1);
        if (got == 1)
            return byte;
        if (got == 0 || errno != EINTR)
            return -1;
    }
}

/* After ESC [ or ESC O: numbers separated by semicolons, then a letter or ~. */
static int read_sequence(void)
{
    int first = 0, second = 0, semicolons = 0, byte;
    while ((byte = read_byte(ESCAPE_MILLISECONDS)) == ';' || (byte >= '0' && byte <= '9')) {
        int *number = semicolons ? &second : &first;
        if (byte == ';')
            semicolons++;
        else if (*number < 10000)
            *number = *number * 10 + byte - '0';
    }
    bool words = second == 3 || second == 5; /* with Alt or Ctrl */
    switch (byte) {
    case 'A':
        return KEY_UP;
    case 'B':
        return KEY_DOWN;
    case 'C':
        return words ? KEY_WORD_RIGHT : KEY_RIGHT;
    case 'D':
        return words ? KEY_WORD_LEFT : KEY_LEFT;
    case 'H':
        return KEY_HOME;
    case 'F':
        return KEY_LAST;
    case '~':
        break;
    default:
        return KEY_NONE;
    }
    switch (first) {
    case 1:
    case 7:
        return KEY_HOME;
    case 4:
    case 8:
        return KEY_LAST;
    case 3:
        return KEY_DELETE;
    case 200:
        return KEY_PASTE_BEGIN;
    case 201:
        return KEY_PASTE_END;
    default:
        return KEY_NONE;
    }
}

static int read_escape(void)
{
    int byte = read_byte(ESCAPE_MILLISECONDS);
    if (byte == '[' || byte == 'O')
        return read_sequence();
    if (byte == 'b')
        return KEY_WORD_LEFT;
    return byte == 'f' ? KEY_WORD_RIGHT : KEY_NONE;
}

/* One key: a byte below 0x80, a key of enum key, or, with its bytes in `text`, a longer character (0x80). */
static int read_key(char text[4], size_t *length)
{
    int byte = read_byte(-1);
    *length = 1;
    if (byte < 0)
        return KEY_END_OF_INPUT;
    if (byte == 0x1b)
        return read_escape();
    if (byte < 0x80)
        return byte;
    size_t needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    text[0] = (char)byte;
    while (*length < needed) {
        int next = read_byte(ESCAPE_MILLISECONDS);
        if (next < 0)
            break;
        text[(*length)++] = (char)next;
    }
    return utf8_valid(text, *length) ? 0x80 : KEY_NONE;
}

/* ---- history */

static int add_history(struct line_editor *editor, const struct text_buffer *line)
{
    const char *last = editor->history_count ? editor->history[editor->history_count - 1] : NULL;
    if (!line->length || (last && strcmp(last, line->data) == 0))
        return 0;
    if (editor->history_count == MOST_HISTORY) {
        free(editor->history[0]);
        editor->history_count--;
        memmove(editor->history, editor->history + 1, editor->history_count * sizeof *editor->history);
    }
    char **history = realloc(editor->history, (editor->history_count + 1) * sizeof *history);
    if (!history)
        return -1;
    editor->history = history;
    if (!(history[editor->history_count] = strdup(line->data)))
        return -1;
    editor->history_count++;
    return 0;
}

/* Shows another line of the history; what was being written is kept for coming back. */
static int show_history(struct line_editor *editor, bool older)
{
    struct line_text *line = &editor->line;
    if (older ? editor->at == 0 : editor->at == editor->history_count)
        return 0;
    if (editor->at == editor->history_count) {
        editor->draft.length = 0;
        if (text_buffer_add(&editor->draft, line->text.data ? line->text.data : "", line->text.length))
            return -1;
    }
    editor->at = older ? editor->at - 1 : editor->at + 1;
    const char *text = editor->at == editor->history_count ? editor->draft.data : editor->history[editor->at];
    return line_set(line, text, strlen(text));
}

/* ---- editing */

/* Enter: true if the line is finished. A backslash before the cursor's end makes room for another. */
static bool enter(struct line_editor *editor, int *failed)
{
    struct line_text *line = &editor->line;
    bool more = line->cursor == line->text.length && line->cursor > 0 && line->text.data[line->cursor - 1] == '\\';
    if (!more)
        return true;
    line_erase(line, LINE_LEFT);
    *failed = line_insert(line, "\n", 1);
    return false;
}

static int type(struct line_editor *editor, const char *text, size_t length)
{
    if (editor->line.text.length + length > LONGEST_LINE)
        return 0;
    return line_insert(&editor->line, text, length);
}

/* What a key does to the line; -1 when memory is out. */
static int edit(struct line_editor *editor, int key, const char *text, size_t length)
{
    struct line_text *line = &editor->line;
    char byte = (char)key;
    switch (key) {
    case 0x80:
        return type(editor, text, length);
    case KEY_UP:
    case CONTROL('P'):
        return show_history(editor, true);
    case KEY_DOWN:
    case CONTROL('N'):
        return show_history(editor, false);
    case KEY_LEFT:
    case CONTROL('B'):
        line_move(line, LINE_LEFT);
        return 0;
    case KEY_RIGHT:
    case CONTROL('F'):
        line_move(line, LINE_RIGHT);
        return 0;
    case KEY_WORD_LEFT:
        line_move(line, LINE_WORD_LEFT);
        return 0;
    case KEY_WORD_RIGHT:
        line_move(line, LINE_WORD_RIGHT);
        return 0;
    case KEY_HOME:
    case CONTROL('A'):
        line_move(line, LINE_START);
        return 0;
    case KEY_LAST:
    case CONTROL('E'):
        line_move(line, LINE_STOP);
        return 0;
    case KEY_DELETE:
    case CONTROL('D'):
        line_erase(line, LINE_RIGHT);
        return 0;
    case 0x7f:
    case CONTROL('H'):
        line_erase(line, LINE_LEFT);
        return 0;
    case CONTROL('W'):
        line_erase(line, LINE_WORD_LEFT);
        return 0;
    case CONTROL('U'):
        line_erase(line, LINE_START);
        return 0;
    case CONTROL('K'):
        line_erase(line, LINE_STOP);
        return 0;
    case CONTROL('L'):
        put("\x1b[H\x1b[2J", 7);
        editor->cursor_row = 0;
        return 0;
    default:
        return key == '\t' ? type(editor, "    ", 4) : key >= 0x20 && key < 0x7f ? type(editor, &byte, 1) : 0;
    }
}

/* A key while text is being pasted: everything is text. */
static int paste(struct line_editor *editor, int key, const char *text, size_t length)
{
    char byte = (char)key;
    if (key == KEY_PASTE_END)
        editor->pasting = false;
    else if (key == '\r' || key == '\n')
        return type(editor, "\n", 1);
    else if (key == 0x80)
        return type(editor, text, length);
    else if (key >= 0x20 && key < 0x7f)
        return type(editor, &byte, 1);
    else if (key == '\t')
        return type(editor, "    ", 4);
    return 0;
}

/* Reads keys until the line is finished or given up. */
static enum line_result edit_line(struct line_editor *editor, int *failed)
{
    struct line_text *line = &editor->line;
    draw(editor);
    while (!*failed) {
        char text[4];
        size_t length;
        int key = read_key(text, &length);
        if (key == KEY_END_OF_INPUT || (!editor->pasting && key == CONTROL('D') && !line->text.length)) {
            leave(editor);
            return LINE_END;
        }
        if (editor->pasting) {
            *failed = paste(editor, key, text, length);
            if (editor->pasting)
                continue; /* drawn once, at its end */
        } else if (key == KEY_PASTE_BEGIN) {
            editor->pasting = true;
            continue;
        } else if (key == CONTROL('C')) {
            bool empty = !line->text.length;
            leave(editor);
            if (empty)
                return LINE_INTERRUPTED;
            line_set(line, "", 0);
            editor->cursor_row = 0;
        } else if (key == '\r' || key == '\n') {
            if (enter(editor, failed)) {
                leave(editor);
                return LINE_READ;
            }
        } else {
            *failed = edit(editor, key, text, length);
        }
        draw(editor);
    }
    return LINE_FAILED;
}

/* ---- without a terminal */

static enum line_result read_plain(struct text_buffer *line, struct error *error)
{
    int c;
    bool any = false;
    errno = 0;
    while ((c = getchar()) != EOF) {
        char byte = (char)c;
        any = true;
        if (c == '\n')
            break;
        if (line->length >= LONGEST_LINE || text_buffer_add(line, &byte, 1)) {
            error_set(error, "standard input: expected lines of at most %d bytes", LONGEST_LINE);
            return LINE_FAILED;
        }
    }
    if (ferror(stdin)) {
        error_set(error, "standard input: reading: %s", strerror(errno ? errno : EIO));
        return LINE_FAILED;
    }
    if (line->length && line->data[line->length - 1] == '\r')
        line->data[--line->length] = 0;
    return any ? LINE_READ : LINE_END;
}

enum line_result line_editor_read(struct line_editor *editor, const char *prompt, struct text_buffer *line,
                                  struct error *error)
{
    int failed = 0;
    line->length = 0;
    if (text_buffer_add(line, "", 0)) {
        error_set(error, "out of memory");
        return LINE_FAILED;
    }
    if (!editor->interactive)
        return read_plain(line, error);
    fflush(stdout);
    if (!raw_mode(editor)) {
        error_set(error, "the terminal cannot be set up: %s", strerror(errno));
        return LINE_FAILED;
    }
    editor->prompt = prompt;
    editor->at = editor->history_count;
    editor->cursor_row = 0;
    editor->pasting = false;
    line_set(&editor->line, "", 0);
    enum line_result result = edit_line(editor, &failed);
    cooked_mode(editor);
    const struct text_buffer *typed = &editor->line.text;
    if (!failed && result == LINE_READ)
        failed = text_buffer_add(line, typed->data ? typed->data : "", typed->length) || add_history(editor, line);
    if (!failed)
        return result;
    error_set(error, "out of memory for the line");
    return LINE_FAILED;
}
