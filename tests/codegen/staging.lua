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

-- A process id that nobody has: of a child that has ended.
local function dead_process()
   host.spawn({ "true" }, "/", "/dev/null")
   return (host.wait())
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

function tests.missing_parents()
   check.fails(function() staging.into(check.folder .. "/a/b", make "x") end, "/a", "does not exist")
   check.equal(names(), "")
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
   check.is(not host.alive(child), "the child still runs")
   check.is(host.clock() - started < 10, "the child was waited for")
   check.equal(names(), "")
end

function tests.leftovers_of_the_dead_are_swept()
   local dead = string.format("%s/.package.lathe-%d", check.folder, dead_process())
   host.make_directory(dead)
   host.make_directory(dead .. "/package")
   check.write(dead .. "/package/weights.bin", "much")
   staging.into(place(), make "one")
   check.equal(names(), "package")
end

function tests.what_is_not_a_leftover_stays()
   local child = host.spawn({ "sleep", "30" }, "/", "/dev/null")
   local kept = { ".package.lathe-" .. child, ".package.lathe-x", ".package.lathe-1.5", ".other.lathe-" .. dead_process(),
                  ".package.lathe-" }
   for _, name in ipairs(kept) do host.make_directory(check.folder .. "/" .. name) end
   staging.into(place(), make "one")
   host.end_children()
   for _, name in ipairs(kept) do check.is(host.exists(check.folder .. "/" .. name), "%s is gone", name) end
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
