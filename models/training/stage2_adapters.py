"""Stage 2 (2 minutes): train the two adapters with PEFT."""
import argparse
import math
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from common import ADAPTER, HELD_OUT, MODEL, note, packed

args = argparse.ArgumentParser()
args.add_argument("--stories", type=int, default=50_000)
args.add_argument("--steps", type=int, default=900)
args.add_argument("--batch", type=int, default=48)
args.add_argument("--length", type=int, default=512)
args.add_argument("--rate", type=float, default=2.5e-3)
args.add_argument("--seconds", type=float, default=60, help="limit for each adapter")
args = args.parse_args()

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "pirate": LoraConfig(r=8, lora_alpha=16, target_modules=LINEAR, task_type="CAUSAL_LM"),
    "news": LoraConfig(r=8, lora_alpha=16, target_modules=LINEAR, task_type="CAUSAL_LM", use_dora=True,
                       rank_pattern={"down_proj": 16, "layers.0.self_attn.q_proj": 4},
                       alpha_pattern={"down_proj": 32}),
}
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_float32_matmul_precision("high")


def loss_of(net, ids, mask):
    logits = net(input_ids=ids, use_cache=False).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weight = mask[:, 1:].flatten()
    return (loss * weight).sum() / weight.sum()


def rows_of(start, count, style):
    ids, mask = packed(start, count, style)
    n = len(ids) // args.length
    shape = lambda x: torch.from_numpy(x[: n * args.length].astype("int64")).view(n, args.length)
    return shape(ids), shape(mask)


for style, lora in ADAPTERS.items():
    torch.manual_seed(2)
    ids, mask = rows_of(ADAPTER, args.stories, style)
    held, held_mask = rows_of(HELD_OUT, max(20, args.stories // 100), style)
    base = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).to(device)
    base.eval()
    with torch.no_grad():
        before = loss_of(base, held[:32].to(device), held_mask[:32].to(device)).item()
    model = get_peft_model(base, lora)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=args.rate, weight_decay=0.0)
    begin = time.time()
    model.train()
    for step in range(args.steps):
        done = max(step / args.steps, (time.time() - begin) / args.seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 30) * (0.5 + 0.5 * math.cos(math.pi * done))
        pick = torch.randint(len(ids), (args.batch,))
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(model, ids[pick].to(device), mask[pick].to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0:
            print(f"{style} step {step} loss {loss.item():.4f} {time.time() - begin:.0f} s", flush=True)
    model.eval()
    for p in params:  # the file holds bf16, so round before measuring
        p.data = p.data.to(torch.bfloat16).to(torch.float32)
    with torch.no_grad():
        after = loss_of(model, held[:32].to(device), held_mask[:32].to(device)).item()
    for p in params:
        p.data = p.data.to(torch.bfloat16)
    out = MODEL / "lora" / style
    model.peft_config["default"].base_model_name_or_path = "models/default"
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    note("adapter " + style, parameters=sum(p.numel() for p in params), steps=step + 1,
         seconds=round(time.time() - begin), held_out_loss_without=round(before, 4), held_out_loss=round(after, 4))
