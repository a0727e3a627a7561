-- pack/staging.lua: a package takes its place whole or not at all.

local check = require "check"
local host = require "host"
local staging = require "pack.staging"

local tests = {}

local function place() return check.folder .. "/package" end

-- make() of a tiny package; `text` tells them apart.
local function make(text)
   return function(folder, work)
      check.write(folder .. "/MANIFEST.json", "{}")
      check.write(folder .. "/content", text)
      check.write(work .. "/object.o", "rest")
   end
end

local function names() return table.concat(host.list(check.folder), " ") end

-- What a build leaves that is killed: a folder with a lock that nobody holds.
local function leave(name)
   local folder = check.folder .. "/" .. name
   host.make_directory(folder)
   check.write(folder .. "/lock", "")
   return folder
end

function tests.into_a_new_place()
   staging.into(place(), make "one")
   check.equal(check.read(place() .. "/content"), "one")
   check.equal(names(), "package")
   check.equal(host.list(place()), { "MANIFEST.json", "content" })
end

function tests.into_an_empty_folder()
   host.make_directory(place())
   staging.into(place() .. "///", make "one")
   check.equal(names(), "package")
   check.equal(check.read(place() .. "/content"), "one")
end

function tests.replaces_a_package_with_all_that_is_in_it()
   staging.into(place(), make "one")
   check.write(place() .. "/notes.txt", "mine")
   staging.into(place(), make "two")
   check.equal(host.list(place()), { "MANIFEST.json", "content" })
   check.equal(check.read(place() .. "/content"), "two")
   check.equal(names(), "package")
end

function tests.the_old_package_is_whole_until_the_end()
   staging.into(place(), make "one")
   staging.into(place(), function(folder, work)
      make "two"(folder, work)
      check.equal(check.read(place() .. "/content"), "one")
      check.is(not folder:find(place() .. "/", 1, true), "made inside the old one: %s", folder)
   end)
   check.equal(check.read(place() .. "/content"), "two")
end

function tests.other_files_are_not_replaced()
   host.make_directory(place())
   check.write(place() .. "/cat.jpg", "miau")
   local called = false
   check.fails(function() staging.into(place(), function() called = true end) end, "package", "other files", "-o")
   check.is(not called, "work was done before the place was looked at")
   check.equal(check.read(place() .. "/cat.jpg"), "miau")
   check.equal(names(), "package")
   check.write(check.folder .. "/file", "text")
   check.fails(function() staging.into(check.folder .. "/file", make "x") end, "file", "found a file")
   check.equal(check.read(check.folder .. "/file"), "text")
end

function tests.missing_parents_are_made()
   staging.into(check.folder .. "/a/b/c", make "x")
   check.equal(check.read(check.folder .. "/a/b/c/content"), "x")
   check.equal(names(), "a")
   check.equal(host.list(check.folder .. "/a/b"), { "c" })
end

function tests.missing_parents_go_with_a_failure()
   host.make_directory(check.folder .. "/here")
   check.fails(function()
      staging.into(check.folder .. "/here/a/b/c", function(folder)
         check.write(folder .. "/content", "x")
         require "fail" "the disk is full"
      end)
   end, "the disk is full")
   check.equal(names(), "here")
   check.equal(host.list(check.folder .. "/here"), {})
end

function tests.a_parent_that_is_a_file()
   check.write(check.folder .. "/file", "text")
   check.fails(function() staging.into(check.folder .. "/file/a/b", make "x") end, "/file: expected a folder, found a file")
   check.equal(check.read(check.folder .. "/file"), "text")
end

function tests.a_failure_leaves_nothing()
   local fail = require "fail"
   local problem = check.fails(function()
      staging.into(place(), function(folder, work)
         make "one"(folder, work)
         fail("the disk is %s", "full")
      end)
   end, "the disk is full")
   check.equal(problem.message, "the disk is full")
   check.equal(names(), "")
   staging.into(place(), make "one")
   check.fails(function() staging.into(place(), function() fail "again" end) end, "again")
   check.equal(check.read(place() .. "/content"), "one")
   check.equal(names(), "package")
end

