-- Rotary position embedding: the angle per position of each pair of dimensions, as single-precision values.
-- Computed step by step in the precision of transformers' modeling_rope_utils.py, so that angles at far positions agree.

local fail = require "fail"
local config = require "describe.config"

local rope = {}

local function single(value) return (string.unpack("<f", string.pack("<f", value))) end

-- inv_freq[i] = theta^(-2i/dim), i = 0 .. dim/2 - 1
local function plain(theta, dim)
   local frequencies = {}
   for i = 0, dim // 2 - 1 do
      local exponent = single(2 * i / dim)
      frequencies[i + 1] = single(1.0 / single(theta ^ exponent))
   end
   return frequencies
end

local function number(file, scaling, key)
   local value = scaling[key]
   if type(value) ~= "number" or not (value > 0 and value < math.huge) then
      fail("%s: rope_scaling.%s: expected a positive number, found %s; correct the config", file, key, config.shown(value))
   end
   return value
end

local scalings = {}

function scalings.default(_, _, frequencies) return frequencies end

function scalings.linear(file, scaling, frequencies)
   local factor = number(file, scaling, "factor")
   for i, frequency in ipairs(frequencies) do frequencies[i] = single(frequency / factor) end
   return frequencies
end

-- Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between blended
-- [transformers, _compute_llama3_parameters].
function scalings.llama3(file, scaling, frequencies)
   local factor = number(file, scaling, "factor")
   local low, high = number(file, scaling, "low_freq_factor"), number(file, scaling, "high_freq_factor")
   local original = number(file, scaling, "original_max_position_embeddings")
   if high <= low then
      fail("%s: rope_scaling.high_freq_factor: expected more than low_freq_factor (%s), found %s; correct the config",
           file, low, high)
   end
   for i, frequency in ipairs(frequencies) do
      local wavelength = 2 * math.pi / frequency
      if wavelength > original / low then
         frequencies[i] = single(frequency / factor)
      elseif wavelength >= original / high then
         local smooth = (original / wavelength - low) / (high - low)
         frequencies[i] = single((1 - smooth) * frequency / factor + smooth * frequency)
      end
   end
   return frequencies
end

local known_keys = {
   default = {}, linear = { factor = true },
   llama3 = { factor = true, low_freq_factor = true, high_freq_factor = true, original_max_position_embeddings = true },
}

-- rope.half(file, theta, dim, scaling) -> primitive: pairs are (j, j + dim/2), as in Llama.
function rope.half(file, theta, dim, scaling)
   if dim % 2 ~= 0 then fail("%s: head_dim: expected an even number, found %d; rope turns pairs", file, dim) end
   local kind = scaling and (scaling.rope_type or scaling.type) or "default"
   if not scalings[kind] then
      fail("%s: rope_scaling.rope_type: expected default, linear or llama3, found %s; lathe does not handle this scaling",
           file, config.shown(kind))
   end
   for key in pairs(scaling or {}) do
      if key ~= "rope_type" and key ~= "type" and key ~= "rope_theta" and not known_keys[kind][key]
         and not (kind == "default" or key == "original_max_position_embeddings") then
         fail("%s: rope_scaling.%s: this key is not known for rope_type %s and may change the maths; remove it if it "
              .. "does not", file, key, kind)
      end
   end
   return { style = "half", dim = dim, theta = theta, scaling = kind,
            frequencies = scalings[kind](file, scaling, plain(theta, dim)) }
end

return rope
