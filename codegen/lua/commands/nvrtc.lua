-- lathe nvrtc LIBRARY ARCH IMAGE SOURCE: compiles one kernel; what `lathe build` starts, once for each. It runs in src/cuda
-- of a package, and gives NVRTC the headers there and the runtime's from memory. Prints NVRTC's log.
-- lathe nvrtc --version: what would be used, for tests.

local host = require "host"
local tools = require "compile.cuda_tools"

local function read(path)
   local file <close> = host.open(path)
   return file:read(0, file:size())
end

local function nvrtc(library_path, arch, image_path, source)
   if library_path == "--version" then
      print(tools.open("nvrtc").version)
      return 0
   end
   local library, reason = host.nvrtc(library_path)
   if not library then error({ message = reason }, 0) end
   local names, texts = {}, {}
   for _, folder in ipairs { "", "../runtime/" } do
      for _, name in ipairs(host.list(folder == "" and "." or folder)) do
         if name:find("%.cuh$") or name:find("^cuda_.*%.h$") then
            names[#names + 1], texts[#texts + 1] = name, read(folder .. name)
         end
      end
   end
   local image, log = library:compile(source, read(source), names, texts, tools.nvrtc_options(arch),
                                      arch:find("^compute_") and "ptx" or "cubin")
   io.stdout:write((log:gsub("%z", "")))
   if not image then return 1 end
   local writer = host.writer(image_path)
   writer:write(image)
   writer:close()
   return 0
end

return { nvrtc = nvrtc }
