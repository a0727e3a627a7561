-- plan/: decisions that can be seen in the plan, without anything being written.

local check = require "check"
local json = require "json"
local pipeline = require "pipeline"
local recipe = require "recipe"

local tests = {}

local function plan_of(fixture, values)
   values = values or {}
   values.model = check.fixture(fixture)
   return (pipeline.plan(recipe.complete(values, "test"), "package"))
end

local fixtures = { "llama-576", "llama-bias", "llama-linear", "llama-text", "mistral-window", "qwen2-ratio7", "qwen2-window",
                   "qwen3-ratio3" }

local function kernel_named(plan, name)
   for _, kernel in ipairs(plan.kernels) do
      if kernel.name == name then return kernel end
   end
   error("no kernel " .. name)
end

function tests.two_plans_of_one_input_are_equal()
   for _, name in ipairs(fixtures) do
      check.is(json.encode(plan_of(name)) == json.encode(plan_of(name)), "%s: two plans differ", name)
   end
end

function tests.plans_of_different_inputs_differ()
   local seen = {}
   for _, name in ipairs(fixtures) do
      for _, dtype in ipairs { "bf16", "f32" } do
         local layout = plan_of(name, { dtype = dtype }).layout
         check.is(#layout == 32 and not seen[layout], "%s %s: the layout of another plan", name, dtype)
         seen[layout] = true
      end
   end
end

function tests.layers_share_what_they_can()
   local plan = plan_of "qwen2-window" -- layer 0 looks at everything, layer 1 has a window
   local names = {}
   for i, kernel in ipairs(plan.kernels) do names[i] = kernel.name .. " " .. kernel.layers end
   check.equal(names, { "embed 1", "qkv 2", "rope_state 2", "attention 1", "attention_output 2", "gate_up 2", "down 2",
                        "attention_window 1", "head 1" })
   check.equal({ kernel_named(plan, "attention").values.window, kernel_named(plan, "attention_window").values.window },
               { 0, 29 })
   check.equal(plan.state[1].window, 0) -- layer 0 needs every position
   check.equal(plan_of("mistral-window").state[1].window, 37)
end

function tests.runs_cover_the_layers_in_order()
   for _, name in ipairs(fixtures) do
      local plan, next_layer = plan_of(name), 0
      for _, run in ipairs(plan.runs) do
         check.equal(run.first, next_layer, name)
         check.is(run.last > run.first, "%s: an empty run", name)
         next_layer = run.last
      end
      check.equal(next_layer, plan.dimensions.layers, name)
   end
   check.equal(#plan_of("qwen2-window").runs, 2)
   check.equal(#plan_of("llama-text").runs, 1)
end

-- A longer model than the fixtures have: windows on and off in turn.
function tests.runs_of_alternating_layers()
   local kinds, text = { 0, 0, 29, 29, 0, 29 }, {}
   for i, window in ipairs(kinds) do text[i] = window == 0 and '"full_attention"' or '"sliding_attention"' end
   local host = require "host"
   host.make_directory(check.folder .. "/m")
   check.file("m/config.json", [[{"architectures": ["Qwen2ForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
      "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "use_sliding_window": true,
      "sliding_window": 29, "layer_types": []] .. table.concat(text, ", ") .. "]}")
   local plan = pipeline.plan(recipe.complete({ model = check.folder .. "/m", random_weights = 1 }, "test"), "package")
   local runs = {}
   for i, run in ipairs(plan.runs) do runs[i] = { run.first, run.last, run.stages[3].kernel.name } end
   check.equal(runs, { { 0, 2, "attention" }, { 2, 4, "attention_window" }, { 4, 5, "attention" }, { 5, 6, "attention_window" } })
   check.equal({ kernel_named(plan, "attention").layers, kernel_named(plan, "attention_window").layers }, { 3, 3 })
end

function tests.sections_are_aligned_and_apart()
   for _, name in ipairs(fixtures) do
      for _, dtype in ipairs { "bf16", "f32" } do
         local payload, stop = plan_of(name, { dtype = dtype }).payload, 0
         for _, section in ipairs(payload.sections) do
            check.equal(section.offset % 64, 0, section.name)
            check.is(section.offset >= stop and section.offset < stop + 64, "%s: %s overlaps or leaves a hole", name, section.name)
            local size = ({ bytes = 1, bf16 = 2, f32 = 4 })[section.dtype]
            check.equal(section.bytes, section.rows * section.columns * size, section.name)
            stop = section.offset + section.bytes
         end
         check.is(payload.bytes >= stop and payload.bytes < stop + 64, "%s: %d bytes for %d", name, payload.bytes, stop)
      end
   end
end

function tests.every_tensor_of_the_checkpoint_is_stored_once()
   for _, name in ipairs(fixtures) do
      local plan, checkpoint = pipeline.plan(recipe.complete({ model = check.fixture(name) }, "test"), "package")
      local stored, count = {}, 0
      for _, section in ipairs(plan.payload.sections) do
         for _, source in ipairs(section.sources or {}) do
            check.is(not stored[source.tensor], "%s: %s is stored twice", name, source.tensor)
            stored[source.tensor] = true
         end
      end
      for tensor in pairs(checkpoint.tensors) do
         count = count + 1
         check.is(stored[tensor] or tensor == "lm_head.weight", "%s: %s is not stored", name, tensor)
      end
      check.is(count > 10, "%s: %d tensors", name, count)
   end
end

function tests.parameters_are_those_of_the_tensors()
   for _, name in ipairs(fixtures) do
      local plan, checkpoint = pipeline.plan(recipe.complete({ model = check.fixture(name) }, "test"), "package")
      local elements = 0
      for tensor, entry in pairs(checkpoint.tensors) do
         if tensor ~= "lm_head.weight" or plan.payload.by_name.head then
            elements = elements + entry.shape[1] * (entry.shape[2] or 1)
         end
      end
      check.equal(plan.totals.parameters, elements, name)
   end
end

function tests.lengths_and_rows_and_pages()
   check.equal(plan_of("llama-text").dimensions.max_seq, 128)
   check.equal(plan_of("llama-text", { max_seq = 100 }).dimensions.max_seq, 100)
   check.fails(function() plan_of("llama-text", { max_seq = 129 }) end, "--max-seq", "128", "129")
   for _, rows in ipairs { 1, 20, 95, 96, 97, 65536 } do
      local d = plan_of("llama-text", { max_rows = rows }).dimensions
      check.equal({ d.max_rows, d.row_block }, { rows, math.min(rows, 96) })
   end
   for _, page in ipairs { 16, 64, 1024 } do
      local plan = plan_of("llama-text", { page = page })
      check.equal(plan.state[1].page_bytes, plan.state[1].bytes_per_token * page)
   end
end

-- Rows and pages are not part of the payload: one weights.bin fits all of them.
function tests.the_layout_is_of_the_weights_alone()
   local layout = plan_of("llama-text").layout
   check.equal(plan_of("llama-text", { max_rows = 20, page = 16, max_seq = 64 }).layout, layout)
end

function tests.random_weights_need_no_tensors()
   local host = require "host"
   host.make_directory(check.folder .. "/m")
   check.file("m/config.json", check.read(check.fixture "mistral-full" .. "/config.json"))
   local function plan(values)
      values.model = check.folder .. "/m"
      return pipeline.plan(recipe.complete(values, "test"), "package")
   end
   check.equal(plan({ random_weights = 7 }).random_seed, 7)
   check.fails(function() plan {} end, "safetensors")
end

function tests.end_tokens()
   local host = require "host"
   host.make_directory(check.folder .. "/m")
   local function eos(config, generation)
      local values = host.json_decode(check.read(check.fixture "mistral-full" .. "/config.json"), "config")
      values.eos_token_id = host.json_decode(config, "eos")
      check.file("m/config.json", json.encode(values))
      check.file("m/generation_config.json", generation)
      return pipeline.plan(recipe.complete({ model = check.folder .. "/m", random_weights = 1 }, "test"), "package").generation.eos
   end
   check.equal(eos("2", "{}"), { 2 })
   check.equal(eos("[2, 3]", "{}"), { 2, 3 })
   check.equal(eos("null", "{}"), {})
   check.equal(eos("2", '{"eos_token_id": [4, 5]}'), { 4, 5 })
   check.fails(function() eos("263", "{}") end, "eos_token_id", "263")
   check.fails(function() eos("-1", "{}") end, "eos_token_id")
   check.fails(function() eos("2", '{"eos_token_id": [1, "x"]}') end, "generation_config.json", "eos_token_id")
end

function tests.no_adapters_unless_asked_for()
   check.equal(plan_of("llama-bias").adapters, nil)
end

function tests.sites_of_adapters()
   local plan = plan_of("llama-bias", { lora_slots = 2 })
   local lora, sections = plan.adapters, plan.payload.sections
   check.equal(#lora.sites, 7 * plan.dimensions.layers + 2)
   for _, site in ipairs(lora.sites) do
      local section = sections[site.tensor + 1]
      check.is(site.columns == section.columns and site.first_row + site.rows <= section.rows, site.name)
      if site.bias_section then check.equal(sections[site.bias_tensor + 1].name, site.bias_section) end
   end
   local names, last = {}, 0
   for _, site in ipairs(lora.sites) do
      if site.section == "layer.0.qkv" then
         names[#names + 1] = site.module:match("[^.]+$")
         check.equal(site.first_row, last)
         last = site.first_row + site.rows
      end
   end
   check.equal(names, { "q_proj", "k_proj", "v_proj" })
   check.equal(last, plan.dimensions.qkv)
   check.equal({ lora.slots, lora.max_rank, lora.rank, lora.touches(0) }, { 2, 64, 64, true })
   check.equal(plan_of("llama-bias", { lora_slots = 1, lora_max_rank = 9 }).adapters.rank, 16)
end

function tests.what_built_in_adapters_touch()
   local adapters = require "plan.adapters"
   local lora = adapters.plan({ layers = {}, vocab = 5, hidden = 4, head = { untied = "lm_head.weight", tied = true },
                                embedding = { weight = { tensor = "model.embed_tokens.weight" } } }, {},
                              { { name = "a", bytes = 64, sites = { [0] = 8 } }, { name = "b", bytes = 128, sites = {} } })
   check.equal({ lora.touches(0), lora.touches(1), lora.touches(1, 0) }, { true, false, true })
   check.equal({ lora.slots, lora.rank, lora.list[2].section }, { 0, 8, "adapter.b" })
   check.equal({ adapters.padded(1), adapters.padded(8), adapters.padded(33), adapters.padded(256) }, { 8, 8, 64, 256 })
   check.equal(adapters.padded(257), nil)
end

return tests
