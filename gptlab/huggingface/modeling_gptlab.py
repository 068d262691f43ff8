"""A GPT of the course `gptlab`, for `transformers`: `trust_remote_code=True` opens the folder that this file lies in.

`gptlab.huggingface.save_model` copies this file beside the weights of a model whose parts neither GPT-2 nor Llama has:
rotary positions with a GELU, normalised queries and keys, a short convolution. It needs torch and transformers, and
nothing of gptlab. The names of the parameters are those of `gptlab.model.GPT`.
"""

from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

# How this version of the library names the cache among the arguments of `generate`.
_NAMES = signature(GenerationMixin.prepare_inputs_for_generation).parameters
_CACHE = "cache" if "cache" in _NAMES else "past_key_values"


DEFAULTS = dict(
    vocab_size=1, context=256, n_layer=4, n_head=4, n_embd=128, n_kv_head=None, mlp_size=None, norm="layernorm",
    position="learned", mlp="gelu", bias=True, dropout=0.0, tie_weights=True, qk_norm=False, convolution=0,
    norm_eps=1e-5, rope_base=10_000.0, rope_stretch=None, mlp_bias=None,  # not rope_theta: the library converts that
)  # fmt: skip


class GPTLabConfig(PretrainedConfig):
    """The entries of `gptlab.model.GPTConfig`, under their own names and under those that `transformers` asks for."""

    model_type = "gptlab"
    attribute_map = {  # noqa: RUF012 -- the library's own convention
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "context",
    }

    def __init__(self, **entries):
        for name, default in DEFAULTS.items():
            setattr(self, name, entries.pop(name, default))
        self.n_kv_head = self.n_head if self.n_kv_head is None else self.n_kv_head
        self.mlp_size = 4 * self.n_embd if self.mlp_size is None else self.mlp_size
        self.mlp_bias = self.bias if self.mlp_bias is None else self.mlp_bias
        entries["tie_word_embeddings"] = False  # a tied head has no tensor of its own here
        super().__init__(**entries)


class GPTLabCache(DynamicCache):
    """Keys and values, and for each layer the last inputs of its convolution."""

    def __init__(self):
        super().__init__()
        self.windows: dict[int, Tensor] = {}

    def extend_window(self, layer: int, x: Tensor, width: int) -> Tensor:
        """The last `width - 1` inputs (zeros at the beginning) and the new ones: [B, width - 1 + T, C]."""
        past = self.windows.get(layer)
        if past is None:
            past = x.new_zeros(x.shape[0], width - 1, x.shape[2])
        window = torch.cat((past, x), dim=1)
        self.windows[layer] = window[:, window.shape[1] - (width - 1) :].clone()
        return window

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """For beam search: row i continues what row `beam_idx[i]` has written."""
        super().reorder_cache(beam_idx)
        self.windows = {layer: window[beam_idx] for layer, window in self.windows.items()}


class RMSNorm(nn.Module):
    """Divide by the root mean square, scale by a learned weight."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * (x * scale).to(x.dtype)


def make_norm(size: int, config: GPTLabConfig) -> nn.Module:
    """The norm that the configuration names."""
    if config.norm == "rmsnorm":
        return RMSNorm(size, config.norm_eps)
    return nn.LayerNorm(size, eps=config.norm_eps, bias=config.bias)


def rope(config: GPTLabConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines for positions [B, T], each [B, 1, T, hs]; channel i is paired with i + hs/2."""
    hs = config.n_embd // config.n_head
    frequency = 1.0 / config.rope_base ** (torch.arange(0, hs, 2, device=positions.device).float() / hs)
    if config.rope_stretch is not None:  # as in Llama 3.1
        stretch = config.rope_stretch
        turns = stretch["context"] / (2 * torch.pi / frequency)
        fast = ((turns - stretch["low"]) / (stretch["high"] - stretch["low"])).clamp(0, 1)
        frequency = (1 - fast) * frequency / stretch["factor"] + fast * frequency
    angles = positions[:, None, :, None] * frequency  # [B, 1, T, hs / 2]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


