"""Every public function answers wrong arguments in its own words: called with one argument wrong at a time.

The wrong values are chosen by the annotation of the argument. A call is answered well if the error was raised by this
package, names the argument or its value, and is of a documented type; or if the annotation accepts the value. Run as a
program, in a process without the tests' type checks, which would answer by themselves; pytest reads what it prints.
"""

import contextlib
import importlib
import inspect
import io
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MODULES = [
    "tokens", "bpe", "unigram", "batches", "embedding", "attention", "masking", "model", "training", "sampling",
    "llama", "gpu", "cluster", "config", "schedule", "evaluation", "corpora", "huggingface", "checkpoints", "encodings",
]  # fmt: skip

# Public, and without a row in the table of calls: why.
NO_ROW = {
    "cluster.join": "opens a process group, and its settings come from torchrun: tests/test_distributed.py",
    "cluster.ProcessGroup": "is made by `join`, of a running process group",
    "cluster.RowsOfRank": "is made by `ProcessGroup.own_rows`",
    "gpu.GraphedDecoder": "needs a CUDA device, and says so: tests/test_gpu_graphs.py",
    "gpu.MeasuredMemory": "is what `measure_memory` returns",
    "cluster.Plan": "is what `plan` returns",
    "cluster.LaunchResult": "is what `launch` returns",
    "cluster.ScalingLaw": "is what `fit_scaling_law` returns",
    "training.History": "is what `train` returns",
    "checkpoints.damaged": "makes an error, for the readers of checkpoints",
    "encodings.fetch": "needs a network: tests/test_downloads.py",
    "corpora.Corpus": "is what `load` returns",
    "corpora.available": "takes no argument",
    "bpe.bytes_to_unicode": "takes no argument", "encodings.available": "takes no argument",
    "tokens.ByteTokenizer": "takes no argument",
}  # fmt: skip

# Values that an annotation cannot tell from wrong ones, and that are legal: name of the argument, value.
NOT_POSITIVE = {
    "seed": "any whole number is a seed", "below": "no pair has such a rank", "alpha": "any power of the scores",
    "unknown": "any logarithm of a probability",
}  # fmt: skip
ZERO = {
    "max_new_tokens": "nothing new", "start": "the first position", "step": "the first step", "steps": "no step",
    "id": "the first token", "new_id": "the first token", "end": "the first token", "warmup": "none", "n": "none",
    "rank": "the first", "dropout": "none", "convolution": "none", "decay_fraction": "no decay", "p": "all tokens",
    "temperature": "the most likely token", "min_p": "all tokens",
}  # fmt: skip
STAND_INS = {"torch_module": "stands for torch in tests"}
REFUSED_LATER = "refused where it is used, by `probabilities`, with what is usual"
LEGAL = {
    ("sampling.SamplingOptions", name): REFUSED_LATER
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
} | {("huggingface.load_model", "dtype"): "None is as annotated, for type checkers only"}
LEGAL_TEXT = {
    "text", "characters", "chunk", "token", "about", "source", "unknown", "unk_surface", "output", "reason", "command",
}  # fmt: skip


# ---- What is public --------------------------------------------------------------------------------------------------


def public() -> dict[str, object]:
    """Every public function and class of the modules, by the first name it is reached by: "attention.attend"."""
    found, seen = {}, set()
    for module in MODULES:
        loaded = importlib.import_module(f"gptlab.{module}")
        names = getattr(loaded, "__all__", None)
        for name in names or [name for name in vars(loaded) if not name.startswith("_")]:
            thing = getattr(loaded, name)
            defined_here = getattr(thing, "__module__", "") == loaded.__name__
            if not (inspect.isfunction(thing) or inspect.isclass(thing)) or not (names or defined_here):
                continue
            a_result = inspect.isclass(thing) and issubclass(thing, tuple | BaseException)
            if id(thing) in seen or a_result or getattr(thing, "_is_protocol", False):
                continue
            seen.add(id(thing))
            found[f"{module}.{name}"] = thing
    return found


