-- From a plan to sources: expands each template with the plan's values, and puts the header on top that says where the
-- file comes from and what it costs. Nothing is decided here.

local chat = require "chat.package"
local fail = require "fail"
local host = require "host"
local cuda_emit = require "emit.cuda"
local escape = require "emit.escape"
local recipe_module = require "recipe"
local source = require "emit.source"

-- The headers of the runtime that generated sources include; a package carries them, so that it compiles by itself.
local runtime_headers = { "adapter.h", "barrier.h", "chat_value.h", "commands.h", "error.h", "model.h", "step.h" }

local dtype_names = { bytes = "DTYPE_BYTES", bf16 = "DTYPE_BF16", f32 = "DTYPE_F32" }

local function single(value)
   local text = string.format("%.9g", value)
   return (text:find("[%.e]") and text or text .. ".0") .. "f"
end

local function tensor_lines(plan)
   local lines = {}
   for i, section in ipairs(plan.payload.sections) do
      lines[i] = string.format("{%s, %s, %d, %d, %d, %d, %s, %s},", escape.c_string(section.name),
                               dtype_names[section.dtype], section.rows, section.columns, section.offset, section.bytes,
                               single(section.random.centre), single(section.random.scale))
   end
   return lines
end

-- What the stages of a CPU's step cost, in all their layers together. plan: the model's or its draft head's.
local function stage_lines(plan)
   local lines = {}
   for i, kernel in ipairs(plan.kernels) do
      local cost, layers = kernel.cost, kernel.layers
      lines[i] = string.format('{"%s", %d, %d, %s, %d, %d, %d, %d},', kernel.name, layers, kernel.values.window or 0,
                               tostring(kernel.template == "head.c"), cost.weight_bytes * layers,
                               (cost.flops_per_row or 0) * layers, (cost.flops_per_row_and_position or 0) * layers,
                               (cost.state_bytes_per_position or 0) * layers)
   end
   return lines
end

-- The tables of sites and adapters in package.c; none without adapters.
local function adapter_values(plan)
   local lora = plan.adapters
   if not lora then return { adapters = false } end
   return {
      adapters = true, adapter_slots = lora.slots, adapter_max_rank = lora.max_rank, adapter_rank = lora.rank,
      site_lines = source.map(lora.sites, function(site)
         return string.format("{%s, %s, %d, %d, %d, %d, %d},", escape.c_string(site.name), escape.c_string(site.module),
                              site.rows, site.columns, site.tensor, site.first_row, site.bias_tensor)
      end),
      adapter_lines = source.map(lora.list, function(adapter)
         return string.format("{%s, %d},", escape.c_string(adapter.name), adapter.tensor)
      end),
   }
end

