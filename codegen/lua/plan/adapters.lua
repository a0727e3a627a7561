-- LoRA adapters in the plan (runtime/adapter.h): the sites at which they can change the model, the adapters that are built
-- in, the slots that are reserved for others, and which stages of a step that concerns. A package without adapters and
-- slots has none of this.

local adapters = {}

adapters.layer_sites = { "q", "k", "v", "o", "gate", "up", "down" }

-- The padded ranks, ADAPTER_RANKS of runtime/adapter.h.
local RANKS = { 8, 16, 32, 64, 128, 256 }
local DEFAULT_MAX_RANK = 64

-- padded(rank) -> the next of them; nil: there is none
function adapters.padded(rank)
   for _, padded in ipairs(RANKS) do
      if rank <= padded then return padded end
   end
end

local function module_of(tensor) return (tensor:gsub("%.weight$", "")) end

local function linear_site(name, linear, section, first_row)
   return { name = name, module = module_of(linear.weight.tensor), rows = linear.weight.shape[1],
            columns = linear.weight.shape[2], linear = linear, section = section, first_row = first_row,
            bias_section = linear.bias and section .. "_bias" or nil }
end

-- sites(description) -> list in order of their numbers (the first has number 0): { name, module, rows, columns, section,
-- first_row, bias_section, linear }. linear: the description's { weight, bias }.
function adapters.sites(description)
   local list = {}
   local function add(prefix, name, linear, section, first_row)
      list[#list + 1] = linear_site(prefix .. name, linear, prefix .. section, first_row)
   end
   for i, layer in ipairs(description.layers) do
      local prefix, mixer, ffn = string.format("layer.%d.", i - 1), layer.mixer, layer.ffn
      local query, key = mixer.q.weight.shape[1], mixer.k.weight.shape[1]
      add(prefix, "q", mixer.q, "qkv", 0)
      add(prefix, "k", mixer.k, "qkv", query)
      add(prefix, "v", mixer.v, "qkv", query + key)
      add(prefix, "o", mixer.o, "attention_output", 0)
      add(prefix, "gate", ffn.gate, "gate_up", 0)
      add(prefix, "up", ffn.up, "gate_up", ffn.gate.weight.shape[1])
      add(prefix, "down", ffn.down, "down", 0)
   end
   local vocab, hidden = description.vocab, description.hidden
   list[#list + 1] = { name = "head", module = module_of(description.head.untied), rows = vocab, columns = hidden,
                       linear = description.head, section = description.head.tied and "embedding" or "head", first_row = 0 }
   list[#list + 1] = { name = "embedding", module = module_of(description.embedding.weight.tensor), rows = vocab,
                       columns = hidden, linear = description.embedding, section = "embedding", first_row = 0 }
   return list
end

-- plan(description, recipe, built_in) -> nil without adapters and slots, else
--
--    sites      as above
--    list       the adapters that are built in, in order of their slots: { name, bytes, sites = { [number] = padded rank },
--               full = { [number] = true }, section = "adapter.NAME", rank = the largest, site_count }; rank 0: the site has
--               no low-rank part (a bias, a whole matrix, which `full` says)
--    slots, max_rank   reserved behind them, and the padded rank that those may have
--    rank       the padded rank that kernels have room for: the largest of all
--    number_of   a site's number by its name: within its layer, or "head", "embedding"
--    touches(number, ...)   whether any adapter may change one of these sites
--
-- built_in: what the reader made of recipe.lora: { name, bytes, sites, full } each.
function adapters.plan(description, recipe, built_in)
   local slots = recipe.lora_slots or 0
   if #built_in == 0 and slots == 0 then return nil end
   local max_rank = slots > 0 and adapters.padded(recipe.lora_max_rank or DEFAULT_MAX_RANK) or 0
   local result = { sites = adapters.sites(description), list = {}, slots = slots, max_rank = max_rank,
                    rank = math.max(max_rank, RANKS[1]) }
   local touched, layer_sites = {}, #adapters.layer_sites
   local outside = #description.layers * layer_sites
   result.number_of = { head = outside, embedding = outside + 1 }
   for i, name in ipairs(adapters.layer_sites) do result.number_of[name] = i - 1 end
   for i, adapter in ipairs(built_in) do
      local entry = { name = adapter.name, bytes = adapter.bytes, sites = adapter.sites, full = adapter.full or {},
                      section = "adapter." .. adapter.name, rank = 0, site_count = 0 }
      for number, rank in pairs(adapter.sites) do
         touched[number] = true
         entry.rank, entry.site_count = math.max(entry.rank, rank), entry.site_count + 1
      end
      result.list[i], result.rank = entry, math.max(result.rank, entry.rank)
   end
   function result.touches(...)
      for _, number in ipairs { ... } do
         if slots > 0 or touched[number] then return true end
      end
      return false
   end
   return result
end

-- place(plan's adapters, payload): which sections of the payload hold the sites' weights and biases and the adapters
function adapters.place(result, payload)
   local index = {}
   for i, section in ipairs(payload.sections) do index[section.name] = i - 1 end
   for _, site in ipairs(result.sites) do
      site.tensor = index[site.section]
      site.bias_tensor = site.bias_section and index[site.bias_section] or -1
   end
   for _, adapter in ipairs(result.list) do adapter.tensor = index[adapter.section] end
end

return adapters
