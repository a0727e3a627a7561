-- What torch.save writes (pytorch_model.bin, adapter_model.bin): tensors only; runtime/tensor_pickle.c reads it and refuses
-- whatever would run code.

local host = require "host"

-- read(file) -> { [name] = tensor }, as checkpoint.tensors describes them.
return function(file)
   local tensors = {}
   for _, tensor in ipairs(host.torch_tensors(file)) do
      tensor.file = file
      tensors[tensor.name] = tensor
   end
   return tensors
end