def calls(folder: Path) -> dict[str, tuple[Callable, dict]]:
    """A valid call of each: what is called, and with which arguments. "Class.method" is one of an object's methods."""
    import random

    import torch
    from torch import nn

    from gptlab import (
        attention,
        batches,
        bpe,
        checkpoints,
        cluster,
        config,
        corpora,
        embedding,
        encodings,
        evaluation,
        gpu,
        huggingface,
        llama,
        masking,
        model,
        sampling,
        schedule,
        tokens,
        training,
        unigram,
    )
    from gptlab.corpora import fables

    torch.manual_seed(0)
    shape = config.GPTConfig(vocab_size=300, context=8, n_layer=1, n_head=2, n_embd=12)
    gpt = model.GPT(shape).eval()
    ids, x, x4 = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.randn(2, 3, 12), torch.randn(2, 4, 3, 5)
    mask, logits = torch.ones(3, 3, dtype=torch.bool).tril(), torch.randn(2, 300)
    words = {"low": 3, "lower": 2}
    logp = {"l": -1.0, "o": -1.5, "w": -1.5, "lo": -2.0, "low": -2.5}
    arcs = unigram.lattice("low", logp)
    merges = bpe.train_textbook(["low", "lower"], 2)
    ranks = {bytes([i]): i for i in range(256)}
    byte, char, word = tokens.ByteTokenizer(), tokens.CharTokenizer("abc"), tokens.WordTokenizer(["a", "<unk>"])
    pair, own = bpe.BPETokenizer(dict(ranks)), unigram.UnigramTokenizer(["<unk>", "▁a", "a"], [0.0, -1.0, -2.0], 0)
    text, rows = batches.Batches(list(range(100)), B=2, T=5), batches.StoryBatches([[5, 6, 9], [7, 9]], B=2, start=9)
    head, many, cross = attention.Head(12, 4), attention.MultiHeadAttention(12, 2), attention.CrossAttention(12, 2)
    cached, layer = sampling.KVCache(gpt), sampling.LayerCache(8)
    train = schedule.TrainConfig(steps=2, warmup=1, save_every=0)
    stories, layout = fables.tell(1, seed=0), cluster.Layout()
    optimizers = [torch.optim.AdamW(gpt.parameters())]
    byte.save(folder / "byte.json")
    checkpoints.save_model(gpt, folder / "model", byte)
    huggingface.save_model(gpt, folder / "hf", pair)
    choices = sampling.SamplingOptions(repetition_penalty=1.1)
    A = dict
    small = cluster.GPU("x", 1e12, 1e10, 1e12, 1e11, 1e10)
    counter = itertools.count()

    def fresh() -> Path:
        return folder / f"new{next(counter)}"

    table = {
        "tokens.CharTokenizer": (tokens.CharTokenizer, A(characters="abc")),
        "tokens.WordTokenizer": (tokens.WordTokenizer, A(words=["a", "<unk>"])),
        "tokens.StreamDecoder": (tokens.StreamDecoder, A(tokenizer=byte)),
        "tokens.StreamDecoder.push": (tokens.StreamDecoder(byte).push, A(id=5)),
        "tokens.load": (tokens.load, A(path=folder / "byte.json")),
        "tokens.stream_decode": (tokens.stream_decode, A(tokenizer=byte, ids=[65, 66])),
        "bpe.BPETokenizer": (bpe.BPETokenizer, A(ranks=dict(ranks), pattern=None)),
        "bpe.BPETokenizer.train": (bpe.BPETokenizer.train, A(text="low lower", vocab_size=257)),
        "bpe.count_pairs": (bpe.count_pairs, A(sequences=[[1, 2, 3]])),
        "bpe.encode_textbook": (bpe.encode_textbook, A(chunk="low", merges=merges)),
        "bpe.merge": (bpe.merge, A(ids=[1, 2, 3], pair=(1, 2), new_id=4)),
        "bpe.merge_by_heap": (bpe.merge_by_heap, A(chunk=b"low", ranks=ranks)),
        "bpe.merge_by_rank": (bpe.merge_by_rank, A(chunk=b"low", ranks=ranks)),
        "bpe.split": (bpe.split, A(text="a b")),
        "bpe.train_fast": (bpe.train_fast, A(chunks=["low", "lower"], steps=2)),
        "bpe.train_textbook": (bpe.train_textbook, A(chunks=["low", "lower"], steps=2)),
        "unigram.UnigramTokenizer": (
            unigram.UnigramTokenizer, A(pieces=["<unk>", "▁a", "a"], scores=[0.0, -1.0, -2.0], unknown=0),
        ),
        "unigram.UnigramTokenizer.sample": (own.sample, A(text="a", alpha=1.0, generator=random.Random(0))),
        "unigram.best_path": (unigram.best_path, A(arcs=arcs)),
        "unigram.em_step": (unigram.em_step, A(words=words, logp={**logp, "e": -2.0, "r": -2.0})),
        "unigram.expected_counts": (unigram.expected_counts, A(text="low", logp=logp)),
        "unigram.forward": (unigram.forward, A(arcs=arcs)),
        "unigram.lattice": (unigram.lattice, A(text="low", logp=logp)),
        "unigram.log_total": (unigram.log_total, A(text="low", logp=logp)),
        "unigram.prune": (unigram.prune, A(words={"low": 3}, logp=logp, size=4)),
        "unigram.sample_path": (unigram.sample_path, A(arcs=arcs, alpha=1.0, generator=random.Random(0))),
        "unigram.score": (unigram.score, A(pieces=["lo", "w"], logp=logp)),
        "unigram.seed_pieces": (unigram.seed_pieces, A(words=words, size=9)),
        "unigram.segmentations": (unigram.segmentations, A(text="low", logp=logp)),
        "unigram.viterbi": (unigram.viterbi, A(text="low", logp=logp)),
        "unigram.words_of": (unigram.words_of, A(text="low lower")),
        "batches.Batches": (batches.Batches, A(ids=list(range(100)), B=2, T=5)),
        "batches.Batches.batch": (text.batch, A(step=0)),
        "batches.Batches.starts": (text.starts, A(step=0)),
        "batches.Batches.rows": (text.rows, A(step=0, wanted=slice(None))),
        "batches.StoryBatches": (batches.StoryBatches, A(documents=[[5, 6, 9], [7, 9]], B=2, start=9)),
        "batches.StoryBatches.batch": (rows.batch, A(step=0)),
        "batches.as_batch_source": (batches.as_batch_source, A(batches=[(ids, ids)])),
        "batches.growing_contexts": (batches.growing_contexts, A(ids=[5, 6, 7, 8], T=3)),
        "batches.rolling_windows": (batches.rolling_windows, A(ids=[5, 6, 7, 8], T=2, pad=0)),
        "batches.split": (batches.split, A(ids=[1, 2, 3, 4], fraction=0.75)),
        "batches.write_tokens": (batches.write_tokens, A(path=folder / "ids.bin", pieces=[[5, 6], [7]])),
        "embedding.sinusoidal": (embedding.sinusoidal, A(T=3, C=4)),
        "embedding.TokenAndPositionEmbedding": (embedding.TokenAndPositionEmbedding, A(V=10, T=6, C=4)),
        "embedding.TokenAndPositionEmbedding.forward": (embedding.TokenAndPositionEmbedding(10, 6, 4), A(ids=ids)),
        "embedding.BigramLanguageModel": (embedding.BigramLanguageModel, A(V=10)),
        "embedding.BigramLanguageModel.forward": (embedding.BigramLanguageModel(10), A(ids=ids, targets=ids)),
        "attention.attention_weights": (attention.attention_weights, A(q=x, k=x, keep_mask=mask)),
        "attention.attend": (attention.attend, A(q=x, k=x, v=x, keep_mask=mask)),
        "attention.Head": (attention.Head, A(C=12, hs=4)),
        "attention.Head.forward": (head, A(x=x, keep_mask=mask)),
        "attention.split_heads": (attention.split_heads, A(x=x, H=2)),
        "attention.merge_heads": (attention.merge_heads, A(x=x4)),
        "attention.MultiHeadAttention": (attention.MultiHeadAttention, A(C=12, H=2)),
        "attention.MultiHeadAttention.forward": (many, A(x=x, keep_mask=mask, is_causal=False)),
        "attention.MultiHeadAttention.project": (many.project, A(x=x)),
        "attention.MultiHeadAttention.weights": (many.weights, A(x=x, keep_mask=mask)),
        "attention.CrossAttention": (attention.CrossAttention, A(C=12, H=2)),
        "attention.CrossAttention.forward": (cross, A(x=x, memory=x, keep_mask=mask)),
        "attention.CrossAttention.weights": (cross.weights, A(x=x, memory=x, keep_mask=mask)),
        "attention.watch": (lambda module: attention.watch(module, ids), A(module=gpt)),
        "masking.causal": (masking.causal, A(T=3, Tk=4)),
        "masking.padding": (masking.padding, A(lengths=[2, 3], T=3)),
        "masking.sliding": (masking.sliding, A(T=3, window=2)),
        "masking.prefix": (masking.prefix, A(T=3, n=2)),
        "masking.documents": (masking.documents, A(ids_of_documents=torch.tensor([5, 5, 8]))),
        "masking.to_attn_mask": (masking.to_attn_mask, A(keep_mask=mask)),
        "masking.to_key_padding_mask": (masking.to_key_padding_mask, A(keep_mask=masking.padding([2, 3], 3))),
        "masking.to_additive": (masking.to_additive, A(keep_mask=mask)),
        "masking.assert_causal": (masking.assert_causal, A(model=lambda ids: ids.cumsum(1), ids=ids, vocab_size=9)),
        "model.GPT": (model.GPT, A(config=shape)),
        "model.GPT.forward": (gpt, A(ids=ids, targets=ids, keep_mask=mask)),
        "model.GPT.load_state_dict": (gpt.load_state_dict, A(state_dict=gpt.state_dict())),
        "model.MLP": (model.MLP, A(config=shape)),
        "model.MLP.forward": (model.MLP(shape), A(x=x)),
        "model.Block": (model.Block, A(config=shape)),
        "model.Block.forward": (model.Block(shape), A(x=x, keep_mask=mask)),
        "model.GPTConfig": (config.GPTConfig, A(vocab_size=50)),
        "model.GPTConfig.gpt2": (config.GPTConfig.gpt2, A(size="124M")),
        "model.GPTConfig.modern": (config.GPTConfig.modern, A(vocab_size=50, context=8)),
        "model.GPTConfig.from_json": (config.GPTConfig.from_json, A(text=shape.to_json())),
        "model.RopeScaling": (config.RopeScaling, A(factor=8)),
        "model.current_names": (model.current_names, A(weights=gpt.state_dict())),
        "model.device_of": (model.device_of, A(model=gpt)),
        "model.evaluating": (model.evaluating, A(model=gpt)),
        "model.unwrapped": (model.unwrapped, A(model=gpt)),
        "training.TrainConfig": (schedule.TrainConfig, A()),
        "training.run": (training.run, A(model=gpt, batches=text, config=train)),
        "training.train": (training.train, A(model=gpt, batches=text, config=train, progress=False)),
        "training.with_progress": (training.with_progress, A(running=iter(()), steps=2, progress=False)),
        "schedule.lr_multiplier": (schedule.lr_multiplier, A(step=1, config=train)),
        "sampling.KVCache": (sampling.KVCache, A(model=gpt)),
        "sampling.KVCache.advance": (cached.advance, A(T=1)),
        "sampling.LayerCache": (sampling.LayerCache, A(max_length=8)),
        "sampling.LayerCache.extend": (layer.extend, A(k=x4, v=x4)),
        "sampling.SamplingOptions": (sampling.SamplingOptions, A()),
        "sampling.SamplingOptions.choose": (choices.choose, A(logits=logits, seen=ids)),
        "sampling.cache_bytes": (sampling.cache_bytes, A(config=shape, T=3)),
        "sampling.draw": (sampling.draw, A(probabilities=logits.softmax(-1))),
        "sampling.entropy": (sampling.entropy, A(probabilities=logits.softmax(-1))),
        "sampling.generate": (sampling.generate, A(model=gpt, ids=ids, max_new_tokens=1)),
        "sampling.generate_each": (sampling.generate_each, A(model=gpt, prompts=[[1], [1, 2]], max_new_tokens=1)),
        "sampling.keep_min_p": (sampling.keep_min_p, A(logits=logits, p=0.1)),
        "sampling.keep_top_k": (sampling.keep_top_k, A(logits=logits, k=3)),
        "sampling.keep_top_p": (sampling.keep_top_p, A(logits=logits, p=0.9)),
        "sampling.penalise": (sampling.penalise, A(logits=logits, seen=ids, penalty=1.1)),
        "sampling.probabilities": (sampling.probabilities, A(logits=logits, seen=ids, repetition_penalty=1.1)),
        "sampling.stream": (sampling.stream, A(model=gpt, tokenizer=byte, prompt=[1], max_new_tokens=1)),
        "sampling.tell_stories": (sampling.tell_stories, A(model=gpt, tokenizer=byte, n=1, end=256, max_new_tokens=1)),
        "llama.RMSNorm": (llama.RMSNorm, A(size=12)),
        "llama.RMSNorm.forward": (llama.RMSNorm(12), A(x=x)),
        "llama.RotaryPositions": (llama.RotaryPositions, A(hs=4, T=8)),
        "llama.RotaryPositions.forward": (llama.RotaryPositions(4, 8), A(start=0, T=3)),
        "llama.ShortConvolution": (llama.ShortConvolution, A(C=12, width=3)),
        "llama.ShortConvolution.forward": (llama.ShortConvolution(12, 3), A(x=x)),
        "llama.SwiGLU": (llama.SwiGLU, A(config=config.GPTConfig(vocab_size=9, n_embd=12, n_head=2, mlp="swiglu"))),
        "llama.llama_config": (llama.llama_config, A(size="8B")),
        "llama.rope_angles": (llama.rope_angles, A(hs=4, T=3)),
        "llama.rope_frequencies": (llama.rope_frequencies, A(hs=4)),
        "llama.rotate": (llama.rotate, A(x=x, angles=llama.rope_angles(12, 3))),
        "llama.squared_relu": (llama.squared_relu, A(x=x)),
        "llama.to_halves": (llama.to_halves, A(weight=torch.randn(12, 5), H=2)),
        "llama.to_interleaved": (llama.to_interleaved, A(weight=torch.randn(12, 5), H=2)),
        "gpu.Int8Linear": (gpu.Int8Linear, A(linear=nn.Linear(4, 3))),
        "gpu.Memory": (gpu.Memory, A(moments={"a": {"weights": 3}})),
        "gpu.Roofline": (gpu.Roofline, A(rate=1e12, bandwidth=1e9)),
        "gpu.Roofline.attainable": (gpu.Roofline(1e12, 1e9).attainable, A(intensity=3.0)),
        "gpu.Roofline.seconds": (gpu.Roofline(1e12, 1e9).seconds, A(flops=1e9, moved=1e6)),
        "gpu.activation_bytes": (gpu.activation_bytes, A(forward=lambda: gpt(ids, ids)[1], model=gpt)),
        "gpu.Replayed": (gpu.Replayed, A(work=lambda: None)),
        "gpu.attention_kernel": (gpu.attention_kernel, A(name="flash")),
        "gpu.attention_seconds": (gpu.attention_seconds, A(device="cpu", B=2, H=2, T=4, hs=4, time=lambda *_: 1.0)),
        "gpu.bandwidth": (gpu.bandwidth, A(device="cpu", megabytes=0.01, repeats=1)),
        "gpu.block_activations": (gpu.block_activations, A(config=shape, T=8)),
        "gpu.count_operations": (gpu.count_operations, A(work=lambda: None)),
        "gpu.count_parameters": (gpu.count_parameters, A(config=shape)),
        "gpu.device_name": (gpu.device_name, A(device="cpu")),
        "gpu.estimate_memory": (gpu.estimate_memory, A(config=shape, B=2, T=8)),
        "gpu.flops_by_part": (gpu.flops_by_part, A(config=shape, T=8)),
        "gpu.flops_per_token": (gpu.flops_per_token, A(config=shape, T=8)),
        "gpu.matmul_flops": (gpu.matmul_flops, A(device="cpu", n=8, repeats=1)),
        "gpu.measure": (gpu.measure, A(work=lambda: None, repeats=1, warmup=0)),
        "gpu.measure_memory": (gpu.measure_memory, A(step=lambda: None, model=gpt)),
        "gpu.mfu": (gpu.mfu, A(tokens_per_second=10, config=shape, T=8, peak=1e12)),
        "gpu.one_batch": (gpu.one_batch, A(device="cpu")),
        "gpu.parameters_by_part": (gpu.parameters_by_part, A(config=shape)),
        "gpu.peak_memory": (gpu.peak_memory, A(device="cpu")),
        "gpu.pick_attention": (gpu.pick_attention, A(device="cpu", B=2, H=2, T=4, hs=4)),
        "gpu.pick_device": (gpu.pick_device, A(prefer="cpu")),
        "gpu.pick_dtype": (gpu.pick_dtype, A(device="cpu")),
        "gpu.pick_float32": (gpu.pick_float32, A(device="cpu", dtype=torch.float32)),
        "gpu.pick_matrix_dtype": (gpu.pick_matrix_dtype, A(device="cpu", rows=8)),
        "gpu.pick_weights": (gpu.pick_weights, A(device="cpu")),
        "gpu.quantize": (gpu.quantize, A(model=gpt)),
        "gpu.synchronize": (gpu.synchronize, A(device="cpu")),
        "gpu.what_is_wrong": (gpu.what_is_wrong, A(device="cpu")),
        "gpu.work_by_part": (gpu.work_by_part, A(config=shape, B=2, T=8)),
        "cluster.GPU": (cluster.GPU, A(name="x", peak=1e12, memory=1e10, bandwidth=1e12, link=1e11, network=1e10)),
        "cluster.Layout": (cluster.Layout, A(data=1)),
        "cluster.chinchilla_loss": (cluster.chinchilla_loss, A(parameters=1e9, tokens=1e10)),
        "cluster.chinchilla_tokens": (cluster.chinchilla_tokens, A(parameters=1e9)),
        "cluster.fit_scaling_law": (
            cluster.fit_scaling_law, A(sizes=[1e5, 1e6, 1e7, 1e8], losses=[4.0, 3.5, 3.2, 3.0], floor=2.0),
        ),
        "cluster.launch": (cluster.launch, A(command=["-c", ""], world_size=1, launcher=[sys.executable])),
        "cluster.memory_per_gpu": (cluster.memory_per_gpu, A(config=shape, layout=layout, sequences=2, T=8)),
        "cluster.plan": (cluster.plan, A(config=shape, gpus=2, tokens=1e6, T=8, batch_tokens=64)),
        "cluster.step_time": (
            cluster.step_time, A(config=shape, layout=layout, sequences=2, T=8, gpus=1, gpu=small),
        ),
        "evaluation.mean_loss": (evaluation.mean_loss, A(model=gpt, batches=text, steps=1)),
        "evaluation.StoryEvaluation": (evaluation.StoryEvaluation, A(stories=stories, tokenizer=byte, end=256)),
        "corpora.Entry": (corpora.Entry, A(name="x", about="y")),
        "corpora.load": (corpora.load, A(name="fables")),
        "huggingface.for_oniguruma": (huggingface.for_oniguruma, A(pattern=None)),
        "huggingface.is_folder": (huggingface.is_folder, A(folder=folder)),
        "huggingface.load_model": (huggingface.load_model, A(source=folder / "hf")),
        "huggingface.load_tokenizer": (huggingface.load_tokenizer, A(folder=folder / "hf")),
        "huggingface.read_config": (
            huggingface.read_config, A(entries=json.loads((folder / "hf" / "config.json").read_text())),
        ),
        "huggingface.save_model": (huggingface.save_model, A(model=gpt, folder=folder / "hf", overwrite=True)),
        "huggingface.tokenizer_json": (huggingface.tokenizer_json, A(tokenizer=pair)),
        "huggingface.write_config": (huggingface.write_config, A(config=shape)),
        "checkpoints.check_folder": (checkpoints.check_folder, A(folder=folder / "model")),
        "checkpoints.committed": (checkpoints.committed, A(name="fables")),
        "checkpoints.generator_states": (checkpoints.generator_states, A(device="cpu")),
        "checkpoints.latest": (checkpoints.latest, A(folder=folder)),
        "checkpoints.load_model": (checkpoints.load_model, A(folder=folder / "model")),
        "checkpoints.locked": (checkpoints.locked, A(folder=fresh())),
        "checkpoints.read_tokenizer": (checkpoints.read_tokenizer, A(path=folder / "byte.json")),
        "checkpoints.remove_temporary": (checkpoints.remove_temporary, A(folder=folder)),
        "checkpoints.replacing": (checkpoints.replacing, A(folder=fresh())),
        "checkpoints.restore_generators": (
            checkpoints.restore_generators, A(states=checkpoints.generator_states(), device="cpu"),
        ),
        "checkpoints.resume": (checkpoints.resume, A(folder=fresh(), model=gpt, optimizers=optimizers)),
        "checkpoints.save": (
            checkpoints.save, A(folder=folder / "run", model=gpt, optimizers=optimizers, step=1, state={}),
        ),
        "checkpoints.save_model": (checkpoints.save_model, A(model=gpt, folder=folder / "model", tokenizer=byte)),
        "encodings.load": (encodings.load, A(name="gpt2")),
        "encodings.sentencepiece_model": (encodings.sentencepiece_model, A(name="mistral-7b-v1")),
    }  # fmt: skip
    for name, tokenizer in {"tokens.ByteTokenizer": byte, "tokens.CharTokenizer": char, "tokens.WordTokenizer": word,
                            "bpe.BPETokenizer": pair, "unigram.UnigramTokenizer": own}.items():  # fmt: skip
        table[f"{name}.encode"] = (tokenizer.encode, A(text="a"))
        table[f"{name}.decode"] = (tokenizer.decode, A(ids=[0, 1]))
        table[f"{name}.token_bytes"] = (tokenizer.token_bytes, A(id=1))
    return table


