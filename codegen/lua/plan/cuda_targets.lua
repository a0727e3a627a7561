-- The names of GPU targets: cuda, cuda:80, cuda:90a, cuda:ptx80.

local fail = require "fail"

local cuda_targets = {}

-- Compute capabilities that the kernels can be compiled for; `a` targets run on exactly one. In order of preference: the
-- executable takes the first that its GPU can run.
local known = { "121a", "120a", "110a", "103a", "100a", "90a", "121", "120", "110", "103", "100", "90", "89", "87", "86", "80" }
local by_default = { "90a", "80", "ptx80" }

local order = {}
for i, name in ipairs(known) do order[name] = i end

local function target_of(name)
   local ptx, number, exact = name:match("^(p?t?x?)(%d+)(a?)$")
   local capability = tonumber(number)
   return { name = name, major = capability // 10, minor = capability % 10, exact = exact == "a", ptx = ptx == "ptx",
            arch = (ptx == "ptx" and "compute_" or "sm_") .. number .. exact }
end

-- is_cuda(name of a target in the recipe)
function cuda_targets.is_cuda(name) return name == "cuda" or name:sub(1, 5) == "cuda:" end

-- Whether the word after "cuda:" is a target that lathe knows.
function cuda_targets.is_known(name)
   local ptx = name:match("^ptx(%d+)$")
   return order[ptx or name] ~= nil
end

-- check(target, where): a user error unless lathe knows it.
function cuda_targets.check(target, where)
   if target == "c" or target == "cuda" then return end
   local name = target:match("^cuda:(.*)$")
   if not name or not cuda_targets.is_known(name) then
      fail("%s: --target: expected c, cuda, cuda:SM with SM one of %s, or cuda:ptxSM; found %s", where,
           table.concat(known, ", "), target)
   end
end

-- of(names) -> the targets of these names, as they are: those of a package
function cuda_targets.of(names)
   local list = {}
   for i, name in ipairs(names) do list[i] = target_of(name) end
   return list
end

-- expand(targets of a recipe) -> list of { name, major, minor, exact, ptx, arch } in order of preference, each once
function cuda_targets.expand(targets)
   local list, seen = {}, {}
   local function add(name)
      if not seen[name] then list[#list + 1] = target_of(name) end
      seen[name] = true
   end
   for _, target in ipairs(targets) do
      if target == "cuda" then
         for _, name in ipairs(by_default) do add(name) end
      elseif cuda_targets.is_cuda(target) then
         add(target:sub(6))
      end
   end
   table.sort(list, function(a, b)
      if a.ptx ~= b.ptx then return b.ptx end
      if a.ptx then return order[a.name:sub(4)] < order[b.name:sub(4)] end
      return order[a.name] < order[b.name]
   end)
   return list
end

return cuda_targets
