"""The network of docs/design (OneNIP head on cached features) in PyTorch, one training step for
every line on standard input; answers with processor and wall seconds. Started by training_step.rs.

    python training_step.py matmul|sdpa THREADS
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

BATCH, SIDE, GRID, CHANNELS, WIDTH, HEADS, FEED, LAYERS = 8, 224, 14, 192, 256, 8, 1024, 4
TOKENS, DROPOUT = GRID * GRID, 0.1
FUSED = sys.argv[1] == "sdpa"


def neighbour_mask():
    reach = GRID // 2 // 2
    line = torch.arange(TOKENS) // GRID
    column = torch.arange(TOKENS) % GRID
    near = (line[:, None] - line[None]).abs() <= reach
    near &= (column[:, None] - column[None]).abs() <= reach
    return torch.zeros(TOKENS, TOKENS).masked_fill(near, float("-inf"))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.packed = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, query, key, value, mask):
        inputs = zip((query, key, value), self.packed.weight.chunk(3), self.packed.bias.chunk(3))
        split = lambda x: x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        q, k, v = (split(F.linear(x, weight, bias)) for x, weight, bias in inputs)
        if FUSED:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=DROPOUT)
        else:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if mask is not None:
                logits = logits + mask
            mixed = F.dropout(logits.softmax(-1), DROPOUT) @ v
        return self.output(mixed.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.expand, self.contract = nn.Linear(WIDTH, FEED), nn.Linear(FEED, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x, positions, mask):
        placed = x + positions
        x = self.norms[0](x + F.dropout(self.attention(placed, placed, x, mask), DROPOUT))
        hidden = F.dropout(F.relu(self.expand(x)), DROPOUT)
        return self.norms[1](x + F.dropout(self.contract(hidden), DROPOUT))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_target, self.to_prompt = Attention(), Attention()
        self.expand, self.contract = nn.Linear(WIDTH, FEED), nn.Linear(FEED, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, p, t, positions, mask):
        attended = self.to_target(p + positions, t + positions, t, mask)
        p = self.norms[0](p + F.dropout(attended, DROPOUT))
        hidden = self.contract(F.relu(self.expand(p)))
        p = self.norms[1](p + F.dropout(hidden, DROPOUT))
        attended = self.to_prompt(t + positions, p + positions, p, mask)
        return p, self.norms[2](t + F.dropout(attended, DROPOUT))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.input, self.out = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, CHANNELS)
        self.rows = nn.Parameter(torch.rand(GRID, WIDTH // 2))
        self.columns = nn.Parameter(torch.rand(GRID, WIDTH // 2))
        self.encoder = nn.ModuleList(Encoder() for _ in range(LAYERS))
        self.decoder = nn.ModuleList(Decoder() for _ in range(LAYERS))
        self.last, self.norm = Attention(), nn.LayerNorm(WIDTH)
        stage = lambda inputs: nn.Sequential(
            nn.Conv2d(inputs, 128, 3, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 128, 2, stride=2),
        )
        self.refiner = nn.Sequential(stage(CHANNELS), stage(128), nn.Conv2d(128, 1, 1))
        self.register_buffer("mask", neighbour_mask())

    def forward(self, features):
        columns = self.columns[None].expand(GRID, GRID, -1)
        rows = self.rows[:, None].expand(GRID, GRID, -1)
        positions = torch.cat([columns, rows], -1).reshape(TOKENS, WIDTH)
        x = self.input(features)
        for layer in self.encoder:
            x = layer(x, positions, self.mask)
        t, p = x[: 2 * BATCH], x[2 * BATCH :].repeat(2, 1, 1)
        for layer in self.decoder:
            p, t = layer(p, t, positions, self.mask)
        o = self.last(p + positions, t + positions, t, None)
        return self.out(self.norm(p + F.dropout(o, DROPOUT)))


def loss_of(head, good, pseudo, prompt, masks):
    features = torch.cat([good, pseudo, prompt])
    scale = features.norm(dim=-1, keepdim=True) / CHANNELS * 20
    found = head(features + torch.randn_like(features) * scale)
    reconstruction = F.mse_loss(found, torch.cat([good, good]))
    difference = (found - torch.cat([good, pseudo])).abs().transpose(1, 2)
    logits = head.refiner(difference.reshape(2 * BATCH, CHANNELS, GRID, GRID))
    refined = F.interpolate(logits, size=SIDE, mode="bilinear", align_corners=True).sigmoid()
    u, m = refined.flatten(1), torch.cat([torch.zeros_like(masks), masks]).flatten(1)
    overlap = ((u * m).sum(1) + 1) / (u.square().sum(1) + m.square().sum(1) + 1)
    return reconstruction + 0.5 * (1 - overlap).mean()


def main():
    torch.set_num_threads(int(sys.argv[2]))
    torch.manual_seed(1)
    head = Head()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-4, weight_decay=1e-4, fused=True)
    block = lambda: torch.randn(BATCH, TOKENS, CHANNELS)
    good, pseudo, prompt = block(), block(), block()
    masks = torch.zeros(BATCH, SIDE, SIDE)
    masks[:, :60, :80] = 1
    for _ in sys.stdin:
        processor, wall = time.process_time(), time.perf_counter()
        optimiser.zero_grad()
        loss_of(head, good, pseudo, prompt, masks).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 0.1)
        optimiser.step()
        print(time.process_time() - processor, time.perf_counter() - wall, flush=True)


main()
