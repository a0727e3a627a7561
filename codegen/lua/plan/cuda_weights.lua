-- How the payload's sections lie on the device: which packing each takes (runtime/cuda_model.h) and where. Matrices of
-- products are repacked into tiles of fragments at load; vectors and the embedding stay as they are.

local cuda_weights = {}

local ALIGNMENT, TILE, SLICE = 512, 16, 64

local function round_up(value, multiple) return (value + multiple - 1) // multiple * multiple end

-- The packing of a section by its name; nil: not wanted on the device.
local function packing_of(section, qk_norm, tied)
   if section.dtype == "bytes" then return nil end
   if section.dtype == "f32" then return "COPY" end
   if section.name == "embedding" and not tied or section.name == "draft.embedding" then return "COPY" end
   if section.name:find("%.gate_up$") then return "PAIRS" end
   if section.name:find("%.qkv$") and not qk_norm then
      return section.name:find("^draft%.") and "DRAFT_ROTARY" or "ROTARY" -- heads of its own
   end
   return "ROWS"
end

-- Tiles of 16 x columns padded to 64, bf16. Pairs take 8 gate rows and 8 up rows a tile.
local function packed_bytes(section, packing)
   if packing == "COPY" then return section.bytes end
   local rows = packing == "PAIRS" and 2 * round_up(section.rows // 2, TILE // 2) or round_up(section.rows, TILE)
   return rows * round_up(section.columns, SLICE) * 2
end

-- lay_out(payload, qk_norm by layer, tied, qk_norm of the draft head) -> { sections, bytes, offset_of = by section's name }.
-- tied: the embedding is the head's matrix too, and lies as products want it.
function cuda_weights.lay_out(payload, qk_norms, tied, draft_qk_norm)
   local result = { sections = {}, offset_of = {}, bytes = 0 }
   for i, section in ipairs(payload.sections) do
      local layer = tonumber(section.name:match("^layer%.(%d+)%."))
      local qk_norm = draft_qk_norm
      if layer then qk_norm = qk_norms[layer + 1] end
      local packing = packing_of(section, qk_norm, tied)
      if packing then
         local bytes = packed_bytes(section, packing)
         result.sections[#result.sections + 1] = { tensor = i - 1, name = section.name, packing = packing,
                                                   offset = result.bytes, bytes = bytes }
         result.offset_of[section.name] = result.bytes
         result.bytes = round_up(result.bytes + bytes, ALIGNMENT)
      end
   end
   return result
end

return cuda_weights
