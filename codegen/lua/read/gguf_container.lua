-- GGUF files, versions 2 and 3: header, metadata, table of tensors, data. What the keys mean is gguf.lua's business.
-- Source: ggml's docs/gguf.md and the checks of its reader (gguf.cpp).
--
--   "GGUF" | version: u32 | tensors: u64 | keys: u64
--   keys:     name: string | type: u32 | value            string: length: u64 | bytes    array: type: u32 | count: u64 | values
--   tensors:  name: string | dimensions: u32 | each: u64 | type: u32 | offset: u64
--   padding to the alignment | data

local fail = require "fail"
local host = require "host"
local cursor = require "read.cursor"
local expect = require "read.expect"

local ADVICE = "the file is damaged; download it again"
local MOST_KEYS, MOST_TENSORS = 1 << 16, 1 << 20
local LONGEST_NAME, LONGEST_STRING = 65535, 1 << 28
local MOST_ELEMENTS = 1 << 50 -- of a tensor

-- By number: how a value is stored. Strings (8) and arrays (9) have no fixed size.
local STRING, ARRAY = 8, 9
local scalars = {
   [0] = { "<I1", 1 }, { "<i1", 1 }, { "<I2", 2 }, { "<i2", 2 }, { "<I4", 4 }, { "<i4", 4 }, { "<f", 4 }, { "<I1", 1 },
   [10] = { "<i8", 8 }, [11] = { "<i8", 8 }, [12] = { "<d", 8 }, -- unsigned 64-bit numbers above 2^63 come out negative
}
local FLOAT32, BOOL = 6, 7

-- Tensor types by number. lathe converts those in host.tensor_formats(); the others are known so that they can be named.
local tensor_types = {
   [0] = "F32", "F16", "Q4_0", "Q4_1", "Q4_2", "Q4_3", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
   "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64",
   "IQ1_M", "BF16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",
   "NVFP4", "Q1_0",
}

-- What to do about the types that are not converted, by the beginning of their names.
local QUANTISE = "download the same model as Q8_0, or as one of the K quantisations such as Q4_K_M"
local advice_by_type = {
   { "^IQ", QUANTISE }, { "^TQ", QUANTISE }, { "^Q1_0", QUANTISE }, { "FP4$", QUANTISE },
   { "^Q4_0_[48]_[48]$", "llama.cpp has dropped this type; download the same model as Q4_0" },
   { "^Q8_[1K]", "llama.cpp keeps activations in this type, never weights; convert the model again" },
   { "^Q4_[23]", "llama.cpp has dropped this type; convert the model again with a current one" },
   { "^[IF]%d+$", "weights are expected in F32, F16, BF16 or quantised; convert the model again" },
}

local function advice_for_type(name)
   for _, entry in ipairs(advice_by_type) do
      if name:find(entry[1]) then return entry[2] end
   end
   return ADVICE
end

local container = {}
container.__index = container

-- The shortest decimal number that is the same float: 1e-05 instead of 9.999999747378752e-06.
local function shortest_float(value)
   if value ~= value or math.abs(value) == math.huge then return value end
   for digits = 1, 9 do
      local short = tonumber(("%." .. digits .. "g"):format(value))
      if string.pack("<f", short) == string.pack("<f", value) then return short + 0.0 end
   end
   return value
end

local function read_scalar(at, kind, field)
   local form = scalars[kind]
   local value = at:number(form[1], form[2], field)
   if kind == FLOAT32 then return shortest_float(value) end
   if kind == BOOL then
      if value > 1 then expect.fail(at.file:path(), field, "0 or 1", expect.show(value), ADVICE) end
      return value == 1
   end
   return value
end

local function check_kind(path, kind, field)
   if not scalars[kind] and kind ~= STRING and kind ~= ARRAY then
      expect.fail(path, field, "a value type from 0 to 12", ("%d"):format(kind), ADVICE)
   end
end

