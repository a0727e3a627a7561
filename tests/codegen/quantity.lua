-- quantity.lua: numbers for people, whole or not, since those of a manifest come from anywhere.

local check = require "check"
local quantity = require "quantity"

local tests = {}

function tests.quantities()
   local cases = {
      { 0, "0 B" }, { 7, "7 B" }, { 999, "999 B" }, { 1000, "1.00 kB" }, { 1234567, "1.23 MB" }, { 5e9, "5.00 GB" },
      { 3e15, "3000.00 TB" }, { 0.5, "0.5 B" }, { 12.25, "12.25 B" }, { -3, "-3 B" }, { 1 / 0, "inf TB" },
   }
   for _, case in ipairs(cases) do check.equal(quantity(case[1], "B"), case[2]) end
end

return tests
