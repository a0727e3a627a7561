-- The translator of chat templates: what it refuses, and how; that hostile templates end in an error, soon.

local check = require "check"
local translate = require "chat.translate"

local tests = {}

local function refused(template, message)
   check.fails(function() translate(template, "t.jinja") end, message)
end

function tests.outside_the_subset_is_named_with_its_line()
   refused("a\n{{ x | urlize }}", "t.jinja: line 2: the filter 'urlize' is outside the subset")
   refused("{{ x is prime }}", "t.jinja: line 1: the test 'prime' is outside the subset")
   refused("{{ x.encode('utf8') }}", "t.jinja: line 1: the method 'encode' is outside the subset")
   refused("{{ lipsum() }}", "t.jinja: line 1: the function 'lipsum' is not known")
   refused("{{ x | map('urlize') }}", "the filter 'urlize' is outside the subset")
   refused("{{ x | selectattr('a', 'prime') }}", "the test 'prime' is outside the subset")
   for _, statement in ipairs { "extends 'a'", "include 'a'", "import 'a' as a", "block a", "do x", "autoescape true" } do
      refused("\n\n{% " .. statement .. " %}", ("t.jinja: line 3: the statement '%s' is outside the subset"):format(
         statement:match("%a+")))
   end
   refused("{% for x in y recursive %}{% endfor %}", "recursive loops are outside the subset")
   refused("{% frobnicate %}", "expected a statement, found 'frobnicate'")
end

function tests.arguments_are_counted()
   refused("{{ x | upper(1) }}", "the filter 'upper' takes at most 0 arguments, found 1")
   refused("{{ x | tojson(indents=2) }}", "the filter 'tojson' has no argument called 'indents'")
   refused("{{ x is divisibleby }}", "the test 'divisibleby' takes 1 arguments, found 0")
   refused("{% macro m(a, a) %}{% endmacro %}", "the parameter 'a' is there twice")
   refused("{% macro m(a=1, b) %}{% endmacro %}", "a parameter without a default follows one with a default")
   refused("{{ f(a=1, 2) }}", "positional arguments come first")
end

function tests.broken_templates_are_refused()
   refused("{{ x", "t.jinja: line 1: the template ends inside {{ }}")
   refused("{% if x %}\n\n", "the template ends before the 'endif' of line 1")
   refused("{# a", "the comment that begins here does not end")
   refused("{% raw %} a", "the raw block that begins here does not end")
   refused("{{ 'a }}", "a string that begins here does not end")
   refused("{{ (1 }}", "unexpected '}'")
   refused("{{ }}", "expected an expression, found '}}'")
   refused("{{ 1 + }}", "expected an expression, found '}}'")
   refused("{{ a b }}", "expected '}}', found 'b'")
   refused("{% set 1 = 2 %}", "expected a variable to assign to")
   refused("{% endfor %}", "expected a statement, found 'endfor'")
   refused("{% break %}", "'break' is outside a loop")
   refused("{% for x in y %}{% set z %}{% break %}{% endset %}{% endfor %}", "'break' is outside a loop")
   refused("{{ '\\u12' }}", "expected 4 hexadecimal digits after \\u")
   refused("{{ a ? b }}", "unexpected character '?'")
   refused("\xff", "t.jinja: expected UTF-8, found other bytes")
   refused(("x"):rep((1 << 20) + 1), "expected at most 1048576 bytes of chat template")
end

function tests.nesting_is_bounded()
   local many = 50000
   refused("{{ " .. ("("):rep(many) .. (")"):rep(many) .. " }}", "nest more than 120 deep")
   refused("{{ " .. ("["):rep(many) .. ("]"):rep(many) .. " }}", "nest more than 120 deep")
   refused("{{ " .. ("{1:"):rep(many) .. ("}"):rep(many) .. " }}", "nest more than 120 deep")
   refused("{{ " .. ("-"):rep(many) .. "x }}", "nest more than 120 deep")
   refused("{{ " .. ("not "):rep(many) .. "x }}", "nest more than 120 deep")
   refused("{{ x" .. (".a"):rep(many) .. " }}", "nest more than 120 deep")
   refused("{{ x" .. ("|upper"):rep(many) .. " }}", "nest more than 120 deep")
   refused("{{ x" .. (" - 1"):rep(many) .. " }}", "nest more than 120 deep")
   refused("{{ x" .. (" if y else z"):rep(many) .. " }}", "nest more than 120 deep")
   refused(("{% if x %}"):rep(50000), "nest more than 120 deep")
   refused(("{% for x in y %}"):rep(50000), "nest more than 120 deep")
end

-- Long but flat templates take time in proportion to their length: sixteen times as long, a quadratic step would take 256
-- times as long.
function tests.long_templates_are_translated()
   local function seconds(before, part, after, count)
      local started = os.clock() -- of the processor
      local done, problem = pcall(translate, before .. part:rep(count) .. after, "t.jinja")
      assert(done or type(problem) == "table", problem)
      return os.clock() - started
   end
   for _, case in ipairs {
      { "", "{{ x }}\n", "", 4000 }, { "{{ x", " + 'a'", " }}", 8000 }, { "{{ x", " ~ y", " }}", 8000 },
      { "", "{% if x %}a{% endif %}", "", 4000 }, { "{% if x %}a", "{% elif y %}b", "{% endif %}", 4000 },
      { "{{ x", " and y", " }}", 8000 }, { "{{ [", "1,", "] }}", 16000 }, { "", "{", "", 100000 }, { "", " \n", "", 100000 },
      { "", "{{-x-}}    ", "", 4000 }, { "{{ '", "\\n", "' }}", 100000 }, { "", "{# a #}", "", 30000 },
   } do
      local before, part, after, count = table.unpack(case)
      local short, long = seconds(before, part, after, count // 16), seconds(before, part, after, count)
      assert(long < 64 * short + 1, string.format("'%s' %d times took %.2f s, a sixteenth of it %.3f s", part, count, long, short))
   end
end

-- Names of the template that are keywords or macros of C, or clash with one another.
function tests.names_are_safe_in_c()
   local text = translate("{% set default = 1 %}{% set linux = 2 %}{% set linux_ = 3 %}{% set NULL = 4 %}{% set _x = 5 %}"
                          .. "{{ default }}{{ linux }}{{ linux_ }}{{ NULL }}{{ _x }}", "t.jinja")
   for _, name in ipairs { "default_", "linux_", "linux__", "NULL_", "x_x_" } do
      assert(text:find("struct chat_value " .. name .. ";", 1, true), name)
   end
end

function tests.texts_are_escaped()
   local text = translate('*/ "; system("x"); /* ??/ {{ "\\" */ %s" }}{# */ system() #}', "t.jinja")
   assert(text:find([[CHAT_PRINT("*/ \"; system(\"x\"); /* ?\?/ ");]], 1, true), text)
   assert(not text:find("system()", 1, true))
end

return tests
