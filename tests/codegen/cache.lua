-- compile/cache.lua: entries by key, several builds at a time, a bound.

local cache = require "compile.cache"
local check = require "check"
local host = require "host"

local tests = {}

local function key(number) return string.format("%032x", number) end

local function open(limit) return cache.open(check.folder .. "/deep/cache", limit) end

local function path(number) return check.folder .. "/deep/cache/" .. key(number) end

function tests.what_is_kept_is_found()
   local one = open()
   check.equal(one:find(key(1)), nil)
   local content = "zeros \0 and\nlines" .. ("x"):rep(100000)
   one:keep(key(1), content)
   one:keep(key(2), "")
   check.is(one:find(key(1)) == content)
   check.is(open():find(key(2)) == "")
   check.equal(#host.list(check.folder .. "/deep/cache"), 2) -- nothing unfinished is left
end

function tests.a_damaged_entry_is_none()
   local one = open()
   one:keep(key(1), "something")
   local whole = check.read(path(1))
   for length = 0, #whole - 1 do
      check.write(path(1), whole:sub(1, length))
      check.equal(one:find(key(1)), nil, "cut to " .. length)
   end
   check.write(path(1), whole:sub(1, -2) .. "X")
   check.equal(one:find(key(1)), nil)
   check.is(not host.exists(path(1)), "it is still there")
   one:keep(key(1), "something")
   check.equal(one:find(key(1)), "something")
end

function tests.two_that_keep_the_same()
   local one, other = open(), open()
   one:keep(key(1), "same")
   other:keep(key(1), "same")
   check.equal(one:find(key(1)), "same")
end

-- A folder that cannot be made or written is no reason to fail.
function tests.without_a_folder()
   check.file("file", "")
   check.equal(cache.open(check.folder .. "/file/cache"), nil)
   local one = open()
   host.remove_tree(check.folder .. "/deep")
   one:keep(key(1), "lost")
   check.equal(one:find(key(1)), nil)
   one:sweep()
end

function tests.what_was_not_used_for_longest_goes()
   local one, content = open(10000), ("x"):rep(1000)
   for number = 1, 20 do
      one:keep(key(number), content)
      host.spawn({ "touch", "-d", (100 - number) .. " seconds ago", path(number) }, "/", "/dev/null")
      host.wait()
   end
   check.is(one:find(key(1)) == content) -- the oldest, but now it was used
   check.write(check.folder .. "/deep/cache/.123-1.new", "half")
   check.write(check.folder .. "/deep/cache/README", ("x"):rep(100000)) -- not ours
   one:sweep()
   local bytes, left = 0, {}
   for number = 1, 20 do
      left[number] = host.exists(path(number))
      bytes = bytes + (left[number] and host.file_status(path(number)) or 0)
   end
   check.is(bytes <= 7500 and bytes > 5000, "%d bytes are left", bytes)
   check.is(left[1] and left[20] and not left[2], "the wrong ones are left")
   check.is(host.exists(check.folder .. "/deep/cache/.123-1.new"), "somebody's unfinished entry is gone")
   check.is(host.exists(check.folder .. "/deep/cache/README"), "a file of others is gone")
   host.spawn({ "touch", "-d", "2 hours ago", check.folder .. "/deep/cache/.123-1.new" }, "/", "/dev/null")
   host.wait()
   one:sweep()
   check.is(not host.exists(check.folder .. "/deep/cache/.123-1.new"), "what a killed build left is still there")
end

return tests