-- Arrays are noted, not read: most are vocabularies, and some are never asked for.
local function read_array(at, field)
   local path = at.file:path()
   local kind = at:u32(field .. ": element type")
   check_kind(path, kind, field .. ": element type")
   if kind == ARRAY then
      expect.fail(path, field, "an array of numbers or strings", "an array of arrays", "this is not supported")
   end
   local bytes = scalars[kind] and scalars[kind][2] or 8 -- a string has at least its length
   local count = at:size64(at:left() // bytes, field .. ": count")
   local array = { kind = kind, count = count, position = at.position }
   if kind == STRING then
      at:skip_strings(count, field)
   else
      at:skip(count * bytes)
   end
   return array
end

local function read_metadata(at, count)
   local values, arrays = {}, {}
   for i = 1, count do
      local key = at:string(LONGEST_NAME, ("key %d"):format(i))
      if key == "" or key:find("%c") then
         expect.fail(at.file:path(), ("key %d"):format(i), "a name of printable characters", expect.show(key), ADVICE)
      end
      if values[key] ~= nil or arrays[key] then
         expect.fail(at.file:path(), key, "each key once", "it twice", ADVICE)
      end
      local kind = at:u32(key)
      check_kind(at.file:path(), kind, key)
      if kind == ARRAY then
         arrays[key] = read_array(at, key)
      elseif kind == STRING then
         values[key] = at:string(LONGEST_STRING, key)
      else
         values[key] = read_scalar(at, kind, key)
      end
   end
   return values, arrays
end

-- The alignment of the data; a power of two, so that padding can be computed and offsets checked.
local function alignment_of(path, values)
   local value = values["general.alignment"]
   if value == nil then return 32 end
   expect.integer(path, "general.alignment", value, 1, 1 << 30, ADVICE)
   if value & (value - 1) ~= 0 then
      expect.fail(path, "general.alignment", "a power of two", expect.show(value), ADVICE)
   end
   return value
end

local function read_tensor(at, i, formats)
   local path = at.file:path()
   local name = at:string(LONGEST_NAME, ("tensor %d"):format(i))
   local field = expect.shorten(name)
   if not name:find("^[%w_.%-]+$") then
      expect.fail(path, ("tensor %d"):format(i), "a name of letters, digits, dots and dashes", expect.show(name), ADVICE)
   end
   local dimensions = at:u32(field .. ": dimensions")
   expect.integer(path, field .. ": dimensions", dimensions, 1, 4, ADVICE)
   local shape, elements = {}, 1
   for d = 1, dimensions do
      local size = at:size64(MOST_ELEMENTS // elements, ("%s: dimension %d"):format(field, d - 1))
      if size == 0 then expect.fail(path, ("%s: dimension %d"):format(field, d - 1), "at least 1", "0", ADVICE) end
      elements = elements * size
      shape[dimensions + 1 - d] = size -- GGUF has the fastest dimension first
   end
   local number = at:u32(field .. ": type")
   local dtype = tensor_types[number]
   local format = formats[dtype]
   if not format then
      local supported = {}
      for known in pairs(formats) do supported[#supported + 1] = known end
      table.sort(supported)
      expect.fail(path, field .. ": type", "one of " .. table.concat(supported, ", "),
                  dtype and dtype .. ", which is not supported" or ("number %d, which is not known"):format(number),
                  dtype and advice_for_type(dtype) or QUANTISE)
   end
   local columns = shape[#shape]
   if columns % format.block_weights ~= 0 then
      expect.fail(path, field, ("rows of a multiple of %d weights for %s"):format(format.block_weights, dtype),
                  ("%d"):format(columns), ADVICE)
   end
   local offset = at:size64(at.size, field .. ": offset")
   return { name = name, dtype = dtype, shape = shape, file = at.file, offset = offset,
            bytes = elements // format.block_weights * format.block_bytes }
end

local function check_layout(path, list, data, size, alignment)
   for _, tensor in ipairs(list) do
      local field = expect.shorten(tensor.name) .. ": offset"
      if tensor.offset % alignment ~= 0 then
         expect.fail(path, field, ("a multiple of %d"):format(alignment), ("%d"):format(tensor.offset), ADVICE)
      end
      if tensor.bytes > size - data or tensor.offset > size - data - tensor.bytes then
         expect.fail(path, field, ("%d bytes inside the %d of data"):format(tensor.bytes, math.max(size - data, 0)),
                     ("offset %d"):format(tensor.offset), "the file is truncated or damaged; download it again")
      end
   end
   local sorted = table.move(list, 1, #list, 1, {})
   table.sort(sorted, function(a, b)
      if a.offset ~= b.offset then return a.offset < b.offset end
      return a.name < b.name
   end)
   for i = 2, #sorted do
      local before, tensor = sorted[i - 1], sorted[i]
      if tensor.offset < before.offset + before.bytes then
         fail("%s: %s: offset: expected %d or more, found %d: it overlaps %s; %s", path, expect.shorten(tensor.name),
              before.offset + before.bytes, tensor.offset, expect.shorten(before.name), ADVICE)
      end
   end
end

-- The elements of an array key, or nil. `kind` is "string" or "number"; more than `limit` elements are an error.
function container:array(key, kind, limit)
   local array = self.arrays[key]
   if not array then
      if self.values[key] ~= nil then expect.fail(self.path, key, "an array", expect.show(self.values[key]), ADVICE) end
      return nil
   end
   if (array.kind == STRING) ~= (kind == "string") or array.kind == BOOL then
      expect.fail(self.path, key, ("an array of %ss"):format(kind), "another kind of array", ADVICE)
   end
   expect.integer(self.path, key .. ": count", array.count, 0, limit, ADVICE)
   local at = cursor.new(self.file, array.position)
   if array.kind == STRING then return at:strings(array.count, LONGEST_NAME, key) end
   local form = scalars[array.kind]
   return at:numbers(array.count, form[1], form[2], key)
end

-- container.read(file) -> { path =, file =, values = { [key] = scalar }, arrays = noted arrays, tensors = { [name] = tensor } }
function container.read(file)
   local path = file:path()
   local at = cursor.new(file)
   if file:size() < 4 or file:read(0, 4) ~= "GGUF" then
      expect.fail(path, "magic", '"GGUF"', file:size() < 4 and "a shorter file" or expect.show(file:read(0, 4)),
                  "this is not a GGUF file")
   end
   at:skip(4)
   local version = at:u32("version")
   if version ~= 2 and version ~= 3 then
      local advice = "convert the model again with a current llama.cpp"
      if version & 0xffff == 0 then advice = "this is a big-endian file; " .. advice end
      expect.fail(path, "version", "2 or 3", ("%d"):format(version), advice)
   end
   -- A tensor takes at least 33 bytes here, a key 14: a count beyond that is a lie, found before anything is allocated.
   local tensor_count = at:size64(math.min(MOST_TENSORS, at:left() // 33), "tensor count")
   local key_count = at:size64(math.min(MOST_KEYS, at:left() // 14), "key count")
   local self = setmetatable({ path = path, file = file, tensors = {} }, container)
   self.values, self.arrays = read_metadata(at, key_count)
   local alignment = alignment_of(path, self.values)

   local list, formats = {}, host.tensor_formats()
   for i = 1, tensor_count do
      local tensor = read_tensor(at, i, formats)
      if self.tensors[tensor.name] then
         expect.fail(path, expect.shorten(tensor.name), "each tensor once", "it twice", ADVICE)
      end
      self.tensors[tensor.name] = tensor
      list[i] = tensor
   end
   local data = (at.position + alignment - 1) // alignment * alignment
   check_layout(path, list, data, file:size(), alignment)
   for _, tensor in ipairs(list) do tensor.offset = data + tensor.offset end
   return self
end

return container
