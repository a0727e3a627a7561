-- The payload's layout as text. Its hash names the layout: an executable refuses a weights file of another one.

return function(plan)
   local lines = { plan.architecture, plan.dtype }
   for _, section in ipairs(plan.payload.sections) do
      lines[#lines + 1] = string.format("%s %s %d %d %d", section.name, section.dtype, section.rows, section.columns,
                                        section.offset)
   end
   return table.concat(lines, "\n")
end
