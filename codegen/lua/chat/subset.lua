-- What templates may use besides syntax: the names that runtime/chat_*.c implements, with the parameters of each.
-- tests/chat/test_values.c compares these lists with the runtime's.

local subset = {}

-- Filters: how many arguments, and how they are called. -1: any number.
subset.filters = {
   abs = "", attr = "name", batch = "linecount fill_with", capitalize = "", center = "width", count = "",
   d = "default_value boolean", default = "default_value boolean", dictsort = "case_sensitive by reverse", e = "",
   escape = "", first = "", float = "default", forceescape = "", format = false, indent = "width first blank",
   int = "default base", items = "", join = "d attribute", last = "", length = "", list = "", lower = "", map = false,
   max = "case_sensitive attribute", min = "case_sensitive attribute", reject = false, rejectattr = false,
   replace = "old new count", reverse = "", round = "precision method", safe = "", select = false, selectattr = false,
   slice = "slices fill_with", sort = "reverse case_sensitive attribute", string = "", sum = "attribute start", title = "",
   tojson = "ensure_ascii indent separators sort_keys", trim = "chars", truncate = "length killwords end leeway",
   unique = "case_sensitive attribute", upper = "", wordcount = "",
}

-- Tests: how many arguments.
subset.tests = {
   boolean = 0, callable = 0, defined = 0, divisibleby = 1, eq = 1, equalto = 1, escaped = 0, even = 0, ["false"] = 0,
   float = 0, ge = 1, greaterthan = 1, gt = 1, ["in"] = 1, integer = 0, iterable = 0, le = 1, lessthan = 1, lower = 0, lt = 1,
   mapping = 0, ne = 1, none = 0, number = 0, odd = 0, sameas = 1, sequence = 0, string = 0, ["true"] = 0, undefined = 0,
   upper = 0, ["=="] = 1, ["!="] = 1, [">"] = 1, [">="] = 1, ["<"] = 1, ["<="] = 1,
}

subset.functions = {
   dict = true, joiner = true, namespace = true, raise_exception = true, range = true, strftime_now = true,
}

-- Methods of strings, dictionaries, lists, and of `loop`. Those that change their object are refused when they are called, as
-- Jinja's sandbox does.
subset.methods = {}
for word in ([[
   capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal isdigit islower isnumeric
   isspace isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit
   rstrip split splitlines startswith strip swapcase title upper zfill
   copy get items keys values clear pop popitem setdefault update
   append extend insert remove reverse sort
   cycle changed]]):gmatch("%S+") do
   subset.methods[word] = true
end

return subset
