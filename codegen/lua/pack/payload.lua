-- Writes the payload: tokenizer tables and weights, converted and streamed in the order of the plan, then the trailer
-- that lets the executable find and check them (runtime/package.h).

local fail = require "fail"
local host = require "host"

local payload = {}

local MAGIC, VERSION, TRAILER_BYTES, ALIGNMENT, SECTION_ALIGNMENT = "LATHEPKG", 1, 96, 4096, 64

local function trailer(offset, bytes, layout, hash)
   local front = string.pack("<c8I4I4I8I8c32c16I8", MAGIC, VERSION, TRAILER_BYTES, offset, bytes, layout, hash, 0)
   return front .. host.trailer_hash(front)
end

-- Positions the writer at the payload's start and hashes from there.
local function start(writer)
   writer:pad(ALIGNMENT)
   local offset = writer:written()
   writer:hash_start()
   return offset
end

local function finish(writer, offset, layout, hash)
   local bytes = writer:written() - offset
   writer:write(trailer(offset, bytes, layout, hash))
   writer:close()
   return bytes
end

-- The adapter of a section, by the name that both have.
local function adapter_of(checkpoint, section)
   for _, entry in ipairs(checkpoint.adapters) do
      if entry.name == section.adapter.name then return entry.adapter end
   end
end

-- write(path, mode, plan, checkpoint, blobs, progress): mode "append" behind an executable, or "new" for weights.bin.
-- checkpoint: as pipeline.plan returned it; blobs: the contents of the other sections of bytes, by name.
function payload.write(path, mode, plan, checkpoint, blobs, progress)
   local writer = host.writer(path, mode)
   local offset = start(writer)
   local total = plan.random_seed and plan.payload.bytes_sections or plan.payload.bytes
   for _, section in ipairs(plan.payload.sections) do
      if section.offset >= total then break end
      assert(writer:written() - offset == section.offset, section.name .. " is not where the plan puts it")
      if section.adapter then
         writer:adapter(adapter_of(checkpoint, section).handle, plan.dtype, checkpoint.base)
      elseif section.dtype == "bytes" then
         writer:write(blobs[section.name])
      else
         for _, source in ipairs(section.sources) do
            local tensor = checkpoint.tensors[source.tensor]
            local write = (tensor.merge or tensor.zeros) and writer.merged or writer.tensor
            write(writer, tensor, section.dtype)
         end
      end
      writer:pad(SECTION_ALIGNMENT)
      progress("writing weights", writer:written() - offset, total)
   end
   return finish(writer, offset, plan.layout, writer:hash_finish())
end

-- copy(path, mode, source file, where): the payload of an existing package. where: what payload.find returned.
function payload.copy(path, mode, source, where)
   local writer = host.writer(path, mode)
   local offset = start(writer)
   writer:copy(source, where.offset, where.bytes)
   local hash = writer:hash_finish()
   if hash ~= where.hash then
      fail("%s: its payload does not have the hash that its trailer says: it is damaged; build from the model instead",
           source:path())
   end
   return finish(writer, offset, where.layout, hash)
end

-- find(file) -> { offset, bytes, layout, hash }, or nil when the file does not end in a trailer.
function payload.find(file)
   local size = file:size()
   if size < TRAILER_BYTES then return nil end
   local text = file:read(size - TRAILER_BYTES, TRAILER_BYTES)
   local magic, version, length, offset, bytes, layout, hash = string.unpack("<c8I4I4I8I8c32c16", text)
   if magic ~= MAGIC or version ~= VERSION or length ~= TRAILER_BYTES then return nil end
   if host.trailer_hash(text:sub(1, TRAILER_BYTES - 8)) ~= text:sub(-8) then return nil end
   if offset < 0 or bytes < 0 or offset > size or bytes ~= size - TRAILER_BYTES - offset then return nil end
   return { offset = offset, bytes = bytes, layout = layout, hash = hash }
end

return payload
