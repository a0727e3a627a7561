-- A Hugging Face folder: config.json, safetensors in one file or in shards, and the tokenizer's files.

local fail = require "fail"
local host = require "host"
local chat_template = require "read.chat_template"
local config = require "read.config"
local expect = require "read.expect"
local json_file = require "read.json_file"
local read_safetensors = require "read.safetensors"
local sorted_keys = require "read.sorted_keys"

local INDEX = "model.safetensors.index.json"

-- A file name from an index, joined to a folder, must stay in that folder.
local function check_shard_name(index_path, tensor, name)
   local field = "weight_map." .. expect.shorten(tensor)
   expect.string(index_path, field, name, "download the file again")
   if name:find("[/\\%c]") or not name:find("^[^.].*%.safetensors$") then
      expect.fail(index_path, field, "the plain name of a .safetensors file in the same folder", expect.show(name),
                  "do not trust this checkpoint")
   end
end

-- The names of the shards, sorted, and which tensors each must hold: { [shard] = { name, ... } }.
local function read_index(path, index)
   local map = expect.object(path, "weight_map", expect.object(path, "the file", index).weight_map)
   local names, expected = {}, {}
   for _, tensor in ipairs(sorted_keys(map)) do
      local shard = map[tensor]
      check_shard_name(path, tensor, shard)
      if not expected[shard] then
         expected[shard] = {}
         names[#names + 1] = shard
      end
      table.insert(expected[shard], tensor)
   end
   if #names == 0 then expect.fail(path, "weight_map", "at least one tensor", "none", "download the file again") end
   table.sort(names)
   return names, expected
end

-- FP8 and smaller floats are weights that need scales, from formats that are read as such or not at all.
local function check_dtypes(tensors)
   for _, name in ipairs(sorted_keys(tensors)) do
      local dtype = tensors[name].dtype
      if dtype:find("^F[468]_") or dtype == "F4" then
         fail("%s: %s: dtype: expected F32, F16 or BF16, found %s, which is not supported; use the BF16 checkpoint",
              tensors[name].file:path(), expect.shorten(name), dtype)
      end
   end
end

local function read_shards(folder, open)
   local index_path = folder .. "/" .. INDEX
   local names, expected = read_index(index_path, (open.json(INDEX)))
   local tensors = {}
   for _, shard in ipairs(names) do
      local path = folder .. "/" .. shard
      if not host.exists(path) then
         fail("%s: weight_map: names the file %s, which is missing; download all files of the checkpoint", index_path, shard)
      end
      local found = read_safetensors(open.file(shard))
      for _, name in ipairs(expected[shard]) do
         if not found[name] then
            fail("%s: weight_map: %s: expected it in %s, which does not hold it; download all files of the checkpoint",
                 index_path, expect.shorten(name), shard)
         end
      end
      for _, name in ipairs(sorted_keys(found)) do
         if tensors[name] then
            fail("%s: %s: expected each tensor once, found it in %s too; remove the file that does not belong here", path,
                 expect.shorten(name), tensors[name].file:path())
         end
         tensors[name] = found[name]
      end
   end
   return tensors
end

local function has_suffix(names, suffix)
   for _, name in ipairs(names) do
      if name:sub(-#suffix) == suffix then return name end
   end
end

local function fail_without_weights(folder)
   local names = host.list(folder)
   local pickled = has_suffix(names, ".bin") or has_suffix(names, ".pth") or has_suffix(names, ".pt")
   if pickled then
      fail("%s: expected model.safetensors or %s, found %s, which is a pickle and may run code; convert it with "
           .. "transformers' save_pretrained", folder, INDEX, pickled)
   end
   fail("%s: expected model.safetensors or %s, found neither; download all files of the checkpoint", folder, INDEX)
end

-- read(folder, options) -> checkpoint. options.no_weights: config and tokenizer only (weights are made at random).
return function(folder, options)
   local files = {}
   local open = {}

   function open.file(name)
      local file = host.open(folder .. "/" .. name)
      files[#files + 1] = { name = name, file = file }
      return file
   end

   function open.json(name)
      local value, file = json_file(folder .. "/" .. name)
      files[#files + 1] = { name = name, file = file }
      return value
   end

   -- An optional file that must be an object if it is there.
   function open.optional(name)
      local path = folder .. "/" .. name
      if not host.exists(path) then return nil end
      return expect.object(path, "the file", open.json(name), "download the file again")
   end

   local checkpoint = { kind = "huggingface", path = folder, config_file = folder .. "/config.json", tensors = {} }
   checkpoint.config, checkpoint.architecture = config.read(open.json("config.json"), checkpoint.config_file)

   if not options.no_weights then
      if host.exists(folder .. "/model.safetensors") then
         checkpoint.tensors = read_safetensors(open.file("model.safetensors"))
      elseif host.exists(folder .. "/" .. INDEX) then
         checkpoint.tensors = read_shards(folder, open)
      else
         fail_without_weights(folder)
      end
      check_dtypes(checkpoint.tensors)
   end

   checkpoint.tokenizer_file = folder .. "/tokenizer.json"
   checkpoint.tokenizer = open.optional("tokenizer.json")
   if checkpoint.tokenizer then
      expect.object(checkpoint.tokenizer_file, "model", checkpoint.tokenizer.model, "download the file again")
   end
   checkpoint.tokenizer_config = open.optional("tokenizer_config.json") or {}
   local generation_file = folder .. "/generation_config.json"
   checkpoint.generation = config.clean(open.optional("generation_config.json") or {}, generation_file)
   config.check(checkpoint.generation, generation_file)
   checkpoint.chat_templates = chat_template(folder, open, checkpoint.tokenizer_config)
   checkpoint.special_tokens = open.optional("special_tokens_map.json")

   table.sort(files, function(a, b) return a.name < b.name end)
   checkpoint.files = files
   return checkpoint
end
