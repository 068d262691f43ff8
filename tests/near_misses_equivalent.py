"""Near misses that are no mistakes: on every input that their exercise permits they do what the solution does.

Exercise, then the near miss as `python tests/near_misses.py` calls it, then the reason.
"""

# ruff: noqa: E501

EQUIVALENT: dict[str, dict[str, str]] = {
    "training.1": {
        "logp.gather(-1, targets[..., None]).squeeze(-1) -> logp.gather(-1, targets[..., None]) in `right = logp.gather(-1, targets[..., None]).squeeze(-1)`": "the mean is taken over all positions, whatever the shape",
        "-1 -> -2 in `right = logp.gather(-1, targets[..., None]).squeeze(-1)` (2)": "the mean is taken over all positions, whatever the shape",
        "-1 -> 0 in `right = logp.gather(-1, targets[..., None]).squeeze(-1)` (2)": "the mean is taken over all positions, whatever the shape",
    },
    "training.4": {
        "step - warmup -> warmup - step in `done = (step - warmup) / (steps - warmup)`": "the cosine is even",
        "steps - warmup -> warmup - steps in `done = (step - warmup) / (steps - warmup)`": "the cosine is even",
    },
    "training.5": {
        "float((g ** 2).sum()) -> (g ** 2).sum() in `length = math.sqrt(sum((float((g ** 2).sum()) for g in gradients)))`": "math.sqrt takes a tensor with one number",
    },
    "training.6": {
        "zip(losses, counts, strict=True) -> zip(counts, losses, strict=True) in `total = sum((loss * count for loss, count in zip(losses, counts, strict=True)))`": "multiplication commutes",
        "True -> False in `total = sum((loss * count for loss, count in zip(losses, counts, strict=True)))`": "the lists are always of one length",
    },
    "sampling.2": {
        "logits.topk(k, dim=-1) -> logits.topk(k) in `kth = logits.topk(k, dim=-1).values[:, -1:]`": "-1 is the default",
    },
    "sampling.3": {
        "logits.softmax(dim=-1).sort(dim=-1, descending=True) -> logits.softmax(dim=-1).sort(descending=True) in `ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)`": "sort's default is -1",
        "better >= p -> better > p in `ordered = ordered.masked_fill(better >= p, 0.0)`": "the prompt excludes sums that are p to rounding",
    },
    "sampling.5": {
        "logits[b, token] > 0 -> logits[b, token] >= 0 in `logits[b, token] = logits[b, token] / penalty if logits[b, token] > 0 else logits[b, token] * penalty`": "0 divided or multiplied is 0",
    },
    "sampling.6": {
        "0 -> 1 in `reached, last = (0.0, 0)`": "one probability at least is above 0",
    },
    "sampling.7": {
        "torch.log(uniform) -> torch.log2(uniform) in `noise = -torch.log(-torch.log(uniform))`": "the noise is shifted by a constant, which changes no maximum",
    },
    "sampling.8": {
        "torch.cat((keys, k[None]), dim=0) -> torch.cat((keys, k[None])) in `keys = torch.cat((keys, k[None]), dim=0)`": "0 is the default",
        "torch.cat((values, v[None]), dim=0) -> torch.cat((values, v[None])) in `values = torch.cat((values, v[None]), dim=0)`": "0 is the default",
    },
    "gpu.5": {
        "zip(gradients, counts, strict=True) -> zip(counts, gradients, strict=True) in `return sum((gradient * (count / total) for gradient, count in zip(gradients, counts, strict=True)))`": "multiplication commutes",
        "True -> False in `return sum((gradient * (count / total) for gradient, count in zip(gradients, counts, strict=True)))`": "the lists are always of one length",
    },
    "gpu.8": {
        "list(range(rows)) -> range(rows) in `return list(range(rows))[rank * share:(rank + 1) * share]`": "a range passes for a list",
    },
    "gpu.9": {
        "a - mean_x -> a + mean_x in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "a - mean_x -> a in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "b - mean_y -> b + mean_y in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "b - mean_y -> b in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "True -> False in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the lists are always of one length",
        "a - mean_x -> mean_x - a in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))` (2)": "it is squared",
    },
}