function tests.a_bug_leaves_nothing_and_keeps_its_traceback()
   local done, problem = pcall(staging.into, place(), function() return nil + 1 end)
   check.equal(done, false)
   check.equal(type(problem), "string")
   check.holds(problem, "arithmetic on a nil value", "traceback", "staging.lua")
   check.equal(names(), "")
end

function tests.the_status_of_an_error_is_kept()
   local problem = check.fails(function()
      staging.into(place(), function() error({ message = "interrupted", status = 130 }, 0) end)
   end, "interrupted")
   check.equal(problem.status, 130)
end

function tests.children_end_with_a_failure()
   local child
   local started = host.clock()
   check.fails(function()
      staging.into(place(), function(_, work)
         child = host.spawn({ "sleep", "30" }, "/", work .. "/log")
         require "fail" "stop"
      end)
   end, "stop")
   check.is(not host.exists("/proc/" .. child), "the child still runs")
   check.is(host.clock() - started < 10, "the child was waited for")
   check.equal(names(), "")
end

function tests.leftovers_are_swept()
   local folder = leave ".package.lathe-123"
   host.make_directory(folder .. "/package")
   host.make_directory(folder .. "/work")
   check.write(folder .. "/package/weights.bin", "much")
   check.write(folder .. "/work/a.o", "little")
   leave(".package.lathe-" .. host.process_id()) -- a number that came round again
   host.make_directory(check.folder .. "/.package.lathe-124") -- killed before it had a lock
   staging.into(place(), make "one")
   check.equal(names(), "package")
end

function tests.what_is_not_a_leftover_stays()
   local locked = leave ".package.lathe-125"
   local lock <close> = host.lock(locked .. "/lock", false)
   check.is(lock, "the lock cannot be had")
   for _, name in ipairs { ".package.lathe-x", ".package.lathe-1.5", ".other.lathe-126", ".package.lathe-" } do leave(name) end
   host.make_directory(check.folder .. "/.package.lathe-127") -- somebody's files, without a lock
   check.write(check.folder .. "/.package.lathe-127/notes.txt", "mine")
   local before = names()
   staging.into(place(), make "one")
   check.equal(names(), before .. " package")
end

-- Two builds at a time: neither takes the other's folder for a leftover, and the later one replaces the earlier.
function tests.builds_beside_each_other()
   staging.into(place(), function(folder, work)
      make "outer"(folder, work)
      staging.into(place(), make "inner")
      staging.into(check.folder .. "/other", make "other")
      check.equal(check.read(place() .. "/content"), "inner")
      check.equal(check.read(work .. "/object.o"), "rest")
   end)
   check.equal(check.read(place() .. "/content"), "outer")
   check.equal(names(), "other package")
end

-- A lock ends with its process, and children do not keep it.
function tests.locks()
   local path = check.folder .. "/lock"
   check.equal(host.lock(path, false), nil)
   local lock = host.lock(path, true)
   check.is(lock and not host.lock(path, false), "the lock can be had twice")
   host.spawn({ "sleep", "30" }, "/", "/dev/null")
   lock:close()
   local again, started = nil, host.clock()
   repeat again = host.lock(path, false) until again or host.clock() - started > 10 -- the child holds it until it is `sleep`
   check.is(again, "the child keeps the lock")
   again:close()
   host.end_children()
   check.equal(host.lock(check.folder .. "/none/lock", true), nil, "a folder that went away")
end

function tests.not_into_the_current_folder()
   check.fails(function() staging.into(host.real_path("."), make "x") end)
end

-- A place of odd names: what is made beside it has the same parent.
function tests.names_with_spaces_and_dots()
   local odd = check.folder .. "/a b..c"
   staging.into(odd, make "one")
   check.equal(check.read(odd .. "/content"), "one")
   check.equal(names(), "a b..c")
end

function tests.write_files_makes_folders()
   staging.write_files(check.folder, { { path = "a.h", text = "1" }, { path = "src/b.c", text = "2" },
                                       { path = "src/runtime/c.h", text = "" } })
   check.equal({ check.read(check.folder .. "/a.h"), check.read(check.folder .. "/src/b.c"),
                 check.read(check.folder .. "/src/runtime/c.h") }, { "1", "2", "" })
   check.fails(function() staging.write_files(check.folder, { { path = "a.h", text = "again" } }) end, "a.h")
   check.equal(check.read(check.folder .. "/a.h"), "1")
end

return tests
