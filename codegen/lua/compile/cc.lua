-- Compiles a package's sources with the C compiler, in parallel, and links the executable and the library.

local fail = require "fail"
local host = require "host"

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

local function read_file(path)
   local file = io.open(path, "rb")
   if not file then return "" end
   local text = file:read("a")
   file:close()
   return text
end

-- The first line of what a tool printed that looks like a complaint.
local function first_complaint(text)
   for line in text:gmatch("[^\n]+") do
      if line:find("error") or line:find("cannot") or line:find("undefined") then return line end
   end
   return text:match("[^\n]+") or "it printed nothing; the disk may be full"
end

local function run_one(arguments, directory, log)
   host.spawn(arguments, directory, log)
   local _, status = host.wait()
   return status, read_file(log)
end

-- version() -> { command, version }, or a user error when there is no compiler.
function cc.version(work)
   local arguments = compiler()
   arguments[#arguments + 1] = "--version"
   local status, text = run_one(arguments, ".", work .. "/version.log")
   if status ~= 0 then
      fail("%s: the C compiler cannot be run (%s); install gcc or clang, or set CC", arguments[1], first_complaint(text))
   end
   return { command = table.concat(compiler(), " "), version = text:match("[^\n]+") }
end

-- All jobs: { source, object, flags }. Kernels are compiled once for each instruction set, the others with `defines`.
local function jobs_of(sources, variants, defines)
   local jobs = {}
   for _, source in ipairs(sources) do
      local stem = source.path:match("^src/(.+)%.c$")
      if stem then
         local object = stem:gsub("/", "%%%%2f") -- objects lie in one folder
         if source.variants then
            for _, variant in ipairs(variants) do
               jobs[#jobs + 1] = { source = stem .. ".c", object = object .. "." .. variant.name .. ".o",
                                   flags = { "-DVARIANT=" .. variant.name, table.unpack(variant.flags) } }
            end
         else
            local flags = { "-DVARIANT=common", table.unpack(defines) }
            jobs[#jobs + 1] = { source = stem .. ".c", object = object .. ".o", flags = flags }
         end
      end
   end
   return jobs
end

local function arguments_of(job, objects)
   local arguments = compiler()
   for _, flag in ipairs(common_flags) do arguments[#arguments + 1] = flag end
   for _, flag in ipairs(job.flags) do arguments[#arguments + 1] = flag end
   for _, word in ipairs { "-c", job.source, "-o", objects .. "/" .. job.object } do arguments[#arguments + 1] = word end
   return arguments
end

-- Runs the jobs, as many at a time as there are processors. On a failure the others are waited for.
local function run_jobs(jobs, package, work, progress)
   local running, started, finished, failure = {}, 0, 0, nil
   local limit = host.processors()
   while finished < #jobs do
      while started < #jobs and started - finished < limit and not failure do
         started = started + 1
         local job = jobs[started]
         job.log = work .. "/" .. job.object .. ".log"
         running[host.spawn(arguments_of(job, work), package .. "/src", job.log)] = job
      end
      if started == finished then break end
      local child, status = host.wait()
      local job = running[child]
      finished = finished + 1
      if status ~= 0 then failure = failure or job end
      progress("compiling", finished, #jobs)
   end
   if failure then
      fail("src/%s: does not compile: %s", failure.source, first_complaint(read_file(failure.log)))
   end
end

local function link(arguments, package, work, what)
   local status, text = run_one(arguments, package, work .. "/link.log")
   if status ~= 0 then fail("%s: cannot be linked: %s", what, first_complaint(text)) end
end

-- build(package folder, sources, variants, work folder, name, defines, progress): leaves `name` and `lib<name>.so` in the
-- package. sources: as emit returns them. work: a folder for objects.
function cc.build(package, sources, variants, work, name, defines, progress)
   local jobs = jobs_of(sources, variants, defines)
   run_jobs(jobs, package, work, progress)

   local archive = work .. "/liblathe.a"
   local writer = host.writer(archive)
   writer:write(host.embedded("runtime/liblathe.a"))
   writer:close()

   local objects = {}
   for _, job in ipairs(jobs) do
      if job.object ~= "main.o" then objects[#objects + 1] = work .. "/" .. job.object end
   end
   table.sort(objects)
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
