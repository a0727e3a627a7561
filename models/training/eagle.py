"""A reference EAGLE head in PyTorch, with the names of the published checkpoints.

A pair i is (feature of token i, token i+1); it sits at position i and predicts
token i+2.  The head has one layer, so the keys and values of pairs with real
features never depend on what was drafted: they can be computed for a whole text
at once, and so can the first drafted token after every position.  Later tokens
of a chain see the pairs up to their own start, then the drafted pairs.
"""
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


def rms(x, weight, eps):
    x = x.float()
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


class Scale(nn.Module):
    """The weight of an RMS norm."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class Part(nn.Module):
    """A bag of linear layers without bias, so that the names come out right."""

    def __init__(self, **shapes):
        super().__init__()
        for name, (out, into) in shapes.items():
            setattr(self, name, nn.Linear(into, out, bias=False))


class Midlayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, d = c["hidden_size"], c["head_dim"]
        q, kv, m = c["num_attention_heads"] * d, c["num_key_value_heads"] * d, c["intermediate_size"]
        self.self_attn = Part(q_proj=(q, 2 * h), k_proj=(kv, 2 * h), v_proj=(kv, 2 * h), o_proj=(h, q))
        self.mlp = Part(gate_proj=(m, h), up_proj=(m, h), down_proj=(h, m))
        self.hidden_norm, self.input_layernorm, self.post_attention_layernorm = Scale(h), Scale(h), Scale(h)


class Eagle3(nn.Module):
    """The EAGLE-3 head; embeddings are the target's and are passed in."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        h = c["hidden_size"]
        self.fc = nn.Linear(3 * c["target_hidden_size"], h, bias=False)
        self.midlayer = Midlayer(c)
        self.norm = Scale(h)
        self.lm_head = nn.Linear(h, c["draft_vocab_size"], bias=False)
        self.register_buffer("d2t", torch.zeros(c["draft_vocab_size"], dtype=torch.int64))
        self.register_buffer("t2d", torch.zeros(c["vocab_size"], dtype=torch.bool))

    def set_vocabulary(self, ids):
        """ids: the sorted target ids of the draft vocabulary."""
        self.d2t.copy_(ids - torch.arange(len(ids)))
        self.t2d.zero_()
        self.t2d[ids] = True

    def target_ids(self):
        return self.d2t + torch.arange(len(self.d2t), device=self.d2t.device)

    def rope(self, x, positions):
        """Half-split rotary embedding; x is [..., n, heads, d], positions [n]."""
        d = x.shape[-1]
        frequency = self.c["rope_theta"] ** (-torch.arange(0, d, 2, device=x.device).float() / d)
        angle = positions.float()[:, None] * frequency
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        a, b = x.float().chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def enter(self, taps):
        """From the target's features to the head's own."""
        return self.fc(taps)

    def qkv(self, g, embedded, positions):
        """The residual, and rotated queries, rotated keys and values of pairs: [..., n, heads, d]."""
        layer, eps = self.midlayer, self.c["rms_norm_eps"]
        x = torch.cat((rms(embedded, layer.input_layernorm.weight, eps), rms(g, layer.hidden_norm.weight, eps)), -1)
        return (g, *self.attention_inputs(layer, x, positions))

    def attention_inputs(self, layer, x, positions):
        d = self.c["head_dim"]
        split = lambda y: y.unflatten(-1, (-1, d))
        repeat = self.c["num_attention_heads"] // self.c["num_key_value_heads"]
        wide = lambda y: y.repeat_interleave(repeat, -2)
        q = self.rope(split(layer.self_attn.q_proj(x)), positions)
        k = self.rope(split(layer.self_attn.k_proj(x)), positions)
        return q, wide(k), wide(split(layer.self_attn.v_proj(x)).float())

    def layer(self):
        return self.midlayer

    def finish(self, g, mixed):
        """From the attention's output to the new feature a."""
        layer, eps = self.layer(), self.c["rms_norm_eps"]
        h = g + layer.self_attn.o_proj(mixed.flatten(-2))
        x = rms(h, layer.post_attention_layernorm.weight, eps)
        return h + layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(x)) * layer.mlp.up_proj(x))

    def logits(self, a):
        return self.lm_head(rms(a, self.norm.weight, self.c["rms_norm_eps"]))

    def unroll(self, taps, tokens, embed, steps, gap=1, own=False):
        """Logits [B, n, draft] of each step, drafted from every position of a text at once.

        taps [B, n, 3H] are the features of tokens 0..n-1; tokens [B, n+steps] are known
        ahead (training, or greedy acceptance), unless `own` lets each draft feed the next.
        gap=1 puts the first drafted pair at position i+2 as EAGLE's own code does; 0 at i+1.
        """
        n, scale = taps.shape[1], self.c["head_dim"] ** -0.5
        positions = torch.arange(n, device=taps.device)
        g, token, all_logits = self.enter(taps), tokens[:, 1:n + 1], []
        drafted = []  # keys and values of the earlier drafted pairs of each start
        for step in range(steps):
            at = positions + (step + gap if step else 0)
            g, q, k, v = self.qkv(g, embed(token), at)
            if step == 0:
                keys, values = k, v
                causal = positions[None, :] > positions[:, None]
            else:
                drafted.append((k, v))
            scores = torch.einsum("bqhd,bkhd->bhqk", q, keys) * scale
            scores = scores.masked_fill(causal, float("-inf"))
            extra = [torch.einsum("bqhd,bqhd->bhq", q, kk)[..., None] * scale for kk, _ in drafted]
            weights = torch.cat([scores] + extra, -1).softmax(-1)
            mixed = torch.einsum("bhqk,bkhd->bqhd", weights[..., :n], values)
            for j, (_, vv) in enumerate(drafted):
                mixed = mixed + weights[..., n + j].transpose(1, 2)[..., None] * vv
            g = self.finish(g, mixed)
            all_logits.append(self.logits(g))
            token = self.target_ids()[all_logits[-1].argmax(-1)] if own else tokens[:, step + 2:n + step + 2]
        return all_logits

    def tree(self, taps, tokens, embed, levels, k, total, gap=1):
        """EAGLE-2's dynamic tree after a text.

        taps [L-1, 3H], tokens [L].  Returns tokens and parents of total-1 drafted nodes,
        parents first; parent -1 is the text itself.
        """
        length, scale = len(tokens), self.c["head_dim"] ** -0.5
        g, q, keys, values = self.qkv(self.enter(taps), embed(tokens[1:]), torch.arange(length - 1))
        attend = lambda q, kk, vv: torch.einsum("hk,khd->hd", (torch.einsum("hd,khd->hk", q, kk) * scale).softmax(-1), vv)
        a = self.finish(g[-1], attend(q[-1], keys, values))
        nodes = []  # token, parent, summed log-probability
        ids = self.target_ids()

        def children(feature, parent, score):
            best = self.logits(feature).log_softmax(-1).topk(k)
            for value, index in zip(best.values.tolist(), best.indices.tolist()):
                nodes.append((int(ids[index]), parent, score + value))
            return range(len(nodes) - k, len(nodes))

        feature_of, kv_of = {-1: a}, {}
        frontier = list(children(a, -1, 0.0))
        for level in range(1, levels):
            fresh = []
            frontier = sorted(sorted(frontier, key=lambda i: -nodes[i][2])[:k])
            for i in frontier:
                token, parent, score = nodes[i]
                path, j = [], parent
                while j >= 0:
                    path.insert(0, kv_of[j])
                    j = nodes[j][1]
                before = feature_of[parent]
                at = torch.tensor([length - 2 + level + gap])
                residual, q, kk, vv = self.qkv(before[None], embed(torch.tensor([token])), at)
                kv_of[i] = (kk, vv)
                path.append(kv_of[i])
                feature_of[i] = self.finish(residual[0], attend(q[0], torch.cat([keys] + [p[0] for p in path]),
                                                                torch.cat([values] + [p[1] for p in path])))
                fresh += children(feature_of[i], i, score)
            frontier = fresh
        keep = sorted(sorted(range(len(nodes)), key=lambda i: (-nodes[i][2], i))[:total - 1])
        place = {old: new for new, old in enumerate(keep)}
        return [nodes[i][0] for i in keep], [place.get(nodes[i][1], -1) for i in keep], [round(nodes[i][2], 4) for i in keep]


