-- lathe plan MODEL|RECIPE: what would be generated, without writing anything.

local host = require "host"
local json = require "json"
local manifest = require "pack.manifest"
local options = require "options"
local pipeline = require "pipeline"
local quantity = require "quantity"

local function print_kernels(plan)
   print(string.format("%-20s %-20s %6s %14s %14s  %s", "kernel", "template", "layers", "per row", "weights", "what it does"))
   for _, kernel in ipairs(plan.kernels) do
      local cost = kernel.cost
      local flops = cost.flops_per_row and quantity(cost.flops_per_row, "FLOP") or "by position"
      print(string.format("%-20s %-20s %6d %14s %14s  %s", kernel.name, kernel.template, kernel.layers, flops,
                          quantity(cost.weight_bytes, "B"), kernel.summary))
   end
end

-- The adapters, and what one of the largest rank costs where it can be.
local function print_adapters(plan)
   local lora = plan.adapters
   if not lora then return end
   print(string.format("adapters: %d built in, %d slots for others up to rank %d; %d sites", #lora.list, lora.slots,
                       lora.max_rank, #lora.sites))
   for _, adapter in ipairs(lora.list) do
      print(string.format("  %-18s rank %d (padded), %d sites, %s", adapter.name, adapter.rank, adapter.site_count,
                          quantity(adapter.bytes, "B")))
   end
   local lines = {}
   for _, kernel in ipairs(plan.kernels) do
      local cost = kernel.cost.adapter
      if cost then
         lines[#lines + 1] = string.format("  %-18s %14s a row and %s, in each of %d layers", kernel.name,
                                           quantity(cost.flops_per_row, "FLOP"), quantity(cost.weight_bytes, "B"),
                                           kernel.layers)
      end
   end
   if #lines > 0 then print(string.format("an adapter of rank %d adds\n%s", lora.rank, table.concat(lines, "\n"))) end
end

-- How often the C compiler runs: kernels and model.c (and adapters.c) for each instruction set, package.c, main.c; those of a
-- draft head likewise.
local function compiler_runs(plan)
   local sources = #plan.kernels + (plan.adapters and 2 or 1) + (plan.draft and #plan.draft.kernels + 1 or 0)
   return sources * #plan.variants + (plan.draft and 3 or 2)
end

local function print_cuda(gpu)
   local names = {}
   for i, target in ipairs(gpu.targets) do names[i] = target.name end
   print(string.format("GPU: %d targets (%s), %d kernels, %d compiler runs; weights take %s", #names,
                       table.concat(names, ", "), #gpu.kernels, #names * #gpu.kernels, quantity(gpu.weights_bytes, "B")))
   print(string.format("%-22s %-20s %5s %6s %7s %7s  %s", "kernel", "template", "rows", "layers", "threads", "shared",
                       "what it does"))
   for _, kernel in ipairs(gpu.kernels) do
      print(string.format("%-22s %-20s %5s %6d %7d %7d  %s", kernel.name, kernel.template, kernel.rows or "any",
                          kernel.layers, kernel.threads, kernel.shared_bytes, kernel.summary))
   end
   print(string.format("\nblocks of a step of at most this many rows"))
   for _, stage in ipairs(gpu.stages) do
      local grids = {}
      for _, launch in ipairs(stage.launches) do
         grids[#grids + 1] = string.format("%d: %d", launch.rows, launch.x * launch.y * launch.z)
      end
      print(string.format("%-22s %s", stage.name, table.concat(grids, ", ")))
   end
end

local function print_draft(draft)
   local d, state = draft.dimensions, draft.state
   print(string.format("\ndraft head %s: %s, %s parameters; %d heads of %d over %d key/value heads, MLP %d, vocabulary %d",
                       draft.name, draft.kind, quantity(draft.totals.parameters, ""), d.heads, d.head_dim, d.kv_heads,
                       d.intermediate, d.vocab))
   if draft.taps then print("it takes the residual stream that enters layers " .. table.concat(draft.taps, ", ")) end
   print(string.format("trees of %d levels, %d children, %d rows; a draft step reads %s and does %s a row; state %s a token\n",
                       draft.depth, draft.top_k, draft.tokens, quantity(draft.totals.weight_bytes_read, "B"),
                       quantity(draft.totals.flops_per_row, "FLOP"), quantity(state.bytes_per_token, "B")))
   print_kernels(draft)
end

local function print_plan(plan)
   local d, state = plan.dimensions, plan.state[1]
   print(string.format("%s: %s, %s, %s parameters", plan.name, plan.architecture, plan.dtype,
                       quantity(plan.totals.parameters, "")))
   print(string.format("%d layers of %d, %d heads of %d over %d key/value heads, MLP %d, vocabulary %d", d.layers, d.hidden,
                       d.heads, d.head_dim, d.kv_heads, d.intermediate, d.vocab))
   print(string.format("payload %s; a decode step reads %s and does %s a row", quantity(plan.payload.bytes, "B"),
                       quantity(plan.totals.weight_bytes_read, "B"), quantity(plan.totals.flops_per_row, "FLOP")))
   print(string.format("state %s a token, pages of %d; up to %d positions, %d rows a step", quantity(state.bytes_per_token, "B"),
                       state.page, d.max_seq, d.max_rows))
   print_adapters(plan)
   if plan.has_c then
      local names = {}
      for i, variant in ipairs(plan.variants) do names[i] = variant.name end
      print(string.format("CPU: %d instruction sets (%s); %d kernels, %d compiler runs\n", #names,
                          table.concat(names, ", "), #plan.kernels, compiler_runs(plan)))
      print_kernels(plan)
      print()
      for _, run in ipairs(plan.runs) do
         local calls = {}
         for i, stage in ipairs(run.stages) do calls[i] = stage.kernel.name end
         print(string.format("layers %d to %d: %s", run.first, run.last - 1, table.concat(calls, ", ")))
      end
   end
   if plan.draft then print_draft(plan.draft) end
   if plan.cuda then print_cuda(plan.cuda) end
end

local function plan_command(...)
   local values, own, positional = options.parse({ ... }, "plan", { ["--json"] = "flag" })
   local recipe = pipeline.recipe(values, options.one_argument(positional, "plan", "a model or a recipe"))
   local _, name = pipeline.place(recipe)
   local plan = pipeline.plan(recipe, name)
   if own["--json"] then
      local values_of = manifest.make(plan, recipe, {}, {})
      values_of.sources, values_of.inputs, values_of.sources_edited, values_of.compiled_per_variant = nil, nil, nil, nil
      local runs = host.array {}
      for i, run in ipairs(plan.runs) do
         local calls = host.array {}
         for j, stage in ipairs(run.stages) do calls[j] = stage.kernel.name end
         runs[i] = { first = run.first, last = run.last - 1, stages = calls }
      end
      values_of.runs, values_of.traces, values_of.buffers = runs, host.array { table.unpack(plan.traces) }, plan.buffers
      print(json.encode(values_of, true))
   else
      print_plan(plan)
   end
   return 0
end

return { plan = plan_command }
