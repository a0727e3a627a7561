-- lathe inspect PACKAGE: what is in a package: kernels and their cost, sections, whether the sources were edited.

local fail = require "fail"
local host = require "host"
local json = require "json"
local manifest = require "pack.manifest"
local options = require "options"
local quantity = require "quantity"

local function find_kernel(values, name)
   local names = {}
   for _, kernel in ipairs(values.kernels) do
      if kernel.name == name then return kernel end
      names[#names + 1] = kernel.name
   end
   fail("--kernel: expected one of %s, found %s", table.concat(names, ", "), name)
end

-- A path out of a manifest stays inside the package.
local function source_text(folder, path)
   if type(path) ~= "string" or not path:match("^src/[%w_]+%.c$") then
      fail("%s/MANIFEST.json: kernels: expected a source like src/NAME.c, found %s", folder, tostring(path))
   end
   local file <close> = host.open(folder .. "/" .. path)
   return file:read(0, file:size())
end

local function print_package(folder, values)
   print(string.format("%s: %s, %s parameters, made by %s", values.name, values.architecture,
                       quantity(values.parameters, ""), values.generator))
   print(values.command)
   print(string.format("sources edited: %s", values.sources_edited and "yes" or "no"))
   if values.compiler then print(string.format("compiler: %s (%s)", values.compiler.version, values.compiler.command)) end
   for _, input in ipairs(values.inputs) do
      print(string.format("input: %s, %d bytes, xxh3 %s", input.name, input.bytes, input.hash))
   end
   local total = values.weight_bytes_read
   print(string.format("\n%-20s %6s %14s %14s %7s  %s", "kernel", "layers", "per row", "weights", "share", "source"))
   for _, kernel in ipairs(values.kernels) do
      local cost = kernel.cost
      print(string.format("%-20s %6d %14s %14s %6.1f%%  %s", kernel.name, kernel.layers,
                          cost.flops_per_row and quantity(cost.flops_per_row, "FLOP") or "by position",
                          quantity(cost.weight_bytes, "B"), 100 * cost.weight_bytes * kernel.layers / total,
                          folder .. "/" .. kernel.source))
   end
end

local function inspect(...)
   local _, own, positional = options.parse({ ... }, "inspect", { ["--json"] = "flag", ["--kernel"] = "text" })
   local folder = options.one_argument(positional, "inspect", "a package"):gsub("(.)/+$", "%1")
   if not manifest.is_package(folder) then
      fail("%s: expected a package of lathe (a folder with MANIFEST.json), found none", folder)
   end
   local values = manifest.read(folder)
   if own["--kernel"] then
      local kernel = find_kernel(values, own["--kernel"])
      kernel.text = source_text(folder, kernel.source)
      io.write(own["--json"] and json.encode(kernel, true) .. "\n" or kernel.text)
   elseif own["--json"] then
      print(json.encode(values, true))
   else
      print_package(folder, values)
   end
   return 0
end

return { inspect = inspect }
