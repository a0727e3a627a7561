-- What compiles CUDA kernels: NVRTC, the compiler as a library, or nvcc. Where they are found, and how a kernel is compiled
-- with each.

local fail = require "fail"
local host = require "host"
local jobs = require "compile.jobs"

local tools = {}

-- Contraction is off because the order and rounding of every sum is the design's; what is fused says so (__fmaf_rn).
local common_flags = { "--std=c++17", "--fmad=false" }

local LIBRARIES = { "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so" }
-- Folders of a toolkit, and of NVIDIA's packages on PyPI.
local TOOLKIT_FOLDERS = { "lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib" }
local PIP_FOLDERS = { "nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib" }

local function environment(name)
   local value = os.getenv(name)
   return value and value ~= "" and value or nil
end

local function toolkits()
   local list = {}
   list[#list + 1] = environment "CUDA_HOME"
   list[#list + 1] = environment "CUDA_PATH"
   list[#list + 1] = "/usr/local/cuda"
   return list
end

-- The site-packages folders of the Pythons that are usual on this machine.
local function python_folders()
   local roots, folders = {}, {}
   roots[#roots + 1] = environment "VIRTUAL_ENV"
   roots[#roots + 1] = environment "CONDA_PREFIX"
   if environment "HOME" then roots[#roots + 1] = os.getenv "HOME" .. "/.local" end
   roots[#roots + 1] = "/usr/local"
   roots[#roots + 1] = "/usr"
   for _, root in ipairs(roots) do
      local lib = root .. "/lib"
      for _, name in ipairs(host.is_directory(lib) and host.list(lib) or {}) do
         if name:find("^python3") then
            folders[#folders + 1] = lib .. "/" .. name .. "/site-packages"
            folders[#folders + 1] = lib .. "/" .. name .. "/dist-packages"
         end
      end
   end
   return folders
end

-- Every place where NVRTC may be, in order: a path, or a bare name for the loader.
local function nvrtc_candidates()
   local list = {}
   local function folder(path)
      if not host.is_directory(path) then return end
      for _, name in ipairs(LIBRARIES) do
         if host.exists(path .. "/" .. name) then list[#list + 1] = path .. "/" .. name end
      end
   end
   for _, toolkit in ipairs(toolkits()) do
      for _, name in ipairs(TOOLKIT_FOLDERS) do folder(toolkit .. "/" .. name) end
   end
   for _, name in ipairs(LIBRARIES) do list[#list + 1] = name end
   for _, python in ipairs(python_folders()) do
      for _, name in ipairs(PIP_FOLDERS) do folder(python .. "/" .. name) end
   end
   return list
end

local WHAT_TO_DO = "install the CUDA toolkit (12.8 or later), or `pip install nvidia-cuda-nvrtc`, or say where it is with "
   .. "--nvrtc FILE or LATHE_NVRTC"

-- option: a path that the user gave, or nil
local function open_nvrtc(option)
   local given = option or environment "LATHE_NVRTC"
   if given then
      local library, reason = host.nvrtc(given)
      if not library then fail("%s: NVRTC cannot be opened (%s); %s", given, reason, WHAT_TO_DO) end
      return library
   end
   for _, candidate in ipairs(nvrtc_candidates()) do
      local library = host.nvrtc(candidate)
      if library then return library end
   end
   fail("the kernels need the CUDA compiler NVRTC, and none was found; %s", WHAT_TO_DO)
end

local function base(path) return path:match("([^/]+)$") end

local function nvrtc(option)
   local library = open_nvrtc(option)
   local major, minor = library:version()
   local path = library:path() or fail("NVRTC was opened, but its file cannot be found")
   local tool = { name = "nvrtc", version = string.format("NVRTC %d.%d", major, minor),
                  cuda_version = 1000 * major + 10 * minor }
   tool.identity = string.format("%s %s %d", tool.version, base(path), (host.file_status(path)))

   -- A process of its own for each kernel: NVRTC's threads in one process wait for each other. It runs this very program,
   -- also when its file was replaced meanwhile.
   function tool.arguments(target, source, image)
      return { "/proc/self/exe", "nvrtc", path, target.arch, image, source }
   end
   return tool
end

local function find_nvcc(work)
   local candidates = {}
   candidates[#candidates + 1] = environment "NVCC"
   for _, toolkit in ipairs(toolkits()) do
      if host.exists(toolkit .. "/bin/nvcc") then candidates[#candidates + 1] = toolkit .. "/bin/nvcc" end
   end
   candidates[#candidates + 1] = "nvcc"
   for _, candidate in ipairs(candidates) do
      local status, text = jobs.run_one({ candidate, "--version" }, ".", work .. "/nvcc.log")
      if status == 0 then return candidate:find("/") and host.real_path(candidate) or candidate, text end
   end
   fail("--compiler nvcc: nvcc was not found (in $NVCC, CUDA_HOME, /usr/local/cuda and the PATH); install the CUDA toolkit, "
        .. "or build without this option: NVRTC needs the library alone")
end

local function nvcc(work)
   local path, text = find_nvcc(work)
   local version = text:match("release [%d.]+, V([%d.]+)") or text:match("[^\n]+")
   local major, minor = version:match("^(%d+)%.(%d+)")
   local tool = { name = "nvcc", version = "nvcc " .. version, identity = "nvcc " .. version,
                  cuda_version = major and 1000 * math.tointeger(major) + 10 * math.tointeger(minor) or 0 }

   function tool.arguments(target, source, image)
      local arguments = { path, target.ptx and "-ptx" or "-cubin", "-arch=" .. target.arch, "-Xptxas=-v", "-Werror=all-warnings",
                          "-I../runtime", "-o", image, base(source) }
      table.move(common_flags, 1, #common_flags, #arguments + 1, arguments)
      return arguments
   end
   return tool
end

-- open(name or nil, option, work) -> { name, version, identity (for the cache), flags,
-- cuda_version, arguments(target, source, image) }. name: nvrtc or
-- nvcc; option: the library or nil; work: a folder for logs. The command runs in src/cuda of a package and leaves the
-- image in the file `image`.
function tools.open(name, option, work)
   local tool = name == "nvcc" and nvcc(work) or nvrtc(option)
   tool.flags = table.concat(common_flags, " ")
   return tool
end

-- For the command `lathe nvrtc`: the options of a target.
function tools.nvrtc_options(arch)
   local options = { "--gpu-architecture=" .. arch, "--ptxas-options=-v" }
   return table.move(common_flags, 1, #common_flags, #options + 1, options)
end

return tools
