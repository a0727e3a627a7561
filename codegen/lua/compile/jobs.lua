-- Child processes, as many at a time as there are processors.

local host = require "host"

local jobs = {}

function jobs.read_log(path)
   local file = io.open(path, "rb")
   if not file then return "" end
   local text = file:read("a")
   file:close()
   return text
end

-- The first line of what a tool printed that looks like a complaint.
function jobs.first_complaint(text)
   for line in text:gmatch("[^\n]+") do
      if line:find("error") or line:find("cannot") or line:find("undefined") then return line end
   end
   return text:match("[^\n]+") or "it printed nothing; the disk may be full"
end

-- run_one(arguments, directory, log) -> status, what it printed
function jobs.run_one(arguments, directory, log)
   host.spawn(arguments, directory, log)
   local _, status = host.wait()
   return status, jobs.read_log(log)
end

-- run(list, what, progress): each job { arguments, directory, log, ended = function(job, status, what it printed) }, which
-- raises an error when that is one. After a failure nothing more is started, and the others are waited for.
function jobs.run(list, what, progress)
   local running, started, finished, failure = {}, 0, 0, nil
   local limit = host.processors()
   while true do
      while started < #list and started - finished < limit and not failure do
         started = started + 1
         local job = list[started]
         running[host.spawn(job.arguments, job.directory, job.log)] = job
      end
      if started == finished then break end
      local child, status = host.wait()
      local job = running[child]
      finished = finished + 1
      local done, problem = pcall(job.ended, job, status, jobs.read_log(job.log))
      if type(problem) == "table" and problem.status then error(problem, 0) end -- an interruption
      if not done then failure = failure or problem end
      progress(what, finished, #list)
   end
   if failure then error(failure, 0) end
end

return jobs
