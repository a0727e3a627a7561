"""Stage 5 (CPU, a minute): reference drafts of the EAGLE-1 head, and a check of the fixtures.

The head has random weights, so its drafts are noise and almost nothing is accepted:
only its arithmetic is under test.  The check repeats the base model's log-probabilities
on this machine and prints the largest difference.
"""
import argparse
import json
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

import eagle
from common import HERE, MODEL, note

args = argparse.ArgumentParser()
args.add_argument("--out", type=Path, default=HERE.parent.parent / "tests" / "fixtures" / "default")
args = args.parse_args()
torch.set_grad_enabled(False)
CHAIN, CYCLES, TREE = 5, 3, dict(levels=5, k=4, total=16)

model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
head = eagle.load(MODEL / "eagle1", model.lm_head)
embed = head.embed_tokens
rows, gained_all, worst, wrong = [], [], 0.0, 0
for number, line in enumerate((args.out / "base.jsonl").read_text().splitlines()):
    row = json.loads(line)
    start, ids = len(row["prompt_ids"]), row["prompt_ids"] + row["ids"]
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    logp = out.logits[0].log_softmax(-1)[start - 1:-1]
    kept = torch.tensor(row["logprobs"])
    worst = max(worst, (logp.max(-1).values[:len(kept)] - kept).abs().max().item())
    wrong += (logp.argmax(-1) != torch.tensor(row["ids"])).sum().item()
    features = out.hidden_states[-1][0]  # after the final norm
    cycles, at = [], start + 1
    while at < len(ids) and len(cycles) < CYCLES:
        tokens = torch.tensor(ids[:at])
        logits = head.unroll(features[None, :at - 1], tokens[None], embed, CHAIN, own=True)
        chain = [q[0, -1].argmax(-1).item() for q in logits]
        scores = [round(q[0, -1].log_softmax(-1).max().item(), 4) for q in logits]
        gained = 1
        while gained <= CHAIN and at + gained < len(ids) and chain[gained - 1] == ids[at + gained - 1]:
            gained += 1
        names, parents, sums = head.tree(features[:at - 1], tokens, embed, **TREE)
        cycles.append(dict(at=at, chain=chain, scores=scores, gained=gained,
                           tree=dict(tokens=names, parents=parents, scores=sums)))
        gained_all.append(gained)
        at += gained
    rows.append(dict(prompt=number, cycles=cycles))
with open(args.out / "base.eagle1.jsonl", "w") as f:
    for row in rows:
        f.write(json.dumps(row, separators=(",", ":")) + "\n")
note("eagle1", mean_accepted_chain_of_5=round(sum(gained_all) / len(gained_all), 3))
print(f"largest difference of a log-probability {worst:.2e}, greedy tokens that differ {wrong}")

# The EAGLE-3 fixtures once more: the drafts must be the same on this machine.
head3, differ, total = eagle.load(MODEL / "eagle3"), 0, 0
texts = [json.loads(line) for line in (args.out / "base.jsonl").read_text().splitlines()]
for line in (args.out / "base.eagle3.jsonl").read_text().splitlines():
    row = json.loads(line)
    ids = texts[row["prompt"]]["prompt_ids"] + texts[row["prompt"]]["ids"]
    taps = eagle.taps_of(model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states)[0]
    for cycle, tree in zip(row["chains"], row["trees"]):
        at = cycle["at"]
        logits = head3.unroll(taps[None, :at - 1], torch.tensor([ids[:at]]), model.get_input_embeddings(), CHAIN, own=True)
        chain = [head3.target_ids()[q[0, -1].argmax(-1)].item() for q in logits]
        again = head3.tree(taps[:tree["at"] - 1], torch.tensor(ids[:tree["at"]]), model.get_input_embeddings(), **TREE)
        differ += (chain != cycle["chain"]) + (list(again[:2]) != [tree["tokens"], tree["parents"]])
        total += 2
print(f"EAGLE-3 drafts that differ: {differ} of {total}")
