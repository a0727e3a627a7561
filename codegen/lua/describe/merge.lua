-- --merge-lora: an adapter that becomes part of the weights. The description says what the model is with it (a head that is no
-- longer the embedding, biases, more ids), and the checkpoint's tensors are replaced by ones that are merged when they are
-- written (host_peft.c). Nothing is computed here.

local fail = require "fail"
local adapters = require "plan.adapters"
local peft = require "read.peft"

-- Linear layers whose biases are one section of the payload: if one has a bias, all have.
local groups = { { "q", "k", "v" }, { "gate", "up" } }

local function shallow(values)
   local copy = {}
   for key, value in pairs(values) do copy[key] = value end
   return copy
end

-- A tensor with the adapter in it. base: the checkpoint's, or nil: zeros.
local function merged(base, adapter, number, size)
   local tensor = base and shallow(base) or { zeros = size }
   tensor.merge, tensor.site = adapter.handle, number
   return tensor
end

-- The head gets a matrix of its own, when an adapter changes it or the embedding that it shares.
local function untie(description, tensors)
   local head = description.head
   tensors[head.untied] = tensors[head.weight.tensor]
   head.tied, head.weight = false, { tensor = head.untied, shape = { description.vocab, description.hidden } }
end

-- More ids: embedding and head must both have them.
local function resize(description, adapter, embedding, head)
   local function rows(number)
      local site = adapter.sites[number]
      return site and site.full and site.full.shape[1] or description.vocab
   end
   if rows(embedding) ~= rows(head) then
      fail("%s: embedding and head: expected the same number of ids, found %d and %d; save both (modules_to_save)",
           adapter.file, rows(embedding), rows(head))
   end
   description.vocab = rows(embedding)
   for _, node in ipairs { description.embedding, description.head } do
      node.weight = { tensor = node.weight.tensor, shape = { description.vocab, description.hidden } }
   end
end

local function replace_others(checkpoint, adapter)
   for _, tensor in ipairs(adapter.others) do
      local base = checkpoint.tensors[tensor.name]
      local function shape(of) return "[" .. table.concat(of.shape, ", ") .. "]" end
      if not base then
         fail("%s: %s: the base model has no such tensor; this adapter was made for another model", adapter.file, tensor.name)
      end
      if shape(base) ~= shape(tensor) then
         fail("%s: %s: expected shape %s by the base model, found %s; this adapter was made for another model", adapter.file,
              tensor.name, shape(base), shape(tensor))
      end
      checkpoint.tensors[tensor.name] = tensor
   end
end

local function merge_weight(site, number, adapter, tensors)
   local change = adapter.sites[number]
   local key = site.linear.weight.tensor
   if change.full then
      tensors[key] = change.full
   elseif change.rank > 0 then
      tensors[key] = merged(tensors[key], adapter, number)
   end
end

local function merge_bias(site, number, adapter, tensors)
   if not adapter.sites[number].bias then return end
   if site.name == "head" then
      fail("%s: %s: lora_bias: a head has no bias that it could be merged into; build with --lora instead", adapter.file,
           site.module)
   end
   local bias = site.linear.bias
   site.linear.bias = bias or { tensor = site.module .. ".bias", shape = { site.rows } }
   local key = site.linear.bias.tensor
   tensors[key] = merged(bias and tensors[key], adapter, number, site.rows)
   tensors[key].is_bias = true
end

-- Zeros for the others of a group of which one got a bias.
local function fill_biases(layer, tensors)
   for _, group in ipairs(groups) do
      local any = false
      local function each(visit)
         for _, name in ipairs(group) do visit(layer[name]) end
      end
      each(function(site) any = any or site.linear.bias ~= nil end)
      each(function(site)
         if any and not site.linear.bias then
            site.linear.bias = { tensor = site.module .. ".bias", shape = { site.rows } }
            tensors[site.linear.bias.tensor] = { zeros = site.rows, is_bias = true }
         end
      end)
   end
end

-- merge(description, checkpoint, recipe) -> the adapter, or nil when none is to be merged
return function(description, checkpoint, recipe)
   local name = recipe.merge_lora
   if not name then return nil end
   if recipe.random_weights then
      fail("--merge-lora %s: needs the base's weights, which --random-weights does not have; use --lora instead", name)
   end
   local sites, tensors = adapters.sites(description), checkpoint.tensors
   local adapter = peft.open(name, recipe.lora[name], sites, true)
   local head, embedding = #sites - 2, #sites - 1
   adapter.handle:check("f32", peft.base_of(sites, tensors))
   if description.head.tied and (adapter.sites[head] or adapter.sites[embedding]) then untie(description, tensors) end
   resize(description, adapter, embedding, head)
   local layer = {}
   for i, site in ipairs(sites) do
      if adapter.sites[i - 1] then
         merge_weight(site, i - 1, adapter, tensors)
         merge_bias(site, i - 1, adapter, tensors)
      end
      layer[site.name:match("[^.]+$")] = site
      if site.name:find("%.down$") then fill_biases(layer, tensors) end
   end
   replace_others(checkpoint, adapter)
   return adapter
end
