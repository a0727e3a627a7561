"""Stage 4 (40 seconds on a GPU, also runs on a CPU): measure what ships and write the fixtures.

Everything is fp32 arithmetic on the weights as they are in the files.
"""
import argparse
import json
import os
from pathlib import Path

import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

import eagle
import styles
from common import EOS, HERE, MODEL, PAD, held_out_prompts, note, tokenizer

args = argparse.ArgumentParser()
args.add_argument("--prompts", type=int, default=32)
args.add_argument("--new", type=int, default=400)
args.add_argument("--chain", type=int, default=5)
args.add_argument("--out", type=Path, default=HERE.parent.parent / "tests" / "fixtures" / "default")
args = args.parse_args()
KEPT = 96       # tokens of each continuation whose log-probabilities go into the fixtures
TREES = 6       # cycles of each prompt whose trees go into the fixtures
TREE = dict(levels=5, k=4, total=16)
device = "cuda" if torch.cuda.is_available() else "cpu"
if os.environ.get("THREADS"):
    torch.set_num_threads(int(os.environ["THREADS"]))
torch.set_grad_enabled(False)
torch.set_float32_matmul_precision("highest")
args.out.mkdir(parents=True, exist_ok=True)
prompts = held_out_prompts(args.prompts)
head = eagle.load(MODEL / "eagle3")
decode = lambda ids: tokenizer().decode(ids, skip_special_tokens=True)


def lines(name, rows):
    with open(args.out / name, "w") as f:
        for row in rows:
            f.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")


for source in ("base", "pirate", "news"):
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    if source != "base":  # the adapter stays unmerged, as a run-time adapter would
        model = PeftModel.from_pretrained(model, str(MODEL / "lora" / source))
        model = model.float()
    model = model.to(device).eval()

    def greedy(starts):
        """Greedy continuations up to and with EOS, all at once, padded on the left."""
        width = max(map(len, starts))
        ids = torch.tensor([[PAD] * (width - len(s)) + s for s in starts], device=device)
        mask = torch.tensor([[0] * (width - len(s)) + [1] * len(s) for s in starts], device=device)
        out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=args.new, do_sample=False, temperature=None,
                             top_p=None, pad_token_id=PAD, eos_token_id=EOS).tolist()
        return [row[width - len(s):row.index(EOS, width) + 1 if EOS in row[width:] else None] for row, s in zip(out, starts)]

    embed = lambda ids: model.get_input_embeddings()(ids.to(device)).cpu()
    rows, drafts, lengths, ended, marks, other, contiguous, tree_lengths = [], [], [], 0, [], [], [], []
    texts = greedy([p["ids"] for p in prompts])
    for number, p in enumerate(prompts):
        start = len(p["ids"])
        ids = texts[number]
        out = model(input_ids=torch.tensor([ids], device=device), output_hidden_states=True)
        logp = out.logits[0].float().log_softmax(-1).cpu()
        if logp[start - 1:-1].argmax(-1).tolist() != ids[start:]:  # padding moved a near tie: write it alone
            ids = greedy([p["ids"]])[0]
            out = model(input_ids=torch.tensor([ids], device=device), output_hidden_states=True)
            logp = out.logits[0].float().log_softmax(-1).cpu()
        text = decode(ids[start:])
        ended += ids[-1] == EOS
        if source == "base":
            marks.append({s: styles.markers(s, text) for s in styles.MARKS})
        else:
            marks.append({source: styles.markers(source, text)})
        best = logp[start - 1:-1].topk(2).values
        rows.append(dict(prompt=p["text"], prompt_ids=p["ids"], ids=ids[start:],
                         logprobs=[round(x, 5) for x in best[:KEPT, 0].tolist()],
                         gaps=[round(x, 4) for x in (best[:, 0] - best[:, 1])[:KEPT].tolist()],
                         prompt_logprobs=[round(logp[i, t].item(), 5) for i, t in enumerate(p["ids"][1:])], text=text))
        # Chain acceptance: with a greedy target the text is known, so teacher forcing gives the true lengths.
        taps = eagle.taps_of(out.hidden_states)[0].float().cpu()
        n = len(ids)
        known = torch.tensor([ids + [0] * (args.chain + 2)])
        matches = {}
        for gap in (1, 0):
            logits = head.unroll(taps[None, :n - 1], known[:, :n + args.chain + 1], embed, args.chain, gap)
            picks = [head.target_ids()[q[0].argmax(-1)] for q in logits]
            matches[gap] = [(pick == known[0, s + 2:s + 1 + n]).tolist() for s, pick in enumerate(picks)]
        # The first token comes from the prompt pass; cycles start with it in the text.
        chain = eagle.walk(matches[1], start + 1, n)
        lengths += chain
        contiguous += eagle.walk(matches[0], start + 1, n)
        own = head.unroll(taps[None, :n - 1], known[:, :n], embed, args.chain, 1, own=True)
        own = torch.stack([head.target_ids()[q[0].argmax(-1)] for q in own], 1)
        at, cycles = start + 1, []
        for length in chain[:TREES]:
            cycles.append(dict(at=at, chain=own[at - 2].tolist(), gained=length))
            at += length
        trees, at = [], start + 1
        while at < n and len(trees) < TREES:
            tokens, parents, scores = head.tree(taps[:at - 1], torch.tensor(ids[:at]), embed, **TREE)
            here, gained = -1, 0
            while at + gained < n:
                child = [i for i, (t, q) in enumerate(zip(tokens, parents)) if q == here and t == ids[at + gained]]
                if not child:
                    break
                here, gained = child[0], gained + 1
            gained = min(gained + 1, n - at)
            trees.append(dict(at=at, tokens=tokens, parents=parents, scores=scores, gained=gained))
            tree_lengths.append(gained)
            at += gained
        drafts.append(dict(prompt=number, chain_lengths=chain, chains=cycles, trees=trees))
    lines(f"{source}.jsonl", rows)
    lines(f"{source}.eagle3.jsonl", drafts)
    mean = lambda v: round(sum(v) / len(v), 3)
    values = dict(prompts=len(prompts), tokens=sum(len(r["ids"]) for r in rows), ended=int(ended),
                  mean_accepted_chain_of_5=mean(lengths), same_with_contiguous_positions=mean(contiguous),
                  mean_accepted_tree_of_16=mean(tree_lengths))
    for style in marks[0]:
        values[f"{style}_marks_per_100_words"] = mean([m[style] for m in marks])
        values[f"{style}_marks_lowest"] = round(min(m[style] for m in marks), 2)
        values[f"{style}_marks_highest"] = round(max(m[style] for m in marks), 2)
    note("measured " + source, **values)
