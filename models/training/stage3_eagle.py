"""Stage 3 (3 minutes): the EAGLE-3 head, trained on what the base model writes.

The model writes stories with and without each adapter, greedily and by sampling;
the head learns the model's own next-token distribution along them and along fresh
stories of the grammar.  Also writes the EAGLE-1 head with random weights.
"""
import argparse
import json
import math
import random
import time

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import LlamaForCausalLM

import eagle
import grammar
from common import BOS, EOS, HEAD, MODEL, PAD, SHAPE, encode, note, packed

args = argparse.ArgumentParser()
args.add_argument("--sequences", type=int, default=3072, help="stories in one batch of generation")
args.add_argument("--new", type=int, default=288)
args.add_argument("--rounds", type=int, nargs=3, default=[3, 2, 2], help="batches: base, pirate, news")
args.add_argument("--stories", type=int, default=30_000, help="fresh stories of the grammar for each source")
args.add_argument("--steps", type=int, default=1700)
args.add_argument("--batch", type=int, default=96)
args.add_argument("--length", type=int, default=320)
args.add_argument("--rate", type=float, default=1.5e-3)
args.add_argument("--seconds", type=float, default=130)
args.add_argument("--draft", type=int, default=2048)
args = args.parse_args()
STEPS = 6  # drafted tokens that training unrolls
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(3)
torch.set_float32_matmul_precision("high")
SOURCES = ["base", "pirate", "news"]


def target(source):
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    if source != "base":
        model = PeftModel.from_pretrained(model, str(MODEL / "lora" / source)).merge_and_unload()
    return model.to(device).eval().requires_grad_(False)


def prompt(number):
    """A chat, or the first words of a story."""
    r = random.Random(f"head {number}")
    ask, text = grammar.story(HEAD + number)
    if r.random() < 0.5:
        return encode(f"<s><|user|>\n{ask}<|end|>\n<|assistant|>\n")
    words = text.split(" ")
    return encode("<s>" + " ".join(words[:r.randint(1, 30)]))


@torch.no_grad()
def write(model, first, greedy):
    """One batch of texts by the model: [sequences, length], padded on the right."""
    prompts = [prompt(first + i) for i in range(args.sequences)]
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), PAD)
    for row, p in zip(ids, prompts):
        row[longest - len(p):] = torch.tensor(p)
    ids = ids.to(device)
    with torch.autocast(device, torch.bfloat16):
        out = model.generate(ids, attention_mask=(ids != PAD).long(), max_new_tokens=args.new, do_sample=not greedy,
                             temperature=None if greedy else 0.9, top_p=None, top_k=None, pad_token_id=PAD, eos_token_id=EOS)
    rows = torch.full((len(prompts), args.length), PAD, dtype=torch.int16)
    for row, text, p in zip(rows, out.cpu(), prompts):
        text = text[longest - len(p):][:args.length]
        row[:len(text)] = text
    return rows


