-- describe/rope.lua against transformers' ROPE_INIT_FUNCTIONS (5.x, CPU, torch's single precision).

local check = require "check"
local rope = require "describe.rope"

local tests = {}

local cases = {
   {
      name = "llama3 of 64", dim = 64, theta = 500000.0,
      scaling = { rope_type = "llama3", factor = 32.0, low_freq_factor = 1.0, high_freq_factor = 4.0,
                 original_max_position_embeddings = 8192 },
      frequencies = {
         1.0, 0.663601279, 0.440366626, 0.292227834, 0.193922758, 0.128687382, 0.0853971019, 0.0566696189,
         0.0376060307, 0.0249554086, 0.0165604409, 0.0109895291, 0.00729266508, 0.00483942125, 0.00321144611,
         0.00129054801, 0.000429556705, 9.70828623e-05, 1.94616387e-05, 1.29147675e-05, 8.57025589e-06,
         5.68723226e-06, 3.77405445e-06, 2.50446715e-06, 1.66196742e-06, 1.10288363e-06, 7.31874934e-07,
         4.85673127e-07, 3.22293289e-07, 2.1387423e-07, 1.41927202e-07, 9.41830649e-08,
      },
   },
   {
      name = "llama3 of 128", dim = 128, theta = 500000.0,
      scaling = { rope_type = "llama3", factor = 8.0, low_freq_factor = 1.0, high_freq_factor = 4.0,
                 original_max_position_embeddings = 8192 },
      frequencies = {
         1.0, 0.814617217, 0.663601279, 0.540580988, 0.440366626, 0.358730227, 0.292227834, 0.238053814, 0.193922758,
         0.157972813, 0.128687382, 0.10483095, 0.0853971019, 0.0695659518, 0.0566696189, 0.0461640507, 0.0376060307,
         0.0306345206, 0.0249554086, 0.0203291047, 0.0165604409, 0.0134904198, 0.0109895291, 0.00895225909,
         0.00729266508, 0.00594073068, 0.00483942125, 0.00394227589, 0.00321144611, 0.00216657063, 0.00137189368,
         0.00085675146, 0.000524846022, 0.00031269365, 0.000178507791, 9.55621217e-05, 7.78465546e-05, 6.34151438e-05,
         5.16590699e-05, 4.20823671e-05, 3.42810235e-05, 2.79259093e-05, 2.2748929e-05, 1.85316694e-05,
         1.50962178e-05, 1.22976389e-05, 1.00178686e-05, 8.1607277e-06, 6.64786967e-06, 5.41546933e-06,
         4.41153452e-06, 3.59371188e-06, 2.92749974e-06, 2.38479174e-06, 1.94269251e-06, 1.58255079e-06,
         1.28917316e-06, 1.05018262e-06, 8.55496921e-07, 6.96902532e-07, 5.6770881e-07, 4.6246538e-07, 3.7673226e-07,
         3.06892588e-07,
      },
   },
   {
      name = "linear of 32", dim = 32, theta = 10000.0,
      scaling = { rope_type = "linear", factor = 2.5 },
      frequencies = {
         0.400000006, 0.22493653, 0.1264911, 0.0711311772, 0.0399999991, 0.0224936511, 0.0126491114, 0.00711311772,
         0.00399999972, 0.00224936521, 0.00126491114, 0.000711311761, 0.000400000019, 0.000224936521, 0.000126491112,
         7.11311732e-05,
      },
   },
   {
      name = "default of 80", dim = 80, theta = 10000.0,
      scaling = nil,
      frequencies = {
         1.0, 0.794328213, 0.630957305, 0.501187205, 0.398107171, 0.316227764, 0.251188636, 0.199526235, 0.158489317,
         0.12589255, 0.100000001, 0.0794328228, 0.0630957261, 0.0501187257, 0.0398107208, 0.0316227786, 0.0251188632,
         0.0199526213, 0.0158489347, 0.0125892553, 0.00999999978, 0.00794328377, 0.00630957307, 0.00501187285,
         0.00398107059, 0.00316227786, 0.00251188688, 0.00199526199, 0.00158489333, 0.00125892507, 0.00100000005,
         0.0007943284, 0.000630957307, 0.000501187285, 0.000398107077, 0.000316227786, 0.0002511887, 0.000199526199,
         0.000158489333, 0.000125892519,
      },
   },
   {
      name = "default of 128", dim = 128, theta = 1000000.0,
      scaling = nil,
      frequencies = {
         1.0, 0.805842221, 0.649381638, 0.523299158, 0.421696514, 0.339820832, 0.273841977, 0.220673397, 0.177827939,
         0.143301263, 0.115478203, 0.0930572003, 0.0749894157, 0.0604296438, 0.0486967526, 0.0392418988, 0.0316227786,
         0.0254829675, 0.0205352511, 0.0165481716, 0.0133352149, 0.0107460786, 0.00865964312, 0.00697830599,
         0.00562341325, 0.00453158375, 0.00365174143, 0.00294272718, 0.00237137382, 0.00191095285, 0.00153992651,
         0.00124093785, 0.00100000005, 0.000805842225, 0.000649381662, 0.000523299095, 0.000421696488, 0.000339820836,
         0.000273841957, 0.000220673421, 0.00017782794, 0.000143301266, 0.000115478193, 9.3057206e-05, 7.49894243e-05,
         6.04296365e-05, 4.86967547e-05, 3.92418988e-05, 3.16227743e-05, 2.54829665e-05, 2.05352499e-05,
         1.65481706e-05, 1.33352141e-05, 1.07460783e-05, 8.65964375e-06, 6.97830637e-06, 5.62341347e-06,
         4.53158373e-06, 3.65174128e-06, 2.94272718e-06, 2.37137374e-06, 1.91095296e-06, 1.53992653e-06,
         1.24093776e-06,
      },
   },
}

