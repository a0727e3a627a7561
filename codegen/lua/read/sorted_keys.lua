-- The string keys of a table in order: pairs() gives a different order on every run.

return function(value)
   local keys = {}
   for key in pairs(value) do keys[#keys + 1] = key end
   table.sort(keys)
   return keys
end
