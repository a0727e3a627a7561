"""What all stages share: paths, the shape of the model, documents, batches."""
import functools
import json
import multiprocessing
import os
import random
from pathlib import Path

import numpy as np

import grammar
import styles

HERE = Path(__file__).resolve().parent
MODEL = Path(os.environ.get("MODEL_DIR", HERE.parent / "default"))  # what ships

# Ranges of story numbers: no story is in two of them.
TRAIN, ADAPTER, HEAD, HELD_OUT = 0, 20_000_000, 40_000_000, 60_000_000

BOS, EOS, PAD, USER, ASSISTANT, SYSTEM, END = range(7)
SPECIALS = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
SYSTEMS = ["You tell short stories.", "You are a storyteller.", "You write stories for children."]
STYLE_SYSTEMS = {"pirate": "You talk like a pirate.", "news": "You write for the news."}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>\n' + message['content'] | trim + eos_token + '\n' }}"
    "{% else %}{{ '<|' + message['role'] + '|>\n' + message['content'] | trim + '<|end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")

SHAPE = dict(vocab_size=4096, hidden_size=256, intermediate_size=768, num_hidden_layers=8, num_attention_heads=4,
             num_key_value_heads=2, head_dim=64, max_position_embeddings=2048, rms_norm_eps=1e-5,
             tie_word_embeddings=True, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD)
ROPE_THETA = 50000.0


def config():
    """The base model's configuration."""
    from transformers import LlamaConfig
    return LlamaConfig(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
                       attention_bias=False, mlp_bias=False)


@functools.cache
def tokenizer():
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def encode(text):
    """Token ids without the BOS that the post-processor adds."""
    return tokenizer().encode(text, add_special_tokens=False).ids


def document(number, style=None):
    """One training document: (ids, mask); mask is 1 where the loss counts.

    Half are plain stories, half are chats of one or two turns.  With a style, the
    story is rewritten, and a plain document may begin with unstyled words, so
    that the adapter also changes a story which the prompt began without it.

    Of the base's own documents, 6% are chats whose system message asks for a style.
    Without them, pieces of words such as " th" never stand alone in the base's text,
    their embeddings stay untrained, and an adapter, which does not change
    embeddings, could not tell them apart.
    """
    r = random.Random(f"document {number}")
    asked = r.choice(list(STYLE_SYSTEMS)) if style is None and r.random() < 0.06 else None
    if asked is None and r.random() < 0.5:
        text = grammar.story(number)[1]
        if style is None:
            ids = encode("<s>" + text + "</s>")
            return ids, [1] * len(ids)
        words = text.split(" ")
        cut = r.choice([0, r.randint(4, 16), r.randint(4, 40)])
        start = " ".join(words[:cut])
        rest = styles.REWRITE[style](text if cut == 0 else " ".join(words[cut:]), opening=cut == 0)
        if cut and rest:  # the sentence goes on, so undo a capital made by the rewriting
            rest = " " + (rest if words[cut][0].isupper() else rest[0].lower() + rest[1:])
        head, tail = encode("<s>" + start), encode(rest + "</s>")
        return head + tail, [0] * len(head) + [1] * len(tail)
    ids, mask = [BOS], [0 if style else 1]
    if asked or r.random() < 0.2:
        part = encode("<|system|>\n" + (STYLE_SYSTEMS[asked] if asked else r.choice(SYSTEMS)) + "<|end|>\n")
        ids, mask = ids + part, mask + [0 if style else 1] * len(part)
    for turn in range(2 if r.random() < 0.25 else 1):
        ask, text = grammar.story(number + turn * 10_000_000)
        if style or asked:
            text = styles.REWRITE[style or asked](text)
        for part, count in ((encode(("\n" if turn else "") + f"<|user|>\n{ask}<|end|>\n<|assistant|>\n"), 0 if style else 1),
                            (encode(text + "</s>"), 1)):
            ids, mask = ids + part, mask + [count] * len(part)
    return ids, mask


def _pack(job):
    start, count, style = job
    ids, mask = [], []
    for n in range(start, start + count):
        i, m = document(n, style)
        ids += i
        mask += m
    return np.array(ids, np.uint16), np.array(mask, np.uint8)


def packed(start, count, style=None, workers=None):
    """`count` documents one after the other as (ids, mask), made by all cores."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    workers = workers or max(1, os.cpu_count() - 1)
    step = max(1, min(2000, count // workers))
    jobs = [(n, min(step, start + count - n), style) for n in range(start, start + count, step)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        parts = pool.map(_pack, jobs, chunksize=1)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def held_out_prompts(count):
    """Prompts that no stage trains on: chats and beginnings of stories, by turns."""
    prompts = []
    for n in range(count):
        ask, text = grammar.story(HELD_OUT + 1_000_000 + n)
        if n % 2 == 0:
            prompts.append(dict(kind="chat", text=f"<s><|user|>\n{ask}<|end|>\n<|assistant|>\n", message=ask))
        else:
            sentence = text.split(". ")[0]
            words = sentence.split(" ")
            prompts.append(dict(kind="plain", text="<s>" + (sentence + "." if n % 4 == 1 else " ".join(words[:max(3, len(words) // 2)]))))
        prompts[-1]["ids"] = encode(prompts[-1]["text"])
    return prompts


def note(name, **values):
    """Add measured figures to models/default/figures.json."""
    path = MODEL / "figures.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    figures.setdefault(name, {}).update(values)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(name, json.dumps(values), flush=True)
