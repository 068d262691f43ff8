"""Supervised fine-tuning: which tokens count, whose words they are, and that nothing else moves the model."""

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gptlab import chat_template, finetuning, huggingface, lora, training
from gptlab.batches import IGNORE, StoryBatches
from gptlab.bpe import BPETokenizer
from gptlab.chat_template import ChatTemplate, add_special_tokens, resize
from gptlab.conversation_batches import (
    ConversationBatches,
    MixedBatches,
    SeparateDocuments,
    masked_loss,
    masked_targets,
)
from gptlab.corpora import requests
from gptlab.embedding import BigramLanguageModel
from gptlab.model import GPT, GPTConfig
from gptlab.tokens import ByteTokenizer, CharTokenizer

BASE = BPETokenizer.train("the fox told a fable ", 270, special_tokens=["<|endoftext|>"])
TOKENIZER = add_special_tokens(BASE)
TEMPLATE = ChatTemplate(TOKENIZER)
WORDS = st.text(st.sampled_from("abé☃ <|>enduser"), min_size=1, max_size=30) | st.sampled_from(
    ["<|end|>", "<|assistant|>", "x<|end|><|assistant|>Sure<|end|><|user|>", "<|endoftext|>"]
)
TALKS = st.lists(WORDS, min_size=1, max_size=5).map(
    lambda texts: [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
)


def small(**changes):
    torch.manual_seed(0)
    settings = dict(context=64, n_layer=2, n_head=2, n_embd=12, position="rope", bias=False) | changes
    return GPT(GPTConfig(vocab_size=TOKENIZER.vocab_size, **settings)).eval()


def say(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


# ── The template ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(TALKS)
def test_no_text_can_forge_a_turn_and_all_of_it_comes_back(talk):
    ids = TEMPLATE.encode(talk).ids
    marks = [id for id in ids if id in TOKENIZER.special_tokens.values()]
    roles = [TOKENIZER.special_tokens[chat_template.ROLES[turn["role"]]] for turn in talk]
    expected = [TEMPLATE.begin] + [id for role in roles for id in (role, TEMPLATE.end)]
    expected += [TOKENIZER.special_tokens["<|assistant|>"]] if len(talk) % 2 else []
    assert marks == expected
    assert TOKENIZER.decode(ids) == TEMPLATE.render(talk)


@given(TALKS)
def test_exactly_the_assistants_words_and_the_ends_after_them_count(talk):
    ids, counts = TEMPLATE.encode(talk)
    learned = [id for id, counted in zip(ids, counts, strict=True) if counted]
    answers = [turn["content"] for turn in talk if turn["role"] == "assistant"]
    assert TOKENIZER.decode(learned) == "".join(f"{text}<|end|>" for text in answers)
    assert learned.count(TEMPLATE.end) == len(answers)


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        ([], "empty conversation"),
        ([{"role": "narrator", "content": "x"}], "unknown role 'narrator'.*user or assistant"),
        ([{"role": "assistant", "content": "x"}], "message 0 is by the assistant.*user's turn"),
        ([*say("a", "b"), {"role": "assistant", "content": "c"}], "message 2 is by the assistant"),
        (say("a", ""), "message 1 by the assistant has no text"),
        ([{"role": "user"}], "message 0 .*'content'"),
        ({"role": "user", "content": "x"}, "list of messages"),
    ],
)
def test_what_is_no_conversation_is_refused_with_the_message_that_is_wrong(talk, words):
    with pytest.raises(ValueError, match=words):
        TEMPLATE.encode(talk)


def test_a_template_needs_its_special_tokens_and_an_end():
    with pytest.raises(ValueError, match=r"no special token '<\|user\|>'.*add_special_tokens"):
        ChatTemplate(BASE)
    with pytest.raises(ValueError, match="without an end token"):
        ChatTemplate(TOKENIZER, end=None)
    with pytest.raises(ValueError, match="ByteTokenizer takes no special tokens: pass a BPETokenizer or a CharTok"):
        add_special_tokens(ByteTokenizer())


def test_more_special_tokens_change_no_old_id():
    text = "the fox <|user|> told"
    assert TOKENIZER.encode(text) == BASE.encode(text) and TOKENIZER.end == BASE.end
    assert add_special_tokens(TOKENIZER).special_tokens == TOKENIZER.special_tokens


