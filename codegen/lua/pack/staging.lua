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

-- A build works in .NAME.lathe-NUMBER beside its place and holds a lock on the file `lock` in it for as long as it lives:
-- a folder whose lock can be taken is a leftover.
local function lock_of(root) return root .. "/lock" end

-- The lock goes last, so that what an interruption leaves of a folder can still be told from other things.
local function discard(root)
   host.remove_tree(root .. "/package")
   host.remove_tree(root .. "/work")
   host.remove_tree(root)
end

-- What killed builds left beside the place. The compilers of one may still be writing: what cannot be removed yet is
-- left to the next build.
local function sweep(parent, name)
   local prefix = "." .. name .. ".lathe-"
   for _, entry in ipairs(host.list(parent)) do
      if entry:sub(1, #prefix) == prefix and entry:sub(#prefix + 1):find("^%d+$") then
         local root = parent .. "/" .. entry
         local lock = host.lock(lock_of(root), false)
         if lock then
            local done, problem = pcall(discard, root)
            lock:close()
            if not done and (type(problem) ~= "table" or problem.status) then error(problem, 0) end -- an interruption, a bug
         else
            host.remove_empty(root) -- killed between its first two steps; a live build there makes itself another one
         end
      end
   end
end

-- A folder of our own beside the place: own.root, locked by own.lock. An interruption can come after any call, so `own`
-- says what may be there before it is.
local function claim(parent, name, own)
   local number = host.process_id()
   for _ = 1, 1000 do
      own.root = ("%s/.%s.lathe-%d"):format(parent, name, number)
      own.lock = host.new_directory(own.root) and host.lock(lock_of(own.root), true)
      if own.lock then return end
      number = number + 100000 -- it is there: from a machine that shares the disk, or in use by another build's sweep
   end
   own.root = nil
   fail("%s: expected room for a folder .%s.lathe-NUMBER, found 1000 of them; remove those that no build uses", parent, name)
end

-- Undoes claim, wherever that was interrupted. What is there without our lock on it may be another build's.
local function give_back(own)
   if own.root and not own.lock then
      collectgarbage() -- a lock that was taken and not yet stored
      own.lock = host.lock(lock_of(own.root), false)
      if not own.lock then host.remove_empty(own.root) end
   end
   if own.lock then
      if not pcall(discard, own.root) then pcall(discard, own.root) end -- an interruption comes once
      own.lock:close()
   end
end

-- The folders above the place that do not exist, outermost first.
local function missing_parents(parent)
   local missing = {}
   while not host.exists(parent) do
      table.insert(missing, 1, parent)
      parent = split(parent)
   end
   if not host.is_directory(parent) then
      fail("%s: expected a folder, found a file; choose another place with -o", parent)
   end
   return missing
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
-- returns, the folder takes the name `place`. Folders above it are made. When it fails nothing is left.
function staging.into(place, make)
   local parent, name = split(place)
   local missing = missing_parents(parent)
   check_place(place)
   local own = {}
   local done, problem = xpcall(function() -- from the first folder on: an interruption can come at any call
      for _, folder in ipairs(missing) do host.make_directory(folder) end
      sweep(parent, name)
      claim(parent, name, own)
      local root = host.real_path(own.root)
      local folder, work = root .. "/package", root .. "/work"
      host.make_directory(folder)
      host.make_directory(work)
      make(folder, work)
      host.replace(folder, place)
   end, function(message)
      return type(message) == "table" and message or { message = nil, bug = debug.traceback(message, 2) }
   end)
   if not done then host.end_children() end
   -- The package is there, or the problem is known: what cannot be removed is the next build's.
   if not pcall(give_back, own) then pcall(give_back, own) end
   if not done then
      for i = #missing, 1, -1 do host.remove_empty(missing[i]) end
      error(problem.bug or problem, 0)
   end
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
