-- A checkpoint, whatever it is stored as: the one entrance to this folder.

local fail = require "fail"
local host = require "host"
local parts = require "read.gguf_parts"

local function ends_with(text, suffix)
   return text:sub(-#suffix) == suffix
end

-- "models/smol/" -> "smol"; "smol.gguf" and "smol-00001-of-00003.gguf" -> "smol"
local function base_name(path)
   local name = parts.base_name(path:gsub("/+$", ""):match("[^/]*$"))
   return (name == "" or name == "." or name == "..") and "model" or name
end

local function first_with_suffix(folder, suffix)
   for _, name in ipairs(host.list(folder)) do
      if ends_with(name, suffix) then return name end
   end
end

local function read_folder(path, options)
   local folder = path:gsub("(.)/+$", "%1")
   if host.exists(folder .. "/config.json") then return require "read.huggingface" (folder, options) end
   local gguf = first_with_suffix(folder, ".gguf")
   if gguf then fail("%s: expected config.json in this folder, found %s; give that file itself", folder, gguf) end
   if host.exists(folder .. "/adapter_config.json") then
      fail("%s: expected config.json, found adapter_config.json: this is an adapter; give the base model, and this folder "
           .. "with --lora NAME=%s", folder, folder)
   end
   fail("%s: expected config.json in this folder, found none; give a Hugging Face checkpoint or a .gguf file", folder)
end

local function read_file(path, options)
   local file = host.open(path)
   if file:size() >= 4 and file:read(0, 4) == "GGUF" or ends_with(path, ".gguf") then
      return require "read.gguf" (file, options)
   end
   file:close()
   if ends_with(path, ".safetensors") then
      fail("%s: expected a checkpoint, found one of its files; give the folder that holds it and config.json", path)
   end
   fail("%s: expected a folder with config.json or a .gguf file, found another kind of file", path)
end

-- read(path [, options]) -> checkpoint (see docs). options.no_weights: the tensors are not needed, and may be missing.
return function(path, options)
   if not host.exists(path) then fail("%s: expected a checkpoint, found nothing there; check the path", path) end
   local read = host.is_directory(path) and read_folder or read_file
   local checkpoint = read(path, options or {})
   checkpoint.path = path
   checkpoint.name = base_name(path)
   return checkpoint
end
