-- The payload: which sections it has, in the order in which a step reads them, and where each lies. Matrices are plain
-- row-major in the package's dtype; vectors (norms, biases) are always f32; everything is aligned to 64 bytes.

local weights = {}

local ALIGNMENT = 64
local element_bytes = { bf16 = 2, f32 = 4 }

local function align(value) return (value + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT end

-- How random weights are spread: uniform around the centre, with the variance of an initialisation of 0.02 for
-- embeddings and 1/sqrt(depth) for products, so that activations keep their size whatever the shape.
local function random_of(role, columns)
   if role == "norm" then return { centre = 1.0, scale = 0.0 } end
   if role == "bias" then return { centre = 0.0, scale = 0.02 } end
   if role == "embedding" then return { centre = 0.0, scale = 0.02 * math.sqrt(3) } end
   return { centre = 0.0, scale = math.sqrt(3 / columns) }
end

-- A list of sections that is filled in order.
local function section_list(dtype)
   local list = { sections = {}, offset = 0, by_name = {} }

   function list.add(section)
      section.offset = list.offset
      list.offset = align(section.offset + section.bytes)
      list.sections[#list.sections + 1] = section
      list.by_name[section.name] = section
      return section.offset
   end

   function list.blob(name, bytes)
      list.add { name = name, dtype = "bytes", rows = 1, columns = bytes, bytes = bytes,
                 random = { centre = 0.0, scale = 0.0 } }
      return list.by_name[name]
   end

   -- One matrix out of the rows of several tensors, in order.
   function list.matrix(name, tensors, role)
      local rows, columns = 0, tensors[1].shape[2]
      for _, tensor in ipairs(tensors) do rows = rows + tensor.shape[1] end
      return list.add { name = name, dtype = dtype, rows = rows, columns = columns, sources = tensors,
                        bytes = rows * columns * element_bytes[dtype], random = random_of(role or "matrix", columns) }
   end

   function list.vector(name, tensors, role)
      local size = 0
      for _, tensor in ipairs(tensors) do size = size + tensor.shape[1] end
      return list.add { name = name, dtype = "f32", rows = 1, columns = size, sources = tensors, bytes = size * 4,
                        random = random_of(role, size) }
   end
   return list
end

local function biases(...)
   local tensors = {}
   for _, linear in ipairs { ... } do
      if linear.bias then tensors[#tensors + 1] = linear.bias end
   end
   return #tensors > 0 and tensors or nil
end

-- One layer's sections -> field name -> offset
local function add_layer(list, prefix, layer)
   local mixer, ffn, fields = layer.mixer, layer.ffn, {}
   local function matrix(name, ...) fields[name] = list.matrix(prefix .. name, { ... }) end
   local function vector(name, tensors, role)
      if tensors then fields[name] = list.vector(prefix .. name, tensors, role) end
   end
   vector("attention_norm", layer.mixer_norm and { layer.mixer_norm.weight }, "norm")
   matrix("qkv", mixer.q.weight, mixer.k.weight, mixer.v.weight)
   vector("qkv_bias", biases(mixer.q, mixer.k, mixer.v), "bias")
   vector("query_norm", mixer.q_norm and { mixer.q_norm.weight }, "norm")
   vector("key_norm", mixer.k_norm and { mixer.k_norm.weight }, "norm")
   matrix("attention_output", mixer.o.weight)
   vector("attention_output_bias", biases(mixer.o), "bias")
   vector("mlp_norm", { layer.ffn_norm.weight }, "norm")
   matrix("gate_up", ffn.gate.weight, ffn.up.weight)
   vector("gate_up_bias", biases(ffn.gate, ffn.up), "bias")
   matrix("down", ffn.down.weight)
   vector("down_bias", biases(ffn.down), "bias")
   return fields
end

-- A draft head's sections, in the order of its step -> { embedding, final_norm, head, layers = { fields } }. What it has not of
-- its own is the target's.
local function add_draft(list, draft, target)
   local result = { embedding = target.embedding, head = target.head }
   local fields = {}
   local function norm(name) return draft[name] and list.vector("draft." .. name, { draft[name].weight }, "norm") end
   if draft.embedding then result.embedding = list.matrix("draft.embedding", { draft.embedding.weight }, "embedding") end
   fields.fc = list.matrix("draft.fc", { draft.fc.weight })
   fields.fc_bias = draft.fc.bias and list.vector("draft.fc_bias", { draft.fc.bias }, "bias")
   fields.embedding_norm, fields.hidden_norm = norm("embedding_norm"), norm("hidden_norm")
   for name, offset in pairs(add_layer(list, "draft.", draft.layer)) do fields[name] = offset end
   result.final_norm = norm("final_norm") or 0
   if draft.head then result.head = list.matrix("draft.head", { draft.head.weight }) end
   result.layers = { fields }
   return result
end

-- lay_out(description, dtype, tokenizer_bytes, adapters' list) -> { sections, bytes, layers = { fields }, embedding,
-- final_norm, head, draft = the same of the draft head, or nil }. The sections of bytes come first; that of an adapter has a
-- field `adapter`, its entry in the list.
function weights.lay_out(description, dtype, tokenizer_bytes, adapters)
   local list = section_list(dtype)
   local result = { layers = {} }
   if tokenizer_bytes > 0 then list.blob("tokenizer", tokenizer_bytes) end
   for _, adapter in ipairs(adapters) do list.blob(adapter.section, adapter.bytes).adapter = adapter end
   local draft = description.draft
   if draft and draft.ids then list.blob("draft.target_ids", #draft.ids * 4) end
   result.bytes_sections = list.offset -- what a package of random weights carries
   result.embedding = list.matrix("embedding", { description.embedding.weight }, "embedding")
   for i, layer in ipairs(description.layers) do
      result.layers[i] = add_layer(list, string.format("layer.%d.", i - 1), layer)
   end
   result.final_norm = list.vector("final_norm", { description.final_norm.weight }, "norm")
   result.head = description.head.tied and result.embedding
      or list.matrix("head", { description.head.weight })
   result.draft = draft and add_draft(list, draft, result)
   result.sections, result.by_name, result.bytes = list.sections, list.by_name, list.offset
   return result
end

return weights
