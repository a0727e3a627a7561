-- Safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes.
-- Source: the format's own description and the checks of the reference reader (safetensors, Rust, tensor.rs), which
-- this follows: tensors must cover the data exactly, without overlaps, holes or trailing bytes.

local fail = require "fail"
local host = require "host"
local expect = require "read.expect"
local sorted_keys = require "read.sorted_keys"

local LARGEST_HEADER = 100000000 -- bytes, the reference's bound
local ADVICE = "download the file again"

-- Bits an element.
local dtypes = {
   BOOL = 8, U8 = 8, I8 = 8, U16 = 16, I16 = 16, U32 = 32, I32 = 32, U64 = 64, I64 = 64, F16 = 16, BF16 = 16, F32 = 32,
   F64 = 64, C64 = 64, F8_E5M2 = 8, F8_E4M3 = 8, F8_E8M0 = 8, F8_E4M3FNUZ = 8, F8_E5M2FNUZ = 8, F6_E2M3 = 6, F6_E3M2 = 6,
   F4 = 4,
}

local function read_header(file)
   local path, size = file:path(), file:size()
   if size < 8 then
      expect.fail(path, "header length", "8 bytes", ("a file of %d"):format(size), ADVICE)
   end
   local length = string.unpack("<i8", file:read(0, 8))
   if length < 0 or length > LARGEST_HEADER then
      expect.fail(path, "header length", ("at most %d bytes"):format(LARGEST_HEADER),
                  length < 0 and "2^63 or more" or ("%d"):format(length), "this is not a safetensors file, or it is damaged")
   end
   if length > size - 8 then
      expect.fail(path, "header length", ("at most the %d bytes that follow"):format(size - 8), ("%d"):format(length), ADVICE)
   end
   local text = file:read(8, length)
   if text:sub(1, 1) ~= "{" then
      expect.fail(path, "header", "a JSON object", expect.show(text:sub(1, 16)), "this is not a safetensors file, or it is damaged")
   end
   return expect.object(path, "header", host.json_decode(text, path .. ": header"), ADVICE), 8 + length
end

-- Elements of a shape; every dimension and the product are bounded by what the file could hold (4 bits an element).
local function count_elements(path, name, shape, limit)
   local function field(i) return ("%s: shape[%d]"):format(expect.shorten(name), i - 1) end

   local empty, count = false, 1
   for i, dimension in ipairs(expect.array(path, name .. ": shape", shape, ADVICE)) do
      expect.integer(path, field(i), dimension, 0, 1 << 53, ADVICE)
      empty = empty or dimension == 0
   end
   if empty then return 0 end
   for i, dimension in ipairs(shape) do
      if count > limit // dimension then
         expect.fail(path, field(i), ("a shape of at most %d elements, which is what the file can hold"):format(limit),
                     ("%d x %d"):format(count, dimension), ADVICE)
      end
      count = count * dimension
   end
   return count
end

local function read_tensor(file, name, entry, data, available)
   local path = file:path()
   local field = expect.shorten(name)
   if name == "" or #name > 1024 or name:find("%c") then
      expect.fail(path, "header", "tensor names of 1 to 1024 printable characters", expect.show(name), ADVICE)
   end
   expect.object(path, field, entry, ADVICE)
   local bits = dtypes[expect.string(path, field .. ": dtype", entry.dtype, ADVICE)]
   if not bits then
      expect.fail(path, field .. ": dtype", "a dtype of the format, such as BF16", expect.show(entry.dtype), ADVICE)
   end
   local offsets = expect.array(path, field .. ": data_offsets", entry.data_offsets, ADVICE)
   if #offsets ~= 2 then
      expect.fail(path, field .. ": data_offsets", "two offsets", ("%d"):format(#offsets), ADVICE)
   end
   local first = expect.integer(path, field .. ": data_offsets[0]", offsets[1], 0, available, ADVICE)
   local last = expect.integer(path, field .. ": data_offsets[1]", offsets[2], first, available, ADVICE)
   local elements = count_elements(path, name, entry.shape, available * 2)
   if elements * bits ~= (last - first) * 8 then
      expect.fail(path, field .. ": data_offsets",
                  ("%.9g bytes for %d elements of %s"):format(elements * bits / 8, elements, entry.dtype),
                  ("%d"):format(last - first), ADVICE)
   end
   return { name = name, dtype = entry.dtype, shape = entry.shape, file = file, offset = data + first, bytes = last - first }
end

-- Sorted by place in the file, the tensors must follow each other exactly.
local function check_layout(path, list, data, size)
   table.sort(list, function(a, b)
      if a.offset ~= b.offset then return a.offset < b.offset end
      if a.bytes ~= b.bytes then return a.bytes < b.bytes end
      return a.name < b.name
   end)
   local at, previous = data, nil
   for _, tensor in ipairs(list) do
      if tensor.offset ~= at then
         local name = expect.shorten(tensor.name)
         if tensor.offset < at then
            fail("%s: %s: data_offsets: expected a start at %d or later, found %d: it overlaps %s; %s", path, name, at - data,
                 tensor.offset - data, expect.shorten(previous), ADVICE)
         end
         fail("%s: %s: data_offsets: expected a start at %d, found %d: bytes between tensors belong to none; %s", path, name,
              at - data, tensor.offset - data, ADVICE)
      end
      at, previous = at + tensor.bytes, tensor.name
   end
   if at ~= size then
      fail("%s: data: expected the tensors to cover %d bytes, found %d covered; %s", path, size - data, at - data, ADVICE)
   end
end

-- read(file) -> { [name] = tensor }, as checkpoint.tensors describes them.
return function(file)
   local path, size = file:path(), file:size()
   local header, data = read_header(file)
   local tensors, list = {}, {}
   for _, name in ipairs(sorted_keys(header)) do
      local entry = header[name]
      if name == "__metadata__" then
         for _, key in ipairs(sorted_keys(expect.object(path, name, entry, ADVICE))) do
            expect.string(path, name .. "." .. expect.shorten(key), entry[key], ADVICE)
         end
      else
         local tensor = read_tensor(file, name, entry, data, size - data)
         tensors[name] = tensor
         list[#list + 1] = tensor
      end
   end
   check_layout(path, list, data, size)
   return tensors
end
