-- The stages in a row: recipe -> checkpoint -> description -> plan -> sources. Shared by build, generate and plan.

local fail = require "fail"
local host = require "host"
local chat = require "chat.package"
local describe = require "describe.describe"
local draft = require "draft"
local emit = require "emit.emit"
local escape = require "emit.escape"
local gguf_parts = require "read.gguf_parts"
local adapters = require "plan.adapters"
local make_plan = require "plan.plan"
local merge = require "describe.merge"
local peft = require "read.peft"
local read_checkpoint = require "read.checkpoint"
local recipe_module = require "recipe"

local pipeline = {}

local function base(path) return path:gsub("/+$", ""):match("([^/]+)$") or path end

-- recipe(values, positional) -> recipe: a positional .lua file is a recipe, anything else the model.
function pipeline.recipe(values, argument)
   if argument:match("%.lua$") and not host.is_directory(argument) then
      local loaded = recipe_module.load(argument)
      for name, value in pairs(values) do loaded[name] = value end
      local recipe = recipe_module.complete(loaded, argument)
      if not recipe.model then fail("%s: model: expected the path of a checkpoint, found nothing", argument) end
      return recipe
   end
   values.model = argument
   return recipe_module.complete(values, "command line")
end

-- A folder is replaced by its name, so "." and links are followed to what they stand for.
local function resolved(place)
   local real, name = host.real_path(place), base(place)
   local parent = host.real_path(place:match("^(.*/)[^/]+$") or ".")
   if not real or real == "/" or real == (parent == "/" and "" or parent) .. "/" .. name then return place end
   return real
end

-- place(recipe) -> the package's folder, its name. The name becomes file names, so it must be a plain one.
function pipeline.place(recipe)
   local place = (recipe.output or gguf_parts.base_name(base(recipe.model))):gsub("(.)/+$", "%1")
   if host.is_directory(place) then place = resolved(place) end
   local name = base(place)
   if not escape.is_name(name) then
      fail("%s: the package's name is the folder's: expected letters, digits, '.', '_' and '-', found '%s'; choose another "
           .. "with -o", place, name)
   end
   return place, name
end

local function ids_of(value, vocab, where)
   local list = type(value) == "table" and value or { value }
   local ids = {}
   for _, id in ipairs(list) do
      if math.type(id) ~= "integer" or id < 0 or id >= vocab then
         fail("%s: eos_token_id: expected ids below %d, found %s; correct the file", where, vocab, tostring(id))
      end
      ids[#ids + 1] = id
   end
   return ids
end

local function number_or(value, default, where, key, low, high)
   if value == nil or value == host.null then return default + 0.0 end
   if type(value) ~= "number" or value < low or value > high then
      fail("%s: %s: expected a number from %s to %s, found %s; correct the file", where, key, low, high, tostring(value))
   end
   return value + 0.0
end

-- What the checkpoint recommends for generating: generation_config.json, else the config's end-of-text ids.
local function generation_of(checkpoint, vocab)
   local where = checkpoint.path .. "/generation_config.json"
   local given = checkpoint.generation
   local eos = given.eos_token_id
   if eos == nil then eos = checkpoint.config.eos_token_id end
   if eos == host.null then eos = nil end
   return {
      eos = eos ~= nil and ids_of(eos, vocab, where) or {}, sample = given.do_sample == true,
      temperature = number_or(given.temperature, 1, where, "temperature", 0, 100),
      top_p = number_or(given.top_p, 1, where, "top_p", 0, 1),
      min_p = number_or(given.min_p, 0, where, "min_p", 0, 1),
      repetition_penalty = number_or(given.repetition_penalty, 1, where, "repetition_penalty", 0.01, 100),
      top_k = math.tointeger(number_or(given.top_k, given.do_sample == true and 50 or 0, where, "top_k", 0, 1 << 30)) or 0,
   }
end

local function tokenizer_of(checkpoint)
   if not checkpoint.tokenizer then return "" end
   local compile = require "tokenizer.compile"
   return (compile(checkpoint.tokenizer, checkpoint.tokenizer_config or {}, checkpoint.tokenizer_file))
end

-- plan(recipe, name) -> plan, checkpoint, { the contents of sections of bytes, by name }. The checkpoint gets the fields adapters (read/peft.lua, built_in),
-- merged (the adapter in its weights, or nil) and base (the tensors under the adapters).
function pipeline.plan(recipe, name)
   local checkpoint = read_checkpoint(recipe.model, { no_weights = recipe.random_weights ~= nil })
   local description = describe(checkpoint, recipe)
   if recipe.eagle then draft.add(description, checkpoint, recipe) end
   local tokenizer = tokenizer_of(checkpoint)
   local merged = merge(description, checkpoint, recipe)
   local sites = adapters.sites(description)
   local built_in = peft.built_in(recipe, sites)
   local plan = make_plan(description, recipe, name, #tokenizer, built_in)
   checkpoint.adapters, checkpoint.merged, checkpoint.base = built_in, merged, peft.base_of(sites, checkpoint.tensors)
   plan.generator = host.generator
   plan.generation = generation_of(checkpoint, description.vocab)
   plan.chat = { templates = chat.of(checkpoint, recipe), tokens = chat.tokens(checkpoint) }
   plan.command = recipe_module.command(recipe, "generate")
   return plan, checkpoint, { tokenizer = tokenizer, ["draft.target_ids"] = recipe.eagle and draft.ids_blob(description) }
end

-- inputs(checkpoint) -> { { name, bytes, hash } } for the manifest, adapters included
function pipeline.inputs(checkpoint)
   local inputs = {}
   local function add(files)
      for _, entry in ipairs(files) do
         inputs[#inputs + 1] = { name = entry.name, bytes = entry.file:size(), hash = entry.file:hash() }
      end
   end
   add(checkpoint.files)
   if checkpoint.merged then add(checkpoint.merged.files) end
   for _, entry in ipairs(checkpoint.adapters) do add(entry.adapter.files) end
   return inputs
end

-- sources(plan, recipe) -> files, as emit returns them
function pipeline.sources(plan, recipe) return emit(plan, recipe) end

return pipeline
