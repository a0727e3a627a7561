-- Hidden commands that tests use to look at one stage alone.

local host = require "host"
local json = require "json"

local debug = {}

-- lathe checkpoint PATH: what read.checkpoint found, as JSON.
debug["checkpoint"] = function(path)
   local checkpoint = require "read.checkpoint" (path)
   local tensors = {}
   for name, tensor in pairs(checkpoint.tensors) do
      tensors[name] = { dtype = tensor.dtype, shape = tensor.shape, bytes = tensor.bytes, offset = tensor.offset,
                        permute = tensor.permute, file = tensor.file:path() }
   end
   print(json.encode({ kind = checkpoint.kind, name = checkpoint.name, architecture = checkpoint.architecture,
                       config = checkpoint.config, tensors = tensors, generation = checkpoint.generation,
                       tokenizer = checkpoint.tokenizer ~= nil, chat_templates = checkpoint.chat_templates }, true))
   return 0
end

-- lathe tokenizer-tables FILE [-o OUT] [CONFIG]: compiles a tokenizer.json alone.
debug["tokenizer-tables"] = function(path, option, out, config_path)
   local compile = require "tokenizer.compile"
   local function decode(name)
      local file = host.open(name)
      return host.json_decode(file:read(0, file:size()), name)
   end
   local blob = compile(decode(path), config_path and decode(config_path) or {}, path)
   if option == "-o" then
      local file = assert(io.open(out, "wb"))
      file:write(blob)
      file:close()
   else
      print(#blob)
   end
   return 0
end

-- lathe chat-template FILE [NAME]: the C of a chat template; NAME: of its function.
debug["chat-template"] = function(path, name)
   local file = host.open(path)
   io.write((require "chat.translate" (file:read(0, file:size()), path, name)))
   return 0
end

return debug
