-- Draft heads: read, described and planned; what does not fit is refused with the reason.

local check = require "check"
local host = require "host"
local json = require "json"
local pipeline = require "pipeline"
local recipe = require "recipe"

local tests = {}

local heads = check.source .. "/tests/fixtures/heads/"

local function plan_of(head, values)
   values = values or {}
   values.model, values.eagle = values.model or heads .. "target", head:sub(1, 1) == "/" and head or heads .. head
   return (pipeline.plan(recipe.complete(values, "test"), "package"))
end

local function decoded(path)
   local file <close> = host.open(path)
   return host.json_decode(file:read(0, file:size()), path)
end

-- A copy of a head in check.folder, its config changed by edit(config), the bytes of its tensors by patch(text).
local function changed(name, edit, patch)
   local config = decoded(heads .. name .. "/config.json")
   if edit then edit(config) end
   check.file("config.json", json.encode(config))
   for _, weights in ipairs { "model.safetensors", "pytorch_model.bin" } do
      os.remove(check.folder .. "/" .. weights)
      if host.exists(heads .. name .. "/" .. weights) then
         local file <close> = host.open(heads .. name .. "/" .. weights)
         local text = file:read(0, file:size())
         check.file(weights, patch and patch(text) or text)
      end
   end
   return check.folder
end

local function refuses(name, edit, ...)
   local folder, fragments = changed(name, edit), { ... }
   check.fails(function() plan_of(folder) end, table.unpack(fragments))
end

