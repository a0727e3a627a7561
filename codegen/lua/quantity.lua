-- Numbers for people: 1234567, "B" -> "1.23 MB". Powers of 1000.

return function(value, unit)
   local prefixes, i = { "", "k", "M", "G", "T" }, 1
   while value >= 1000 and i < #prefixes do value, i = value / 1000, i + 1 end
   return string.format(i == 1 and "%.4g %s%s" or "%.2f %s%s", value, prefixes[i], unit)
end