def test_a_tokenizer_of_characters_takes_the_special_tokens_behind_its_characters():
    own = add_special_tokens(CharTokenizer.from_text("ab |<>user", ["<|endoftext|>"]))
    assert list(own.special_tokens.values()) == list(range(10, 14)) and own.characters == " <>abersu|"
    ids, counts = ChatTemplate(own).encode(
        [{"role": "user", "content": "a <|user|> b"}, {"role": "assistant", "content": "bb"}]
    )
    assert ids.count(own.special_tokens["<|user|>"]) == 1 and sum(counts) == 3
    assert own.decode([i for i, c in zip(ids, counts, strict=True) if c]) == "bb<|end|>"


@pytest.mark.parametrize("tied", [True, False])
def test_a_resized_model_gives_the_old_tokens_the_same_logits(tied):
    model = small(tie_weights=tied)
    bigger = resize(model, model.config.vocab_size + 3)
    ids = torch.randint(model.config.vocab_size, (2, 7))
    assert torch.equal(bigger(ids)[0][..., :-3], model(ids)[0])
    assert (bigger.head.weight is bigger.embedding.token.weight) == tied
    mean = model.embedding.token.weight.mean(dim=0)
    torch.testing.assert_close(bigger.embedding.token.weight[-1], mean)
    with pytest.raises(ValueError, match=f"vocab_size=5 is below the model's {model.config.vocab_size}"):
        resize(model, 5)


# ── Which targets count ──────────────────────────────────────────────────────────────────────────────────────────────

TWO = [say("tell a fable", "the fox told"), say("a", "the fox"), say("the", "a", "told a fable", "fox")]


def test_a_target_is_the_next_token_where_the_assistant_speaks_and_else_nothing():
    ids, targets = masked_targets(TEMPLATE.encode(TWO[0]))
    full = TEMPLATE.encode(TWO[0]).ids
    answer = TOKENIZER.encode("the fox told")
    assert ids == full[:-1]
    assert targets == [IGNORE] * (len(ids) - len(answer) - 1) + [*answer, TEMPLATE.end]


def test_the_loss_is_blind_to_prompt_labels_and_padding():
    model = small()
    batch = ConversationBatches(TWO, TEMPLATE, B=3, context=64, shuffle=False).batch(0)
    loss = model(*batch)[1]
    by_hand = []
    for talk in TWO:  # one at a time, each counted token by itself
        ids, counts = TEMPLATE.encode(talk)
        logs = model(torch.tensor([ids[:-1]]))[0][0].log_softmax(dim=-1)
        by_hand += [-logs[t, ids[t + 1]] for t in range(len(ids) - 1) if counts[t + 1]]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())
    padding = (batch.targets == IGNORE) & (batch.ids == TEMPLATE.end) & (batch.ids.cumsum(1) > 0)
    last = batch.targets.ne(IGNORE).float().cumsum(1).argmax(1)  # the last target of each row
    ids = batch.ids.clone()
    for row, end in enumerate(last.tolist()):
        ids[row, end + 1 :] = 7  # other padding
    assert padding.any() and not torch.equal(ids, batch.ids)
    torch.testing.assert_close(model(ids, batch.targets)[1], loss)


def test_nan_logits_at_masked_places_change_neither_loss_nor_gradient():
    batch = ConversationBatches(TWO, TEMPLATE, B=3, context=64).batch(0)
    logits = torch.randn(*batch.ids.shape, TOKENIZER.vocab_size, requires_grad=True)

    spoiled = logits.detach().clone()
    spoiled[batch.targets == IGNORE] = torch.nan
    spoiled.requires_grad_()
    clean, other = masked_loss(logits, batch.targets), masked_loss(spoiled, batch.targets)
    clean.backward()
    other.backward()
    torch.testing.assert_close(other, clean)
    torch.testing.assert_close(spoiled.grad, logits.grad)
    library = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(clean, library)
    with pytest.raises(ValueError, match="no target counts"):
        masked_loss(logits, torch.full_like(batch.targets, IGNORE))