class Attention(nn.Module):
    """Causal self-attention; each head of keys and values may serve several heads of queries."""

    def __init__(self, config: GPTLabConfig):
        super().__init__()
        hs = config.n_embd // config.n_head
        self.H, self.G, self.dropout = config.n_head, config.n_kv_head, config.dropout
        self.query = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.key = nn.Linear(config.n_embd, self.G * hs, bias=config.bias)
        self.value = nn.Linear(config.n_embd, self.G * hs, bias=config.bias)
        self.output = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.query_norm = make_norm(hs, config) if config.qk_norm else nn.Identity()
        self.key_norm = make_norm(hs, config) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor, keep: Tensor | None, turns: tuple[Tensor, Tensor] | None, cache, layer: int) -> Tensor:
        B, T, _ = x.shape
        q = self.query_norm(self.query(x).view(B, T, self.H, -1).transpose(1, 2))  # [B, H, T, hs]
        k = self.key_norm(self.key(x).view(B, T, self.G, -1).transpose(1, 2))  # [B, G, T, hs]
        v = self.value(x).view(B, T, self.G, -1).transpose(1, 2)
        if turns is not None:
            q, k = (a * turns[0].to(a) + a.roll(a.shape[-1] // 2, dims=-1) * turns[1].to(a) for a in (q, k))
        if cache is not None:
            k, v = cache.update(k, v, layer)  # [B, G, Tk, hs]
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=keep,
            is_causal=keep is None,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.G != self.H,
        )
        return self.output(out.transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    """Add to each position a weighted sum of the last inputs, channel by channel."""

    def __init__(self, C: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, C))

    def forward(self, x: Tensor, cache, layer: int) -> Tensor:
        width, T = self.weight.shape[0], x.shape[1]
        past = F.pad(x, (0, 0, width - 1, 0)) if cache is None else cache.extend_window(layer, x, width)
        for i in range(width):
            x = torch.addcmul(x, past[:, width - 1 - i : width - 1 - i + T], self.weight[i])
        return x


class MLP(nn.Module):
    """Up-projection, activation (or a gate), down-projection."""

    def __init__(self, config: GPTLabConfig):
        super().__init__()
        self.kind = config.mlp
        if self.kind == "swiglu":
            self.gate = nn.Linear(config.n_embd, config.mlp_size, bias=config.mlp_bias)
        self.up = nn.Linear(config.n_embd, config.mlp_size, bias=config.mlp_bias)
        self.down = nn.Linear(config.mlp_size, config.n_embd, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        if self.kind == "swiglu":
            h = F.silu(self.gate(x)) * h
        elif self.kind == "relu2":
            h = F.relu(h).square()
        else:
            h = F.gelu(h, approximate="tanh" if self.kind == "gelu_tanh" else "none")
        return self.down(h)


class Block(nn.Module):
    """One layer: attention and MLP, each with a norm in front of it, each added to the residual stream."""

    def __init__(self, config: GPTLabConfig):
        super().__init__()
        self.norm1 = make_norm(config.n_embd, config)
        self.convolution = Convolution(config.n_embd, config.convolution) if config.convolution else None
        self.attention = Attention(config)
        self.norm2 = make_norm(config.n_embd, config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, keep: Tensor | None, real: Tensor | None, turns, cache, layer: int) -> Tensor:
        h = self.norm1(x)
        if self.convolution is not None:
            h = self.convolution(h if real is None else h * real, cache, layer)  # padding is as nothing
        x = x + self.dropout(self.attention(h, keep, turns, cache, layer))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Embedding(nn.Module):
    """A row for each token, and one for each position where positions are learned or sinusoidal (then not trained)."""

    def __init__(self, config: GPTLabConfig):
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.n_embd)
        if config.position == "learned":
            self.position = nn.Embedding(config.context, config.n_embd)
        elif config.position == "sinusoidal":
            self.waves = nn.Embedding(config.context, config.n_embd)
            self.waves.weight.requires_grad_(False)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        table = getattr(self, "position", getattr(self, "waves", None))
        return self.token(ids) if table is None else self.token(ids) + table(positions)


class GPTLabForCausalLM(PreTrainedModel, GenerationMixin):
    """The model: embedding, blocks, norm, and a head (the embedding's table again where weights are tied)."""

    config_class = GPTLabConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _no_split_modules = ["Block"]  # noqa: RUF012

    def __init__(self, config: GPTLabConfig):
        super().__init__(config)
        self.embedding = Embedding(config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = make_norm(config.n_embd, config)
        if not config.tie_weights:
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding.token

    def set_input_embeddings(self, table: nn.Module) -> None:
        self.embedding.token = table

    def generate(self, *inputs, **options):
        """As in every model of the library; the cache is one that also remembers the convolutions' inputs."""
        if not {"cache", "past_key_values"} & set(options) and options.get("use_cache", True):
            options[_CACHE] = GPTLabCache()
        return super().generate(*inputs, **options)

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, use_cache=None, **kwargs):
        """What one step of `generate` gives to `forward`: the tokens that the cache has not seen, and the cache."""
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        seen = 0 if cache is None else cache.get_seq_length()
        given = {"input_ids": input_ids[:, seen:], "attention_mask": attention_mask}
        return {**given, _CACHE: cache, "use_cache": use_cache, "logits_to_keep": 1}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        cache: DynamicCache | None = None,
        **_,
    ) -> CausalLMOutputWithPast:
        T = input_ids.shape[1]
        cache = past_key_values if cache is None else cache  # its name in older versions of the library
        cache = GPTLabCache() if use_cache and cache is None else cache
        past = 0 if cache is None else cache.get_seq_length()
        if past + T > self.config.context:
            raise ValueError(
                f"T={past + T} tokens do not fit the context of {self.config.context}: "
                f"pass the last {self.config.context}, or generate fewer (max_length={self.config.context})"
            )
        if position_ids is None:
            if attention_mask is None:
                position_ids = torch.arange(past, past + T, device=input_ids.device)[None]
            else:
                position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -T:]
        keep = real = None
        if past or attention_mask is not None:  # else the kernel's own causal mask will do
            keep = torch.ones(T, past + T, dtype=torch.bool, device=input_ids.device).tril(past)[None, None]
        if attention_mask is not None:
            oneself = torch.eye(T, past + T, dtype=torch.bool, device=input_ids.device).roll(past, 1)
            # padding attends to itself, so that no row is empty
            keep = keep & attention_mask.bool()[:, None, None, :] | oneself
            real = attention_mask[:, -T:, None].to(self.embedding.token.weight.dtype)
        turns = rope(self.config, position_ids) if self.config.position == "rope" else None
        x = self.dropout(self.embedding(input_ids, position_ids))  # [B, T, C]
        for layer, block in enumerate(self.blocks):
            x = block(x, keep, real, turns, cache, layer)
        x = self.norm(x)
        x = x[:, -logits_to_keep:] if logits_to_keep else x
        head = self.embedding.token.weight if self.config.tie_weights else self.head.weight
        logits = F.linear(x, head)  # [B, T, V]
        loss = None
        if labels is not None:
            labels = labels[:, 1:].flatten()
            counted = logits[:, :-1].flatten(0, 1).masked_fill((labels == -100)[:, None], 0.0)  # no NaN there gets out
            loss = F.cross_entropy(counted.float(), labels, ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{_CACHE: cache})