class Eagle1(Eagle3):
    """The EAGLE-1 head: features after the target's final norm, and the target's own output layer.

    It has no norm before the attention and no vocabulary of its own.
    """

    def __init__(self, c, target_head):
        nn.Module.__init__(self)
        self.c, self.target_head = c, [target_head]  # in a list, so that it is no part of this module
        h, d = c["hidden_size"], c["head_dim"]
        q, kv, m = c["num_attention_heads"] * d, c["num_key_value_heads"] * d, c["intermediate_size"]
        self.embed_tokens = nn.Embedding(c["vocab_size"], h)
        self.fc = nn.Linear(2 * h, h, bias=c.get("bias", True))
        layer = nn.Module()
        layer.self_attn = Part(q_proj=(q, h), k_proj=(kv, h), v_proj=(kv, h), o_proj=(h, q))
        layer.mlp = Part(gate_proj=(m, h), up_proj=(m, h), down_proj=(h, m))
        layer.post_attention_layernorm = Scale(h)
        self.layers = nn.ModuleList([layer])

    def target_ids(self):
        return torch.arange(self.c["vocab_size"])

    def enter(self, features):
        return features

    def qkv(self, g, embedded, positions):
        h = self.fc(torch.cat((embedded, g), -1))
        return (h, *self.attention_inputs(self.layers[0], h, positions))

    def layer(self):
        return self.layers[0]

    def logits(self, a):
        return self.target_head[0](a)


TAPS = lambda layers: (2, layers // 2, layers - 3)


def taps_of(hidden_states):
    """The residual stream entering layers 2, n//2 and n-3 (hidden_states[i] enters layer i)."""
    return torch.cat([hidden_states[i] for i in TAPS(len(hidden_states) - 1)], -1)


def load(folder, target_head=None):
    """A head in fp32 from a folder in the published layout; an EAGLE-1 head needs the target's output layer."""
    from safetensors.torch import load_file
    c = json.loads((Path(folder) / "config.json").read_text())
    head = Eagle3(c) if target_head is None else Eagle1(c, target_head)
    head.load_state_dict({k: v.float() if v.is_floating_point() else v
                          for k, v in load_file(Path(folder) / "model.safetensors").items()})
    return head.eval()


def walk(matches, start, end):
    """Accepted lengths (bonus included) of chain cycles over a known greedy text.

    matches[s][i] says that step s drafted from pair i is right; L is the length of
    the text before a cycle.
    """
    lengths, at = [], start
    while at < end:
        accepted = 0
        while accepted < len(matches) and at + accepted < end and matches[accepted][at - 2]:
            accepted += 1
        gained = min(accepted + 1, end - at)
        lengths.append(gained)
        at += gained
    return lengths