-- A safetensors file of these tensors: { name, dtype, shape, bytes }.
local function safetensors(list)
   local header, data = {}, {}
   local at = 0
   for _, tensor in ipairs(list) do
      header[tensor[1]] = { dtype = tensor[2], shape = host.array(tensor[3]), data_offsets = host.array { at, at + #tensor[4] } }
      data[#data + 1], at = tensor[4], at + #tensor[4]
   end
   local text = json.encode(header)
   return string.pack("<i8", #text) .. text .. table.concat(data)
end

-- The tensors of a head in safetensors, as such a list, in their order.
local function tensors_of(text)
   local length = string.unpack("<i8", text)
   local list = {}
   for name, entry in pairs(host.json_decode(text:sub(9, 8 + length), "header")) do
      if name ~= "__metadata__" then
         local first, last = entry.data_offsets[1], entry.data_offsets[2]
         list[#list + 1] = { name, entry.dtype, { table.unpack(entry.shape) }, text:sub(9 + length + first, 8 + length + last) }
      end
   end
   table.sort(list, function(a, b) return a[1] < b[1] end)
   return list
end

local function refuses_tensors(name, edit, ...)
   local fragments = { ... }
   local folder = changed(name, nil, function(text)
      local list = tensors_of(text)
      local by_name = {}
      for _, tensor in ipairs(list) do by_name[tensor[1]] = tensor end
      edit(by_name, list)
      return safetensors(list)
   end)
   check.fails(function() plan_of(folder) end, table.unpack(fragments))
end

local function sections_of(plan)
   local names = {}
   for _, section in ipairs(plan.payload.sections) do
      if section.name:find("^draft%.") then names[#names + 1] = section.name:sub(7) end
   end
   return names
end

function tests.published_layouts()
   local kinds, taps, vocabularies = {}, {}, {}
   for i, name in ipairs { "safeailab-eagle1", "safeailab-eagle1-qwen", "safeailab-eagle3", "specforge", "speculators" } do
      local draft = plan_of(name).draft
      kinds[i], taps[i], vocabularies[i] = draft.kind, draft.taps or false, draft.dimensions.vocab
   end
   check.equal(kinds, { "eagle1", "eagle1", "eagle3", "eagle3", "eagle3" })
   check.equal(vocabularies, { 97, 97, 53, 97, 53 })
   -- By default; ids of layers that are left; ids of layers that are entered.
   check.equal(taps, { false, false, { 2, 4, 5 }, { 1, 4, 7 }, { 1, 4, 8 } })
end

-- In the order of the step; the embedding and the output layer are the target's where the head has none of its own.
function tests.sections()
   check.equal(sections_of(plan_of "safeailab-eagle3"),
               { "target_ids", "fc", "embedding_norm", "hidden_norm", "qkv", "attention_output", "mlp_norm", "gate_up", "down",
                 "final_norm", "head" })
   check.equal(sections_of(plan_of "safeailab-eagle1"),
               { "fc", "fc_bias", "qkv", "attention_output", "mlp_norm", "gate_up", "down" })
   check.equal(sections_of(plan_of "safeailab-eagle1-qwen"),
               { "embedding", "fc", "qkv", "qkv_bias", "attention_output", "mlp_norm", "gate_up", "down" })
   check.equal(sections_of(plan_of "specforge"),
               { "fc", "embedding_norm", "hidden_norm", "qkv", "attention_output", "mlp_norm", "gate_up", "down", "final_norm",
                 "head" })
   check.equal(sections_of(plan_of "speculators"),
               { "target_ids", "embedding", "fc", "embedding_norm", "hidden_norm", "qkv", "qkv_bias", "attention_output",
                 "attention_output_bias", "mlp_norm", "gate_up", "down", "final_norm", "head" })
end

function tests.the_step_of_a_head()
   local plan, names = plan_of "safeailab-eagle3", {}
   for i, kernel in ipairs(plan.draft.kernels) do names[i] = kernel.name end
   check.equal(names, { "draft_enter", "draft_fc", "draft_pair", "draft_qkv", "draft_rope_state", "draft_attention",
                        "draft_attention_output", "draft_gate_up", "draft_down", "draft_head" })
   check.equal(#plan.state, 2)
   check.equal(plan.state[2].bytes_per_token, 2 * 16 * 2)
   check.equal(plan.draft.totals.weight_bytes_read, 2 * (40 * 120 + 80 * 80 + 40 * 48 + 3 * 44 * 40 + 53 * 40))
   check.equal(plan_of("safeailab-eagle1-qwen").draft.rotaries[1].theta, "1000000")
end

function tests.a_package_without_a_head_has_none_of_it()
   local plan = pipeline.plan(recipe.complete({ model = heads .. "target" }, "test"), "package")
   check.is(plan.draft == nil and #plan.state == 1 and #sections_of(plan) == 0, "a draft head")
end

function tests.the_recipe_decides()
   local draft = plan_of("safeailab-eagle3", { eagle_taps = "1, 3,8", eagle_depth = 7, eagle_top_k = 10, eagle_tokens = 60,
                                               eagle_gap = 1 }).draft
   check.equal({ draft.taps, draft.depth, draft.top_k, draft.tokens, draft.gap }, { { 1, 3, 8 }, 7, 10, 60, 1 })
   local function taps(text) return function() plan_of("safeailab-eagle3", { eagle_taps = text }) end end
   for _, text in ipairs { "a", "1,", "-1", "1.5", "1;2", "99999999999" } do check.fails(taps(text), "--eagle-taps", text) end
   for _, text in ipairs { "0,1,2", "1,2,9", "2,2,3" } do check.fails(taps(text), "--eagle-taps", "1 to 8") end
   check.fails(taps "1,2", "fc.weight", "[40, 80]", "[40, 120]") -- another number of layers than the head was made for
   check.fails(function() plan_of("safeailab-eagle1", { eagle_taps = "1,2,3" }) end, "--eagle-taps", "EAGLE-1")
   check.fails(function() plan_of("safeailab-eagle3", { max_rows = 8 }) end, "--eagle-tokens", "8", "16")
end

-- A step of its own beside the target's, for CPUs, GPUs or both.
function tests.on_gpus()
   for _, name in ipairs { "safeailab-eagle1", "safeailab-eagle3" } do
      for _, targets in ipairs { { "cuda:90a" }, { "c", "cuda:90a" } } do
         local plan = plan_of(name, { targets = targets })
         local gpu, eagle3, packing = plan.cuda, name == "safeailab-eagle3", {}
         for _, section in ipairs(gpu.sections) do packing[section.name] = section.packing end
         check.equal({ packing["draft.fc"], packing["draft.qkv"], packing["draft.gate_up"] }, { "ROWS", "DRAFT_ROTARY", "PAIRS" })
         local names = {}
         for i, stages in ipairs { gpu.draft.before, gpu.draft.layer, gpu.draft.after } do
            for _, stage in ipairs(stages) do names[#names + 1] = stage.name end
         end
         check.equal(table.concat(names, " "), (eagle3 and "draft_fc draft_pair" or "draft_enter draft_fc") .. " draft_qkv "
                     .. "draft_attention draft_attention_output draft_gate_up draft_down draft_head draft_best")
         check.equal({ #gpu.finish, gpu.finish[1].name }, eagle3 and { 1, "head" } or { 2, "feature" })
         local taps = {}
         for i, layer in ipairs(gpu.layers) do taps[i] = layer.tap or "none" end
         check.equal(taps[2], eagle3 and 0 or "none")
         check.equal(taps[1], eagle3 and "NO_TAP" or "none")
         check.equal(#plan.draft.kernels == 0, #targets == 1)
      end
   end
end

function tests.random_weights_need_a_config_only()
   check.file("config.json", json.encode(decoded(heads .. "safeailab-eagle3/config.json")))
   local plan = plan_of(check.folder, { random_weights = 1 })
   check.equal(sections_of(plan)[1], "target_ids")
end

function tests.heads_of_another_model()
   local function set(key, value) return function(config) config[key] = value end end
   refuses("specforge", set("hidden_size", 48), "config.json", "hidden_size", "40", "48", "another model")
   refuses("specforge", set("target_hidden_size", 64), "target_hidden_size", "40", "64")
   refuses("specforge", set("vocab_size", 98), "vocab_size", "97", "98")
   refuses("specforge", set("intermediate_size", 45), "mlp.down_proj.weight", "[40, 45]", "[40, 44]", "does not fit")
   refuses("safeailab-eagle1", set("draft_vocab_size", 53), "input_layernorm", "incomplete") -- EAGLE-3 by this key
   refuses("specforge", function(config) config.eagle_config.eagle_aux_hidden_state_layer_ids = { 0, 3, 31 } end,
           "eagle_aux_hidden_state_layer_ids", "1 to 8", "1, 4, 32", "--eagle-taps")
end

function tests.configs_that_would_change_the_maths()
   local function set(key, value) return function(config) config[key] = value end end
   refuses("specforge", set("frob", 1), "frob", "--ignore-config-key")
   refuses("specforge", set("fc_norm", true), "fc_norm", "false", "true")
   refuses("specforge", set("norm_output", true), "norm_output")
   refuses("specforge", set("num_hidden_layers", 2), "num_hidden_layers", "1", "2")
   refuses("specforge", set("hidden_act", "gelu"), "hidden_act", "silu")
   refuses("specforge", set("rope_scaling", { type = "dynamic", factor = 2.0 }), "rope_scaling", "dynamic")
   refuses("specforge", function(config) config.use_sliding_window, config.sliding_window = true, 64 end, "sliding_window")
   refuses("specforge", function(config) config.eagle_config.frob = 1 end, "eagle_config.frob")
   refuses("specforge", function(config) config.eagle_config.use_aux_hidden_state = false end, "use_aux_hidden_state")
   refuses("specforge", set("eagle_aux_hidden_state_layer_ids", { 1, 2, 3 }), "twice", "something else")
   refuses("speculators", set("speculators_model_type", "eagle"), "speculators_model_type", "eagle3")
   refuses("speculators", set("norm_before_residual", nil), "norm_before_residual", "nothing")
   refuses("speculators", set("norm_before_fc", true), "norm_before_fc")
   refuses("speculators", set("frob", {}), "frob")
   refuses("speculators", set("transformer_layer_config", 3), "transformer_layer_config", "an object")
   refuses("speculators", function(config) config.transformer_layer_config.frob = 2 end, "frob")
   local folder = changed("specforge", set("frob", 1))
   check.equal(plan_of(folder, { ignore_config_keys = { "frob" } }).draft.kind, "eagle3")
end

function tests.folders()
   check.fails(function() plan_of "nothing-there" end, "nothing-there", "--eagle", "folder")
   check.file("config.json", "{}")
   check.fails(function() plan_of(check.folder) end, "architectures")
   check.file("config.json", json.encode(decoded(heads .. "specforge/config.json")))
   check.fails(function() plan_of(check.folder) end, "model.safetensors", "pytorch_model.bin", "neither")
end

function tests.tensors_that_are_not_a_head_s()
   refuses_tensors("specforge", function(_, list) list[#list + 1] = { "midlayer.self_attn.g", "F32", { 1 }, "1234" } end,
                   "midlayer.self_attn.g", "not part of an EAGLE-3 head")
   refuses_tensors("specforge", function(_, list) list[#list + 1] = { "fc_norm.weight", "F32", { 1 }, "1234" } end, "fc_norm.weight")
   refuses_tensors("specforge", function(by_name) by_name["norm.weight"][1] = "norm.wait" end, "norm.weight", "expected a tensor [40]")
   refuses_tensors("safeailab-eagle1-qwen", function(_, list) list[#list + 1] = { "d2t", "I64", { 0 }, "" } end, "d2t", "EAGLE-1")
end

local function int64s(values)
   local parts = {}
   for i, value in ipairs(values) do parts[i] = string.pack("<i8", value) end
   return table.concat(parts)
end

function tests.draft_vocabularies()
   local function d2t(edit, ...)
      local fragments = { ... }
      refuses_tensors("speculators", function(by_name)
         local values, text = {}, by_name.d2t[4]
         for i = 1, 53 do values[i] = string.unpack("<i8", text, 8 * i - 7) end
         edit(values)
         by_name.d2t[4] = int64s(values)
      end, table.unpack(fragments))
   end
   d2t(function(values) values[53] = 97 end, "d2t[52]", "0 to 96", "52 + 97")
   d2t(function(values) values[1] = -1 end, "d2t[0]", "0 + -1")
   d2t(function(values) values[1] = math.mininteger end, "d2t[0]")
   d2t(function(values) values[1] = math.maxinteger end, "d2t[0]")
   d2t(function(values) values[2] = values[1] - 1 end, "d2t[1]", "different ids")
   d2t(function(values) values[53] = values[53] - 1 end, "t2d")
   refuses_tensors("speculators", function(by_name) by_name.d2t[3] = { 53, 1 } end, "d2t", "[53]", "[53, 1]")
   refuses_tensors("speculators", function(by_name) by_name.d2t[2] = "F64" end, "d2t", "dtype", "F64")
   refuses_tensors("speculators", function(by_name) by_name.t2d[4] = ("\0"):rep(97) end, "t2d[", "expected 1", "found 0")
   refuses_tensors("speculators", function(by_name) by_name.t2d[3], by_name.t2d[4] = { 96 }, ("\0"):rep(96) end, "t2d", "[97]", "[96]")
   refuses_tensors("speculators", function(by_name, list)
      for i, tensor in ipairs(list) do
         if tensor[1] == "d2t" then table.remove(list, i) break end
      end
   end, "d2t", "53 of 97")
end

return tests