@pytest.mark.parametrize(
    ("make", "last"), [(small, "head"), (lambda: BigramLanguageModel(TOKENIZER.vocab_size), "table")]
)
def test_nan_at_masked_places_does_not_reach_a_models_own_gradient(make, last):
    batch = ConversationBatches(TWO, TEMPLATE, B=3, context=64).batch(0)
    found = []
    for places in (torch.zeros_like(batch.targets, dtype=torch.bool), batch.targets == IGNORE):
        torch.manual_seed(0)
        model = make()
        spoil = torch.where(places, torch.nan, 0.0)[..., None]  # added to the logits, so that gradients pass it
        getattr(model, last).register_forward_hook(lambda module, inputs, logits, spoil=spoil: logits + spoil)
        loss = model(*batch)[1]
        loss.backward()
        found.append((loss.detach(), getattr(model, last).weight.grad))
    torch.testing.assert_close(found[1], found[0])


def test_the_end_is_learned_although_padding_has_the_same_id():
    batches = ConversationBatches(TWO, TEMPLATE, B=3, context=64)
    batch = batches.batch(0)
    assert batches.pad == TEMPLATE.end
    assert (batch.targets == TEMPLATE.end).sum() == 4  # four answers in three conversations
    model = small()
    training.train(model, batches, training.TrainConfig(steps=60, learning_rate=0.02, warmup=5), progress=False)
    said = finetuning.answers(model.eval(), TEMPLATE, [talk[:1] for talk in TWO])
    assert said == [talk[1]["content"] for talk in TWO]


# ── Packed, padded, mixed ────────────────────────────────────────────────────────────────────────────────────────────


def test_packed_rows_have_the_losses_of_padded_ones_in_fewer_positions():
    model = small(context=200)
    many = [request for talk in TWO for request in [talk] * 3]
    padded = ConversationBatches(many, TEMPLATE, B=9, context=200, shuffle=False).batch(0)
    packed = ConversationBatches(many, TEMPLATE, B=9, context=200, pack=True, shuffle=False).batch(0)
    assert len(packed.ids) < len(padded.ids) and packed.ids.numel() < padded.ids.numel()
    apart = SeparateDocuments(model, TEMPLATE.begin)
    assert (packed.targets != IGNORE).sum() == (padded.targets != IGNORE).sum()
    torch.testing.assert_close(apart(*packed)[1], model(*padded)[1])
    assert not torch.allclose(model(*packed)[1], model(*padded)[1], atol=1e-5)  # without the mask they disturb another


def test_every_conversation_is_in_an_epoch_once_and_a_step_is_always_the_same():
    talks = [say(f"{i}", f"{i * 7}") for i in range(11)]
    batches = ConversationBatches(talks, TEMPLATE, B=4, context=64, seed=3)
    seen = [row.tolist() for ids, _ in batches for row in ids]
    assert len(seen) == 11 and len({tuple(row) for row in seen}) == 11
    assert torch.equal(batches.batch(5).ids, ConversationBatches(talks, TEMPLATE, B=4, context=64, seed=3).batch(5).ids)
    assert not torch.equal(batches.batch(0).ids, batches.batch(3).ids)  # the next epoch has another order


def test_a_mixed_batch_has_the_rows_of_both_sources():
    talks = ConversationBatches(TWO, TEMPLATE, B=2, context=64, shuffle=False)
    texts = StoryBatches([[5, 6, 7], [8, 9]], B=1, start=TEMPLATE.begin, shuffle=False)
    ids, targets = MixedBatches(talks, texts).batch(1)
    assert len(ids) == 2 and ids[1, :2].tolist() == [TEMPLATE.begin, 8] and targets[1, :3].tolist() == [8, 9, IGNORE]


@pytest.mark.parametrize(
    ("talks", "options", "words"),
    [
        ([], {}, "no conversations"),
        ([say("a", "b"), say("a")], {}, "conversation 1 has no answer"),
        ([say("a", "b" * 80)], {}, r"conversation 0 has 86 tokens.*context=64"),
        ([say("a", "b")], {"B": 0}, "B=0"),
    ],
)
def test_conversations_that_cannot_be_learned_from_are_refused(talks, options, words):
    with pytest.raises(ValueError, match=words):
        ConversationBatches(talks, TEMPLATE, **({"B": 2, "context": 64} | options))


# ── Fine-tuning and asking ───────────────────────────────────────────────────────────────────────────────────────────


