-- How each tokenizer.ggml.pre splits text, as tokenizer.json says it. The name stands for a tokenizer that llama.cpp's
-- converter recognised; the patterns are those of the models' own tokenizer.json files, which llama.cpp's
-- llama-vocab.cpp quotes. A name that is not here is an error: a wrong split gives wrong ids without a word.

local host = require "host"
local sorted_keys = require "read.sorted_keys"

local contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
local spaces = [[|\s*[\r\n]+|\s+(?!\S)|\s+]]
local words = [[|[^\r\n\p{L}\p{N}]?\p{L}+]]
local symbols = [[| ?[^\s\p{L}\p{N}]+[\r\n]*]]

local llama3 = contractions .. words .. [[|\p{N}{1,3}]] .. symbols .. spaces
local qwen2 = contractions .. words .. [[|\p{N}]] .. symbols .. spaces
local qwen35 = contractions .. [[|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*]] .. spaces
local seed_coder = contractions .. words .. [[|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+]] .. spaces

-- Words by letter case: capitals (or letters without case, or marks) and then small ones.
local upper, lower = [[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]], [[[\p{Ll}\p{Lm}\p{Lo}\p{M}]]
local function cased(suffix)
   return [[[^\r\n\p{L}\p{N}]?]] .. upper .. "*" .. lower .. "+" .. suffix .. [[|[^\r\n\p{L}\p{N}]?]] .. upper .. "+" .. lower
      .. "*" .. suffix
end
local symbols_or_slash = [[| ?[^\s\p{L}\p{N}]+[\r\n/]*]]
local o200k = cased(contractions .. "?") .. [[|\p{N}{1,3}]] .. symbols_or_slash .. spaces
local tekken = cased("") .. [[|\p{N}]] .. symbols_or_slash .. spaces

local gpt2 = [['s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+]]

local deepseek_v3 = {
   [[\p{N}{1,3}]], "[一-龥぀-ゟ゠-ヿ]+",
   [=[[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*]=] .. spaces,
}

-- kinds: { splits = patterns, one after the other } or { digits = every digit alone, then GPT-2's pattern }
-- ignore_merges: a piece that is a token needs no merges. add_bos: what a file means that does not say.
local kinds = {
   { "default", "", splits = { [=[[\p{P}\$\+<=>\^~\|]+]=], gpt2, [[\p{N}+]], "[0-9][0-9][0-9]" } },
   { "gpt-2 phi-2 olmo mpt jais exaone4 trillion granite-docling gigachat a.x-4.0 mellum", splits = {} },
   { "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", digits = true },
   { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", splits = { llama3 }, ignore_merges = true, add_bos = true },
   { "dbrx smaug-bpe glm4 chatglm-bpe", splits = { llama3 } },
   { "qwen2", splits = { qwen2 }, nfc = true },
   { "deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", splits = { qwen2 } },
   { "qwen35", splits = { qwen35 }, nfc = true },
   { "seed-coder", splits = { seed_coder } },
   { "tekken", splits = { tekken }, ignore_merges = true, add_bos = true },
   { "gpt-4o llama4 kanana2 talkie minimax-m2", splits = { o200k } },
   { "deepseek-v3 hunyuan-dense", splits = deepseek_v3 },
   { "deepseek-coder", splits = { "[\r\n]", [[\s?\p{L}+]], [[\s?\p{P}+]], "[一-龥ࠀ-一가-퟿]+", [[\p{N}]] } },
}

local by_name = {}
for _, kind in ipairs(kinds) do
   for name in kind[1]:gmatch("%S+") do by_name[name] = kind end
end

local pretokenizers = {}

-- The kind of that name, or nil.
function pretokenizers.find(name) return by_name[name] end

-- All names, for a message.
function pretokenizers.names() return table.concat(sorted_keys(by_name), ", ") end

-- The pre_tokenizer of a tokenizer.json for that kind.
function pretokenizers.build(kind)
   local list = host.array {}
   if kind.digits then list[1] = { type = "Digits", individual_digits = true } end
   for _, pattern in ipairs(kind.splits or {}) do
      list[#list + 1] = { type = "Split", pattern = { Regex = pattern }, behavior = "Isolated", invert = false }
   end
   -- ByteLevel's own pattern is GPT-2's: used where no other one has split the text.
   local use_regex = kind.digits or #kind.splits == 0
   list[#list + 1] = { type = "ByteLevel", add_prefix_space = false, trim_offsets = true, use_regex = use_regex }
   return #list == 1 and list[1] or { type = "Sequence", pretokenizers = list }
end

return pretokenizers
