-- options.lua: words of the command line to recipe values.

local check = require "check"
local options = require "options"

local tests = {}

local function parse(words, own) return options.parse(words, "build", own or { ["--quiet"] = "flag", ["--kernel"] = "text" }) end

local function misused(words, ...)
   local problem = check.fails(function() parse(words) end, ...)
   check.equal(problem.status, 2)
end

function tests.each_kind()
   local values, own, positional = parse { "model", "-o", "out", "--dtype", "f32", "--thin", "--max-rows", "8", "--quiet",
                                           "--ignore-config-key", "a", "--ignore-config-key", "b", "--kernel", "qkv" }
   check.equal(values, { output = "out", dtype = "f32", thin = true, max_rows = 8, ignore_config_keys = { "a", "b" } })
   check.equal(own, { ["--quiet"] = true, ["--kernel"] = "qkv" })
   check.equal(positional, { "model" })
end

function tests.attached_values()
   check.equal(parse { "--dtype=f32", "--max-rows=8", "--models=a=b" }, { dtype = "f32", max_rows = 8, models = "a=b" })
   check.equal(parse { "--chat-template=" }, { chat_template = "" })
   local _, own = parse { "--kernel=x" }
   check.equal(own, { ["--kernel"] = "x" })
end

function tests.the_last_one_counts()
   check.equal(parse { "--dtype", "f32", "--dtype", "bf16" }, { dtype = "bf16" })
end

function tests.unknown_options()
   misused({ "--frob" }, "--frob", "not known", "lathe build --help")
   misused({ "--frob=3" }, "--frob", "not known")
   misused({ "-x" }, "-x", "not known")
   misused({ "--max_rows", "3" }, "--max_rows", "not known")
   misused({ "--dtyp", "f32" }, "--dtyp")
end

function tests.missing_values()
   misused({ "--dtype" }, "--dtype", "expected a value")
   misused({ "model", "-o" }, "-o", "expected a value")
   misused({ "--kernel" }, "--kernel", "expected a value")
end

function tests.flags_take_no_value()
   misused({ "--thin=yes" }, "--thin", "yes")
   misused({ "--quiet=1" }, "--quiet", "1")
end

function tests.numbers()
   for _, word in ipairs { "x", "1.5", "", "99999999999999999999", "1e400", "nan", "8 rows" } do
      misused({ "--max-rows", word }, "--max-rows", "whole number")
   end
   check.equal(parse { "--max-rows", "-1" }, { max_rows = -1 }) -- refused with its bounds by the recipe
   check.equal(parse { "--random-weights", "9007199254740992" }, { random_weights = 1 << 53 })
end

function tests.values_that_look_like_options()
   check.equal(parse { "-o", "-x" }, { output = "-x" })
   local _, _, positional = parse { "-" }
   check.equal(positional, { "-" })
end

function tests.one_argument()
   check.equal(options.one_argument({ "m" }, "build", "a model"), "m")
   for _, words in ipairs { {}, { "a", "b" } } do
      local problem = check.fails(function() options.one_argument(words, "build", "a model") end, "a model", "--help")
      check.equal(problem.status, 2)
   end
end

function tests.help_names_every_option()
   local recipe = require "recipe"
   local help = options.help()
   for _, field in ipairs(recipe.schema) do
      if field.option then check.holds(help, field.option .. (field.argument and " " .. field.argument or "")) end
   end
   for line in help:gmatch("[^\n]+") do check.is(#line <= 120, "a long line: %s", line) end
end

return tests
