-- `normalizer`, `pre_tokenizer` and `decoder` of tokenizer.json, as lists of the operations that
-- runtime/tokenizer_{normalize,split}.c and runtime/detokenizer.c carry out.
-- Reference: tokenizers/src/{normalizers,pre_tokenizers,decoders}/*.rs.

local blob = require "tokenizer.blob"
local regex = require "tokenizer.regex"

local operation = blob.operation
local components = {}

-- A `pattern` is {"String": text} or {"Regex": pattern}; returns the text or nil, and the translated regex or nil.
local function read_pattern(place)
   local pattern = place:object("pattern")
   if not pattern then place:fail("pattern", '{"String": ...} or {"Regex": ...}', "nothing") end
   if pattern:raw("Regex") then return nil, regex.translate(pattern, "Regex") end
   return pattern:string("String")
end

local function replace(place)
   local text, pattern = read_pattern(place)
   local content = place:string("content")
   if text == "" then text, pattern = nil, "" end -- an empty text matches as an empty pattern does: everywhere
   return { kind = text and operation.replace_text or operation.replace_regex, first = text or pattern,
            second = content }
end

-- One character: GPT-2's separators are never more.
local function character(place, field, default)
   local text = place:string(field, default)
   if utf8.len(text) ~= 1 then place:fail_value(field, "one character", text) end
   return text
end

-- Runs the reader of each component that `place` holds, Sequences flattened; each appends to `list`.
local function read(place, readers, inner_field, list)
   local reader = place:choice("type", readers)
   if reader == "sequence" then
      for _, inner in ipairs(place:objects(inner_field)) do read(inner, readers, inner_field, list) end
   else
      for _, made in ipairs { reader(place) } do list[#list + 1] = made end
   end
   if #list > 256 then place:fail("", "at most 256 steps", tostring(#list)) end
   return list
end

-- ---- normalizers ----

local function normal_form(form)
   return function() return { kind = operation.normal_form, a = blob.form[form] } end
end

local function strip(place)
   local left, right = place:boolean("strip_left", true), place:boolean("strip_right", true)
   return { kind = operation.strip, a = (left and 1 or 0) | (right and 2 or 0) }
end

local normalizers = {
   Sequence = "sequence",
   NFC = normal_form "NFC", NFD = normal_form "NFD", NFKC = normal_form "NFKC", NFKD = normal_form "NFKD",
   Replace = replace,
   Prepend = function(place) return { kind = operation.prepend, first = place:string("prepend") } end,
   Append = function(place) return { kind = operation.append, first = place:string("append") } end,
   Lowercase = function() return { kind = operation.lowercase } end,
   Strip = strip,
   StripAccents = function() return { kind = operation.strip_accents } end,
   ByteLevel = function() return { kind = operation.byte_chars } end,
}

function components.normalizers(root)
   local place = root:object("normalizer")
   return place and read(place, normalizers, "normalizers", {}) or {}
end

-- ---- pre-tokenizers ----

-- The pattern that GPT-2 splits with (openai/gpt-2, src/encoder.py), already in PCRE2's syntax.
local gpt2 = [['s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|]]
   .. [[\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+]]

local function split(place)
   local text, pattern = read_pattern(place)
   if text == "" then text, pattern = nil, "" end
   return { kind = text and operation.split_text or operation.split_regex, first = text or pattern,
            a = place:choice("behavior", blob.behavior), b = place:boolean("invert", false) and 1 or 0 }
end

local function split_class(class, behavior)
   return { kind = operation.split_class, a = behavior, c = class }
end

local function byte_level(place)
   local list = {}
   if place:boolean("add_prefix_space", true) then
      list[#list + 1] = { kind = operation.prefix, first = " ", a = blob.prefix_when.always }
   end
   if place:boolean("use_regex", true) then
      list[#list + 1] = { kind = operation.split_regex, first = gpt2, a = blob.behavior.Isolated }
   end
   list[#list + 1] = { kind = operation.byte_chars }
   return table.unpack(list)
end

-- Newer files have prepend_scheme, older ones add_prefix_space.
local function prepend_scheme(place)
   local old = place:boolean("add_prefix_space", true)
   local scheme = place:choice("prepend_scheme", { always = "always", first = "first", never = "never" }, "always")
   if not old then
      if place:raw("prepend_scheme") and scheme ~= "never" then
         place:fail_value("add_prefix_space", "true, since prepend_scheme is not never", false)
      end
      return "never"
   end
   return scheme
end

local function metaspace(place)
   local mark = character(place, "replacement", "▁")
   local scheme = prepend_scheme(place)
   local list = { { kind = operation.replace_text, first = " ", second = mark } }
   if scheme ~= "never" then
      list[#list + 1] = { kind = operation.prefix, first = mark, a = blob.prefix_when[scheme] }
   end
   if place:boolean("split", true) then
      list[#list + 1] = { kind = operation.split_text, first = mark, a = blob.behavior.MergedWithNext }
   end
   return table.unpack(list)
end

local pretokenizers = {
   Sequence = "sequence",
   Split = split,
   ByteLevel = byte_level,
   Metaspace = metaspace,
   Digits = function(place)
      local each = place:boolean("individual_digits", false)
      return split_class(blob.class.numeric, each and blob.behavior.Isolated or blob.behavior.Contiguous)
   end,
   Punctuation = function(place)
      return split_class(blob.class.punctuation, place:choice("behavior", blob.behavior, "Isolated"))
   end,
   Whitespace = function() return { kind = operation.split_words } end,
   WhitespaceSplit = function() return split_class(blob.class.white_space, blob.behavior.Removed) end,
   BertPreTokenizer = function()
      return split_class(blob.class.white_space, blob.behavior.Removed),
             split_class(blob.class.punctuation, blob.behavior.Isolated)
   end,
   CharDelimiterSplit = function(place)
      return { kind = operation.split_text, first = character(place, "delimiter"), a = blob.behavior.Removed }
   end,
}

function components.pretokenizers(root)
   local place = root:object("pre_tokenizer")
   return place and read(place, pretokenizers, "pretokenizers", {}) or {}
end

-- ---- decoders ----

local decoders = {
   Sequence = "sequence",
   ByteLevel = function() return { kind = operation.decode_byte_chars } end,
   ByteFallback = function() return { kind = operation.decode_byte_fallback } end,
   Fuse = function() return { kind = operation.decode_fuse } end,
   Replace = replace,
   Strip = function(place)
      return { kind = operation.decode_strip, first = character(place, "content"), a = place:count("start"),
               b = place:count("stop") }
   end,
   Metaspace = function(place)
      return { kind = operation.decode_metaspace, first = character(place, "replacement", "▁"),
               a = prepend_scheme(place) == "never" and 0 or 1 }
   end,
   BPEDecoder = function(place) return { kind = operation.decode_suffix, first = place:string("suffix", "</w>") } end,
}

-- Without a decoder, tokens stand with spaces between them.
function components.decoders(root)
   local place = root:object("decoder")
   return place and read(place, decoders, "decoders", {}) or { { kind = operation.decode_join, first = " " } }
end

return components