-- What each template is expanded with, besides a kernel's own values. plan: the model's or its draft head's, which has no
-- `draft` itself.
local function step_values(plan, dtype)
   local stages = {}
   for _, kernel in ipairs(plan.kernels) do
      stages[#stages + 1] = { name = kernel.name, parameters = kernel.parameters }
   end
   return {
      dtype = dtype, element_dtype = dtype_names[dtype], stages = stages, constant_lines = source.constant_lines(plan.constants),
      buffer_lines = source.buffer_lines(plan.buffers), field_lines = source.field_lines(plan.layer_fields),
      offsets = {
         { name = "EMBEDDING_OFFSET", value = plan.payload.embedding },
         { name = "FINAL_NORM_OFFSET", value = plan.payload.final_norm },
         { name = "HEAD_OFFSET", value = plan.payload.head },
      },
   }
end

local function package_values(plan, templates)
   local template_text = chat.default_text(plan.chat.templates)
   return {
      variants = plan.variants, stage_lines = stage_lines(plan), tensor_lines = tensor_lines(plan), state_window = plan.state[1].window,
      traces = plan.traces, eos = plan.generation.eos, chat_template_lines = template_text and escape.c_lines(template_text, 90) or false, chat_templates = templates,
      chat_template_table = chat.template_lines(templates), chat_token_table = chat.token_lines(plan.chat.tokens),
      c_string = escape.c_string, name = plan.name, architecture = plan.architecture, generator = plan.generator,
      layout = plan.layout, max_seq = plan.dimensions.max_seq, parameters = plan.totals.parameters,
      payload_bytes = plan.random_seed and plan.payload.bytes_sections or plan.payload.bytes,
      random = plan.random_seed ~= nil, random_seed = plan.random_seed or 0,
      flops_per_row = plan.totals.flops_per_row, weight_bytes_read = plan.totals.weight_bytes_read,
      generation = plan.generation, cpu = plan.has_c, cuda = plan.cuda ~= nil, draft = plan.draft or false,
   }
end

local function kernel_values(common, kernel)
   return source.merged(common, kernel.values, { name = kernel.name, parameters = kernel.parameters })
end

-- The draft head's sources, in a folder of their own, where a header of the same name hides the model's.
local function add_draft(add, plan)
   local draft = plan.draft
   local common = source.merged(step_values(draft, plan.dtype), {
      subject = "The draft head", is_draft = true, state_group = 1, without_norm = not draft.after.values.norm,
   })
   for _, rotary in ipairs(draft.rotaries) do rotary.lines = source.float_lines(rotary.frequencies, 6) end
   add("norm.h", "norm.h", common, {})
   add("draft/product.h", "product.h", common, {})
   add("draft/shapes.h", "shapes.h", common, {})
   add("draft/layers.h", "layers.h", source.merged(common, {
      layer_lines = source.layer_lines(draft.layer_fields, draft.payload.layers),
   }), {})
   for _, kernel in ipairs(draft.kernels) do
      local file = "draft/" .. kernel.name:gsub("^draft_", "") .. ".c"
      kernel.source = "src/" .. file
      add(file, kernel.template, kernel_values(common, kernel),
          { kernel = kernel, variants = true })
   end
   add("draft/model.c", "draft_model.c", source.merged(common, {
      before = draft.before, draft_stages = draft.stages, after = draft.after,
   }), { variants = true })
end

-- What the package says about its draft head, whatever computes it.
local function add_draft_package(add, plan)
   local ids_tensor = -1
   for i, section in ipairs(plan.payload.sections) do
      if section.name == "draft.target_ids" then ids_tensor = i - 1 end
   end
   add("draft/package.c", "draft_package.c", {
      variants = plan.variants, stage_lines = stage_lines(plan.draft), draft = plan.draft, c_string = escape.c_string,
      ids_tensor = ids_tensor, cpu = plan.has_c,
   }, {})
end

-- emit(plan, recipe) -> list of { path = "src/qkv.c", text = ... }, sorted by path. kernel sources carry `kernel`, and
-- those that are compiled once for each instruction set carry `variants = true`.
local function emit(plan, recipe)
   local files = {}
   if recipe.templates and not host.is_directory(recipe.templates) then
      fail("%s: --templates: expected a folder of templates, found none", recipe.templates)
   end
   plan.command = recipe_module.command(recipe, "generate")
   for _, rotary in ipairs(plan.rotaries) do rotary.lines = source.float_lines(rotary.frequencies, 6) end
   local common = source.merged(step_values(plan, plan.dtype), {
      runs = plan.runs, subject = "The model", is_draft = false, state_group = 0, without_norm = false,
      has_draft = plan.draft ~= nil, has_feature = plan.draft ~= nil and plan.draft.kind == "eagle1",
   })

   local function add(name, template_name, values, options)
      files[#files + 1] = { path = "src/" .. name,
                            text = source.expand(plan, recipe, "c/" .. template_name, values, options.kernel),
                            kernel = options.kernel, variants = options.variants or false }
   end

   if plan.has_c then
      for _, name in ipairs { "prelude.h", "block.h", "product.h", "shapes.h" } do add(name, name, common, {}) end
      if plan.adapters then
         add("adapters.h", "adapters.h", common, {})
         add("adapters.c", "adapters.c", common, { variants = true })
      end
      add("layers.h", "layers.h", source.merged(common, {
         layer_lines = source.layer_lines(plan.layer_fields, plan.payload.layers),
      }), {})
      for _, kernel in ipairs(plan.kernels) do
         kernel.source = "src/" .. kernel.name .. ".c"
         add(kernel.name .. ".c", kernel.template, kernel_values(common, kernel),
             { kernel = kernel, variants = true })
      end
      add("model.c", "model.c", common, { variants = true })
      add("peak.c", "peak.c", common, { variants = true })
      if plan.draft then add_draft(add, plan) end
   end
   if plan.draft then add_draft_package(add, plan) end
   local templates = chat.sources(plan.chat.templates)
   for _, item in ipairs(templates) do
      local header = source.header(plan, "the chat template '" .. item.name .. "'")
      files[#files + 1] = { path = "src/" .. item.file, text = header .. item.text, variants = false }
   end
   add("package.c", "package.c", source.merged(common, package_values(plan, templates), adapter_values(plan)), {})
   add("main.c", "main.c", common, {})
   local headers = table.move(runtime_headers, 1, #runtime_headers, 1, {})
   if plan.draft then headers[#headers + 1] = "draft.h" end
   if plan.cuda then
      cuda_emit.add(files, plan, recipe)
      table.move(cuda_emit.runtime_headers, 1, #cuda_emit.runtime_headers, #headers + 1, headers)
   end
   for _, name in ipairs(headers) do
      files[#files + 1] = { path = "src/runtime/" .. name, text = host.embedded("runtime/" .. name) }
   end
   files[#files + 1] = { path = "lathe.h", text = host.embedded("runtime/lathe.h") }
   table.sort(files, function(a, b) return a.path < b.path end)
   return files
end

return emit
