-- Compiles a package's sources with the C compiler, in parallel, and links the executable and the library.

local fail = require "fail"
local host = require "host"
local jobs = require "compile.jobs"

local cc = {}

-- Contraction is off because the order and rounding of every sum is the design's; see prelude.h.
local common_flags = { "-std=gnu11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
                       "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi", "-I.", "-Iruntime" }

local function compiler()
   local words = {}
   for word in (os.getenv("CC") or ""):gmatch("%S+") do words[#words + 1] = word end
   if #words == 0 then words[1] = "cc" end
   return words
end

-- version() -> { command, version }, or a user error when there is no compiler.
function cc.version(work)
   local arguments = compiler()
   arguments[#arguments + 1] = "--version"
   local status, text = jobs.run_one(arguments, ".", work .. "/version.log")
   if status ~= 0 then
      fail("%s: the C compiler cannot be run (%s); install gcc or clang, or set CC", arguments[1], jobs.first_complaint(text))
   end
   return { command = table.concat(compiler(), " "), version = text:match("[^\n]+") }
end

-- What is to be compiled: { source, object, flags, variant }. Kernels are compiled once for each instruction set, the
-- others with `defines`.
local function objects_of(sources, variants, defines)
   local list = {}
   for _, source in ipairs(sources) do
      local stem = source.path:match("^src/(.+)%.c$")
      if stem then
         local object = stem:gsub("/", "%%%%2f") -- objects lie in one folder
         if source.variants then
            for _, variant in ipairs(variants) do
               list[#list + 1] = { source = stem .. ".c", object = object .. "." .. variant.name .. ".o",
                                   flags = { "-DVARIANT=" .. variant.name, table.unpack(variant.flags) },
                                   variant = variant.name }
            end
         else
            local flags = { "-DVARIANT=common", table.unpack(defines) }
            list[#list + 1] = { source = stem .. ".c", object = object .. ".o", flags = flags }
         end
      end
   end
   return list
end

local function arguments_with(flags, words)
   local arguments = compiler()
   for _, list in ipairs { common_flags, flags, words } do
      for _, word in ipairs(list) do arguments[#arguments + 1] = word end
   end
   return arguments
end

local function ended(job, status, text)
   if status ~= 0 then fail("src/%s: does not compile: %s", job.source, jobs.first_complaint(text)) end
end

-- What an instruction set's kernels all begin with, prelude.h and the compiler's own header of intrinsics, is half of what
-- compiling a small kernel takes: it is read once for each set, and what the compiler keeps of it lies beside the objects.
-- Returns the header that stands for it for each variant's name. A compiler that keeps nothing, or cannot, reads the text.
local function precompile(variants, package, work, progress)
   local headers, list = {}, {}
   for _, variant in ipairs(variants) do
      if #variant.flags > 0 then
         local header = string.format("%s/begin.%s.h", work, variant.name)
         local writer = host.writer(header)
         writer:write('#include "prelude.h"\n')
         writer:close()
         headers[variant.name] = header
         list[#list + 1] = {
            arguments = arguments_with({ "-DVARIANT=" .. variant.name, table.unpack(variant.flags) },
                                       { "-x", "c-header", header, "-o", header .. ".gch" }),
            directory = package .. "/src", log = header .. ".log", ended = function() end, -- complaints come again below
         }
      end
   end
   jobs.run(list, "reading headers", progress)
   return headers
end

local function link(arguments, package, work, what)
   local status, text = jobs.run_one(arguments, package, work .. "/link.log")
   if status ~= 0 then fail("%s: cannot be linked: %s", what, jobs.first_complaint(text)) end
end

local function assemble(images, work)
   local arguments, object = compiler(), work .. "/images.o"
   for _, word in ipairs { "-c", images, "-o", object } do arguments[#arguments + 1] = word end
   local status, text = jobs.run_one(arguments, work, work .. "/images.log")
   if status ~= 0 then fail("the GPU kernels cannot be embedded: %s", jobs.first_complaint(text)) end
   return object
end

-- build(package folder, sources, variants, work folder, name, defines, images, progress): leaves `name` and
-- `lib<name>.so` in the package. sources: as emit returns them. work: a folder for objects. images: an assembly file that
-- embeds GPU kernels (compile/cuda.lua), or nil.
function cc.build(package, sources, variants, work, name, defines, images, progress)
   local list, headers = objects_of(sources, variants, defines), precompile(variants, package, work, progress)
   for _, job in ipairs(list) do
      local words, header = { "-c", job.source, "-o", work .. "/" .. job.object }, headers[job.variant]
      if header then table.move({ "-include", header }, 1, 2, #words + 1, words) end
      job.arguments, job.directory = arguments_with(job.flags, words), package .. "/src"
      job.log, job.ended = work .. "/" .. job.object .. ".log", ended
   end
   jobs.run(list, "compiling", progress)

   local archive = work .. "/liblathe.a"
   local writer = host.writer(archive)
   writer:write(host.embedded("runtime/liblathe.a"))
   writer:close()

   local objects = {}
   for _, job in ipairs(list) do
      if job.object ~= "main.o" then objects[#objects + 1] = work .. "/" .. job.object end
   end
   table.sort(objects)
   if images then objects[#objects + 1] = assemble(images, work) end
   local function with(front, back)
      local arguments = compiler()
      for _, list in ipairs { front, objects, back } do
         for _, word in ipairs(list) do arguments[#arguments + 1] = word end
      end
      return arguments
   end
   local libraries = { archive, "-lpthread", "-lm", "-ldl" }
   link(with({ "-o", name, work .. "/main.o" }, { "-Wl,--gc-sections", table.unpack(libraries) }), package, work, name)
   local exports = host.writer(work .. "/exports.map") -- the library shows its interface (lathe.h) and nothing else
   exports:write("{ global: lathe_*; local: *; };\n")
   exports:close()
   link(with({ "-shared", "-Wl,-soname,lib" .. name .. ".so", "-o", "lib" .. name .. ".so" },
             { "-Wl,-u,lathe_open", "-Xlinker", "--version-script=" .. work .. "/exports.map", "-Wl,--gc-sections",
               table.unpack(libraries) }), package, work, "lib" .. name .. ".so")
end

-- The flags for the manifest.
function cc.flags() return table.concat(common_flags, " ") end

return cc
