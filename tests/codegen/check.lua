-- What the tests of this folder assert with. test_lua.c adds: source (the repository), lathe (the generator), folder (a
-- new one for each test).

local host = require "host"

local check = {}

local function shown(value)
   if type(value) == "string" then return string.format("%q", value) end
   if type(value) ~= "table" then return tostring(value) end
   local done, text = pcall(function() return require("json").encode(value) end)
   return done and text or tostring(value)
end

local function same(a, b)
   if type(a) ~= "table" or type(b) ~= "table" then return a == b and math.type(a) == math.type(b) end
   for key, value in pairs(a) do
      if not same(value, b[key]) then return false end
   end
   for key in pairs(b) do
      if a[key] == nil then return false end
   end
   return true
end

function check.is(condition, what, ...)
   if not condition then error(string.format(what or "expected true", ...), 2) end
end

-- Equal values, tables in depth; 1 and 1.0 differ.
function check.equal(found, expected, what)
   if not same(found, expected) then
      error(string.format("%s: expected %s, found %s", what or "value", shown(expected), shown(found)), 2)
   end
end

-- The text holds every one of the fragments.
function check.holds(text, ...)
   for _, fragment in ipairs { ... } do
      if not text:find(fragment, 1, true) then
         error(string.format("expected %s in %s", shown(fragment), shown(text)), 2)
      end
   end
end

-- f() raises a user error whose message holds every fragment; returns the error.
function check.fails(f, ...)
   local done, problem = pcall(f)
   if done then error("expected an error with " .. table.concat({ ... }, ", ") .. ", found none", 2) end
   if type(problem) ~= "table" or type(problem.message) ~= "string" then
      error("expected a user error, found " .. tostring(problem), 2)
   end
   for _, fragment in ipairs { ... } do
      if not problem.message:find(fragment, 1, true) then
         error(string.format("expected %s in the message %s", shown(fragment), shown(problem.message)), 2)
      end
   end
   return problem
end

-- f() raises a Lua error, a mistake of the program, whose message holds every fragment.
function check.raises(f, ...)
   local done, problem = pcall(f)
   if done then error("expected an error, found none", 2) end
   check.holds(tostring(problem), ...)
end

function check.write(path, text)
   local file = assert(io.open(path, "wb"))
   file:write(text)
   file:close()
end

function check.read(path)
   local file = assert(io.open(path, "rb"))
   local text = file:read("a")
   file:close()
   return text
end

-- A new file in the test's folder; its path.
function check.file(name, text)
   local path = check.folder .. "/" .. name
   check.write(path, text)
   return path
end

function check.fixture(name) return check.source .. "/tests/fixtures/models/" .. name end

-- A deep copy of plain tables, with the changes.
function check.copy(value, changes)
   if type(value) ~= "table" then return value end
   local result = {}
   for key, item in pairs(value) do result[key] = check.copy(item) end
   for key, item in pairs(changes or {}) do result[key] = item end
   return host.is_array(value) and host.array(result) or result
end

return check
