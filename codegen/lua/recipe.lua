-- The recipe: everything that a user decides, as one table. Options of the command line and recipe files fill the same
-- table; `schema` is what docs/recipe.md documents and `lathe build --help` prints.

local fail = require "fail"
local host = require "host"
local cpu_variants = require "plan.cpu_variants"
local cuda_targets = require "plan.cuda_targets"
local escape = require "emit.escape"
local sorted_keys = require "read.sorted_keys"

local recipe = {}

-- kind: "text", "path" (relative to the recipe file), "flag", "number", "list" of texts, "paths" (names and the paths that they
-- stand for, relative to the recipe file). min, max: bounds of a number.
recipe.schema = {
   { name = "model", kind = "path", doc = "the checkpoint: a Hugging Face folder or a GGUF file" },
   { name = "output", option = "-o", kind = "path", argument = "DIR",
     doc = "where the package goes; its last part is the executable's name (default: the model's name)" },
   { name = "dtype", option = "--dtype", kind = "text", argument = "bf16|f32", values = { "bf16", "f32" },
     default = "bf16", doc = "what the matrices are stored as" },
   { name = "targets", option = "--target", kind = "list", argument = "TARGET", check = cuda_targets.check, nonempty = true,
     default = { "c" }, doc = "what to generate for (repeatable): c, cuda (90a, 80, PTX of 8.0), cuda:SM" },
   { name = "cpus", option = "--cpu", kind = "list", argument = "SET", check = cpu_variants.check, default = {},
     doc = "CPU kernels for bf16, avx512, avx2 or scalar alone (repeatable; default: all)" },
   { name = "compiler", option = "--compiler", kind = "text", argument = "nvrtc|nvcc", values = { "nvrtc", "nvcc" },
     doc = "what compiles CUDA kernels (default: nvrtc)" },
   { name = "max_seq", option = "--max-seq", kind = "number", argument = "N", min = 1, max = 1 << 24,
     doc = "positions a sequence can have (default: what the config says)" },
   { name = "max_rows", option = "--max-rows", kind = "number", argument = "N", min = 1, max = 65536, default = 512,
     doc = "rows a step can have" },
   { name = "page", option = "--page", kind = "number", argument = "N", min = 16, max = 1024, default = 64,
     doc = "positions a state page holds, a power of two" },
   { name = "random_weights", option = "--random-weights", kind = "number", argument = "SEED", min = 0, max = 1 << 53,
     doc = "weights made at load from this seed; the checkpoint needs only its config" },
   { name = "lora", option = "--lora", kind = "paths", argument = "NAME=DIR", default = {},
     doc = "a LoRA adapter of peft's that is built in under that name (repeatable)" },
   { name = "merge_lora", option = "--merge-lora", kind = "text", argument = "NAME",
     doc = "one of them (or NAME=DIR) is merged into the weights instead" },
   { name = "lora_slots", option = "--lora-slots", kind = "number", argument = "N", min = 0, max = 1024,
     doc = "places kept for LoRA adapters that the executable reads at start (default: 0)" },
   { name = "lora_max_rank", option = "--lora-max-rank", kind = "number", argument = "R", min = 1, max = 256,
     doc = "the largest rank that those may have (default: 64)" },
   { name = "thin", option = "--thin", kind = "flag", default = false,
     doc = "leave the weights in weights.bin instead of inside the executable" },
   { name = "eagle", option = "--eagle", kind = "path", argument = "DIR",
     doc = "a draft head (EAGLE-1, 2 or 3) to compile in: speculation" },
   { name = "eagle_depth", option = "--eagle-depth", kind = "number", argument = "N", min = 1, max = 16, default = 5,
     doc = "tokens that it drafts in a row: levels of its tree" },
   { name = "eagle_top_k", option = "--eagle-top-k", kind = "number", argument = "N", min = 1, max = 32, default = 4,
     doc = "children of a node, and nodes of a level that get some; 1: chains" },
   { name = "eagle_tokens", option = "--eagle-tokens", kind = "number", argument = "N", min = 2, max = 256, default = 16,
     doc = "rows that the model checks at once: the best of the tree, and its root" },
   { name = "eagle_taps", option = "--eagle-taps", kind = "text", argument = "N,N,N",
     doc = "layers whose incoming residual stream an EAGLE-3 head takes (default: what its config says)" },
   { name = "eagle_gap", option = "--eagle-gap", kind = "number", argument = "0|1", min = 0, max = 1, default = 0,
     doc = "positions left out between text and draft; 1 for heads that were trained so" },
   { name = "chat_template", option = "--chat-template", kind = "path", argument = "FILE",
     doc = "a Jinja template instead of the checkpoint's; none: no chat template" },
   { name = "models", option = "--models", kind = "path", argument = "DIR",
     doc = "a folder of family files that come before ours" },
   { name = "templates", option = "--templates", kind = "path", argument = "DIR",
     doc = "a folder of templates (c/qkv.c ...) that come before ours" },
   { name = "ignore_config_keys", option = "--ignore-config-key", kind = "list", argument = "KEY", default = {},
     doc = "a config key that does not change the maths, whatever lathe thinks (repeatable)" },
}

