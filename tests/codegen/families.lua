-- describe/families.lua: which file describes an architecture, and mistakes in a user's one.

local check = require "check"
local families = require "describe.families"

local tests = {}

local good = 'return { architectures = { %s }, config = {}, describe = function() return {} end, name = "mine" }'

local function find(architecture, files)
   for name, text in pairs(files) do check.file(name, text) end
   return families.find(architecture, "config.json", check.folder)
end

function tests.ours()
   check.equal(families.find("LlamaForCausalLM", "config.json").name, "llama")
   check.equal(families.find("Qwen3ForCausalLM", "config.json").name, "qwen3")
end

function tests.the_users_folder_wins()
   check.equal(find("LlamaForCausalLM", { ["my.lua"] = good:format('"LlamaForCausalLM"') }).name, "mine")
   check.equal(find("Qwen2ForCausalLM", {}).name, "qwen2")
end

function tests.new_architectures()
   local family = find("NewForCausalLM", { ["new.lua"] = 'return { architectures = { "NewForCausalLM" }, config = {}, '
      .. 'describe = function() end }', ["notes.txt"] = "not Lua" })
   check.equal(family.name, "new")
end

function tests.a_family_may_require_ours()
   local family = find("NewForCausalLM", { ["new.lua"] = 'local decoder = require "describe.decoder" '
      .. 'return { architectures = { "NewForCausalLM" }, config = decoder.config {}, describe = function() end }' })
   check.is(#family.config > 5, "no config")
end

function tests.unknown_architectures_are_named()
   check.fails(function() families.find("FrobForCausalLM", "m/config.json") end, "m/config.json", "FrobForCausalLM",
               "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM", "--models")
end

function tests.mistakes_of_the_user_name_the_file()
   local function broken(text, ...)
      local fragments = { "broken.lua", ... }
      check.fails(function() find("LlamaForCausalLM", { ["broken.lua"] = text }) end, table.unpack(fragments))
   end
   broken("x x", ":1:")
   broken("local a\nerror('boo')", ":2:", "boo")
   broken("return 3", "expected a table")
   broken("", "expected a table")
   broken("return {}", "expected a table")
   broken('return { architectures = "LlamaForCausalLM", config = {}, describe = print }', "expected a table")
   broken('return { architectures = {}, describe = print }', "config")
   broken('return { architectures = {}, config = {}, describe = 3 }', "describe")
   broken('return require "no.such.module"', "no.such.module")
   broken("\27Lua\x54", "cannot be loaded")
end

function tests.a_missing_folder()
   check.fails(function() families.find("LlamaForCausalLM", "config.json", check.folder .. "/missing") end, "missing")
end

function tests.errors_in_describe_name_the_file()
   local describe = require "describe.describe"
   local read_checkpoint = require "read.checkpoint"
   local recipe = require "recipe"
   local function attempt(body)
      check.file("broken.lua", 'return { architectures = { "LlamaForCausalLM" }, config = require "describe.decoder".config {'
         .. '{ name = "hidden_act", one_of = { "silu" } }, { name = "attention_bias", "boolean", default = false },'
         .. '{ name = "mlp_bias", "boolean", default = false }, { name = "pretraining_tp", "size", default = 1 } },'
         .. 'describe = function(c, file) ' .. body .. ' end }')
      local checkpoint = read_checkpoint(check.fixture "llama-text")
      return function() describe(checkpoint, recipe.complete({ model = "m", models = check.folder }, "test")) end
   end
   check.fails(attempt "return nil + 3", "broken.lua", ":1:")
   check.fails(attempt "return 3", "broken.lua", "layers", "number")
   check.fails(attempt "return { layers = {} }", "broken.lua", "layers")
end

return tests
