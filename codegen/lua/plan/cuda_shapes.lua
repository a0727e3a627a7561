-- What the GPU's sources are measured in: dimensions, constants, buffers, fields of a layer. The same for a model and for its
-- draft head.

local cuda_shapes = {}

local TILE, SLICE, ROWS = 16, 64, 8

local function ceil_div(a, b) return (a + b - 1) // b end
local function round_up(value, multiple) return ceil_div(value, multiple) * multiple end

-- dimensions(d) -> the plan's dimensions, with those of the padded inputs of products and their tiles
function cuda_shapes.dimensions(d)
   local result = {}
   for name, value in pairs(d) do result[name] = value end
   result.key = d.kv_heads * d.head_dim
   result.padded_rows = round_up(d.max_rows, ROWS)
   result.entering_padded = d.entering and round_up(d.entering, SLICE)
   result.input_padded = d.input and round_up(d.input, SLICE)
   result.hidden_padded, result.query_padded = round_up(d.hidden, SLICE), round_up(d.query, SLICE)
   result.intermediate_padded = round_up(d.intermediate, SLICE)
   result.qkv_tiles, result.hidden_tiles = ceil_div(d.qkv, TILE), ceil_div(d.hidden, TILE)
   result.gate_up_tiles, result.vocab_tiles = ceil_div(d.intermediate, TILE // 2), ceil_div(d.vocab, TILE)
   return result
end

-- constants(d) -> { name, value, comment } of shapes.cuh
function cuda_shapes.constants(d)
   return {
      { name = "VOCAB", value = d.vocab, comment = "token ids" },
      { name = "HIDDEN", value = d.hidden, comment = "width of the residual stream" },
      { name = "LAYERS", value = d.layers, comment = "decoder layers" },
      { name = "HEADS", value = d.heads, comment = "query heads" },
      { name = "KV_HEADS", value = d.kv_heads, comment = "key/value heads; HEADS / KV_HEADS queries share one" },
      { name = "HEAD_DIM", value = d.head_dim, comment = "width of one head, a multiple of 16" },
      { name = "QUERY", value = d.query, comment = "HEADS * HEAD_DIM" },
      { name = "KEY", value = d.key, comment = "KV_HEADS * HEAD_DIM" },
      { name = "QKV", value = d.qkv, comment = "queries, keys and values of one row" },
      { name = "INTERMEDIATE", value = d.intermediate, comment = "width of the MLP" },
      { name = "MAX_ROWS", value = d.max_rows, comment = "rows of one step" },
      { name = "PADDED_ROWS", value = d.padded_rows, comment = "the same, a multiple of 8" },
      { name = "PAGE", value = d.page, comment = "positions of one state page" },
      { name = "HEAD_ELEMENTS", value = 2 * d.page * d.head_dim, comment = "keys and values of one head in a page" },
      { name = "VALUE_OFFSET", value = d.page * d.head_dim, comment = "from a key to its value" },
      { name = "PAGE_ELEMENTS", value = 2 * d.page * d.key * d.layers, comment = "of one page, all layers" },
      { name = "HIDDEN_PADDED", value = d.hidden_padded, comment = "columns of a product's input, a multiple of 64" },
      { name = "QUERY_PADDED", value = d.query_padded, comment = "the same" },
      { name = "INTERMEDIATE_PADDED", value = d.intermediate_padded, comment = "the same" },
      { name = "QKV_TILES", value = d.qkv_tiles, comment = "tiles of 16 weight rows: of queries, keys and values" },
      { name = "HIDDEN_TILES", value = d.hidden_tiles, comment = "of the products that end in the residual stream" },
      { name = "GATE_UP_TILES", value = d.gate_up_tiles, comment = "8 gate rows and 8 up rows each" },
      { name = "VOCAB_TILES", value = d.vocab_tiles, comment = "of the head" },
   }
end

-- Buffers that all models have; stages add their own.
function cuda_shapes.common_buffers(rotaries)
   local buffers = {
      { type = "float", name = "residual", shape = "[PADDED_ROWS][HIDDEN]", comment = "the residual stream" },
      { type = "element", name = "input", shape = "[PADDED_ROWS * HIDDEN_PADDED]", order = "PIECES",
        comment = "residual * gain of the next norm, pieces" },
      { type = "float", name = "squares", shape = "[PADDED_ROWS][HIDDEN_TILES]",
        comment = "of the residual, summed by 16 columns" },
      { type = "element", name = "query", shape = "[PADDED_ROWS][QUERY]", comment = "after rope" },
      { type = "element", name = "attention", shape = "[PADDED_ROWS * QUERY_PADDED]", order = "PIECES",
        comment = "what the heads gathered, pieces" },
      { type = "element", name = "gated", shape = "[PADDED_ROWS * INTERMEDIATE_PADDED]", order = "PIECES",
        comment = "activation(gate) * up, pieces" },
   }
   for _, rotary in ipairs(rotaries) do
      for _, name in ipairs { "cosine", "sine" } do
         buffers[#buffers + 1] = { type = "float", name = name .. rotary.suffix, shape = "[PADDED_ROWS][HEAD_DIM / 2]",
                                   comment = "of each row's position" }
      end
   end
   return buffers
end

-- add_buffers(buffers, stage): those of the stage, unless they are there
function cuda_shapes.add_buffers(buffers, stage)
   for _, buffer in ipairs(stage.buffers or {}) do
      local known
      for _, other in ipairs(buffers) do known = known or other.name == buffer.name and other end
      if not known then
         buffers[#buffers + 1] = buffer
      else
         assert(known.shape == buffer.shape and known.type == buffer.type, stage.name .. ": another buffer " .. buffer.name)
      end
   end
end

local layer_fields = {
   { "fc", "[HIDDEN, ENTERING]" }, { "fc_bias", "[HIDDEN] f32" }, { "embedding_norm", "[HIDDEN] f32" },
   { "hidden_norm", "[HIDDEN] f32" },
   { "attention_norm", "[HIDDEN] f32" }, { "qkv", "[QKV, HIDDEN]" }, { "qkv_bias", "[QKV] f32" },
   { "query_norm", "[HEAD_DIM] f32" }, { "key_norm", "[HEAD_DIM] f32" }, { "attention_output", "[HIDDEN, QUERY]" },
   { "attention_output_bias", "[HIDDEN] f32" }, { "mlp_norm", "[HIDDEN] f32" },
   { "gate_up", "[2 * INTERMEDIATE, HIDDEN]: tiles of 8 gate rows and 8 up rows" },
   { "gate_up_bias", "[2 * INTERMEDIATE] f32: gate, then up" }, { "down", "[HIDDEN, INTERMEDIATE]" },
   { "down_bias", "[HIDDEN] f32" }, { "next_norm", "[HIDDEN] f32: of the next layer, or the last norm" },
   { "tap", "column among the taps of what it leaves for the draft head, or NO_TAP" },
}

-- The table of struct layer: which fields there are, and each layer's values. value_of(layer, from 1, field) -> its value or nil
local function layer_table(count, value_of, comments)
   local fields, layers = {}, {}
   for i = 1, count do layers[i] = {} end
   for _, field in ipairs(layer_fields) do
      local used = false
      for i = 1, count do
         layers[i][field[1]] = value_of(i, field[1])
         used = used or layers[i][field[1]] ~= nil
      end
      if used then fields[#fields + 1] = { name = field[1], comment = comments[field[1]] or field[2] } end
   end
   return fields, layers
end

-- layers(count, weights, taps) -> the fields of struct layer, the layers' values. taps: { [layer from 1] = column }, or nil
function cuda_shapes.layers(count, weights, taps)
   return layer_table(count, function(i, field)
      if field == "tap" then return taps and (taps[i] or "NO_TAP") or nil end
      local name = string.format("layer.%d.%s", i - 1, field)
      if field == "next_norm" then name = i < count and string.format("layer.%d.attention_norm", i) or "final_norm" end
      return weights.offset_of[name]
   end, {})
end

-- The same of a draft head, whose sections' names begin with "draft.".
function cuda_shapes.draft_layers(weights)
   return layer_table(1, function(_, field)
      return weights.offset_of["draft." .. (field == "next_norm" and "final_norm" or field)]
   end, { qkv = "[QKV, INPUT]", next_norm = "[HIDDEN] f32: the last norm" })
end

return cuda_shapes
