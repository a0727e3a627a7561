-- recipe.lua: fields, defaults, files, and the command that repeats a recipe.

local check = require "check"
local recipe = require "recipe"

local tests = {}

local function complete(values) return recipe.complete(values, "test.lua") end

function tests.defaults()
   local values = complete { model = "m" }
   check.equal(values, { model = "m", dtype = "bf16", targets = { "c" }, max_rows = 512, page = 64, thin = false,
                         lora = {}, cpus = {}, ignore_config_keys = {} })
end

function tests.given_values_stay()
   local values = complete { model = "m", dtype = "f32", max_rows = 20, page = 128, thin = true, max_seq = 4096,
                             random_weights = 0, output = "o", ignore_config_keys = { "a", "b" } }
   check.equal({ values.dtype, values.max_rows, values.page, values.thin, values.max_seq, values.random_weights,
                 values.output, values.ignore_config_keys },
               { "f32", 20, 128, true, 4096, 0, "o", { "a", "b" } })
end

function tests.unknown_fields()
   check.fails(function() complete { model = "m", frob = 1 } end, "test.lua", "frob", "not known")
   check.fails(function() complete { model = "m", ["a\nb"] = 1 } end, "not known")
   check.fails(function() complete { "m" } end, "test.lua", "1", "not known")
   check.fails(function() complete { zebra = 1, ape = 1 } end, "ape") -- the first in order, always the same
end

function tests.wrong_types()
   local cases = {
      { { model = 3 }, "model", "3" }, { { model = {} }, "model", "a table" }, { { model = "" }, "model" },
      { { dtype = "fp16" }, "--dtype", "bf16 or f32", "fp16" }, { { dtype = 16 }, "--dtype" },
      { { targets = "c" }, "--target", "a list" }, { { targets = { "cuda:91" } }, "--target", "90a", "ptx", "cuda:91" },
      { { targets = { 1 } }, "--target", "texts" }, { { thin = 1 }, "--thin", "true or false" },
      { { thin = "yes" }, "--thin" }, { { max_rows = "8" }, "--max-rows", "integer" }, { { max_rows = 8.0 }, "--max-rows" },
      { { max_rows = 0 }, "--max-rows", "1", "65536" }, { { max_rows = 65537 }, "--max-rows" },
      { { max_seq = -1 }, "--max-seq" }, { { max_seq = (1 << 24) + 1 }, "--max-seq" },
      { { page = 8 }, "--page", "16" }, { { page = 24 }, "--page", "power of two" }, { { page = 2048 }, "--page" },
      { { random_weights = -1 }, "--random-weights" }, { { random_weights = 1.5 }, "--random-weights" },
      { { ignore_config_keys = "k" }, "--ignore-config-key", "list" }, { { output = false }, "-o" },
   }
   for _, case in ipairs(cases) do
      local values = case[1]
      values.model = values.model or "m"
      check.fails(function() complete(values) end, "test.lua", table.unpack(case, 2))
   end
end

function tests.lists_are_lists_of_texts_only()
   check.fails(function() complete { model = "m", targets = { c = true } } end, "--target")
   check.fails(function() complete { model = "m", targets = {} } end, "--target")
end

function tests.pages()
   for shift = 4, 10 do check.equal(complete({ model = "m", page = 1 << shift }).page, 1 << shift) end
end

function tests.files()
   local path = check.file("r.lua", 'return { model = "m", dtype = "f" .. 32 }')
   check.equal(recipe.load(path), { model = check.folder .. "/m", dtype = "f32" })
end

function tests.paths_of_a_file_are_relative_to_it()
   local path = check.file("r.lua", 'return { model = "../m", templates = "/abs/t", models = "fam", output = "out", '
      .. 'chat_template = "c.jinja", dtype = "f32" }')
   check.equal(recipe.load(path), { model = check.folder .. "/../m", templates = "/abs/t", models = check.folder .. "/fam",
                                    output = check.folder .. "/out", chat_template = check.folder .. "/c.jinja",
                                    dtype = "f32" })
end

-- A draft head is a path, or a table of what the options say.
function tests.draft_heads()
   local path = check.file("r.lua", 'return { model = "m", eagle = { path = "heads/e3", depth = 7, taps = { 2, 16, 29 } } }')
   local given = recipe.complete(recipe.load(path), path)
   check.equal({ given.eagle, given.eagle_depth, given.eagle_taps, given.eagle_tokens, given.eagle_gap },
               { check.folder .. "/heads/e3", 7, "2,16,29", 16, 0 })
   check.equal(recipe.command(given, "build"), "lathe build m --eagle e3 --eagle-depth 7 --eagle-taps 2,16,29")
   check.equal(complete { model = "m", eagle = "e" }.eagle_top_k, 4)
   check.equal(complete({ model = "m" }).eagle_top_k, nil)
   check.fails(function() complete { model = "m", eagle = { depth = 3 } } end, "eagle.path")
   check.fails(function() complete { model = "m", eagle = { path = "e", frob = 3 } } end, "eagle.frob")
   check.fails(function() complete { model = "m", eagle = { path = "e", depth = 0 } } end, "--eagle-depth", "1")
   check.fails(function() complete { model = "m", eagle_depth = 3 } end, "--eagle-depth", "--eagle DIR")
end

function tests.files_that_fail()
   local function load(text) return function() recipe.load(check.file("r.lua", text)) end end
   check.fails(load "return {", "r.lua", "cannot be loaded", ":1:")
   check.fails(load "local x\nerror('boo')", "r.lua", "failed", ":2:", "boo")
   check.fails(load "return 3", "r.lua", "table", "number")
   check.fails(load "", "r.lua", "table", "nil")
   check.fails(load "\27Lua", "r.lua", "cannot be loaded")
   check.fails(function() recipe.load(check.folder .. "/missing.lua") end, "missing.lua")
end

function tests.command_text()
   local function command(values) return recipe.command(complete(values), "build") end
   check.equal(command { model = "a/b/smol/" }, "lathe build smol")
   check.equal(command { model = "smol.gguf", dtype = "bf16", max_rows = 512, output = "x" }, "lathe build smol.gguf")
   check.equal(command { model = "m", dtype = "f32", max_seq = 64, max_rows = 8, page = 16, random_weights = 7, thin = true,
                         models = "x/fam", ignore_config_keys = { "k", "l m" } },
               "lathe build m --dtype f32 --max-seq 64 --max-rows 8 --page 16 --random-weights 7 --thin --models fam "
                  .. "--ignore-config-key k --ignore-config-key 'l m'")
   check.equal(command { model = "it's" }, [[lathe build 'it'\''s']])
end

function tests.a_default_that_is_spelled_out_is_no_option()
   check.equal(recipe.command(complete { model = "m", targets = { "c" } }, "build"), "lathe build m")
end

-- Each option of the schema, as the command prints it, is understood by the command line.
function tests.the_command_can_be_given_again()
   local options = require "options"
   local given = complete { model = "m", dtype = "f32", max_seq = 64, max_rows = 8, page = 16, random_weights = 7, thin = true,
                            models = "fam", templates = "t", chat_template = "c", ignore_config_keys = { "k", "l" } }
   local words = {}
   for word in recipe.command(given, "build"):gmatch("%S+") do words[#words + 1] = word end
   local values, _, positional = options.parse({ table.unpack(words, 3) }, "build", {})
   values.model = positional[1]
   check.equal(recipe.complete(values, "again"), given)
end

return tests