local by_name = {}
for _, field in ipairs(recipe.schema) do by_name[field.name] = field end

-- Names of adapters are chosen at run time and become section names; these mean something else there.
local reserved = { all = true, none = true }

local function check_paths(bad, value)
   if type(value) ~= "table" then bad("names and folders") end
   for name, path in pairs(value) do
      if type(name) ~= "string" or type(path) ~= "string" or path == "" then bad("names and folders") end
      if not escape.is_name(name) or reserved[name] then
         bad("names of letters, digits, '.', '_' and '-' other than all and none", name)
      end
   end
end

local function is_power_of_two(value) return value & (value - 1) == 0 end

local function check_value(where, field, value)
   local function bad(expected, what)
      local found = what or type(value) == "table" and "a table" or value == "" and "an empty one" or tostring(value)
      fail("%s: %s: expected %s, found %s", where, field.option or field.name, expected, found)
   end
   if field.kind == "flag" then
      if type(value) ~= "boolean" then bad("true or false") end
   elseif field.kind == "number" then
      if math.type(value) ~= "integer" or value < field.min or value > field.max then
         bad(string.format("an integer from %d to %d", field.min, field.max))
      end
      if field.name == "page" and not is_power_of_two(value) then bad("a power of two") end
   elseif field.kind == "list" then
      if type(value) ~= "table" then bad("a list") end
      local count = 0
      for _ in pairs(value) do count = count + 1 end
      if count ~= #value or field.nonempty and count == 0 then bad("a list of texts") end
      for _, item in ipairs(value) do
         if type(item) ~= "string" then bad("a list of texts") end
         if field.check then field.check(item, where) end
      end
   elseif field.kind == "paths" then
      check_paths(bad, value)
   elseif type(value) ~= "string" or value == "" then
      bad("a text")
   end
   if field.values then
      local known = false
      for _, allowed in ipairs(field.values) do known = known or value == allowed end
      if not known then bad(table.concat(field.values, " or ")) end
   end
end

