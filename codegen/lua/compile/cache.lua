-- Compiled kernels by the hash of all that they are made of: $LATHE_CACHE, or lathe/ in $XDG_CACHE_HOME or ~/.cache. An
-- empty LATHE_CACHE switches it off. Several builds may use it at a time: entries appear by renaming and are never
-- changed. When it grows beyond its bound, what was not used for longest goes. Nothing here can fail a build.

local host = require "host"

local cache = {}

local LIMIT = 1 << 28 -- bytes; a sweep leaves three quarters
local MAGIC = "lathe-cache 1\n"
local STALE = 3600 -- seconds after which somebody's unfinished entry is a leftover

local function folder_of()
   local own = os.getenv "LATHE_CACHE"
   if own then return own ~= "" and own or nil end
   local base = os.getenv "XDG_CACHE_HOME"
   if base and base:sub(1, 1) == "/" then return base .. "/lathe" end
   local home = os.getenv "HOME"
   return home and home:sub(1, 1) == "/" and home .. "/.cache/lathe" or nil
end

local function make_folders(path)
   local made = path:sub(1, 1) == "/" and "" or "."
   for part in path:gmatch("[^/]+") do
      made = made .. "/" .. part
      if not host.is_directory(made) then host.make_directory(made) end
   end
end

-- open(folder or nil, limit or nil) -> cache, or nil when there is none: switched off, or its folder cannot be made.
function cache.open(folder, limit)
   folder = folder or folder_of()
   if not folder or not pcall(make_folders, folder) then return nil end
   return setmetatable({ folder = folder, limit = limit or LIMIT, count = 0 }, { __index = cache })
end

local function read(path)
   local file <close> = host.open(path)
   return file:read(0, file:size())
end

-- find(key) -> the text that was kept under it, or nil. A damaged entry is none.
function cache:find(key)
   local path = self.folder .. "/" .. key
   if not host.exists(path) then return nil end
   local done, text = pcall(read, path)
   if not done then return nil end
   local start = #MAGIC + 32
   local content = text:sub(start + 1)
   if text:sub(1, #MAGIC) ~= MAGIC or text:sub(#MAGIC + 1, start) ~= host.hash(content) then
      os.remove(path)
      return nil
   end
   host.touch(path)
   return content
end

-- keep(key, content)
function cache:keep(key, content)
   self.count = self.count + 1
   local path = string.format("%s/.%d-%d.new", self.folder, host.process_id(), self.count)
   local done = pcall(function()
      os.remove(path)
      local writer = host.writer(path)
      writer:write(MAGIC .. host.hash(content) .. content)
      writer:close()
      host.rename(path, self.folder .. "/" .. key)
   end)
   if not done then os.remove(path) end
end

-- Removes what was not used for longest, until the rest is small enough; and what killed builds left.
function cache:sweep()
   local entries, total = {}, 0
   local done, names = pcall(host.list, self.folder)
   for _, name in ipairs(done and names or {}) do
      local path = self.folder .. "/" .. name
      local bytes, age = host.file_status(path)
      if name:find("^%.%d+%-%d+%.new$") then
         if age and age > STALE then os.remove(path) end
      elseif bytes and name:find("^%x+$") and #name == 32 then
         entries[#entries + 1] = { path = path, bytes = bytes, age = age }
         total = total + bytes
      end
   end
   if total <= self.limit then return end
   table.sort(entries, function(a, b)
      if a.age ~= b.age then return a.age > b.age end
      return a.path < b.path
   end)
   for _, entry in ipairs(entries) do
      if total <= self.limit // 4 * 3 then break end
      os.remove(entry.path)
      total = total - entry.bytes
   end
end

return cache
