-- The BPE merges that a SentencePiece vocabulary implies: every way to make a token from two others, best score first;
-- among equal scores in order of the token's id, then of the left part's, then of the right part's.
-- Source: the order of the merges in the tokenizer.json files published for such models (transformers' converter,
-- SentencePieceExtractor), which the tests compare with.
--
-- SentencePiece itself knows scores only: of merges with equal scores, two ways to one token above all, it takes the
-- leftmost in the text. So merges of equal score have equal ranks: the index (from 0) of the first of them.
-- Source: sentencepiece's bpe_model.cc, and llama.cpp's llm_tokenizer_spm, which does the same.

-- merges(tokens, scores, ids) -> list of { left, right }, list of ranks. tokens, scores: from 1, in order of ids; ids: [token] = id.
return function(tokens, scores, ids)
   local list = {}
   for i, token in ipairs(tokens) do
      local first = #list + 1
      for position in utf8.codes(token) do
         if position > 1 and ids[token] then
            local left, right = token:sub(1, position - 1), token:sub(position)
            if ids[left] and ids[right] then list[#list + 1] = { left, right, score = scores[i] } end
         end
      end
      -- Most tokens have one to three ways.
      for last = first + 1, #list do
         local at, part = last, list[last]
         while at > first and ids[part[1]] < ids[list[at - 1][1]] do
            list[at] = list[at - 1]
            at = at - 1
         end
         list[at] = part
      end
   end
   for order, part in ipairs(list) do part.order = order end
   table.sort(list, function(a, b)
      if a.score ~= b.score then return a.score > b.score end
      return a.order < b.order
   end)
   local ranks = {}
   for i, part in ipairs(list) do
      ranks[i] = i > 1 and part.score == list[i - 1].score and ranks[i - 1] or i - 1
   end
   return list, ranks
end
