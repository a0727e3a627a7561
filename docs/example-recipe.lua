-- An example recipe: `lathe build docs/example-recipe.lua -o smol`. docs/recipe.md documents the fields.
return {
   model = "../checkpoints/smollm2", -- paths are relative to this file
   dtype = "bf16",
   max_seq = 2048,
   max_rows = 256,
   thin = true,
}