# ---- What is wrong ---------------------------------------------------------------------------------------------------


def kinds(annotation: object) -> Iterator[object]:
    """The alternatives of an annotation, without the ranges."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from kinds(parts[0])
    elif origin in (typing.Union, types.UnionType):
        for part in parts:
            yield from kinds(part)
    else:
        yield annotation


def wrong(name: str, annotation: object, value: object) -> Iterator[object]:
    """Values that an argument should not be given; `value` is a right one."""
    import torch

    allowed = list(kinds(annotation))
    yield None
    yield object()
    for kind in allowed:
        if hasattr(kind, "dim_str") and isinstance(value, torch.Tensor):
            yield from ([], "x", 3, value.to("meta"), value[None], value[None, None])
            if value.dim():
                yield value[0]
                yield from (torch.cat([value, value.narrow(d, 0, 1)], dim=d) for d in range(value.dim()))
            for dtype in (torch.float64, torch.float32, torch.int64, torch.bool):
                yield value.to(dtype)
        elif kind in (int, float, typing.SupportsIndex):
            yield from (-1, 0, 1.5, True, math.nan, math.inf, -math.inf, "x", [1])
        elif kind is bool:
            yield from (1, "no")
        elif kind is str or typing.get_origin(kind) is typing.Literal:
            yield from (3, b"x", ["x"])
            if name not in LEGAL_TEXT:
                yield "no such thing"
        else:
            yield from (3, "x", [object()])


def accepts(row: str, name: str, annotation: object, value: object, result: object) -> str:
    """Why a value is a legal one, so that the call may give a result; "" if it is not."""
    from gptlab.accepted import SIZES, accepted

    if (row, name) in LEGAL or name in STAND_INS:
        return LEGAL.get((row, name), "") or STAND_INS[name]
    allowed = list(kinds(annotation))
    if typing.Any in allowed or (value is None and type(None) in allowed):
        return "as annotated"
    if hasattr(value, "dtype"):
        expected = next((kind for kind in allowed if hasattr(kind, "dim_str")), None)
        if value.device.type == "meta":
            return "shapes in, shapes out" if "meta" in str(result) else ""
        return "" if expected is None else "a shape or type that can be computed with, or `disagree` says more"
    rule = accepted(annotation, name)
    if rule is None or not rule.holds_wholly(value):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        if "Range(" in str(annotation) or name in SIZES:
            return "in the range of its annotation"
        return NOT_POSITIVE.get(name, "") if value else NOT_POSITIVE.get(name, "") or ZERO.get(name, "")
    return "as annotated"


def in_our_words(error: BaseException, name: str, value: object) -> bool:
    """Whether an error was raised by a `raise` of this package, and names the argument in some way."""
    from gptlab import entrances

    if isinstance(error, OSError) and str(value) in str(error):
        return True  # Python names the file
    ours = entrances._ours(error) and len(str(error)) > 20 and not isinstance(error, AttributeError | KeyError)
    named = any(word in str(error) for word in about(name, value))
    return ours and (named or str(error).startswith(f"{value} is not "))  # of a file


def about(name: str, value: object) -> list[str]:
    """How a message may name an argument: by its name, its value or type, or by one of its sizes."""
    words = [name, name.replace("_", " "), repr(value), type(value).__name__]
    if hasattr(value, "dtype"):
        words += [str(list(value.shape)), *(f"={size}" for size in value.shape), *(f"[{B}," for B in value.shape[:1])]
        words += [str(value.dtype).removeprefix("torch."), str(value.device)]
    elif isinstance(value, str | list | tuple) and value:
        words += [repr(type(value[0]).__name__), f"{len(value)} tokens"]
    return words


def run(call: Callable, given: dict) -> object:
    """Make a call; what comes piece by piece is asked for, a context manager is entered."""
    result = call(**given)
    if isinstance(result, Iterator):
        return list(itertools.islice(result, 3))
    if isinstance(result, contextlib.AbstractContextManager) and not hasattr(result, "close"):
        with result:
            return None
    return result


def annotated(call: Callable) -> dict[str, object]:
    """The parameters of a function, class or module with their annotations."""
    from torch import nn

    call = call.forward if isinstance(call, nn.Module) else call
    function = call.__init__ if inspect.isclass(call) else call
    function = inspect.unwrap(getattr(function, "__func__", function))
    hints = dict(getattr(function, "__annotations__", {}))
    with contextlib.suppress(NameError):  # a name that is imported for type checkers only
        hints = typing.get_type_hints(function, include_extras=True)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind in named and p.name in hints}


def disagree(call: Callable, given: dict) -> str | None:
    """What the tensors of a call have against their annotations, in words."""
    from torch import nn

    from gptlab import entrances

    function = type(call).forward if isinstance(call, nn.Module) else call
    signature = inspect.signature(function)
    owner = {"self": call} if isinstance(call, nn.Module) else {}
    function = inspect.unwrap(getattr(function, "__func__", function))
    return entrances._explanation(function, signature, owner | given)


def main() -> None:
    """Make all calls; print what was answered badly as JSON."""
    import warnings

    from gptlab.downloads import DownloadError

    warnings.simplefilter("ignore")
    os.environ["GPTLAB_OFFLINE"] = "1"
    found: dict[str, list[str]] = {"rows": [], "broken": [], "raw": [], "accepted": [], "number": []}
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        table = calls(Path(folder))
        found["rows"] = list(table)
        found["missing"] = [name for name in public() if name not in table and name not in NO_ROW]
        for row, (call, given) in table.items():
            if only and not any(row.startswith(name) for name in only):
                continue
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    run(call, given)
            except DownloadError:  # a published file that this machine does not have
                continue
            except Exception as error:
                found["broken"].append(f"{row}: {error!r}")
                continue
            for name, annotation in annotated(call).items():
                for value in wrong(name, annotation, given.get(name)):
                    found["number"].append(row)
                    shown = f"{row}({name}={describe(value)})"
                    try:
                        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                            result = run(call, given | {name: value})
                    except Exception as error:
                        if name not in STAND_INS and not in_our_words(error, name, value):
                            found["raw"].append(f"{shown}: {type(error).__name__}: {str(error)[:150]}")
                    else:
                        wrong_sizes = hasattr(value, "dtype") and not leading(given[name], value)
                        if not accepts(row, name, annotation, value, result) or (
                            wrong_sizes and (row, name) not in LEGAL and disagree(call, given | {name: value})
                        ):
                            found["accepted"].append(shown)
    print(json.dumps(found | {"number": len(found["number"])}))


def leading(right: object, value: object) -> bool:
    """Whether two tensors have other axes or another type, and not another size at the same place."""
    return right.dim() != value.dim() or right.shape == value.shape


def describe(value: object) -> str:
    return f"{value.dtype}{list(value.shape)}{value.device}" if hasattr(value, "dtype") else repr(value)[:30]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    here = tmp_path_factory.mktemp("calls")  # "x" is a path that can be written, and some of the functions write
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=300, check=False, cwd=here
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_public_function_has_a_row_or_a_reason(found):
    assert found["missing"] == []
    assert not set(NO_ROW) & set(found["rows"])


def test_the_right_calls_are_answered(found):
    assert found["broken"] == []
    assert found["number"] > 5000


def test_a_wrong_argument_is_answered_in_our_words(found):
    assert found["raw"] == []


def test_what_is_accepted_is_legal(found):
    assert found["accepted"] == []


if __name__ == "__main__":
    main()
