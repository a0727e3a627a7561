-- LoRA adapters: folders that peft saved. runtime/peft.c reads and checks them, for packages as for executables; here they
-- become what the plan and the payload need of them.

local fail = require "fail"
local host = require "host"
local sorted_keys = require "read.sorted_keys"

local peft = {}

local WEIGHTS = { "adapter_model.safetensors", "adapter_model.bin" } -- the first that is there counts

-- The files that an adapter is made of, for the manifest.
local function files_of(name, folder)
   local files = {}
   local function add(file)
      files[#files + 1] = { name = string.format("lora/%s/%s", name, file), file = host.open(folder .. "/" .. file) }
   end
   add("adapter_config.json")
   for _, file in ipairs(WEIGHTS) do
      if host.exists(folder .. "/" .. file) then
         add(file)
         return files
      end
   end
   return files
end

-- open(name, folder, sites, merging) -> adapter: { name, folder, handle, files, rank, extra_ids, file, others = { tensor },
-- sites = { [number] = { rank, padded, scale, dora, bias, copy, full = tensor or nil } } }. sites: plan/adapters.lua's.
-- merging: it will be merged, which takes what rows of a step cannot choose.
function peft.open(name, folder, sites, merging)
   local list = {}
   for i, site in ipairs(sites) do
      list[i] = { name = site.name, module = site.module, rows = site.rows, columns = site.columns,
                  has_bias = site.linear.bias ~= nil }
   end
   if not host.is_directory(folder) then
      fail("--lora %s: %s: expected a folder with adapter_config.json, found none; check the path", name, folder)
   end
   local handle = host.peft(folder, list, merging)
   local adapter = handle:contents()
   adapter.name, adapter.folder, adapter.handle, adapter.files = name, folder, handle, files_of(name, folder)
   local weights = adapter.files[#adapter.files].file
   for _, tensor in ipairs(adapter.others) do tensor.file = weights end
   for _, site in pairs(adapter.sites) do
      if site.full then site.full.file = weights end
   end
   return adapter
end

-- base_of(sites, tensors) -> { [number] = { weight = tensor, bias = tensor } }: what lies under the adapters
function peft.base_of(sites, tensors)
   local base = {}
   for i, site in ipairs(sites) do
      local weight = tensors[site.linear.weight.tensor]
      if weight then
         base[i - 1] = { weight = weight, bias = site.linear.bias and tensors[site.linear.bias.tensor] or nil }
      end
   end
   return base
end

-- Base weights are not there to be asked when they are made at load.
local function check_random(adapter, sites)
   for number, site in pairs(adapter.sites) do
      if site.dora or site.copy or site.bias and sites[number + 1].linear.bias then
         fail("%s: %s: needs the base's weights (DoRA, a bias, a copy of the embedding), which --random-weights does not have; "
              .. "read it at start (--lora-slots)", adapter.file, sites[number + 1].module)
      end
   end
end

-- built_in(recipe, sites) -> the adapters of recipe.lora that are not merged, in order of their names, as plan/adapters.lua
-- takes them
function peft.built_in(recipe, sites)
   local list = {}
   for _, name in ipairs(sorted_keys(recipe.lora)) do
      if name ~= recipe.merge_lora then
         local adapter = peft.open(name, recipe.lora[name], sites, false)
         if recipe.random_weights then check_random(adapter, sites) end
         if adapter.extra_ids > 0 then
            io.stderr:write(string.format("lathe: note: --lora %s: its %d ids beyond the model's %d cannot be reached; merge it to "
                                          .. "have them\n", name, adapter.extra_ids, sites[#sites].rows))
         end
         local ranks, full = {}, {}
         for number, site in pairs(adapter.sites) do
            ranks[number] = site.padded
            full[number] = site.full ~= nil or nil
         end
         list[#list + 1] = { name = name, bytes = adapter.handle:blob_bytes(recipe.dtype), sites = ranks, full = full,
                             adapter = adapter }
      end
   end
   return list
end

return peft
