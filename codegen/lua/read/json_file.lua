-- A JSON file of a checkpoint: read whole, since none is larger than a tokenizer.

local fail = require "fail"
local host = require "host"

local LARGEST = 256 << 20 -- bytes; the largest tokenizer.json known is 33 MB

-- json_file(path) -> value, file
return function(path)
   local file = host.open(path)
   if file:size() > LARGEST then
      fail("%s: expected at most %d bytes of JSON, found %d; this is not a file of a checkpoint", path, LARGEST, file:size())
   end
   return host.json_decode(file:read(0, file:size()), path), file
end
