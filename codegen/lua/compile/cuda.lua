-- Compiles a package's kernels for its GPU targets, and writes the assembly file that embeds them. A kernel that spills
-- registers to local memory, or at which the compiler grumbles, is an error.

local fail = require "fail"
local host = require "host"
local cuda_cache = require "compile.cache"
local json = require "json"
local jobs = require "compile.jobs"

local cuda = {}

-- What ptxas said about a kernel (its option -v). nil for PTX, which it does not see.
local function resources_of(log, target)
   if target.ptx then return {} end
   local function sum(pattern)
      local total = 0
      for number in log:gmatch(pattern) do total = total + math.tointeger(number) end
      return total
   end
   local registers = log:match("Used (%d+) registers")
   return { registers = registers and math.tointeger(registers), shared_bytes = sum("(%d+) bytes smem"),
            stack_bytes = sum("(%d+) bytes stack frame"),
            spill_bytes = sum("(%d+) bytes spill stores") + sum("(%d+) bytes spill loads") }
end

-- The compiler's complaint as file:line: text. Headers lie beside the kernels.
local function complaint_of(log, source)
   for line in log:gmatch("[^\n]+") do
      if line:find("error") or line:find("warning") then
         local file, number, text = line:match("^([^():]+)%((%d+)%):%s*(.*)$")
         if not file then return "src/" .. source .. ": " .. line end
         return string.format("src/cuda/%s:%s: %s", file:match("([^/]+)$"), number, text)
      end
   end
   return string.format("src/%s: does not compile: %s", source, jobs.first_complaint(log))
end

local function check(job, status, log)
   if status ~= 0 or log:find("warning") then fail("%s", complaint_of(log, job.source)) end
   local resources = resources_of(log, job.target)
   if not job.target.ptx and not resources.registers then
      fail("src/%s: the compiler did not say how many registers it takes: %s", job.source, jobs.first_complaint(log))
   end
   if (resources.spill_bytes or 0) > 0 then
      fail("src/%s: for %s, %d bytes of registers are spilled to local memory (it has %d registers); make the kernel smaller, "
           .. "or allow it more registers with __launch_bounds__", job.source, job.target.name, resources.spill_bytes,
           resources.registers)
   end
   return resources
end

local function read(path)
   local file <close> = host.open(path)
   return file:read(0, file:size())
end

local function write(path, text)
   local writer = host.writer(path)
   writer:write(text)
   writer:close()
end

-- A source without the comment on its top, which says for whom it was generated.
local function without_header(text)
   local position = 1
   while text:sub(position, position + 1) == "//" do position = (text:find("\n", position, true) or #text) + 1 end
   return text:sub(position)
end

-- The headers that a kernel can include, by name: those of src/cuda and the runtime's.
local function headers_of(files)
   local headers = {}
   for _, file in ipairs(files) do
      local name = file.path:match("^src/cuda/([^/]+%.cuh)$") or file.path:match("^src/runtime/(cuda_[^/]+%.h)$")
      if name then headers[name] = file.text end
   end
   return headers
end

-- A source with all that it includes, as one text for the cache's key.
local function with_headers(text, headers)
   local parts, seen = {}, {}
   local function add(name, content)
      parts[#parts + 1] = name .. "\n" .. without_header(content)
      for included in content:gmatch('#%s*include%s+"([^"\n]+)"') do
         if not seen[included] and headers[included] then
            seen[included] = true
            add(included, headers[included])
         end
      end
   end
   add("", text)
   return table.concat(parts, "\0")
end

-- The driver wants PTX that ends in a zero, which nvcc leaves to others. Comments and indentation are a fifth of it.
local function image_of(path, target)
   local image = read(path)
   if not target.ptx then return image end
   return (("\n" .. image:gsub("%z", "")):gsub("\n[ \t]*//[^\n]*", ""):gsub("\n%s+", "\n"):sub(2)) .. "\0"
end

-- The assembly file: a table of struct cuda_image for each target, in the order of the kernels. Those that a target does not
-- have are empty.
local function assembly(targets, kernels, images)
   local data, tables = { ".section .rodata" }, { '.section .data.rel.ro, "aw"' }
   for _, target in ipairs(targets) do
      local symbol = "CUDA_IMAGES_" .. target.name:upper()
      tables[#tables + 1] = string.format(".globl %s\n.balign 8\n%s:", symbol, symbol)
      for i, kernel in ipairs(kernels) do
         local image = images[target.name][i]
         local label = image and string.format("image_%s_%d", target.name, i) or "0"
         if image then data[#data + 1] = string.format('.balign 16\n%s: .incbin "%s.%s"', label, kernel.name, target.name) end
         tables[#tables + 1] = string.format(".quad %s, %d", label, image and image.bytes or 0)
      end
   end
   return table.concat(data, "\n") .. "\n" .. table.concat(tables, "\n") .. '\n.section .note.GNU-stack, "", %progbits\n'
end

-- An entry of the cache: what ptxas said, then the image.
local function entry_of(resources, image) return string.pack("<s4", json.encode(resources)) .. image end

local function read_entry(entry)
   local text, position = string.unpack("<s4", entry)
   return host.json_decode(text, "cache"), entry:sub(position)
end

-- The job that compiles one kernel. done(resources, image) is called with what came of it.
local function job_of(kernel, text, target, tool, package, image, done)
   local source = kernel.source:match("^src/(.+)$")
   return {
      source = source, target = target, length = #text, directory = package .. "/src/cuda", log = image .. ".log",
      arguments = tool.arguments(target, source:match("([^/]+)$"), image .. ".new"),
      ended = function(job, status, log)
         done(check(job, status, log), image_of(image .. ".new", target))
      end,
   }
end

-- build(package folder, files, kernels, targets, tool, work folder, progress) -> the assembly file; images: for each
-- target's name and kernel's number { bytes, registers, ... }. files: the package's sources. kernels: { name, source, only:
-- nil, or the one target that has it }.
function cuda.build(package, files, kernels, targets, tool, work, progress)
   local texts = {}
   for _, file in ipairs(files) do texts[file.path] = file.text end
   local headers, kept = headers_of(files), cuda_cache.open()
   local images, list = {}, {}

   local function compile(target, i, kernel)
      local path = string.format("%s/%s.%s", work, kernel.name, target.name)
      local text = texts[kernel.source] or fail("%s: expected this source of the package, found none", kernel.source)
      local key = host.hash(table.concat({ tool.identity, tool.flags, target.arch, kernel.name,
                                           with_headers(text, headers) }, "\0"))
      local function have(resources, image)
         write(path, image)
         resources.bytes = #image
         images[target.name][i] = resources
      end

      local entry = kept and kept:find(key)
      if entry then
         have(read_entry(entry))
      else
         list[#list + 1] = job_of(kernel, text, target, tool, package, path, function(resources, image)
            if kept then kept:keep(key, entry_of(resources, image)) end
            have(resources, image)
         end)
      end
   end

   for _, target in ipairs(targets) do
      images[target.name] = {}
      for i, kernel in ipairs(kernels) do
         if not kernel.only or kernel.only == target.name then compile(target, i, kernel) end
      end
   end
   table.sort(list, function(a, b) -- the longest first, so that the last ones are short
      if a.length ~= b.length then return a.length > b.length end
      return a.log < b.log
   end)
   jobs.run(list, "compiling GPU kernels", progress)
   if kept then kept:sweep() end
   write(work .. "/images.S", assembly(targets, kernels, images))
   return work .. "/images.S", images
end

return cuda