begin, pools, models = time.time(), {}, {}
for source, rounds in zip(SOURCES, args.rounds):
    models[source] = target(source)
    parts = [write(models[source], (SOURCES.index(source) * 100 + n) * args.sequences, greedy=n % 2 == 0) for n in range(rounds)]
    ids, _ = packed(HEAD + 10_000_000, args.stories, None if source == "base" else source)
    fresh = torch.from_numpy(ids[: len(ids) // args.length * args.length].astype("int16")).view(-1, args.length)
    pools[source] = torch.cat(parts), fresh
    print(source, "written", sum(len(p) for p in parts), "fresh", len(fresh), f"{time.time() - begin:.0f} s", flush=True)
written = torch.cat([pools[s][0] for s in SOURCES]).long()
written = written[written != PAD]
generated = len(written)
generation_seconds = time.time() - begin

# The draft vocabulary: the tokens which the model writes most often.
count = torch.bincount(written, minlength=SHAPE["vocab_size"])
count[EOS] += generated
ids = count.topk(args.draft).indices.sort().values
covered = count[ids].sum().item() / count.sum().item()
head_config = dict(
    architectures=["LlamaForCausalLMEagle3"], model_type="llama", hidden_size=SHAPE["hidden_size"],
    target_hidden_size=SHAPE["hidden_size"], intermediate_size=1024, num_hidden_layers=1,
    num_attention_heads=SHAPE["num_attention_heads"], num_key_value_heads=SHAPE["num_key_value_heads"],
    head_dim=SHAPE["head_dim"], vocab_size=SHAPE["vocab_size"], draft_vocab_size=args.draft, hidden_act="silu",
    rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=SHAPE["max_position_embeddings"], bias=False,
    tie_word_embeddings=False, bos_token_id=BOS, eos_token_id=EOS, torch_dtype="bfloat16")
head = eagle.Eagle3(head_config)
for p in head.parameters():
    if p.dim() > 1:
        torch.nn.init.normal_(p, std=0.02)
head.set_vocabulary(ids)
base = models["base"]
with torch.no_grad():  # start from the embeddings that the base also uses as its output
    head.lm_head.weight.copy_(base.get_input_embeddings().weight[ids])
head.to(device)
embed = base.get_input_embeddings()
target_ids = head.target_ids()
optimizer = torch.optim.AdamW(head.parameters(), lr=args.rate, betas=(0.9, 0.95), weight_decay=0.01)


def losses(source, rows, gap):
    """The weighted loss of all steps, and how often each step's best token is the target's."""
    ids = rows.to(device).long()
    with torch.no_grad():
        out = models[source](input_ids=ids, output_hidden_states=True, use_cache=False)
        taps, p = eagle.taps_of(out.hidden_states).float(), out.logits.float()
        best = p.argmax(-1)
        p = p.softmax(-1)[..., target_ids]
    n = ids.shape[1] - STEPS - 1
    tokens = F.pad(ids, (0, 2))
    logits = head.unroll(taps[:, :n], tokens[:, :n + STEPS + 1], embed, STEPS, gap)
    total, hits = 0.0, []
    for step, q in enumerate(logits):
        goal = p[:, step + 1:step + 1 + n]
        valid = (tokens[:, step + 2:step + 2 + n] != PAD).float()
        loss = -(goal * q.float().log_softmax(-1)).sum(-1)
        total = total + 0.9 ** step * (loss * valid).sum() / valid.sum()
        hit = (target_ids[q.argmax(-1)] == best[:, step + 1:step + 1 + n]).float()
        hits.append(((hit * valid).sum() / valid.sum()).item() if want_hits else 0)
    return total, hits


r, begin = random.Random(3), time.time()
for step in range(args.steps):
    done = max(step / args.steps, (time.time() - begin) / args.seconds)
    if done >= 1:
        break
    for group in optimizer.param_groups:
        group["lr"] = args.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
    source = r.choices(SOURCES, [0.5, 0.25, 0.25])[0]
    pool = pools[source][0 if r.random() < 0.6 else 1]
    want_hits = step % 100 < 3
    with torch.autocast(device, torch.bfloat16):
        loss, hits = losses(source, pool[torch.randint(len(pool), (args.batch,))], r.choice([0, 1]))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(head.parameters(), 0.5)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if want_hits:
        print(f"{source} step {step} loss {loss.item():.4f} hits {' '.join(f'{h:.3f}' for h in hits)} "
              f"{time.time() - begin:.0f} s", flush=True)

out = MODEL / "eagle3"
out.mkdir(parents=True, exist_ok=True)
state = {k: (v.to(torch.bfloat16) if v.is_floating_point() else v).contiguous().cpu() for k, v in head.state_dict().items()}
save_file(state, out / "model.safetensors", metadata={"format": "pt"})
(out / "config.json").write_text(json.dumps(head_config, indent=2) + "\n")
note("eagle3", parameters=sum(p.numel() for p in head.parameters()), steps=step + 1, seconds=round(time.time() - begin),
     generated_tokens=generated, generation_seconds=round(generation_seconds), last_training_loss=round(loss.item(), 4),
     draft_vocabulary_covers=round(covered, 5))

# EAGLE-1: random weights in the published layout, with the target's embeddings.
torch.manual_seed(4)
h, kv, m = SHAPE["hidden_size"], SHAPE["num_key_value_heads"] * SHAPE["head_dim"], SHAPE["intermediate_size"]
shapes = {"fc.weight": (h, 2 * h), "fc.bias": (h,), "layers.0.self_attn.q_proj.weight": (h, h),
          "layers.0.self_attn.k_proj.weight": (kv, h), "layers.0.self_attn.v_proj.weight": (kv, h),
          "layers.0.self_attn.o_proj.weight": (h, h), "layers.0.mlp.gate_proj.weight": (m, h),
          "layers.0.mlp.up_proj.weight": (m, h), "layers.0.mlp.down_proj.weight": (h, m)}
state = {k: (torch.randn(s) * 0.05).to(torch.bfloat16) for k, s in shapes.items()}
state["layers.0.post_attention_layernorm.weight"] = (1 + torch.randn(h) * 0.1).to(torch.bfloat16)
state["embed_tokens.weight"] = embed.weight.detach().cpu().to(torch.bfloat16).contiguous()
out = MODEL / "eagle1"
out.mkdir(parents=True, exist_ok=True)
save_file(state, out / "model.safetensors", metadata={"format": "pt"})
config = json.loads((MODEL / "config.json").read_text())
one = {k: config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
                              "vocab_size", "rms_norm_eps", "hidden_act", "max_position_embeddings", "bos_token_id", "eos_token_id")}
one.update(architectures=["LlamaForCausalLM"], model_type="llama", num_hidden_layers=1, bias=True, rope_theta=10000.0,
           tie_word_embeddings=False, torch_dtype="bfloat16")
(out / "config.json").write_text(json.dumps(one, indent=2) + "\n")
