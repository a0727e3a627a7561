-- The module host: files, folders, hashes, children.

local check = require "check"
local host = require "host"

local tests = {}

function tests.reading_is_bounded()
   local file <close> = host.open(check.file("f", "0123456789"))
   check.equal({ file:size(), file:read(0, 10), file:read(3, 4), file:read(10, 0) }, { 10, "0123456789", "3456", "" })
   for _, range in ipairs { { 0, 11 }, { 11, 0 }, { 10, 1 }, { -1, 1 }, { 0, -1 }, { math.maxinteger, 1 }, { 1, math.maxinteger },
                            { math.mininteger, 1 } } do
      check.fails(function() file:read(range[1], range[2]) end, "/f", "truncated or damaged")
   end
end

function tests.what_is_no_file()
   check.fails(function() host.open(check.folder .. "/missing") end, "missing", "cannot be opened")
   check.fails(function() host.open(check.folder) end, "regular file")
   check.fails(function() host.open "/dev/null" end, "/dev/null", "regular file")
   check.is(os.execute("mkfifo '" .. check.folder .. "/pipe'"), "mkfifo")
   check.fails(function() host.open(check.folder .. "/pipe") end, "pipe", "regular file") -- and does not wait for a writer
end

function tests.empty_and_closed_files()
   local file = host.open(check.file("empty", ""))
   check.equal({ file:size(), file:read(0, 0), file:hash() }, { 0, "", host.hash "" })
   file:close()
   file:close()
   check.raises(function() file:size() end, "closed")
end

-- XXH3-128 of the reference implementation (xxhsum -H2).
function tests.hashes()
   check.equal(host.hash "", "99aa06d3014798d86001c324468d497f")
   check.equal(host.hash "a", "a96faf705af16834e6c632b61e964e1f")
   local text = ("0123456789abcdef"):rep(600000)
   local file <close> = host.open(check.file("f", text))
   check.equal(file:hash(), host.hash(text))
   check.equal(file:hash(), host.hash(text))
   check.equal(file:read(9599984, 16), "0123456789abcdef")
end

function tests.lists_are_sorted()
   for _, name in ipairs { "b", "a", "B", ".hidden", "a.b" } do check.file(name, "") end
   check.equal(host.list(check.folder), { ".hidden", "B", "a", "a.b", "b" })
   check.fails(function() host.list(check.folder .. "/missing") end, "missing")
end

function tests.writers_do_not_overwrite()
   local path = check.file("f", "old")
   check.fails(function() host.writer(path) end, "/f", "cannot be created")
   check.equal(check.read(path), "old")
   local writer = host.writer(path, "append")
   writer:write " new"
   writer:pad(16)
   check.equal(writer:written(), 16)
   writer:close()
   check.equal(check.read(path), "old new\0\0\0\0\0\0\0\0\0")
   check.raises(function() writer:write "x" end, "closed")
end

function tests.a_full_disk_is_a_user_error()
   if not host.exists "/dev/full" then return end
   local writer = host.writer("/dev/full", "append")
   check.fails(function()
      writer:write(("x"):rep(3 << 20))
      writer:close()
   end, "/dev/full", "No space left")
end

function tests.children()
   local child = host.spawn({ "sh", "-c", "echo out; echo err >&2; pwd; exit 7" }, "/", check.folder .. "/log")
   local ended, status = host.wait()
   check.equal({ ended, status }, { child, 7 })
   check.equal(check.read(check.folder .. "/log"), "out\nerr\n/\n")
   host.spawn({ "/nonexistent/program" }, "/", check.folder .. "/log")
   local _, failed = host.wait()
   check.equal(failed, 127)
   check.holds(check.read(check.folder .. "/log"), "/nonexistent/program", "No such file")
   check.equal(host.wait(), nil)
end

function tests.arguments_are_not_a_shell_s()
   host.spawn({ "printf", "%s|", "a b", "$HOME", "*", "", "'" }, "/", check.folder .. "/log")
   host.wait()
   check.equal(check.read(check.folder .. "/log"), "a b|$HOME|*||'|")
end

function tests.children_that_are_ended_at_once()
   for _ = 1, 20 do
      host.spawn({ "sleep", "30" }, "/", "/dev/null")
      host.end_children()
   end
end

function tests.removing_a_tree_does_not_follow_links()
   host.make_directory(check.folder .. "/tree")
   host.make_directory(check.folder .. "/kept")
   check.file("kept/f", "x")
   check.is(os.execute(string.format("ln -s ../kept '%s/tree/link'", check.folder)), "ln")
   host.remove_tree(check.folder .. "/tree")
   check.equal(host.list(check.folder), { "kept" })
   check.equal(host.list(check.folder .. "/kept"), { "f" })
   host.remove_tree(check.folder .. "/missing")
end

return tests
