-- A package is made beside its place and renamed into it in one step: an interrupted build leaves the old one whole.

local fail = require "fail"
local host = require "host"
local manifest = require "pack.manifest"

local staging = {}

local function split(path)
   path = path:gsub("/+$", "")
   local parent, name = path:match("^(.*)/([^/]+)$")
   if not parent then return ".", path end
   return parent == "" and "/" or parent, name
end

-- What killed builds left beside the place: folders of processes that are gone.
local function sweep(parent, name)
   local prefix = "." .. name .. ".lathe-"
   for _, entry in ipairs(host.list(parent)) do
      if entry:sub(1, #prefix) == prefix then
         local process = math.tointeger(tonumber(entry:sub(#prefix + 1)))
         if process and not host.alive(process) then host.remove_tree(parent .. "/" .. entry) end
      end
   end
end

-- Whether a folder is another one or lies in it.
local function inside(folder, other)
   return folder and other and (folder .. "/"):sub(1, #other + 1) == other .. "/"
end

-- Something else than a package must not be replaced; nor the folder that a shell is in, which would see nothing of it.
local function check_place(place)
   if not host.exists(place) then return end
   if not host.is_directory(place) then
      fail("%s: expected a folder for the package, found a file; choose another place with -o", place)
   end
   if inside(host.real_path("."), host.real_path(place)) then
      fail("%s: the finished package takes this folder's place, and lathe runs inside it; run it from another folder, or "
           .. "choose another place with -o", place)
   end
   if not manifest.is_package(place) and #host.list(place) > 0 then
      fail("%s: expected a package or an empty folder, found other files; choose another place with -o, or remove it", place)
   end
end

-- into(place, make): calls make(folder, work) with an empty folder for the package and one for objects; when it
-- returns, the folder takes the name `place`. When it fails nothing is left.
function staging.into(place, make)
   local parent, name = split(place)
   if not host.is_directory(parent) then fail("%s: the folder does not exist; make it first", parent) end
   check_place(place)
   sweep(parent, name)
   local root = string.format("%s/.%s.lathe-%d", parent, name, host.process_id())
   local done, problem = xpcall(function() -- from the first folder on: an interruption can come at any call
      host.remove_tree(root)
      host.make_directory(root)
      local inside_root = host.real_path(root)
      local folder, work = inside_root .. "/package", inside_root .. "/work"
      host.make_directory(folder)
      host.make_directory(work)
      make(folder, work)
      host.replace(folder, place)
   end, function(message)
      return type(message) == "table" and message or { message = nil, bug = debug.traceback(message, 2) }
   end)
   if not done then host.end_children() end
   pcall(host.remove_tree, root)
   if not done then error(problem.bug or problem, 0) end
end

-- write_files(folder, files): each { path, text }, folders made as needed.
function staging.write_files(folder, files)
   local made = {}
   for _, file in ipairs(files) do
      local path = ""
      for part in file.path:gmatch("([^/]+)/") do
         path = path .. "/" .. part
         if not made[path] then
            host.make_directory(folder .. path)
            made[path] = true
         end
      end
      local writer = host.writer(folder .. "/" .. file.path)
      writer:write(file.text)
      writer:close()
   end
end

return staging
