-- What a step's sources are measured in: constants, buffers, fields of a layer, rotary tables. The same for a model and for its
-- draft head.

local shapes = {}

local TILE, FEW_ROWS, LEAF = 16, 8, 64

local function ceil_div(a, b) return (a + b - 1) // b end

-- rotaries(layers) -> distinct rotary embeddings, each with the suffix of its tables' names; a function from a layer's to its
-- suffix
function shapes.rotaries(layers)
   local list, by_key = {}, {}
   for _, layer in ipairs(layers) do
      local rope = layer.mixer.rope
      local key = string.format("%s %s %s %s", rope.theta, rope.scaling, rope.dim, table.concat(rope.frequencies, " "))
      if not by_key[key] then
         local suffix = #list == 0 and "" or "_" .. (#list + 1)
         by_key[key] = { suffix = suffix, theta = tostring(rope.theta),
                         scaling = rope.scaling == "default" and "unscaled" or rope.scaling .. " scaling",
                         frequencies = rope.frequencies }
         list[#list + 1] = by_key[key]
      end
      rope.key = key
   end
   return list, function(rope) return by_key[rope.key].suffix end
end

-- constants(d) -> { name, value, comment } of the dimensions d
function shapes.constants(d)
   return {
      { name = "VOCAB", value = d.vocab, comment = "token ids" },
      { name = "HIDDEN", value = d.hidden, comment = "width of the residual stream" },
      { name = "LAYERS", value = d.layers, comment = "decoder layers" },
      { name = "HEADS", value = d.heads, comment = "query heads" },
      { name = "KV_HEADS", value = d.kv_heads, comment = "key/value heads; HEADS / KV_HEADS queries share one" },
      { name = "HEAD_DIM", value = d.head_dim, comment = "width of one head" },
      { name = "QUERY", value = d.query, comment = "HEADS * HEAD_DIM" },
      { name = "QKV", value = d.qkv, comment = "queries, keys and values of one row" },
      { name = "INTERMEDIATE", value = d.intermediate, comment = "width of the MLP" },
      { name = "MAX_ROWS", value = d.max_rows, comment = "rows of one step" },
      { name = "ROW_BLOCK", value = d.row_block, comment = "rows that go through a product together" },
      { name = "FEW_ROWS", value = FEW_ROWS, comment = "rows that are too few to be shared out among threads" },
      { name = "DEEPEST", value = math.max(d.hidden, d.query, d.intermediate, d.entering or 0, d.input or 0),
        comment = "columns of the widest matrix" },
      { name = "PAGE", value = d.page, comment = "positions of one state page" },
      { name = "HEAD_ELEMENTS", value = 2 * d.page * d.head_dim, comment = "keys and values of one head in a page" },
      { name = "VALUE_OFFSET", value = d.page * d.head_dim, comment = "from a key to its value" },
      { name = "LEAF", value = LEAF, comment = "positions that the attention takes together" },
      { name = "PARTIALS", value = d.kv_heads * math.max(256, ceil_div(d.max_seq, LEAF)),
        comment = "leaves of few rows, all heads, that can be kept" },
      { name = "QKV_TILES", value = ceil_div(d.qkv, TILE), comment = "tiles of 16 weight rows: of queries, keys and values" },
      { name = "HIDDEN_TILES", value = ceil_div(d.hidden, TILE), comment = "of the products that end in the residual stream" },
      { name = "INTERMEDIATE_TILES", value = ceil_div(d.intermediate, TILE), comment = "of gate and up, each" },
      { name = "VOCAB_TILES", value = ceil_div(d.vocab, TILE), comment = "of the head" },
   }
end

-- buffers(rotaries, first, lora) -> { type, name, shape, comment }. first: buffers that come before; lora: the plan of adapters
-- or nil.
function shapes.buffers(rotaries, first, lora)
   local buffers = table.move(first, 1, #first, 1, {})
   for _, buffer in ipairs {
      { type = "float", name = "residual", shape = "[MAX_ROWS][HIDDEN]", comment = "the residual stream" },
      { type = "element", name = "normed", shape = "[MAX_ROWS][HIDDEN]", comment = "normalised, before a product" },
      { type = "float", name = "scale", shape = "[MAX_ROWS]", comment = "the factors of their norms" },
      { type = "float", name = "qkv", shape = "[MAX_ROWS][QKV]", comment = "before rope" },
      { type = "element", name = "query", shape = "[MAX_ROWS][QUERY]", comment = "after rope" },
      { type = "element", name = "attention", shape = "[MAX_ROWS][QUERY]", comment = "what the heads gathered" },
      { type = "struct partial", name = "partials", shape = "[PARTIALS]", comment = "of few rows' leaves" },
      { type = "atomic_int", name = "finished", shape = "[FEW_ROWS * KV_HEADS]", comment = "leaves of each row and head" },
      { type = "element", name = "gated", shape = "[MAX_ROWS][INTERMEDIATE]", comment = "activation(gate) * up" },
   } do
      buffers[#buffers + 1] = buffer
   end
   if lora then
      buffers[#buffers + 1] = { type = "element", name = "shrunk", shape = "[3][MAX_ROWS][ADAPTER_RANK]",
                                comment = "A x of the adapters at a stage's sites" }
   end
   for _, rotary in ipairs(rotaries) do
      for _, name in ipairs { "cosine", "sine" } do
         buffers[#buffers + 1] = { type = "float", name = name .. rotary.suffix, shape = "[MAX_ROWS][HEAD_DIM / 2]",
                                   comment = "of each row's position" }
      end
   end
   return buffers
end

local layer_fields = {
   { "fc", "[HIDDEN, ENTERING]" }, { "fc_bias", "[HIDDEN] f32" }, { "embedding_norm", "[HIDDEN] f32" },
   { "hidden_norm", "[HIDDEN] f32" },
   { "attention_norm", "[HIDDEN] f32" }, { "qkv", "[QKV, HIDDEN]" }, { "qkv_bias", "[QKV] f32" },
   { "query_norm", "[HEAD_DIM] f32" }, { "key_norm", "[HEAD_DIM] f32" }, { "attention_output", "[HIDDEN, QUERY]" },
   { "attention_output_bias", "[HIDDEN] f32" }, { "mlp_norm", "[HIDDEN] f32" },
   { "gate_up", "[2 * INTERMEDIATE, HIDDEN]: gate rows, then up rows" }, { "gate_up_bias", "[2 * INTERMEDIATE] f32" },
   { "down", "[HIDDEN, INTERMEDIATE]" }, { "down_bias", "[HIDDEN] f32" },
}

-- used_fields(layers, comments) -> { name, comment } of the fields that any of the layers has. comments: others, by name.
function shapes.used_fields(layers, comments)
   local used = {}
   for _, field in ipairs(layer_fields) do
      for _, layer in ipairs(layers) do
         if layer[field[1]] then
            used[#used + 1] = { name = field[1], comment = comments and comments[field[1]] or field[2] }
            break
         end
      end
   end
   return used
end

-- What a target's step and its draft head's share: their arenas begin with it. draft: the head's description.
function shapes.shared_with_draft(draft, max_rows)
   local taps = (draft.taps and #draft.taps or 1) * draft.hidden
   return {
      constants = {
         { name = "TAPS", value = taps, comment = "what a row of the target leaves for the draft head" },
         { name = "PLACES", value = 2 * max_rows, comment = "of the draft head's own features" },
      },
      buffers = {
         { type = "element", name = "taps", shape = "[MAX_ROWS][TAPS]", comment = "of the last step of the target" },
         { type = "float", name = "feature", shape = "[PLACES][HIDDEN]", comment = "the draft head's own" },
      },
   }
end

return shapes
