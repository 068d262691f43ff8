"""Near misses that are no mistakes: on every input that their exercise permits they do what the solution does.

Exercise, then the near miss as `python tests/near_misses.py` calls it, then the reason. A near miss that no longer
exists, or that is refused after all, fails a test.
"""

# ruff: noqa: E501

EQUIVALENT: dict[str, dict[str, str]] = {
    "bpe.4": {
        "list(text.encode('utf-8')) -> text.encode('utf-8') in `ids, merges = (list(text.encode('utf-8')), [])`": "bytes are a sequence of integers, and only the merges are returned",
    },
    "bpe.6": {
        "256 -> 257 in `visible = [*range(33, 127), *range(161, 173), *range(174, 256)]`": "there is no byte 256",
        "256 -> 257 in `for byte in range(256):`": "there is no byte 256",
        "256 -> 255 in `for byte in range(256):`": "byte 255 is visible and has its character already",
    },
    "bpe.7": {
        "sorted(special, key=len, reverse=True) -> sorted(special, reverse=True) in `longest_first = sorted(special, key=len, reverse=True)`": "only the order of a text and its own beginning matters, and the longer one comes first here too",
    },
    "unigram.3": {
        "0.0 -> 1.0 in `best = [0.0] + [-math.inf] * len(text)`": "all sums are larger by 1, and only the best pieces are returned",
        "0 -> 1 in `start_of = [0] * (len(text) + 1)`": "a placeholder that is overwritten before it is read",
        "1 -> 2 in `start_of = [0] * (len(text) + 1)`": "an entry that is never read",
        "1 -> 0 in `for end in range(1, len(text) + 1):`": "no piece ends at 0",
        "range(end) -> range(end + 1) in `for start in range(end):`": "the empty text is not a piece",
        "best[start] + logp[text[start:end]] > best[end] -> best[start] + logp[text[start:end]] >= best[end] in `if text[start:end] in logp and best[start] + logp[text[start:end]] > best[end]:`": "no two segmentations of a text are equally good",
    },
    "unigram.4": {
        "range(1, len(text) + 1) -> range(1, len(text) + 1 + 1) in `for end in range(1, len(text) + 1):`": "an entry that is never read",
        "1 -> 2 in `for end in range(1, len(text) + 1):` (2)": "an entry that is never read",
        "range(end) -> range(end + 1) in `ways = [total[start] + logp[text[start:end]] for start in range(end) if text[start:end] in logp]`": "the empty text is not a piece",
    },
    "unigram.5": {
        "range(n) -> range(n + 1) in `spans = [(i, j, text[i:j]) for i in range(n) for j in range(i + 1, n + 1) if text[i:j] in logp]`": "no piece starts at the end",
        "i + 1 -> i in `spans = [(i, j, text[i:j]) for i in range(n) for j in range(i + 1, n + 1) if text[i:j] in logp]`": "the empty text is not a piece",
        "i + 1 -> 1 in `spans = [(i, j, text[i:j]) for i in range(n) for j in range(i + 1, n + 1) if text[i:j] in logp]`": "the empty text is not a piece",
        "1 -> 0 in `spans = [(i, j, text[i:j]) for i in range(n) for j in range(i + 1, n + 1) if text[i:j] in logp]`": "the empty text is not a piece",
        "1.0 -> 2.0 in `before = [1.0] + [0.0] * n`": "the probability of all ways doubles as well, and is divided by",
        "sorted(spans, key=lambda span: span[1]) -> spans in `for i, j, piece in sorted(spans, key=lambda span: span[1]):`": "in the order of their starts, every piece that ends at i also comes before those that start there",
        "sorted(spans, key=lambda span: span[1]) -> sorted(spans) in `for i, j, piece in sorted(spans, key=lambda span: span[1]):`": "in the order of their starts, every piece that ends at i also comes before those that start there",
        "1 -> 0 in `for i, j, piece in sorted(spans, key=lambda span: span[1]):`": "in the order of their starts, every piece that ends at i also comes before those that start there",
        "0 -> 1 in `for i, j, piece in sorted(spans, key=lambda span: -span[0]):`": "in the order of their ends, every piece that starts at j also comes before those that end there",
    },
    "embedding.5": {
        "torch.zeros(T, C) -> torch.ones(T, C) in `table = torch.zeros(T, C)`": "every value is overwritten",
    },
    "attention.3": {
        "-1 -> -2 in `T = scores.shape[-1]`": "the scores are square",
    },
    "masking.6": {
        "is_end.cumsum(dim=1) - is_end.long() -> is_end.long() - is_end.cumsum(dim=1) in `number = is_end.cumsum(dim=1) - is_end.long()`": "the numbers are compared only for being equal",
    },
    "masking.9": {
        "(model(changed) - before).abs() > 0.0001 -> (model(changed) - before).abs() >= 0.0001 in `moved = ((model(changed) - before).abs() > 0.0001)[:, :t].flatten(2).any(dim=2).any(dim=0)`": "no output moves by exactly 0.0001",
        "model(changed) - before -> before - model(changed) in `moved = ((model(changed) - before).abs() > 0.0001)[:, :t].flatten(2).any(dim=2).any(dim=0)`": "the absolute value is taken",
        "1 -> 0 in `for t in range(1, ids.shape[1]):`": "nothing stands before position 0",
    },
    "model.1": {
        "x - mean -> mean - x in `variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)`": "it is squared",
    },
    "model.2": {
        "x + mlp(norm2(x)) -> x.add_(mlp(norm2(x))) in `return x + mlp(norm2(x))`": "x is a new tensor by then",
    },
    "model.9": {
        "float(F.cross_entropy(logits.flatten(0, 1), targets.flatten())) -> F.cross_entropy(logits.flatten(0, 1), targets.flatten()) in `loss = float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))`": "a tensor with one number is compared like a number",
        "loss > 1.1 * math.log(V) -> loss >= 1.1 * math.log(V) in `if loss > 1.1 * math.log(V):`": "a loss that is the bound to the last bit is nobody's to decide",
        "loss < 0.9 * math.log(V) -> loss <= 0.9 * math.log(V) in `return 'too small' if loss < 0.9 * math.log(V) else 'as it should be'`": "a loss that is the bound to the last bit is nobody's to decide",
    },
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
    "sampling.3": {
        "better >= p -> better > p in `ordered = ordered.masked_fill(better >= p, 0.0)`": "the prompt excludes sums that are p to rounding",
    },
    "sampling.5": {
        "logits[b, token] > 0 -> logits[b, token] >= 0 in `logits[b, token] = logits[b, token] / penalty if logits[b, token] > 0 else logits[b, token] * penalty`": "0 divided or multiplied is 0",
    },
    "sampling.6": {
        "0 -> 1 in `reached, last = (0.0, 0)`": "at least one probability is above 0",
    },
    "sampling.7": {
        "torch.log(uniform) -> torch.log2(uniform) in `noise = -torch.log(-torch.log(uniform))`": "the noise is shifted by a constant, which changes no maximum",
    },
    "reinforcement.5": {
        "torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage) -> torch.minimum(ratio.clamp(1 - clip, 1 + clip) * advantage, ratio * advantage) in `return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)`": "a minimum does not depend on the order",
    },
    "cluster.5": {
        "left > 0 -> left >= 0 in `return (B / left) ** (1 / beta) if left > 0 else math.inf`": "rounding decides whether nothing or next to nothing is left",
    },
    "cluster.6": {
        "a - mean_x -> a + mean_x in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "a - mean_x -> a in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "b - mean_y -> b + mean_y in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "b - mean_y -> b in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))`": "the differences of the other factor sum to 0",
        "a - mean_x -> mean_x - a in `slope = sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))) / sum(((a - mean_x) ** 2 for a in x))` (2)": "it is squared",
    },
}
