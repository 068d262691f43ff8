"""Mistakes that people make, planted one at a time in the core functions: the tests must notice every one.

Each mutant replaces a piece of one module's source by a wrong one, and names the tests that have to catch it.
`python tests/mutants/mutants.py [NAME …]` plants them and prints, as JSON, what became of each.
"""

import importlib.util
import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `module`, `right` is replaced by `wrong`; a test in the file `tests` must fail."""

    name: str
    module: str
    right: str
    wrong: str
    tests: str


BACKWARD = "tests/test_backpropagation.py::test_a_backward_pass_equals_autograd_and_measured_slopes"
WHOLE = "tests/test_backpropagation.py::test_the_gradient_of_every_parameter_equals_loss_backward"
FINETUNING = "tests/test_finetuning.py"
CURATION, MEMORIZATION = "tests/test_curation.py", "tests/test_memorization.py"
REINFORCEMENT, PREFERENCES = "tests/test_reinforcement.py", "tests/test_preferences.py"

MUTANTS = [
    # A step that nobody waits for, and the faster forms
    Mutant(
        "spoilt steps go on",
        "queued_steps",
        "optimizer.found_inf = self.spoilt",
        "optimizer.found_inf = torch.zeros_like(self.spoilt)",
        "tests/test_queued_steps.py::test_weights_and_history_end_before_a_loss_that_is_noticed_late",
    ),
    Mutant(
        "added columns count",
        "fast_forms",
        "logits[:, V:] = -torch.inf",
        "logits[:, V:] = 0.0",
        "tests/test_fast_forms.py::test_a_faster_model_has_the_same_loss_gradient_logits_and_text",
    ),
    Mutant(
        "mean over all positions",
        "fast_forms",
        "count = (targets != IGNORE).sum()",
        "count = torch.tensor(len(targets))",
        "tests/test_fast_forms.py::test_a_faster_model_has_the_same_loss_gradient_logits_and_text",
    ),
    Mutant(
        "stall counted from the end",
        "history",
        "return since >= patience",
        "return since > patience",
        "tests/test_training.py::test_a_run_ends_where_its_evaluations_stall_and_not_before",
    ),
    # Reinforcement learning
    Mutant(
        "old over new",
        "reinforcement",
        "(log_probs - behaviour.detach())",
        "(behaviour.detach() - log_probs)",
        REINFORCEMENT + "::test_the_gradient_of_grpo_equals_the_loop_written_out",
    ),
    Mutant(
        "KL the other way round",
        "reinforcement",
        "ln_ratio = reference - log_probs",
        "ln_ratio = log_probs - reference",
        REINFORCEMENT + "::test_the_gradient_of_grpo_equals_the_loop_written_out",
    ),
    Mutant(
        "the larger of two promises",
        "reinforcement",
        "-torch.minimum(",
        "-torch.maximum(",
        REINFORCEMENT + "::test_the_gradient_of_grpo_equals_the_loop_written_out",
    ),
    Mutant(
        "a completion in its own baseline",
        "reinforcement",
        " * N / (N - 1)",
        "",
        REINFORCEMENT + "::test_a_baseline_of_the_others_keeps_the_mean_gradient_and_shrinks_its_variance",
    ),
    Mutant(
        "trained at another temperature",
        "rollouts",
        ".float() / temperature",
        ".float()",
        REINFORCEMENT + "::test_the_log_probabilities_that_are_trained_are_those_that_were_sampled_with",
    ),
    Mutant(
        "the end token is not trained",
        "rollouts",
        "len(prompt) - 1 : len(row) - 1] = torch.tensor(row[len(prompt) :])",
        "len(prompt) - 1 : len(row) - 2] = torch.tensor(row[len(prompt) : -1])",
        REINFORCEMENT + "::test_the_log_probabilities_that_are_trained_are_those_that_were_sampled_with",
    ),
    Mutant(
        "a round is lost between two updates",
        "rollout_source",
        "open_round = self._round is not None and",
        "open_round = False and",
        REINFORCEMENT + "::test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been",
    ),
    Mutant(
        "DPO without its reference",
        "preferences",
        "beta * (rejected - reference_rejected)",
        "beta * rejected",
        PREFERENCES + "::test_the_loss_of_dpo_is_the_published_formula",
    ),
    # Attention
    Mutant(
        "no scale",
        "attention",
        " / math.sqrt(q.shape[-1])",
        "",
        "tests/test_attention.py::test_an_average_worked_out_by_hand",
    ),
    Mutant(
        "scaled by √C",
        "attention",
        "dropout_p=dropout, enable_gqa=grouped",
        "dropout_p=dropout, enable_gqa=grouped, scale=x.shape[-1] ** -0.5",
        "tests/test_attention.py::test_the_library_with_our_weights_gives_our_result_forward_and_backward",
    ),
    Mutant(
        "softmax over queries",
        "attention",
        "        return scores.softmax(dim=-1)\n",
        "        return scores.softmax(dim=-2)\n",
        "tests/test_attention.py::test_an_average_worked_out_by_hand",
    ),
    Mutant(
        "no mask",
        "attention",
        "    return scores.softmax(dim=-1).masked_fill(~keep_mask, 0.0)",
        "    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)",
        "tests/test_attention.py::test_a_row_that_may_attend_to_nothing_is_zero_and_has_finite_gradients",
    ),
    Mutant(
        "mask after softmax",
        "attention",
        "    scores = scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min)\n",
        "",
        "tests/test_attention.py::test_the_library_with_our_weights_gives_our_result_forward_and_backward",
    ),
    Mutant(
        "keep and drop swapped",
        "attention",
        "scores.masked_fill(~keep_mask,",
        "scores.masked_fill(keep_mask,",
        "tests/test_attention.py::test_the_library_with_our_weights_gives_our_result_forward_and_backward",
    ),
    Mutant(
        "keep and drop swapped for the kernel",
        "attention",
        "q, k, v, attn_mask=keep_mask, is_causal=is_causal",
        "q, k, v, attn_mask=None if keep_mask is None else ~keep_mask, is_causal=is_causal",
        "tests/test_attention.py::test_the_library_with_our_weights_gives_our_result_forward_and_backward",
    ),
    Mutant(
        "heads not merged back",
        "attention",
        "    return x.transpose(1, 2).flatten(2)",
        "    return x.reshape(x.shape[0], x.shape[2], -1)",
        "tests/test_attention.py::test_heads_split_and_merged_are_the_same_again",
    ),
    Mutant(
        "heads cut by a view",
        "attention",
        "x.view(B, T, H, C // H).transpose(1, 2)",
        "x.reshape(B, H, T, C // H)",
        "tests/test_attention.py::test_heads_split_and_merged_are_the_same_again",
    ),
    Mutant(
        "keys and values from the queries' side",
        "attention",
        "self.value(memory)",
        "self.value(memory.roll(1, 1))",
        "tests/test_attention.py::test_the_library_with_our_weights_gives_our_result_forward_and_backward",
    ),
    Mutant(
        "the causal flag forgotten",
        "attention",
        "attn_mask=keep_mask, is_causal=is_causal",
        "attn_mask=keep_mask",
        "tests/test_attention.py::test_many_heads_are_single_heads_side_by_side",
    ),
    Mutant(
        "no dropout of weights",
        "attention",
        "self.dropout if self.training else 0.0, self",
        "0.0, self",
        "tests/test_attention.py::test_dropout_drops_weights_in_training_only",
    ),
    Mutant(
        "dropout in evaluation",
        "attention",
        "self.dropout if self.training else 0.0, self",
        "self.dropout, self",
        "tests/test_attention.py::test_dropout_drops_weights_in_training_only",
    ),
    Mutant(
        "the shown weights forget the mask",
        "attention",
        "and_causal(keep_mask, q, k) if is_causal else keep_mask)",
        "and_causal(None, q, k) if is_causal else keep_mask)",
        "tests/test_attention.py::test_forward_averages_with_the_weights_that_are_shown_for_every_mask",
    ),
    Mutant(
        "values forgotten",
        "attention",
        "    return attention_weights(q, k, keep_mask) @ v\n",
        "    return attention_weights(q, k, keep_mask) @ v.mean(-2, keepdim=True).expand_as(v)\n",
        "tests/test_attention.py::test_the_library_with_our_weights_gives_our_result_forward_and_backward",
    ),
    # Masks
    Mutant(
        "the next token is seen",
        "masking",
        "tril(diagonal=Tk - T)",
        "tril(diagonal=Tk - T + 1)",
        "tests/test_masking.py::test_a_causal_mask_keeps_the_past_and_the_present",
    ),
    Mutant(
        "oneself is not seen",
        "masking",
        "tril(diagonal=Tk - T)",
        "tril(diagonal=Tk - T - 1)",
        "tests/test_masking.py::test_a_causal_mask_keeps_the_past_and_the_present",
    ),
    Mutant(
        "queries are the first of the keys",
        "masking",
        "tril(diagonal=Tk - T)",
        "tril()",
        "tests/test_masking.py::test_a_causal_mask_keeps_the_past_and_the_present",
    ),
    Mutant(
        "one padded key is heard",
        "masking",
        "device=lengths.device) < lengths[:, None]",
        "device=lengths.device) <= lengths[:, None]",
        "tests/test_masking.py::test_padding_is_heard_by_nobody",
    ),
    Mutant(
        "a window one too wide",
        "masking",
        "triu(diagonal=1 - window)",
        "triu(diagonal=-window)",
        "tests/test_masking.py::test_a_sliding_mask_keeps_the_last_few",
    ),
    # Embeddings and batches
    Mutant(
        "positions by batch",
        "embedding",
        "self.position.weight[start : start + T]",
        "self.position.weight[: ids.shape[0], None]",
        "tests/test_embedding.py::test_each_row_is_its_token_plus_its_place",
    ),
    Mutant(
        "positions start anew in a cache",
        "embedding",
        "self.position.weight[start : start + T]",
        "self.position.weight[:T]",
        "tests/test_embedding.py::test_a_later_start_moves_the_positions",
    ),
    Mutant(
        "targets are the inputs",
        "batches",
        "        targets[b, : len(row) - 1] = row[1:]",
        "        targets[b, : len(row) - 1] = row[:-1]",
        "tests/test_batches.py::test_the_count_of_pairs_finds_each_known_mistake",
    ),
    Mutant(
        "targets two later",
        "batches",
        "    return padded.unfold(0, T, 1)[:-1], row[1:]",
        "    return padded.unfold(0, T, 1)[:-1], row[1:].roll(-1)",
        "tests/test_batches.py::test_rolling_windows_and_growing_contexts_teach_the_same_pairs",
    ),
    Mutant(
        "blocks overlap by one",
        "batches",
        "range(first, min(first + self.B * self.T, len(self.ids) - 1), self.T)",
        "range(first, min(first + self.B * (self.T - 1), len(self.ids) - 1), self.T - 1)",
        "tests/test_batches.py::test_the_count_of_pairs_finds_each_known_mistake",
    ),
    Mutant(
        "growing contexts see their target",
        "batches",
        "(ids[: t + 1], ids[t + 1])",
        "(ids[: t + 2], ids[t + 1])",
        "tests/test_batches.py::test_rolling_windows_and_growing_contexts_teach_the_same_pairs",
    ),
    Mutant(
        "the same order in every epoch",
        "batches",
        "self.seed * 1_000_003 + epoch",
        "self.seed * 1_000_003",
        "tests/test_batches.py::test_every_epoch_shuffles_all_documents_in_an_order_of_its_own",
    ),
    # The model
    Mutant(
        "no residual stream",
        "model",
        "        return x + self.dropout(self.mlp(self.norm2(x)))",
        "        return self.dropout(self.mlp(self.norm2(x)))",
        "tests/test_model.py::test_a_model_that_starts_with_zero_projections_starts_as_its_embedding",
    ),
    Mutant(
        "no mask in the model",
        "model",
        "is_causal = keep_mask is None and T > 1",
        "is_causal = False",
        "tests/test_model.py::test_no_position_sees_the_future",
    ),
    Mutant(
        "untied all the same",
        "model",
        "self.head.weight = self.embedding.token.weight",
        "pass",
        "tests/test_model.py::test_tied_weights_are_one_table_counted_once",
    ),
    Mutant(
        "padding is learned",
        "model",
        "F.cross_entropy(exact, targets, ignore_index",
        "F.cross_entropy(exact, targets.clamp(min=0), ignore_index",
        "tests/test_model.py::test_targets_to_ignore_cost_nothing",
    ),
    # Backpropagation
    Mutant(
        "a value used twice keeps its last gradient only",
        "autograd",
        "gradient.get(id(parent), 0.0) + slope",
        "slope",
        "tests/test_backpropagation.py::test_a_value_used_twice_gets_both_gradients",
    ),
    Mutant(
        "the mean of a layer norm is taken for a constant",
        "backward",
        "(dnormed - shift - normed * stretch)",
        "(dnormed - normed * stretch)",
        BACKWARD,
    ),
    Mutant(
        "the average gradient is not subtracted in a softmax",
        "backward",
        "return p * (dp - (dp * p).sum(dim=-1, keepdim=True))",
        "return p * dp",
        BACKWARD,
    ),
    Mutant("a token that occurs twice learns once", "backward", ".index_add_(", ".index_copy_(", BACKWARD),
    Mutant(
        "no gradient past the MLP",
        "backpropagation",
        "dmiddle = dy + norm(",
        "dmiddle = norm(",
        WHOLE,
    ),
    Mutant(
        "the head's share of a tied table is lost",
        "backpropagation",
        "if model.config.tie_weights:",
        "if False:",
        WHOLE,
    ),
    # Training
    Mutant(
        "norms and biases decay",
        "optimizers",
        'if p.dim() < 2], "weight_decay": 0.0',
        'if p.dim() < 2], "weight_decay": weight_decay',
        "tests/test_optimizers.py::test_matrices_and_tables_decay_and_biases_and_norms_never",
    ),
    Mutant(
        "betas forgotten",
        "optimizers",
        "lr=config.learning_rate, betas=config.betas",
        "lr=config.learning_rate",
        "tests/test_optimizers.py::test_the_settings_reach_the_optimizers",
    ),
    Mutant(
        "the first step has no warm-up",
        "schedule",
        "(step + 1) / config.warmup",
        "step / config.warmup",
        "tests/test_training.py::test_the_rate_rises_in_the_warmup_stays_and_falls_to_the_end",
    ),
    Mutant(
        "dropout stays off after an evaluation",
        "training",
        "        model.train()  # an evaluation",
        "        pass  # an evaluation",
        "tests/test_training.py::test_an_evaluation_that_switches_dropout_off_does_not_do_so_for_the_training",
    ),
    # Sampling
    Mutant(
        "one token too many at an exact top-p",
        "next_token",
        "better >= p)",
        "better > p)",
        "tests/test_sampling.py::test_top_p_ends_exactly_where_p_is_reached",
    ),
    # Tokenizers
    Mutant(
        "a token that no merge reaches is cut",
        "bpe",
        "        if data in self.ranks:",
        "        if False:",
        "tests/test_bpe.py::test_a_chunk_that_is_a_token_is_that_token_though_no_merge_leads_to_it",
    ),
    Mutant(
        "the shorter last piece wins",
        "segmentation",
        "                if rounded[0] > best[end]:",
        "                if rounded[0] >= best[end]:",
        "tests/test_segmentation.py::test_of_two_equally_good_ways_the_fast_path_takes_the_longer_last_piece",
    ),
    Mutant(
        "an unknown character costs less",
        "unigram",
        "UNKNOWN_PENALTY = 10.0",
        "UNKNOWN_PENALTY = 9.0",
        "tests/test_unigram.py::test_a_character_that_no_piece_covers_costs_ten_nats_more_than_the_rarest_piece",
    ),
    # Fine-tuning
    Mutant(
        "the end is not learned",
        "chat_template",
        "len(words), is_answer]",
        "len(words), False]",
        FINETUNING + "::test_exactly_the_assistants_words_and_the_ends_after_them_count",
    ),
    Mutant(
        "the mark is learned",
        "chat_template",
        "counts += [False, *[",
        "counts += [is_answer, *[",
        FINETUNING + "::test_exactly_the_assistants_words_and_the_ends_after_them_count",
    ),
    Mutant(
        "users can forge turns",
        "chat_template",
        'self.tokenizer.encode_ordinary(turn["content"])',
        'self.tokenizer.encode(turn["content"], allowed_special="all")',
        FINETUNING + "::test_no_text_can_forge_a_turn_and_all_of_it_comes_back",
    ),
    Mutant(
        "targets are not shifted",
        "conversation_batches",
        "targets[1:]\n\n\ndef",
        "targets[:-1]\n\n\ndef",
        FINETUNING + "::test_a_target_is_the_next_token_where_the_assistant_speaks_and_else_nothing",
    ),
    Mutant(
        "documents see each other",
        "conversation_batches",
        "documents(numbers) & causal(",
        "causal(",
        FINETUNING + "::test_packed_rows_have_the_losses_of_padded_ones_in_fewer_positions",
    ),
    Mutant(
        "lora is not scaled",
        "lora",
        "+ self.scale * F.linear(",
        "+ F.linear(",
        FINETUNING + "::test_rows_of_tokens_that_were_never_read_learn_and_all_others_stay",
    ),
    Mutant(
        "merged without the scale",
        "lora",
        "+= self.scale * (self.B",
        "+= (self.B",
        FINETUNING + "::test_rows_of_tokens_that_were_never_read_learn_and_all_others_stay",
    ),
    # A text of your own
    Mutant(
        "doubles on both sides",
        "curation",
        "groups[_tidied(text)].append(text)",
        "groups[text].append(text)",
        CURATION + "::test_nothing_is_lost_and_nothing_that_says_the_same_is_on_both_sides",
    ),
    Mutant(
        "check digits are not looked at",
        "curation",
        "% 97 == 1",
        "% 97 >= 0",
        CURATION + "::test_what_looks_a_little_like_it_is_left_alone",
    ),
    Mutant(
        "bits for each token",
        "memorization",
        "nats_per_token * tokens / math.log(2) / size",
        "nats_per_token / math.log(2)",
        MEMORIZATION + "::test_a_loss_is_the_same_in_whatever_tokens_it_was_measured",
    ),
    Mutant(
        "nats, not bits",
        "memorization",
        "tokens / math.log(2) / size",
        "tokens / size",
        MEMORIZATION + "::test_a_loss_is_the_same_in_whatever_tokens_it_was_measured",
    ),
    Mutant(
        "what was read before is counted",
        "memorization",
        "(size(after) - size(before))",
        "size(after)",
        MEMORIZATION + "::test_random_letters_cost_their_entropy_and_what_was_read_before_costs_nothing",
    ),
    Mutant(
        "the smoothing gives to nobody",
        "memorization",
        "(seen[token] + T * p) / (N + T)",
        "seen[token] / N",
        MEMORIZATION + "::test_the_probabilities_sum_to_one_after_any_context",
    ),
    Mutant(
        "each stretch counts once",
        "memorization",
        "for stretch in stretches) / len(stretches)",
        "for stretch in wanted) / len(wanted)",
        MEMORIZATION + "::test_what_is_copied_is_found_as_a_plain_search_finds_it",
    ),
    Mutant(
        "the likeliest ranks last",
        "memorization",
        "sum(other <= secret",
        "sum(other >= secret",
        MEMORIZATION + "::test_exposure_is_the_logarithm_of_the_rank",
    ),
]


def mutated(mutant: Mutant) -> str:
    """The module's source with the mistake in it.

    Raises:
        ValueError: if the right piece does not stand in the source exactly once: the mutant is out of date.
    """
    source = (ROOT / "gptlab" / f"{mutant.module}.py").read_text(encoding="utf-8")
    if source.count(mutant.right) != 1:
        found = source.count(mutant.right)
        raise ValueError(
            f"mutant {mutant.name!r}: {mutant.right!r} stands {found} times in {mutant.module}.py, not once"
        )
    return source.replace(mutant.right, mutant.wrong)


def plant(mutant: Mutant) -> None:
    """Put the mutated module in the place of the right one, before anybody imports it."""
    name = f"gptlab.{mutant.module}"
    path = ROOT / "gptlab" / f"{mutant.module}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(mutated(mutant), str(path), "exec"), module.__dict__)
    import gptlab

    setattr(gptlab, mutant.module, module)


class _FirstFailure:
    """Notes which test failed first."""

    def __init__(self):
        self.test = None

    def pytest_runtest_logreport(self, report):
        if report.failed and self.test is None:
            self.test = report.nodeid


def run(mutant: Mutant | None, tests: list[str]) -> dict:
    """Run tests in a child process with a mistake planted (or none): how pytest ended, and which test failed first."""
    import pytest

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        said = {"code": -1, "test": None}
        try:
            noise, first = io.StringIO(), _FirstFailure()
            with redirect_stdout(noise), redirect_stderr(noise):
                if mutant is not None:
                    plant(mutant)
                # The shape checker stays off: a mistake must be caught by what the tests say about values.
                options = ["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
                said["code"] = int(pytest.main([*options, *tests], plugins=[first]))
            said["test"] = first.test
            said["noise"] = noise.getvalue()[-2000:] if said["code"] not in (0, 1) else ""
        except BaseException as error:
            said["noise"] = repr(error)
        os.write(writer, json.dumps(said).encode())
        os.close(writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = json.loads(pipe.read() or '{"code": -2, "test": null}')
    os.waitpid(child, 0)
    return said


def main(names: list[str]) -> None:
    """Plant each mutant, then run the tests that caught them once more with nothing planted."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["OMP_NUM_THREADS"] = "1"
    import hypothesis  # loaded once, before the children are forked, and without anything of ours
    import jaxtyping  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import regex  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401 -- every optimizer of torch loads it

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # that a test fails is enough: nothing is shrunk
    hypothesis.settings.register_profile("mutants", phases=phases, deadline=None, database=None)
    hypothesis.settings.load_profile("mutants")
    os.environ["GPTLAB_FAULT"] = "planted"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each child would spend seconds on plugins that it doesn't need

    found = {m.name: run(m, [m.tests]) for m in MUTANTS if not names or m.name in names}
    caught_by = sorted({said["test"] for said in found.values() if said["test"]})
    found["nothing planted"] = run(None, caught_by) if caught_by else {"code": 0, "test": None}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
