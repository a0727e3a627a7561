-- Which family file describes an architecture: the user's folder (--models) first, then ours.

local fail = require "fail"
local host = require "host"

local families = {}

-- guard(path, f, ...) -> what f returns. A mistake in a family file is its author's, who is told where it is.
function families.guard(path, f, ...)
   local results = table.pack(pcall(f, ...))
   if results[1] then return table.unpack(results, 2, results.n) end
   if type(results[2]) == "table" then error(results[2], 0) end
   fail("%s: the family failed: %s", path, tostring(results[2]))
end

local function load_family(text, chunk)
   local loaded, message = load(text, "@" .. chunk, "t")
   if not loaded then fail("%s: cannot be loaded: %s", chunk, message) end
   local family = families.guard(chunk, loaded)
   if type(family) ~= "table" or type(family.architectures) ~= "table" or type(family.config) ~= "table"
      or type(family.describe) ~= "function" then
      fail("%s: expected a table with architectures, config and describe; see docs/families.md", chunk)
   end
   family.name = family.name or chunk:match("([^/]+)%.lua$")
   family.path = chunk
   return family
end

-- All families as a list; a user's come first and so win.
local function all(user_folder)
   local found = {}
   if user_folder then
      for _, name in ipairs(host.list(user_folder)) do
         if name:match("%.lua$") then
            local path = user_folder .. "/" .. name
            local file = host.open(path)
            found[#found + 1] = load_family(file:read(0, file:size()), path)
         end
      end
   end
   for _, path in ipairs(host.embedded_list("models/")) do
      if path:match("^models/[^/]+%.lua$") then found[#found + 1] = load_family(host.embedded(path), path) end
   end
   return found
end

-- find(architecture, config file for messages, user's folder or nil) -> family
function families.find(architecture, config_file, user_folder)
   local known = {}
   for _, family in ipairs(all(user_folder)) do
      for _, name in ipairs(family.architectures) do
         if name == architecture then return family end
         known[#known + 1] = name
      end
   end
   table.sort(known)
   fail("%s: architectures: expected one of %s, found %s; lathe does not know this architecture (a family file in "
        .. "--models DIR can add it)", config_file, table.concat(known, ", "), tostring(architecture))
end

return families
