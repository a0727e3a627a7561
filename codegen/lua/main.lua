-- The command line of lathe.

local host = require "host"
local options = require "options"

local modules = {
   build = "commands.build", generate = "commands.generate", plan = "commands.plan", inspect = "commands.inspect",
   nvrtc = "commands.nvrtc", -- what build starts for each GPU kernel
   checkpoint = "commands.debug", ["tokenizer-tables"] = "commands.debug", ["chat-template"] = "commands.debug", -- for tests
}

local help = {
   [""] = [[
lathe turns a language model into a program.

  lathe build MODEL|RECIPE|PACKAGE [options]   build a package with a standalone executable
  lathe generate MODEL|RECIPE [options]        write the sources only
  lathe plan MODEL|RECIPE [options] [--json]   print what would be generated
  lathe inspect PACKAGE [--kernel NAME] [--json]
                                               print what a package holds
  lathe --version

MODEL is a Hugging Face folder or a GGUF file, RECIPE a Lua file that returns these options as a table (trusted code),
PACKAGE a folder that lathe made, whose sources may have been edited. `lathe COMMAND --help` says more.]],
   build = [[
lathe build MODEL|RECIPE|PACKAGE [options]

Builds a package: sources, MANIFEST.json, executable, library. For a PACKAGE, compiles its own sources again.
The C compiler is $CC, or cc.

GPU kernels are compiled with NVRTC, found in --nvrtc, $LATHE_NVRTC, $CUDA_HOME, /usr/local/cuda, the loader's path or a
package of Python's, and kept in $LATHE_CACHE (default ~/.cache/lathe; empty: nowhere).

%s
  --nvrtc FILE               the library libnvrtc.so
  --quiet                    print nothing but errors]],
   generate = [[
lathe generate MODEL|RECIPE [options]

Writes the sources and MANIFEST.json of a package, without compiling and without weights.

%s]],
   plan = [[
lathe plan MODEL|RECIPE [options] [--json]

Prints the plan: kernels, their cost, sizes. Writes nothing.

%s
  --json                     as one JSON object]],
   inspect = [[
lathe inspect PACKAGE [--kernel NAME] [--json]

Prints what a package holds: inputs, kernels, cost, share of the bytes of a step.

  --kernel NAME              the source of one kernel
  --json                     as one JSON object]],
}

local function wants_help(...)
   for _, word in ipairs { ... } do
      if word == "--help" or word == "-h" then return true end
   end
   return false
end

return function(command, ...)
   if command == nil or command == "--help" or command == "-h" or command == "help" then
      print(help[""])
      return command == nil and 2 or 0
   end
   if command == "--version" then
      print(host.generator)
      return 0
   end
   if not modules[command] then
      error({ message = string.format("%s: this command is not known; see lathe --help", command), status = 2 }, 0)
   end
   if help[command] and wants_help(...) then
      print((help[command]:gsub("%%s", function() return options.help() end)))
      return 0
   end
   return require(modules[command])[command](...)
end
