-- User errors: a message for a person, raised as a table so that main prints it as one line, without a traceback.

local function fail(format, ...)
   error({ message = select("#", ...) > 0 and string.format(format, ...) or format }, 0)
end

return fail
