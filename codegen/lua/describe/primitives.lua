-- The primitives that families are written in. Each returns a plain table, so that a description can be printed,
-- compared and tested; nothing here computes. The vocabulary is that of docs/families.md:
--
--    norm    rms { eps }                                    (rms1p, layernorm: with the families that need them)
--    mixer   gqa { heads, kv_heads, head_dim, scale, window, rope, q/k norm }
--    ffn     gated { activation }
--    linear  a matrix [out, in] with an optional bias [out]

local primitives = {}

-- linear("model.layers.0.mlp.down_proj", out, in, bias?) -> y = W x (+ b)
function primitives.linear(name, rows, columns, bias)
   return { kind = "linear", weight = { tensor = name .. ".weight", shape = { rows, columns } },
            bias = bias and { tensor = name .. ".bias", shape = { rows } } or nil }
end

-- rms("model.norm", size, eps) -> y = x / sqrt(mean(x^2) + eps) * w
function primitives.rms(name, size, eps)
   return { kind = "rms", eps = eps, weight = { tensor = name .. ".weight", shape = { size } } }
end

-- gqa { q, k, v, o = linear, heads, kv_heads, head_dim, scale?, window?, rope, q_norm?, k_norm? }
function primitives.gqa(mixer)
   mixer.kind = "gqa"
   mixer.scale = mixer.scale or mixer.head_dim ^ -0.5
   mixer.window = mixer.window or 0
   return mixer
end

-- gated { gate, up, down = linear, activation = "silu" } -> down(act(gate x) * up x)
function primitives.gated(ffn)
   ffn.kind = "gated"
   return ffn
end

return primitives
