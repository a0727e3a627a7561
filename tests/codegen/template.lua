-- emit/template.lua: control lines, values, errors that name the template's own line.

local check = require "check"
local template = require "emit.template"

local tests = {}

local function expand(text, values) return template.expand(text, values or {}, "kernels/x.c") end

function tests.text_without_marks_is_itself()
   local text = "int a = 3; /* \"quoted\" \\n %d */\n\tx % y; // %\n\n#define A \\\n  1\n"
   check.equal(expand(text), text)
   check.equal(expand(""), "")
   check.equal(expand("\n"), "\n")
end

function tests.the_last_line_may_lack_its_newline()
   check.equal(expand("a\nb"), "a\nb\n")
   check.equal(expand("$n$", { n = 2 }), "2\n")
   check.equal(expand("a\n//% local x = 1"), "a\n")
end

function tests.control_lines_are_lua()
   local text = "//% for i, field in ipairs(fields) do\n    $field$[$i$];\n//%    if i == 2 then\nsecond\n//%    end\n"
      .. "   //% end\n"
   check.equal(expand(text, { fields = { "a", "b" } }), "    a[1];\n    b[2];\nsecond\n")
   check.equal(expand("//% if not on then\nx\n//% else\ny\n//% end\n", { on = false }), "x\n")
end

function tests.a_mark_that_does_not_start_the_line_is_text()
   check.equal(expand("a; //% if\n"), "a; //% if\n")
end

function tests.integers_are_written_as_they_are()
   check.equal(expand("$a$ $b$ $c$\n", { a = 0, b = -7, c = math.maxinteger }), "0 -7 9223372036854775807\n")
end

function tests.floats_are_single_precision_literals()
   local values = { half = 0.5, one = 1.0, tenth = 0.1, small = 1e-5, large = 1e20, negative = -2.0, epsilon = 1e-6 }
   check.equal(expand("$half$ $one$ $tenth$ $small$ $large$ $negative$ $epsilon$\n", values),
               "0.5f 1.0f 0.1f 1e-05f 1e+20f -2.0f 1e-06f\n")
end

function tests.nine_digits_hold_every_single()
   for _, bits in ipairs { 1, 0x3dcccccd, 0x3f7fffff, 0x7f7fffff, 0x00800000, 0x34000000 } do
      local value = string.unpack("<f", string.pack("<I4", bits))
      local text = expand("$x$\n", { x = value }):match("^(.*)f\n$")
      check.equal(string.unpack("<I4", string.pack("<f", tonumber(text))), bits, text)
   end
end

function tests.not_finite_is_an_error()
   for _, value in ipairs { 1 / 0, -1 / 0, 0 / 0 } do
      check.fails(function() expand("\n$x$\n", { x = value }) end, "kernels/x.c:2", "$x$", "not finite")
   end
end

function tests.strings_and_booleans()
   check.equal(expand("$s$|$t$|$f$\n", { s = "a\"b\\c%d$x", t = true, f = false }), "a\"b\\c%d$x|true|false\n")
end

function tests.expressions()
   check.equal(expand("$a + 1$ $b.c[2]$ $#b.c$ $string.format('%02d', a)$ $math.max(a, 9)$\n",
                      { a = 4, b = { c = { 1, 20 } } }), "5 20 2 04 9\n")
end

function tests.a_single_dollar_is_text()
   check.equal(expand("costs 5$\n"), "costs 5$\n")
end

function tests.an_unknown_name_is_an_error_with_its_line()
   local problem = check.fails(function() expand("a\nb\n  $missing$;\n", { present = 1 }) end, "kernels/x.c:3", "missing",
                               "not defined")
   check.is(not problem.message:find("x.c.*x.c"), "the file is named twice: %s", problem.message)
   check.fails(function() expand("//% if missing then\n//% end\n") end, "kernels/x.c:1", "missing")
end

function tests.nil_and_tables_are_errors_with_their_line()
   check.fails(function() expand("a\n$t.missing$\n", { t = {} }) end, "kernels/x.c:2", "t.missing", "nil")
   check.fails(function() expand("\n\n$t$\n", { t = {} }) end, "kernels/x.c:3", "$t$", "table")
   check.fails(function() expand("$ipairs$\n") end, "kernels/x.c:1", "function")
end

function tests.syntax_errors_name_the_line()
   check.fails(function() expand("a\n//% if true\nb\n//% end\n") end, "kernels/x.c:", "'then' expected")
   check.fails(function() expand("a\n$1 +$\n") end, "kernels/x.c:2")
   check.fails(function() expand("//% for i = 1, 2 do\n") end, "kernels/x.c", "'end' expected")
end

function tests.a_failing_expression_names_the_line()
   check.fails(function() expand("a\n$x.y.z$\n", { x = {} }) end, "kernels/x.c:2", "index a nil value")
end

function tests.templates_have_no_way_out()
   for _, name in ipairs { "io", "os", "require", "load", "dofile", "debug", "_G", "setmetatable", "pairs" } do
      check.fails(function() expand("$" .. name .. "$\n") end, name, "not defined")
   end
end

function tests.assignment_stays_in_the_template()
   expand("//% leaked = 1\n")
   check.equal(rawget(_G, "leaked"), nil)
end

function tests.expansion_does_not_change_the_values()
   local values = { list = { 1, 2 } }
   expand("//% for i in ipairs(list) do\n$list[i]$\n//% end\n", values)
   check.equal(values, { list = { 1, 2 } })
end

return tests
