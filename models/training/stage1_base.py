"""Stage 1 (3 minutes): train the base model and write it as bf16."""
import argparse
import math
import time

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from common import HELD_OUT, MODEL, TRAIN, config, note, packed

args = argparse.ArgumentParser()
args.add_argument("--stories", type=int, default=600_000)
args.add_argument("--steps", type=int, default=3000)
args.add_argument("--batch", type=int, default=64)
args.add_argument("--length", type=int, default=1024)
args.add_argument("--rate", type=float, default=3e-3)
args.add_argument("--seconds", type=float, default=135, help="the learning rate reaches zero by then in any case")
args.add_argument("--no-compile", action="store_true")
args = args.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(1)
torch.set_float32_matmul_precision("high")
begin = time.time()
ids, _ = packed(TRAIN, args.stories)
held, _ = packed(HELD_OUT, max(20, args.stories // 400))
print(f"{len(ids)} training tokens in {time.time() - begin:.0f} s", flush=True)
rows = torch.from_numpy(ids[: len(ids) // args.length * args.length].astype("int16")).view(-1, args.length).to(device)
held = torch.from_numpy(held[: len(held) // args.length * args.length].astype("int64")).view(-1, args.length)

model = LlamaForCausalLM(config()).to(device)
forward = model if args.no_compile else torch.compile(model)
decay = [p for p in model.parameters() if p.dim() > 1]
rest = [p for p in model.parameters() if p.dim() == 1]
optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=0.1), dict(params=rest, weight_decay=0.0)],
                              lr=args.rate, betas=(0.9, 0.95), fused=device == "cuda")


def loss_of(net, batch):
    logits = net(input_ids=batch, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), batch[:, 1:].flatten())


begin, tokens, order = time.time(), 0, torch.randperm(len(rows))
for step in range(args.steps):
    done = max(step / args.steps, (time.time() - begin) / args.seconds)
    if done >= 1:
        break
    rate = args.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = rate
    if (step + 1) * args.batch % len(rows) < args.batch:
        order = torch.randperm(len(rows))
    at = step * args.batch % len(rows)
    batch = rows[order[at:at + args.batch].to(device)].long()
    with torch.autocast(device, torch.bfloat16):
        loss = loss_of(forward, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    tokens += batch.numel()
    if step % 200 == 0 or step == args.steps - 1:
        print(f"step {step} loss {loss.item():.4f} rate {rate:.5f} {time.time() - begin:.0f} s", flush=True)
seconds = time.time() - begin

# What ships is bf16, so it is measured on the rounded weights, in fp32.
model.to(torch.bfloat16)
MODEL.mkdir(parents=True, exist_ok=True)
weights = {k: v.contiguous().cpu() for k, v in model.state_dict().items() if k != "lm_head.weight"}
save_file(weights, MODEL / "model.safetensors", metadata={"format": "pt"})
model.config.dtype = torch.bfloat16
model.config.architectures = ["LlamaForCausalLM"]
model.config.save_pretrained(MODEL)
model.to(torch.float32).eval()
torch.set_float32_matmul_precision("highest")
with torch.no_grad():
    losses = [loss_of(model, part.to(device)).item() for part in held.split(8)]
value = sum(losses) / len(losses)
note("base", parameters=sum(p.numel() for p in model.parameters()), steps=step + 1, training_tokens=tokens,
     seconds=round(seconds), last_training_loss=round(loss.item(), 4), held_out_loss=round(value, 4),
     held_out_perplexity=round(math.exp(value), 4))