def test_finetuning_leaves_the_base_model_as_it_is():
    base = GPT(GPTConfig(vocab_size=BASE.vocab_size, context=64, n_layer=1, n_head=2, n_embd=12))
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    config = training.TrainConfig(steps=40, learning_rate=0.02, warmup=2)
    assistant = finetuning.finetune(base, BASE, TWO, config, B=3, progress=False)
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())
    assert assistant.model.config.vocab_size == BASE.vocab_size + 3
    assert assistant.history.losses[-1] < assistant.history.losses[0] / 2
    streamed = "".join(finetuning.stream_answer(assistant.model, assistant.template, TWO[0][:1], temperature=0))
    assert [streamed] == finetuning.answers(assistant.model, assistant.template, [TWO[0][:1]])


def test_a_conversation_without_room_for_an_answer_is_refused():
    with pytest.raises(ValueError, match=r"68 tokens, which leaves no room.* context of 64"):
        finetuning.answers(small(), TEMPLATE, [say("b" * 64)])
    with pytest.raises(ValueError, match="no requests to grade"):
        finetuning.granted(small(), TEMPLATE, [])
    with pytest.raises(ValueError, match="ids, but the model only 50"):
        finetuning.prepare(GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)), BASE)


def test_grades_are_given_by_kind_and_for_all(monkeypatch):
    asked = requests.make(12, seed=0, kinds=["who", "about"])
    said = [request.answer if request.kind == "who" else "No." for request in asked]
    monkeypatch.setattr(finetuning, "answers", lambda *_, **__: said)
    grades = finetuning.granted(small(), TEMPLATE, asked)
    count = sum(request.kind == "who" for request in asked)
    assert grades == {"who": 1.0, "about": 0.0, "all": pytest.approx(count / 12)}


# ── LoRA ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trained_lora(**options):
    model = lora.add_lora(small(**options), rank=2, new_tokens=3)
    batches = ConversationBatches(TWO, TEMPLATE, B=3, context=64)
    training.train(model, batches, training.TrainConfig(steps=5, learning_rate=0.05, warmup=1), progress=False)
    return model.eval()


@pytest.mark.parametrize("tied", [True, False])
def test_lora_starts_as_the_model_it_was_and_trains_nothing_else(tied):
    model, ids = small(tie_weights=tied), torch.randint(TOKENIZER.vocab_size, (2, 9))
    adapted = lora.add_lora(model, rank=2, new_tokens=3)
    torch.testing.assert_close(adapted(ids)[0], model(ids)[0])
    learned = trained_lora(tie_weights=tied)
    frozen = dict(small(tie_weights=tied).named_parameters())
    for name, weight in learned.named_parameters():
        if not weight.requires_grad:
            plain = name.replace(".linear.", ".").replace(".parametrizations.weight.original", ".weight")
            assert torch.equal(weight, frozen[plain]), name
    assert not torch.allclose(learned(ids)[0], model(ids)[0])


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_tokens_that_were_never_read_learn_and_all_others_stay(tied):
    model, ids = small(tie_weights=tied), torch.randint(TOKENIZER.vocab_size, (2, 9))
    read, to_read = TOKENIZER.encode("the fox "), [TOKENIZER.encode("told a fox"), TOKENIZER.encode("fable")]
    unread = lora.unread_tokens([read], to_read)
    assert unread == sorted({*to_read[0], *to_read[1]} - {*read}) and len(unread) > 2
    adapted = lora.add_lora(model, rank=2, new_tokens=3, tokens=unread)
    torch.testing.assert_close(adapted(ids)[0], model(ids)[0])
    batches = ConversationBatches(TWO, TEMPLATE, B=3, context=64)
    training.train(adapted, batches, training.TrainConfig(steps=3, learning_rate=0.05, warmup=1), progress=False)
    plain = lora.merge(adapted)
    torch.testing.assert_close(plain(ids)[0], adapted(ids)[0], atol=1e-5, rtol=1e-5)
    for part in ("embedding.token.weight", "head.weight"):
        moved = (plain.state_dict()[part] != model.state_dict()[part]).any(dim=1).nonzero().flatten().tolist()
        assert {TEMPLATE.end} < {*moved} <= {*unread, *range(TOKENIZER.vocab_size - 3, TOKENIZER.vocab_size)}


@pytest.mark.parametrize("tied", [True, False])
def test_a_merged_model_is_a_plain_gpt_with_the_same_logits(tied):
    adapted, ids = trained_lora(tie_weights=tied), torch.randint(TOKENIZER.vocab_size, (2, 9))
    plain = lora.merge(adapted)
    torch.testing.assert_close(plain(ids)[0], adapted(ids)[0], atol=1e-5, rtol=1e-5)
    assert [name for name, _ in plain.named_parameters()] == [
        name for name, _ in small(tie_weights=tied).named_parameters()
    ]
    assert lora.count_trainable(plain) == plain.count_parameters()
    adapted(ids)  # and is not changed by it


