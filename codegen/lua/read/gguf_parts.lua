-- Models in several GGUF files, NAME-00001-of-0000N.gguf as llama.cpp's gguf-split makes them: the first part has the
-- keys, each has some of the tensors. Any part stands for the whole; the others lie beside it.
-- Source: llama.cpp's gguf-split.cpp and its loader (llama-model-loader.cpp).

local fail = require "fail"
local host = require "host"
local container = require "read.gguf_container"
local expect = require "read.expect"
local sorted_keys = require "read.sorted_keys"

local parts = {}

local SUFFIX = "%-(%d%d%d%d%d)%-of%-(%d%d%d%d%d)%.gguf$"
local RENAME = "give each part the name that it was downloaded with, NAME-00001-of-00003.gguf"

-- parts.base_name(path) -> path without .gguf and the number of a part
function parts.base_name(path)
   return (path:gsub(SUFFIX, ""):gsub("%.gguf$", ""))
end

-- How many parts the model of this file has; 1 for a file that does not say.
local function count_of(gguf)
   local count = gguf.values["split.count"]
   if count == nil or count == 0 then return 1 end
   return expect.integer(gguf.path, "split.count", count, 1, 99999, "the file is damaged")
end

-- The file's own number, from 1, checked against its name.
local function number_of(gguf, count)
   local number = 1 + expect.integer(gguf.path, "split.no", gguf.values["split.no"], 0, count - 1, "the file is damaged")
   local named, of = gguf.path:match(SUFFIX)
   if not named then
      expect.fail(gguf.path, "split.count", ("a name that ends with -%05d-of-%05d.gguf"):format(number, count), "another name", RENAME)
   end
   if tonumber(of) ~= count or tonumber(named) ~= number then
      fail("%s: split.no: expected part %d of %d, as the name says, found part %d of %d; %s", gguf.path, tonumber(named),
           tonumber(of), number, count, RENAME)
   end
   return number
end

local function open(stem, number, count)
   local path = ("%s-%05d-of-%05d.gguf"):format(stem, number, count)
   if not host.exists(path) then
      fail("%s: expected part %d of %d of the model, found nothing there; put all its parts into one folder", path, number, count)
   end
   return container.read(host.open(path))
end

-- The keys that a part repeats are those of the first one.
local function check_same_model(first, part)
   for _, key in ipairs(sorted_keys(part.values)) do
      local value = first.values[key]
      if key ~= "split.no" and value ~= nil and value ~= part.values[key] then
         expect.fail(part.path, key, expect.show(value) .. ", as in the first part", expect.show(part.values[key]),
                     "the parts are of different models; download them again")
      end
   end
end

local function add_tensors(whole, part)
   local added = 0
   for _, name in ipairs(sorted_keys(part.tensors)) do
      local tensor, before = part.tensors[name], whole.tensors[name]
      if before then
         expect.fail(part.path, expect.shorten(name), "each tensor in one part",
                     "it in " .. before.file:path():match("[^/]*$") .. " too", "download the parts again")
      end
      whole.tensors[name] = tensor
      added = added + 1
   end
   return added
end

-- parts.read(file) -> the container of the whole model, and its files in order.
function parts.read(file)
   local given = container.read(file)
   local count = count_of(given)
   if count == 1 then return given, { file } end
   local number = number_of(given, count)
   local stem = given.path:gsub(SUFFIX, "")
   local whole, files, tensors = nil, {}, 0
   for i = 1, count do
      local part = i == number and given or open(stem, i, count)
      if count_of(part) ~= count then
         expect.fail(part.path, "split.count", ("%d, as in %s"):format(count, given.path:match("[^/]*$")),
                     ("%d"):format(count_of(part)), "download the parts again")
      end
      number_of(part, count)
      if whole then
         check_same_model(whole, part)
         tensors = tensors + add_tensors(whole, part)
      else
         whole = part
         for _ in pairs(part.tensors) do tensors = tensors + 1 end
      end
      files[i] = part.file
   end
   local expected = whole.values["split.tensors.count"]
   if expected ~= nil and expected ~= tensors then
      expect.fail(whole.path, "split.tensors.count", expect.show(expected) .. " tensors in all parts", ("%d"):format(tensors),
                  "download the parts again")
   end
   return whole, files
end

return parts
