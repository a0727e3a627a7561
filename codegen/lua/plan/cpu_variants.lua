-- The instruction sets that a CPU's kernels are compiled for. The sources are the same; only flags differ.

local fail = require "fail"

local cpu_variants = {}

local avx512 = { "avx512f", "avx512bw", "avx512dq", "avx512vl" }
local avx512_bf16 = { "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16" }

-- features: what a processor must have, asked at run time. flags: also what every such processor has.
local function x86(name, features, implied)
   local flags = {}
   for _, list in ipairs { features, implied } do
      for _, feature in ipairs(list) do flags[#flags + 1] = "-m" .. feature end
   end
   return { name = name, guard = "defined(__x86_64__)", flags = flags, features = features }
end

-- All of them, best first. `bf16` multiplies pairs of bfloat16, which packages of other dtypes do not have.
local function all()
   return {
      x86("bf16", avx512_bf16, { "avx2", "fma" }),
      x86("avx512", avx512, { "avx2", "fma" }),
      x86("avx2", { "avx2", "fma" }, {}),
      { name = "scalar", flags = {}, features = {} },
   }
end

-- check(name, where): a user error unless there is a set of that name.
function cpu_variants.check(name, where)
   local names = {}
   for i, variant in ipairs(all()) do
      if variant.name == name then return end
      names[i] = variant.name
   end
   fail("%s: --cpu: expected %s, found %s", where, table.concat(names, ", "), name)
end

-- of(recipe) -> { name, guard or nil, flags, features } for each set that the recipe names, or for all that its dtype has.
function cpu_variants.of(recipe)
   local list, wanted = {}, {}
   for _, name in ipairs(recipe.cpus) do wanted[name] = true end
   if wanted.bf16 and recipe.dtype ~= "bf16" then
      fail("--cpu bf16: expected a package of dtype bf16, found %s; bf16 multiplies bfloat16", recipe.dtype)
   end
   for _, variant in ipairs(all()) do
      local fits = variant.name ~= "bf16" or recipe.dtype == "bf16"
      if fits and (#recipe.cpus == 0 or wanted[variant.name]) then list[#list + 1] = variant end
   end
   return list
end

return cpu_variants
