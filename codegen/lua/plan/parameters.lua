-- Parameters of a kernel as text: the same for equal ones, so that layers which are alike share their kernels.

return function(values)
   local names = {}
   for name in pairs(values) do names[#names + 1] = name end
   table.sort(names)
   for i, name in ipairs(names) do names[i] = name .. "=" .. tostring(values[name]) end
   return table.concat(names, ";")
end