-- Distance in units of the last place of single precision.
local function ulps(a, b)
   local function bits(value) return (string.unpack("<i4", string.pack("<f", value))) end
   return math.abs(bits(a) - bits(b))
end

local function half(theta, dim, scaling) return rope.half("config.json", theta, dim, scaling) end

function tests.frequencies_are_those_of_transformers()
   for _, case in ipairs(cases) do
      local found = half(case.theta, case.dim, case.scaling).frequencies
      check.equal(#found, #case.frequencies, case.name)
      for i, expected in ipairs(case.frequencies) do
         check.is(ulps(found[i], expected) <= 2, "%s: frequency %d: expected %.9g, found %.9g", case.name, i, expected, found[i])
      end
   end
end

-- The tables can tell one scaling from another: no two cases of one size agree.
function tests.scalings_differ()
   check.is(ulps(cases[1].frequencies[20], half(500000.0, 64).frequencies[20]) > 1000, "llama3 changes nothing")
   check.is(ulps(cases[3].frequencies[1], 1.0) > 1000, "linear changes nothing")
end

function tests.frequencies_are_singles()
   for _, case in ipairs(cases) do
      for _, value in ipairs(half(case.theta, case.dim, case.scaling).frequencies) do
         check.equal(string.unpack("<f", string.pack("<f", value)), value)
      end
   end
end

function tests.tables_of_two_calls_are_apart()
   local first = half(10000.0, 32)
   half(10000.0, 32, { rope_type = "linear", factor = 2.0 })
   check.equal(first.frequencies[1], 1.0)
end

function tests.unknown_types_are_named()
   for _, kind in ipairs { "yarn", "longrope", "dynamic", "su", "mrope", "" } do
      check.fails(function() half(10000.0, 64, { rope_type = kind, factor = 2 }) end, "config.json", "rope_type", kind)
   end
   check.fails(function() half(10000.0, 64, { rope_type = 3 }) end, "rope_type", "3")
end

function tests.unknown_keys_are_named()
   check.fails(function() half(10000.0, 64, { rope_type = "linear", factor = 2.0, beta_fast = 32 }) end, "rope_scaling.beta_fast")
   check.fails(function() half(10000.0, 64, { rope_type = "llama3", factor = 2.0, attention_factor = 1.5 }) end,
               "rope_scaling.attention_factor")
end

function tests.missing_and_wrong_values()
   local complete = cases[1].scaling
   for _, key in ipairs { "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings" } do
      for _, value in ipairs { false, 0, -1, "8", 0 / 0, 1 / 0 } do
         local scaling = check.copy(complete)
         scaling[key] = value or nil
         check.fails(function() half(10000.0, 64, scaling) end, "config.json", "rope_scaling." .. key)
      end
   end
   check.fails(function() half(10000.0, 64, check.copy(complete, { high_freq_factor = 1.0 })) end, "high_freq_factor")
end

function tests.odd_heads()
   check.fails(function() half(10000.0, 17) end, "head_dim", "17")
end

return tests
