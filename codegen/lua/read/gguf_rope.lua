-- RoPE scaling in GGUF files. Two places: the keys {arch}.rope.scaling.*, and, for Llama 3.1 and later, a tensor of
-- frequency divisors that llama.cpp's converter computed from the config (generate_extra_tensors), so that the numbers
-- which made it must be found again.

local fail = require "fail"
local expect = require "read.expect"

local rope = {}

-- Tensors that are folded into the config here.
rope.tensors = { ["rope_freqs.weight"] = true }

local refused = { "rope_factors_long.weight", "rope_factors_short.weight" }

-- The divisors of llama3 scaling: 1 for short waves, `factor` for long ones, a blend between.
local function llama3_divisors(theta, dimensions, scaling)
   local divisors = {}
   local longest = scaling.original_max_position_embeddings / scaling.low_freq_factor
   local shortest = scaling.original_max_position_embeddings / scaling.high_freq_factor
   for i = 0, dimensions // 2 - 1 do
      local wave = 2 * math.pi * theta ^ (2 * i / dimensions)
      if wave < shortest then
         divisors[i + 1] = 1.0
      elseif wave > longest then
         divisors[i + 1] = scaling.factor
      else
         local blend = (scaling.original_max_position_embeddings / wave - scaling.low_freq_factor)
            / (scaling.high_freq_factor - scaling.low_freq_factor)
         divisors[i + 1] = 1 / ((1 - blend) / scaling.factor + blend)
      end
   end
   return divisors
end

local function close(found, wanted)
   for i, value in ipairs(wanted) do
      -- The converter computed in fp32, frequencies included.
      if not (math.abs(found[i] - value) <= 2e-5 * value) then return false end
   end
   return true
end

-- Every published model uses low 1, high 4 and a power of two; which one shows in where the blend lies.
local function find_llama3(divisors, theta, dimensions)
   local factor = divisors[#divisors]
   for exponent = 10, 20 do
      local scaling = { rope_type = "llama3", factor = factor, low_freq_factor = 1.0, high_freq_factor = 4.0,
                        original_max_position_embeddings = 1 << exponent }
      if close(divisors, llama3_divisors(theta, dimensions, scaling)) then return scaling end
   end
end

local function read_divisors(gguf, tensor, dimensions)
   local path = tensor.file:path()
   if tensor.dtype ~= "F32" or #tensor.shape ~= 1 or tensor.shape[1] ~= dimensions // 2 then
      expect.fail(path, "rope_freqs.weight", ("%d numbers of F32"):format(dimensions // 2),
                  ("%d of %s"):format(tensor.shape[1], tensor.dtype), "the file is damaged")
   end
   local bytes, divisors = tensor.file:read(tensor.offset, tensor.bytes), {}
   for i = 1, dimensions // 2 do
      divisors[i] = expect.positive(path, ("rope_freqs.weight[%d]"):format(i - 1), (string.unpack("<f", bytes, 4 * i - 3)),
                                    "the file is damaged")
   end
   return divisors
end

local function all_ones(divisors)
   for _, value in ipairs(divisors) do
      if value ~= 1 then return false end
   end
   return true
end

-- rope.scaling(gguf, get, config) -> the table of config.rope_scaling, or nil
function rope.scaling(gguf, get, config)
   for _, name in ipairs(refused) do
      if gguf.tensors[name] then
         fail("%s: tensor %s: LongRoPE is not supported", gguf.path, name)
      end
   end
   local tensor = gguf.tensors["rope_freqs.weight"]
   local divisors = tensor and read_divisors(gguf, tensor, get.size("rope.dimension_count") or config.head_dim)
   if divisors and all_ones(divisors) then divisors = nil end

   local kind = get.value("rope.scaling.type")
   local factor = get.value("rope.scaling.factor")
   if factor == nil then factor = get.value("rope.scale_linear") end -- files before the other keys existed
   if factor == 0 then factor = nil end
   if kind == nil then kind = factor ~= nil and "linear" or "none" end -- what llama.cpp takes it for
   expect.string(gguf.path, get.name("rope.scaling.type"), kind, "the file is damaged")
   local attention = get.value("rope.scaling.attn_factor")
   if kind ~= "yarn" and attention ~= nil and attention ~= 1 then
      expect.fail(gguf.path, get.name("rope.scaling.attn_factor"), ("1 beside %s scaling"):format(kind), expect.show(attention),
                  "this is not supported")
   end
   if divisors then
      if kind ~= "none" then
         fail("%s: %s: expected none beside the tensor rope_freqs.weight, found %s; this is not supported", gguf.path,
              get.name("rope.scaling.type"), expect.show(kind))
      end
      local scaling = find_llama3(divisors, config.rope_theta, 2 * #divisors)
      if not scaling then
         fail("%s: rope_freqs.weight: expected the divisors of llama3 scaling (low 1, high 4), found others; this is not "
              .. "supported", gguf.path)
      end
      return scaling
   end
   if kind == "none" or (kind == "linear" and factor == 1) then return nil end
   expect.positive(gguf.path, get.name("rope.scaling.factor"), factor, "the file is damaged")
   return { rope_type = kind, factor = factor,
            original_max_position_embeddings = get.size("rope.scaling.original_context_length") }
end

return rope