-- `eagle = { path = DIR, depth = 5, ... }` is `eagle = DIR, eagle_depth = 5, ...`.
local function flatten_eagle(values, where)
   local given = values.eagle
   if type(given) ~= "table" then return end
   local names = {}
   for name in pairs(given) do names[#names + 1] = tostring(name) end
   table.sort(names)
   values.eagle = given.path
   if given.path == nil then fail("%s: eagle.path: expected the folder of a draft head, found nothing", where) end
   for _, name in ipairs(names) do
      if name ~= "path" then
         local value = given[name]
         if not by_name["eagle_" .. name] then
            fail("%s: eagle.%s: this recipe field is not known; docs/recipe.md lists them", where, name)
         end
         if name == "taps" and type(value) == "table" then
            for i, layer in ipairs(value) do value[i] = tostring(layer) end
            value = table.concat(value, ",")
         end
         if values["eagle_" .. name] == nil then values["eagle_" .. name] = value end
      end
   end
end

-- complete(values, where) -> the recipe: checked, with its defaults. where: for messages.
function recipe.complete(values, where)
   local result = {}
   local names = {}
   flatten_eagle(values, where)
   for name in pairs(values) do names[#names + 1] = tostring(name) end
   table.sort(names)
   for _, name in ipairs(names) do
      if not by_name[name] then
         fail("%s: %s: this recipe field is not known; docs/recipe.md lists them", where, name)
      end
   end
   for _, field in ipairs(recipe.schema) do
      local value = values[field.name]
      if value == nil then value = field.default end
      if value ~= nil then check_value(where, field, value) end
      result[field.name] = value
   end
   if result.merge_lora and not result.lora[result.merge_lora] then
      fail("%s: merge_lora: expected one of the adapters of --lora, found %s; or give --merge-lora NAME=DIR", where,
           result.merge_lora)
   end
   if not result.eagle then
      for _, field in ipairs(recipe.schema) do
         if field.name:find("^eagle_") then
            if values[field.name] ~= nil then
               fail("%s: %s: expected a draft head too (--eagle DIR), found none", where, field.option)
            end
            result[field.name] = nil
         end
      end
   end
   return result
end

-- load(path) -> the values of a recipe file, its relative paths made relative to the current folder. The file is Lua:
-- trusted code.
function recipe.load(path)
   local file <close> = host.open(path)
   local chunk, message = load(file:read(0, file:size()), "@" .. path, "t")
   if not chunk then fail("%s: the recipe cannot be loaded: %s", path, message) end
   local done, values = pcall(chunk)
   if not done then fail("%s: the recipe failed: %s", path, tostring(values)) end
   if type(values) ~= "table" then fail("%s: expected the recipe to return a table, found %s", path, type(values)) end
   local folder = path:match("^(.*/)[^/]*$") or ""
   local function from_folder(value)
      return type(value) == "string" and value:sub(1, 1) ~= "/" and folder .. value or value
   end
   flatten_eagle(values, path)
   for name, value in pairs(values) do
      local field = by_name[name]
      local none = name == "chat_template" and value == "none"
      if field and field.kind == "path" and not none then
         values[name] = from_folder(value)
      elseif field and field.kind == "paths" and type(value) == "table" then
         local paths = {}
         for key, item in pairs(value) do paths[key] = from_folder(item) end
         values[name] = paths
      end
   end
   return values
end

-- The command that repeats this recipe, for headers and manifests: paths shortened to their last part.
function recipe.command(values, verb)
   local words = { "lathe", verb }
   local function base(path) return path:gsub("/+$", ""):match("([^/]+)$") or path end
   words[#words + 1] = escape.shell(base(values.model))
   for _, field in ipairs(recipe.schema) do
      local value = values[field.name]
      local is_default = value == nil or value == field.default or field.name == "model" or field.name == "output"
      if field.kind == "list" then
         if table.concat(value, "\0") ~= table.concat(field.default, "\0") then
            for _, item in ipairs(value) do words[#words + 1] = field.option .. " " .. escape.shell(item) end
         end
      elseif field.kind == "paths" then
         for _, name in ipairs(sorted_keys(value)) do
            words[#words + 1] = field.option .. " " .. escape.shell(name .. "=" .. base(value[name]))
         end
      elseif not is_default then
         if field.kind == "flag" then
            words[#words + 1] = field.option
         else
            local text = field.kind == "path" and base(value) or tostring(value)
            words[#words + 1] = field.option .. " " .. escape.shell(text)
         end
      end
   end
   return table.concat(words, " ")
end

return recipe
