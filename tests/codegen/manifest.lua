-- pack/manifest.lua and pack/payload.lua: what is read back from a package, which may come from anywhere.

local check = require "check"
local host = require "host"
local json = require "json"
local manifest = require "pack.manifest"
local payload = require "pack.payload"
local pipeline = require "pipeline"
local recipe = require "recipe"

local tests = {}

local function made(targets)
   local values = recipe.complete({ model = check.fixture "qwen2-window", output = "/somewhere/else", targets = targets }, "test")
   local plan, checkpoint = pipeline.plan(values, "package")
   local files = pipeline.sources(plan, values)
   return manifest.make(plan, values, pipeline.inputs(checkpoint), files)
end

-- The manifest as it is read when one field (a path of keys) has another value; false: none.
local function read_with(path, value, values)
   values = values or host.json_decode(json.encode(made()), "made")
   local place = values
   for i = 1, #path - 1 do place = place[path[i]] end
   place[path[#path]] = value or nil
   check.file("MANIFEST.json", json.encode(values))
   return function() return manifest.read(check.folder) end
end

function tests.comes_back_as_it_was()
   local values = made()
   manifest.write(check.folder, values)
   check.equal(json.encode(manifest.read(check.folder)), json.encode(values))
   check.equal(manifest.is_package(check.folder), true)
end

function tests.says_nothing_of_the_machine()
   local text = json.encode(made(), true)
   check.is(not text:find(check.source, 1, true) and not text:find("/somewhere", 1, true), "a path of this machine: %s", text)
   check.equal(text, json.encode(made(), true))
end

function tests.not_a_manifest()
   for _, text in ipairs { "", "{", "[]", "null", "{}", '{"format": "other"}', '{"format": "lathe-package", "version": 2}' } do
      check.file("MANIFEST.json", text)
      check.fails(function() manifest.read(check.folder) end, "MANIFEST.json")
   end
end

function tests.damaged_fields_are_named()
   local cases = {
      { { "name" }, 3, "name" }, { { "name" }, "../x", "name" }, { { "name" }, "-x", "name" }, { { "generator" }, false, "generator" },
      { { "recipe" }, 3, "recipe" }, { { "recipe" }, false, "recipe" }, { { "sources" }, "x", "sources" },
      { { "compiled_per_variant" }, false, "compiled_per_variant" }, { { "compiled_per_variant", 1 }, 7, "compiled_per_variant[0]" },
      { { "kernels", 2, "cost" }, false, "kernels[1]" }, { { "kernels", 1, "layers" }, "many", "kernels[0]" },
      { { "inputs", 1, "hash" }, false, "inputs[0]" }, { { "variants" }, {}, "variants" },
      { { "variants", 1, "name" }, "x;y", "variants[0]" }, { { "variants", 1, "name" }, "", "variants[0]" },
      { { "parameters" }, 1.5, "parameters" }, { { "compiler" }, "cc", "compiler" },
   }
   for _, case in ipairs(cases) do check.fails(read_with(case[1], case[2]), "MANIFEST.json", case[3]) end
end

-- A package for the GPU as it is when it was built.
local function made_for_gpu()
   local values = made { "cuda" }
   local images = {}
   for _, target in ipairs(values.cuda.targets) do
      images[target] = {}
      for i, kernel in ipairs(values.cuda.kernels) do
         if not kernel.only or kernel.only == target then
            images[target][i] = { bytes = 1000, registers = 32, shared_bytes = 0, stack_bytes = 0, spill_bytes = 0 }
         end
      end
   end
   manifest.add_images(values, { name = "nvrtc", version = "NVRTC 13.0", flags = "" }, images)
   return host.json_decode(json.encode(values), "made")
end

-- Names become files, targets options of a compiler, numbers are printed.
function tests.damaged_fields_of_the_gpu_are_named()
   check.equal(#read_with({ "name" }, "good", made_for_gpu())().cuda.targets, 3)
   local cases = {
      { { "cuda" }, 3, "cuda" }, { { "cuda", "targets" }, false, "targets" }, { { "cuda", "targets" }, host.array {}, "targets" },
      { { "cuda", "targets", 1 }, "90a -o/tmp/x", "targets" }, { { "cuda", "targets", 1 }, "", "targets" },
      { { "cuda", "targets", 1 }, 90, "targets" }, { { "cuda", "buckets", 1 }, "one", "buckets" },
      { { "cuda", "weights_bytes" }, -1, "weights_bytes" }, { { "cuda", "compiler" }, "nvcc", "compiler" },
      { { "cuda", "kernels" }, host.array {}, "kernels" }, { { "cuda", "kernels", 1, "name" }, "../x", "kernels[0].name" },
      { { "cuda", "kernels", 2, "source" }, "src/cuda/other.cu", "kernels[1].source" },
      { { "cuda", "kernels", 2, "source" }, "/etc/passwd", "kernels[1].source" },
      { { "cuda", "kernels", 1, "threads" }, "many", "kernels[0]" }, { { "cuda", "kernels", 1, "cost" }, 5, "kernels[0].cost" },
      { { "cuda", "kernels", 1, "only" }, "x", "kernels[0].only" },
      { { "cuda", "kernels", 1, "images" }, false, "kernels[0].images" },
      { { "cuda", "kernels", 1, "images", "80" }, false, "kernels[0].images" },
      { { "cuda", "kernels", 1, "images", "80", "registers" }, "x", "kernels[0].images" },
   }
   for _, case in ipairs(cases) do
      check.fails(read_with(case[1], case[2], made_for_gpu()), "MANIFEST.json", case[3])
   end
end

-- Flags of a manifest are passed to a compiler, which loads plug-ins and writes files when it is told to.
function tests.flags_are_instruction_sets_only()
   for _, flag in ipairs { "-fplugin=./evil.so", "-o/tmp/x", "@file", "-mavx2 -o x", "-B.", "-m", "-mtune=native", "x.c", "-wrapper" } do
      check.fails(read_with({ "variants", 2, "flags" }, host.array { flag }), "variants[1]")
   end
   check.is(read_with({ "variants", 2, "flags" }, host.array { "-mavx2", "-msse4.1" })(), "good flags")
end

-- A payload in a file of its own: bytes, the padding before them, the trailer.
local function payload_file(name, bytes)
   local path = check.folder .. "/" .. name
   local plan = { payload = { bytes = #bytes, sections = { { name = "tokenizer", dtype = "bytes", offset = 0, bytes = #bytes } } },
                  layout = ("0123456789abcdef"):rep(2) }
   payload.write(path, "new", plan, {}, { tokenizer = bytes }, function() end)
   return path
end

function tests.payloads_are_found_and_copied()
   local path = payload_file("a.bin", ("x"):rep(6400))
   local file <close> = host.open(path)
   local where = payload.find(file)
   check.equal({ where.offset, where.bytes, where.layout }, { 0, 6400, ("0123456789abcdef"):rep(2) })
   check.file("program", "an executable")
   payload.copy(check.folder .. "/program", "append", file, where)
   local program <close> = host.open(check.folder .. "/program")
   local copied = payload.find(program)
   check.equal({ copied.offset, copied.bytes, copied.layout, copied.hash }, { 4096, 6400, where.layout, where.hash })
   check.equal(program:read(4096, 6400), ("x"):rep(6400))
end

function tests.no_payload()
   for i, bytes in ipairs { "", "short", ("x"):rep(95), ("x"):rep(96), ("x"):rep(5000), ("\0"):rep(96) } do
      local file <close> = host.open(check.file("none" .. i, bytes))
      check.equal(payload.find(file), nil)
   end
end

function tests.damaged_trailers_are_no_trailers()
   local path = payload_file("a.bin", ("x"):rep(128))
   local text = check.read(path)
   for position = #text - 95, #text do
      local byte = string.char(text:byte(position) ~ 1)
      local file <close> = host.open(check.file("damaged", text:sub(1, position - 1) .. byte .. text:sub(position + 1)))
      check.equal(payload.find(file), nil, "byte " .. position)
   end
   local file <close> = host.open(check.file("truncated", text:sub(65)))
   check.equal(payload.find(file), nil, "truncated in front")
end

-- Copying gives a payload a new trailer: damage must not be made good by it.
function tests.a_damaged_payload_is_not_copied()
   local path = payload_file("a.bin", ("x"):rep(128))
   local text = check.read(path)
   local file <close> = host.open(check.file("damaged", text:sub(1, 63) .. "y" .. text:sub(65)))
   check.fails(function() payload.copy(check.folder .. "/b.bin", "new", file, payload.find(file)) end, "damaged", "hash")
end

return tests
