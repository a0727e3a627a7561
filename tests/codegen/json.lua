-- json.lua (writing) and host.json_decode (reading): strict, and the same bytes for the same value.

local check = require "check"
local host = require "host"
local json = require "json"

local tests = {}

local function decode(text) return host.json_decode(text, "file.json") end
local function refused(text, ...)
   local fragments = { "file.json", ... }
   return check.fails(function() decode(text) end, table.unpack(fragments))
end

function tests.keys_are_sorted()
   check.equal(json.encode { b = 1, a = 2, ["10"] = 3, ["9"] = 4, B = 5 }, '{"10":3,"9":4,"B":5,"a":2,"b":1}')
end

function tests.empty_lists_and_objects_differ()
   check.equal(json.encode { list = host.array {}, object = {} }, '{"list":[],"object":{}}')
   check.equal(json.encode(decode '{"a":[],"b":{}}'), '{"a":[],"b":{}}')
   check.equal(json.encode({ list = host.array {}, object = {} }, true), '{\n  "list": [],\n  "object": {}\n}')
end

function tests.lists_of_one_to_n()
   check.equal(json.encode { 1, "two", { 3 }, true }, '[1,"two",[3],true]')
   check.equal(json.encode(host.array { host.null, 1 }), "[null,1]")
end

function tests.integers_and_floats()
   check.equal(json.encode { 0, -1, math.maxinteger, math.mininteger },
               "[0,-1,9223372036854775807,-9223372036854775808]")
   check.equal(json.encode { 1.0, -2.0, 0.5, 0.1, 1e100, 1e-7, 1e15, 123456789.0 },
               "[1.0,-2.0,0.5,0.10000000000000001,1e+100,9.9999999999999995e-08,1000000000000000.0,123456789.0]")
   for _, value in ipairs { 1 / 0, -1 / 0, 0 / 0 } do check.raises(function() json.encode(value) end, "NaN") end
end

function tests.floats_come_back()
   for _, value in ipairs { 0.1, 1 / 3, 1e-300, 1.7976931348623157e308, 5e-324, -1e-5, 16777217.5 } do
      check.equal(decode(json.encode(value)), value)
   end
end

function tests.control_characters_and_quotes()
   local text = ""
   for byte = 0, 127 do text = text .. string.char(byte) end
   local encoded = json.encode(text)
   check.is(not encoded:find("[%c\127]"), "%q", encoded)
   check.holds(encoded, "\\u0000", "\\u001f", "\\u007f", "\\n", "\\\"", "\\\\")
   check.equal(decode(encoded), text)
   check.equal(json.encode("caf\xc3\xa9/"), '"caf\xc3\xa9/"')
end

function tests.pretty()
   check.equal(json.encode({ b = { c = 1, d = { 1, 2 } }, a = host.array { { x = 1 } } }, true),
               '{\n  "a": [\n    {\n      "x": 1\n    }\n  ],\n  "b": {\n    "c": 1,\n    "d": [1, 2]\n  }\n}')
end

function tests.what_json_cannot_hold()
   check.raises(function() json.encode { f = print } end, "function")
end

function tests.values()
   check.equal(decode '{"a": [1, 2.5, "x", true, false], "b": {"c": null}}',
               { a = { 1, 2.5, "x", true, false }, b = { c = host.null } })
   check.is(host.is_array(decode "[]") and not host.is_array(decode "{}"), "lists are marked")
   check.equal(decode ' "x" \n', "x")
   check.equal(decode "\xef\xbb\xbf[1]", { 1 })
end

function tests.numbers()
   check.equal(decode "[9007199254740992, -9007199254740992, 1.0, 1e3]", { 1 << 53, -(1 << 53), 1, 1000 })
   check.equal(math.type(decode "9007199254740994"), "float")
   check.equal(math.type(decode "1e300"), "float")
   check.equal(math.type(decode "0.5"), "float")
   check.equal(math.type(decode "-0"), "integer")
end

function tests.trailing_bytes()
   for _, text in ipairs { "{} x", "1 2", "[1]]", "{},", "null null", "{}\0", "\"a\"b" } do refused(text) end
end

function tests.not_json()
   for _, text in ipairs { "", " ", "{", "[1,", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "'a'", "\"open", "tru", "{\"a\":1,}", "[1 2]",
                           "\"\\x\"", "\"\\u12\"", "+1", ".5", "nan", "Infinity", "// c\n1", "\"a" } do
      refused(text)
   end
end

function tests.duplicate_keys()
   refused('{"a": 1, "a": 2}', '"a"', "twice")
   refused('{"x": [{"k": {}, "k": null}]}', '"k"', "twice")
   refused('{"a": 1, "\\u0061": 2}', '"a"', "twice")
   refused('{"a": null, "a": null}', '"a"', "twice")
   check.equal(decode '{"a": {"a": 1}, "A": 2}', { a = { a = 1 }, A = 2 })
end

function tests.nul_escapes_are_kept()
   check.equal(decode '"a\\u0000b"', "a\0b")
   check.equal(decode '{"\\u0000": "\\u0000\\u0000", "x": "\\\\u0000"}', { ["\0"] = "\0\0", x = "\\u0000" })
   refused('{"a\\u0000": 1, "a\\u0000": 2}', "twice")
   refused('["\\u0000", "\xef\xb7\x90"]', "U+FDD0")
   refused('["\\u0000", "\\ufdd0"]', "U+FDD0")
   check.equal(decode '"\xef\xb7\x90"', "\xef\xb7\x90")
   check.equal(decode '"\\ufdd0"', "\xef\xb7\x90")
   refused('"a\0b"', "NUL")
end

function tests.invalid_utf8()
   for _, bytes in ipairs { "\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80", "\xf8\x88\x80\x80\x80" } do
      refused('"' .. bytes .. '"', "UTF-8")
      refused('{"' .. bytes .. '": 1}', "UTF-8")
   end
   check.equal(decode '"\xf4\x8f\xbf\xbf\xe2\x82\xac"', "\u{10ffff}€")
end

function tests.surrogates()
   check.equal(decode '"\\ud83d\\ude00"', "\u{1f600}")
   for _, text in ipairs { '"\\ud83d"', '"\\ude00"', '"\\ud83d\\ud83d"', '"\\ud83dx"', '"\\ude00\\ud83d"', '"\\ud83d\\u0041"' } do
      refused(text)
   end
end

function tests.depth()
   local function nested(levels) return ("["):rep(levels) .. ("]"):rep(levels) end
   check.is(decode(nested(128)), "128 levels")
   refused(nested(130), "nesting")
   refused(nested(900), "nesting")
   refused(nested(100000))
   refused(('{"a":'):rep(200) .. "1" .. ("}"):rep(200), "nesting")
end

function tests.large()
   local items = {}
   for i = 1, 100000 do items[i] = i end
   check.equal(decode(json.encode(items)), items)
end

return tests