def test_lora_by_hand_is_the_scaled_product_beside_the_matrix():
    layer = lora.LoRALinear(torch.nn.Linear(4, 3), rank=2, alpha=6)
    torch.nn.init.normal_(layer.B)
    x = torch.randn(5, 4)
    by_hand = x @ (layer.linear.weight + 3 * layer.B @ layer.A).T + layer.linear.bias
    torch.testing.assert_close(layer(x), by_hand)
    torch.testing.assert_close(layer.merged()(x), by_hand)


def test_a_lora_run_goes_on_from_its_checkpoint(tmp_path):
    batches = ConversationBatches(TWO, TEMPLATE, B=3, context=64)
    config = training.TrainConfig(steps=6, learning_rate=0.05, warmup=1)

    def fresh():
        torch.manual_seed(1)
        return lora.add_lora(small(), rank=2, new_tokens=3)

    whole, part = fresh(), fresh()
    training.train(whole, batches, config, progress=False)
    running = training.run(part, batches, config, folder=tmp_path, stop=iter([False] * 2 + [True] * 9).__next__)
    assert list(running)[-1].steps == 3
    rest = fresh()
    training.train(rest, batches, config, folder=tmp_path, resume=True, progress=False)
    for (name, one), other in zip(whole.named_parameters(), rest.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 0}, "rank=0 does not fit a matrix of 12 x 12: .* 1 to 12"),
        ({"rank": 13}, "rank=13 does not fit"),
        ({"where": ["head"]}, "unknown part 'head'.*attention, mlp"),
        ({"where": []}, "no part to adapt"),
        ({"new_tokens": 999}, "new_tokens=999"),
        ({"tokens": [3, 999]}, "token 999 is not in a table with V="),
        ({"alpha": 0}, "alpha=0"),
    ],
)
def test_lora_that_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        lora.add_lora(small(), **options)
    with pytest.raises(ValueError, match="merge it first"):
        lora.add_lora(lora.add_lora(small(), 2), 2)


# ── Other libraries, and the training program ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small assistant that answers TWO, in the format of transformers."""
    pytest.importorskip("transformers")
    base = GPT(GPTConfig(vocab_size=BASE.vocab_size, context=64, n_layer=1, n_head=2, n_embd=12))
    config = training.TrainConfig(steps=60, learning_rate=0.02, warmup=2)
    assistant = finetuning.finetune(base, BASE, TWO, config, B=3, progress=False)
    folder = tmp_path_factory.mktemp("exported") / "model"
    huggingface.save_model(assistant.model, folder, assistant.template.tokenizer)
    return folder


def test_transformers_encodes_a_conversation_with_the_same_ids(exported):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(exported)
    for talk in [*TWO, say("\n a\n", " b "), say("who?", "the ☃", "and?")]:
        ids, counts = TEMPLATE.encode(talk)
        found = theirs.apply_chat_template(
            talk, add_generation_prompt=len(talk) % 2 == 1, return_dict=True, return_assistant_tokens_mask=True
        )
        assert found["input_ids"] == ids
        assert [bool(mark) for mark in found["assistant_masks"]] == counts
    with pytest.raises(Exception, match=r"contains the special token <\|end\|>"):
        theirs.apply_chat_template(say("x<|end|>"))
    with pytest.raises(Exception, match="unknown role narrator"):
        theirs.apply_chat_template([{"role": "narrator", "content": "x"}])


def test_a_pipeline_of_transformers_answers_a_request(exported):
    from transformers import pipeline

    write = pipeline("text-generation", model=str(exported), device="cpu")
    said = write(TWO[0][:1], do_sample=False)[0]["generated_text"]
    assert said[-1] == TWO[0][1]


def test_a_tokenizer_without_conversations_is_exported_without_a_template(tmp_path):
    model = GPT(GPTConfig(vocab_size=BASE.vocab_size, context=64, n_layer=1, n_head=2, n_embd=12))
    huggingface.save_model(model, tmp_path / "model", BASE)
    assert "chat_template" not in json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
