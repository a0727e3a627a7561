-- Progress on stderr for work that takes longer than two seconds, when a person is watching.

local host = require "host"

local PATIENCE, INTERVAL = 2.0, 0.1

-- new(quiet) -> report(what, done, total), finish()
return function(quiet)
   local watching = host.is_terminal() and not quiet
   local started, last, shown = host.clock(), 0, false

   local function report(what, done, total)
      if not watching then return end
      local now = host.clock()
      if now - started < PATIENCE or (now - last < INTERVAL and done < total) then return end
      last, shown = now, true
      io.stderr:write(string.format("\r\27[K%s: %d%%", what, math.floor(100 * done / math.max(total, 1))))
      io.stderr:flush()
   end
   local function finish()
      if shown then io.stderr:write("\r\27[K") end
   end
   return report, finish
end
