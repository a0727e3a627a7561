"""Stage 0 (CPU, a minute): train the tokenizer on stories and write its files."""
import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import grammar
from common import CHAT_TEMPLATE, MODEL, SHAPE, SPECIALS, TRAIN

MODEL.mkdir(parents=True, exist_ok=True)
tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
tok.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=SHAPE["vocab_size"], special_tokens=SPECIALS, min_frequency=2,
                              initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
tok.train_from_iterator((part for n in range(TRAIN, TRAIN + 20_000) for part in grammar.story(n)), trainer)
tok.post_processor = processors.Sequence([
    processors.ByteLevel(trim_offsets=False),
    processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)])])
tok.save(str(MODEL / "tokenizer.json"))
settings = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                add_bos_token=True, clean_up_tokenization_spaces=False, model_max_length=SHAPE["max_position_embeddings"],
                chat_template=CHAT_TEMPLATE)
(MODEL / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
(MODEL / "generation_config.json").write_text(json.dumps(
    dict(bos_token_id=0, eos_token_id=1, pad_token_id=2, do_sample=True, temperature=0.7, top_p=0.95), indent=2) + "\n")
print("vocabulary", tok.get_vocab_size())
