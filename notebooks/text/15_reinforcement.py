# ---
# jupyter:
#   jupytext:
#     formats: ipynb,text//py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Reinforcement learning
#
# *The model writes, something says how good that was, and what was good becomes more likely.*
#
# Until now your model has learned by imitation: here is a text, learn to write that. For that you need the texts. But
# there are things that are easy to judge and hard to show. Does this program pass its tests? Is this proof correct? Did
# the user like the answer? If all you can give is a score, you need another way to teach. It is called **reinforcement
# learning**. It is the last step on the way to nearly every assistant that you have talked to, and its core fits into
# one line.
#
# **After this notebook you can**
#
# - work out a policy gradient with a pencil, and write it for tokens,
# - say what a baseline, a group, a clip and a KL penalty are for, because you have left each of them out,
# - train a model of stories on a reward, and catch it when it cheats,
# - say why a reward that hardly ever comes teaches so little,
# - learn from preferences, with a reward model or, by DPO, without one.
#
# **It builds on** backpropagation (09), training (10), sampling (11), the parts of newer models (12) and fine-tuning
# (14). **It takes** about 40 minutes to read, about two and a half minutes to run on two CPU cores, and 1 GB of memory.

# %%
import itertools
import textwrap
from dataclasses import replace

import torch

from gptlab import checkpoints, pictures, reinforcement, show
from gptlab.exercises import check, compare, hint, predict, progress, quiz, recap, solution
from gptlab.model import GPT, GPTConfig
from gptlab.preferences import bradley_terry_loss, dpo, make_pairs
from gptlab.reinforcement import PolicyConfig, Prompt, grpo, judge, reinforce, token_log_probs
from gptlab.reward_model import fit_reward_model
from gptlab.rewards import Product, Shuffled, cheerful_words, coherent, happy_end, rewards_of
from gptlab.rollouts import as_batch, complete
from gptlab.tokens import CharTokenizer
from gptlab.training import TrainConfig

torch.manual_seed(0)
pictures.pipeline("reinforcement")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with your letters.

# %%
quiz("reinforcement", [..., ..., ...])

# %% [markdown]
# ## The question: how do you ask for a happy end?
#
# Here is the course's model of fables. It has read stories that end well and stories that don't, and it writes both.
# Because `fables.read` can read a story, two questions about each have an exact answer: does it end well, and is it
# **coherent**, which means that it never contradicts itself?

# %%
model, tokenizer = checkpoints.committed("fables")
wanted = {"happy": happy_end, "coherent": coherent}
before = judge(model, tokenizer, wanted, n=128, seed=7)
print(f"happy ends {before['happy']:.0%} (expected between 38 % and 58 %)")
print(f"coherent   {before['coherent']:.0%} (expected between 76 % and 93 %)")

# %% [markdown]
# Suppose you want happy ends, always. You could collect stories that end well and fine-tune on them. That works here,
# where stories are free. It doesn't when nobody has the examples, or when the model should become *better* than those
# who wrote them. All we want to give is a number for each finished story: 1 or 0.
#
# And there is the difficulty. A loss has a gradient, because the logits go in at one end and a number comes out at the
# other. Between the logits and our 1 or 0 stands the throw of the dice that chose each token, and then a program that
# reads English. No gradient flows through either. What do you do?

# %% [markdown]
# ## By hand: three slot machines
#
# Make it small. Three slot machines stand in a row; each has one arm, and nobody tells you what they pay. (The classic
# name is a three-armed **bandit**.) You may pull one at a time. Ours, arms 0, 1 and 2, pay 4, 5 and 6.
#
# A **policy** is a rule for choosing: arm $i$ with probability $\pi_i = \mathrm{softmax}(\theta)_i$. The numbers
# $\theta$, one for each arm, are all that it has to learn; they play the part of logits. An arm is an **action**, what
# it pays is the **reward** $R$. A sequence of actions up to the end is a **trajectory** and the sum of its rewards the
# **return**; with one pull, or with one score at the end of a story, return and reward are the same.
#
# We want the expected reward to grow, $J = \sum_i \pi_i R_i$, so we need its gradient. ($\nabla$ is the gradient with
# respect to $\theta$, $\mathbb{E}$ the mean over what the policy samples.) Now a small trick does all the work. The
# derivative of $\ln x$ is $1/x$, so by the chain rule $\nabla \ln \pi = \nabla \pi / \pi$. Read from right to left that
# is $\nabla \pi = \pi \, \nabla \ln \pi$, and therefore
#
# $$ \nabla J = \sum_i R_i \, \nabla \pi_i = \sum_i \pi_i \; R_i \, \nabla \ln \pi_i = \mathbb{E}\big[ R \, \nabla \ln \pi \big]. $$
#
# Look at what is left on the right: an average over what the policy itself samples. Pull an arm, look at the reward, and
# move along $R \, \nabla \ln \pi$ of that arm. The reward is only a number that multiplies. Nobody needs its gradient.
# This is **REINFORCE** ([Williams 1992](https://doi.org/10.1007/BF00992696)), the **policy gradient**.
#
# Take a pencil. All $\theta$ are 0, so each arm has probability 1/3. You pulled arm 2, and it paid 6. How does each
# $\theta_i$ move, at a learning rate of 0.5? Write it as a function before you read on.

# %% [markdown]
# ### Your turn: One step on a bandit
#
# `reinforcement.1` · *warm-up* · 10 minutes
#
# A policy chooses arm i with probability softmax(θ)ᵢ. It pulled `arm` and got `reward`. Give θ after one step of
# REINFORCE: θ plus rate · reward · the gradient of ln p(arm) with respect to θ. Work the gradient out on paper; no
# autograd is needed.
#
# Shapes: `theta` [K]; `arm` is an `int`, `reward` and `rate` are floats. Result: a tensor [K]. Example: θ = [0, 0,
# 0], arm 2, reward 6, rate 0.5 gives [−1, −1, 2].
#
# ```python
# def bandit_step(theta: Float[Tensor, "K"], arm: int, reward: float, rate: float) -> Float[Tensor, "K"]
# ```

# %%
def bandit_step(theta, arm, reward, rate): ...


check("reinforcement.1", bandit_step)

# %% [markdown]
# <details><summary>With the pencil</summary>
#
# $\ln \pi_2 = \theta_2 - \ln \sum_j e^{\theta_j}$. The first term gives 1 for $i = 2$; the second gives $-\pi_i$ for
# every $i$. So $\nabla \ln \pi_2 = (0, 0, 1) - (\tfrac13, \tfrac13, \tfrac13)$, times 6, times 0.5: $(-1, -1, 2)$. You
# know $\nabla \ln \pi$ from notebook 09: it is the gradient of cross-entropy with its sign turned.
# </details>
#
# Autograd agrees:

# %% tags=["nbval-check-output"]
theta = torch.zeros(3, requires_grad=True)
(6.0 * theta.log_softmax(0)[2]).backward()
print("gradient of 6 ln p(arm 2):", [round(g, 3) for g in theta.grad.tolist()])
print("a step of 0.5 along it:   ", [round(g, 3) for g in (0.5 * theta.grad).tolist()])

# %% [markdown]
# *Before you run on:* arm 0 is pulled and pays 4, the lowest of the three. What happens to its probability?

# %%
predict("reinforcement.a", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
pays = torch.tensor([4.0, 5.0, 6.0])
theta = torch.zeros(3, requires_grad=True)
(pays[0] * theta.log_softmax(0)[0]).backward()
print("before:", [round(p, 2) for p in theta.softmax(0).tolist()])
print("after: ", [round(p, 2) for p in (theta + 0.5 * theta.grad).softmax(0).tolist()])

# %% [markdown]
# <details><summary>Answer</summary>
#
# It grows. A reward of 4 is positive, and the policy has no idea that it is a bad one. It will learn that only on
# average, when the better arms have pushed back harder.
# </details>
#
# ### Variance, and the baseline
#
# That can't be a good way to learn. We would like to say: 4 is *worse than usual*. So subtract what is usual. A
# **baseline** $b$ that doesn't depend on the action changes nothing on average, because
# $\mathbb{E}[\nabla \ln \pi] = \sum_i \pi_i \nabla \ln \pi_i = \nabla \sum_i \pi_i = \nabla 1 = 0$. But it changes the
# noise: how far the gradient of a single pull lies from that mean. (Its mean square is the variance.) What remains of
# the reward, $A = R - b$, is called the **advantage**.
#
# *Before you run on:* add 100 to every reward. What does that do to REINFORCE without a baseline?

# %%
predict("reinforcement.b", ...)


# %% tags=["answers-prediction", "nbval-check-output"]
def mean_and_noise(rewards, baseline):
    """The exact mean of the gradient over all pulls, and the root of its variance."""
    p = torch.full((3,), 1 / 3)
    pulls = [(rewards[i] - baseline) * (torch.eye(3)[i] - p) for i in range(3)]
    mean = sum(p[i] * pulls[i] for i in range(3))
    return mean, sum(p[i] * (pulls[i] - mean).square().sum() for i in range(3)).sqrt()


rows = []
for name, rewards, baseline in (("4, 5, 6", pays, 0), ("104, 105, 106", pays + 100, 0), ("with baseline", pays, 5)):
    mean, noise = mean_and_noise(rewards, baseline)
    rows.append((name, str([round(x, 2) for x in mean.tolist()]), round(float(noise), 2)))
pictures.table(rows, ["rewards", "mean gradient", "noise of one pull"])

# %% [markdown]
# The mean gradient is the same in all three rows: on average, nothing has changed. The last column is the price. With
# rewards around 105 the noise of a single pull is almost two hundred times as large as with a baseline.
#
# Where does a baseline come from? You don't know in advance what is usual. But if you pull several times, you can
# compare each pull with **the others**. That is fair, because the others don't depend on this one ([Kool and others
# 2019](https://openreview.net/forum?id=r1lgTGL5DE)).

# %% [markdown]
# ### Your turn: A baseline of the others
#
# `reinforcement.2` · *warm-up* · 8 minutes
#
# Each row of `rewards` belongs to one prompt, with N completions. Give each completion its reward minus the mean
# reward of the *other* completions of its row.
#
# Shapes: [G, N] in, [G, N] out, N ≥ 2. Example: [[1, 0, 0]] gives [[1, −0.5, −0.5]].
#
# ```python
# def leave_one_out(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]
# ```

# %%
def leave_one_out(rewards): ...


check("reinforcement.2", leave_one_out)


# %% [markdown]
# Now play. Each policy makes 60 steps of four pulls; the line is the probability of the best arm, averaged over ten
# players. Watch how far apart the two lines are when all rewards are larger by 10.

# %%
def play(offset, advantages, seed, rate=0.1):
    generator = torch.Generator().manual_seed(seed)
    theta, best = torch.zeros(3), []
    for _ in range(60):
        arms = torch.multinomial(theta.softmax(0), 4, replacement=True, generator=generator)
        A = advantages((pays[arms] + offset)[None])[0]
        theta = theta + rate * (A[:, None] * (torch.eye(3)[arms] - theta.softmax(0))).mean(dim=0)
        best.append(float(theta.softmax(0)[2]))
    return best


ways = {"the others as baseline": reinforcement.leave_one_out, "no baseline": reinforcement.ADVANTAGES["none"]}
curves = {}
for name, advantages in ways.items():
    players = torch.tensor([play(10, advantages, seed) for seed in range(10)])
    curves[name] = list(enumerate(players.mean(dim=0).tolist()))[::3]
pictures.lines(curves, "step of four pulls", "probability of the best arm, mean of 10")

# %% [markdown]
# ## From arms to tokens
#
# A language model is a policy already. It sees a text, and chooses one of $V$ actions by softmax. A story is a trajectory
# of a hundred such choices, with one reward at its end. The probability of a whole text is the product of the
# probabilities of its tokens, so
#
# $$ \nabla \ln \pi(\text{text}) = \sum_t \nabla \ln \pi(\text{token}_t \mid \text{tokens before}), $$
#
# and REINFORCE gives every token of a story the same advantage. That is crude: the comma shares the credit with the
# moral. But over many stories, what had nothing to do with the reward averages out.
#
# One thing must be exact: $\ln \pi$ is the log-probability under *the policy that sampled*. If you sampled at a
# temperature, the policy is the model at that temperature. The end token was chosen too, so it counts; the prompt was
# not, so it doesn't.

# %% [markdown]
# ### Your turn: How likely was this completion?
#
# `reinforcement.4` · *core* · 12 minutes
#
# Give ln p of each completion: the sum of ln p of its tokens, at the temperature that it was sampled with. Logits are
# divided by the temperature before the softmax. A target of −100 (prompt, padding) counts nothing.
#
# Shapes: `logits` [B, T, V], `targets` [B, T]. Result: [B]. Example: logits [[[0, 0], [0, ln 3]]], targets [[−100, 1]]
# and temperature 1 give [ln 0.75].
#
# ```python
# def completion_log_prob(
#     logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], temperature: float
# ) -> Float[Tensor, "B"]
# ```

# %%
def completion_log_prob(logits, targets, temperature): ...


check("reinforcement.4", completion_log_prob)

# %% [markdown]
# Let's try it in a world that takes a moment to learn: a tiny model over five letters, and a reward that is the share
# of the letter *a*. Here is one step of REINFORCE, with every number in sight.

# %%
letters = CharTokenizer.from_text("abcde", special_tokens=("<|endoftext|>",))


def beginner(seed=0):
    torch.manual_seed(seed)
    return GPT(GPTConfig.modern(letters.vocab_size, 16, n_layer=1, n_head=2, n_embd=12))


def share_of_a(completions):
    return [one.text.count("a") / max(1, len(one.text)) for one in completions]


tiny = beginner()
completions, rows = complete(tiny, letters, [Prompt([letters.end])] * 8, letters.end, max_new_tokens=12, seed=3)
rewards = rewards_of(share_of_a, completions)
A = reinforcement.leave_one_out(rewards[None])[0]
for one, reward, advantage in zip(completions[:5], rewards, A, strict=False):
    print(f"{one.text!r:16} reward {reward:.2f}   advantage {advantage:+.2f}")

# %% [markdown]
# This loss exists only for its gradient: $-A \ln \pi$ for each token that was sampled. Its value means nothing, and it
# doesn't have to fall while the reward grows. So you'll find no picture of it in this notebook.

# %% tags=["nbval-check-output"]
ids, targets = as_batch([row[:1] for row in rows], rows)
log_p = token_log_probs(tiny(ids)[0], targets)  # [B, T], 0 where no token was sampled
loss = reinforcement.policy_gradient_loss(log_p, A[:, None]).sum(dim=1).mean()
loss.backward()
by_hand = (-(A[:, None] * log_p).sum() / len(A)).item()
print("the loss written out is the same number:", abs(by_hand - loss.item()) < 1e-6)
print("the prompt and the padding count nothing:", bool((log_p[targets == -100] == 0).all()))

# %% [markdown]
# Now repeat: sample, judge, step. `reinforce` does that, with the training loop that you know from notebook 10; only
# its batches come from the model itself. In the picture the rewards are larger by 10 again, once with the baseline of
# the others and once without. Three seeds each, because one run would prove nothing.

# %%
quick = TrainConfig(steps=20, learning_rate=0.01, warmup=0, evaluate_every=0)


def shifted(completions):
    return [10 + share for share in share_of_a(completions)]


def mean_curve(how, reward, plan=quick, name="reward", seeds=3, **settings):
    """A quantity after each round, the mean of several seeds."""
    policy, found = PolicyConfig(**{"group_size": 8, "max_new_tokens": 12} | settings.pop("policy", {})), []
    for seed in range(seeds):
        options = dict(B=16, seed=seed, say=lambda text: None)
        learned = how(beginner(seed), letters, reward, plan, policy, progress=False, sampling=options, **settings)
        found.append(learned.curve(name))
    return torch.tensor(found).mean(dim=0)


with_baseline = mean_curve(reinforce, shifted) - 10
without = mean_curve(reinforce, shifted, baseline=False) - 10
curves = {"the others as baseline": with_baseline, "no baseline": without}
pictures.lines({n: list(enumerate(c.tolist())) for n, c in curves.items()}, "step", "share of the letter a, mean of 3")

# %%
gains = [float(c[-4:].mean() - c[:2].mean()) for c in (with_baseline, without)]
print(f"gain with the baseline {gains[0]:+.2f} (expected above 0.15), without {gains[1]:+.2f} (expected below 0.15)")

# %% [markdown]
# ## GRPO: compare within a group
#
# Now the recipe that many recent models were trained with: **group relative policy optimization**, GRPO ([Shao and
# others 2024](https://arxiv.org/abs/2402.03300)). You have already had its first idea. For each prompt, sample a
# *group* of completions, and let the group be its own baseline. Its predecessor PPO trains a second network, usually of
# about the same size, to predict the reward; GRPO does without.
#
# Its second idea: divide by the standard deviation of the group. Then a prompt whose rewards lie close together speaks
# as loudly as one whose rewards lie far apart.

# %% [markdown]
# ### Your turn: The group-relative advantage
#
# `reinforcement.3` · *core* · 10 minutes
#
# GRPO's advantage: each reward minus the mean of its group, divided by (the group's standard deviation + 0.0001).
# Take `torch.std` as it is. A group in which all rewards are equal must give zeros, not NaN.
#
# Shapes: `rewards` is [G, N], one group in each row; result [G, N]. Example: [[1, 0, 0]] gives [[1.15, −0.58, −0.58]],
# rounded.
#
# ```python
# def group_advantages(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]
# ```

# %%
def group_advantages(rewards): ...


check("reinforcement.3", group_advantages)

# %% [markdown]
# Let's see what the division changes. Without it we take the baseline of the others, whose numbers differ from a mean
# of the whole group by one common factor, $N / (N - 1)$. One prompt has rewards of about 1, the second of about 0.01.
# The third prompt got the same reward for everything it wrote:

# %% tags=["nbval-check-output"]
groups = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.01, 0.00, 0.00, 0.03], [0.5, 0.5, 0.5, 0.5]])  # [G, N]
for name, advantages in {"with": reinforcement.group_advantages, "without": reinforcement.leave_one_out}.items():
    print(f"{name:8}", [[round(a, 2) for a in row] for row in advantages(groups).tolist()])

# %% [markdown]
# Without the division the second prompt whispers. Whether you want it louder is a matter of taste: the division also
# amplifies prompts whose differences are mere noise, and some later recipes leave it out
# ([Liu and others 2025](https://arxiv.org/abs/2503.20783)). About the third group there is no dispute. Where nothing
# differs, nothing can be learned. Remember it; it comes back below.
#
# ### Clipping: several updates from one sample
#
# Sampling is expensive, so we'd like to use each set of completions more than once. But after the first update the
# policy is no longer the one that sampled. The cure is the **importance ratio** $\rho = \pi / \pi_{\text{old}}$ of the
# new probability and that at sampling time: $\rho A$ in place of $A \ln \pi$. As long as the two policies agree, both
# have the same gradient (because $\nabla \rho = \rho \, \nabla \ln \pi$, and there $\rho = 1$). Far away from the old
# policy this estimate is worth little, so PPO stops pushing a token once its ratio has left
# $[1 - \varepsilon, 1 + \varepsilon]$ on the side that its advantage favours ([Schulman and others
# 2017](https://arxiv.org/abs/1707.06347)):
#
# $$ \min\big( \rho A, \; \mathrm{clip}(\rho, 1 - \varepsilon, 1 + \varepsilon) \, A \big) $$

# %% [markdown]
# ### Your turn: The clipped objective
#
# `reinforcement.5` · *stretch* · 12 minutes
#
# PPO's objective for each token, to be made large: min(ρ A, clip(ρ, 1 − ε, 1 + ε) A), where ρ is the probability of
# the token under the new policy divided by that under the old one.
#
# Shapes: `new` and `old`, ln p of the tokens, [T]; `advantage`, [T]; `clip`, the ε. Result: [T]. Example: a token that
# has become twice as likely has ρ = 2; with ε = 0.2 it gives 1.2 for A = 1, and −2 for A = −1.
#
# ```python
# def clipped_objective(
#     new: Float[Tensor, "T"], old: Float[Tensor, "T"], advantage: Float[Tensor, "T"], clip: float
# ) -> Float[Tensor, "T"]
# ```

# %%
def clipped_objective(new, old, advantage, clip): ...


check("reinforcement.5", clipped_objective)

# %% [markdown]
# Drawn for one token, with $\varepsilon = 0.2$. Look for the flat parts: there the gradient is 0, and nothing pushes
# the token any further.

# %%
rho = torch.linspace(0.02, 2, 199)[:, None]  # how much likelier the token has become
curves = {}
for name, advantage in {"A = 1, a good token": 1.0, "A = −1, a bad token": -1.0}.items():
    objective = -reinforcement.clipped_loss(rho.log(), torch.zeros_like(rho), torch.full_like(rho, advantage), 0.2)
    curves[name] = torch.cat((rho, objective), dim=1).tolist()
pictures.lines(curves, "ratio ρ", "clipped objective", at={"1 − ε": 0.8, "1 + ε": 1.2}, legend="center left")

# %% [markdown]
# A good token stops gaining once it is likely enough, a bad one once it is unlikely enough. On the other side nothing
# is clipped: a bad token that has become twice as likely is still pushed back with all its force.
#
# What happens without the clip? We make eight updates from each set of completions, with the clip and without. The
# number is how far the policy has moved from where it began, in nats per token, after one set and after two (the next
# section says how such a distance is measured):

# %%
many = replace(quick, steps=24, learning_rate=0.03)
moved = {}
for name, clip in (("clip 0.2", 0.2), ("no clip", None)):
    moved[name] = mean_curve(grpo, share_of_a, many, "kl", policy=dict(updates=8, clip=clip, kl=1e-6))
    print(f"{name:9} moved {moved[name][1]:.2f} nats per token after one set, {moved[name][2]:.2f} after two")
print(f"expected: at least three times as far without; here {moved['no clip'][1] / moved['clip 0.2'][1]:.1f} times")

# %% [markdown]
# Without the clip, sixteen completions carried the policy several times as far. In this toy that need not hurt, because
# *a* is good whatever else you write. Where a reward is noisy, a policy that goes so far on sixteen samples has learned
# their accidents too.
#
# ### KL: stay close to where you came from
#
# The policy that came out of pre-training knows a great deal that the reward doesn't ask for. Nothing so far protects
# it. So we put a price on every nat of distance to a frozen copy of the first model, the **reference**. The distance is
# the **KL divergence**: the mean of $\ln \pi - \ln \pi_{\text{ref}}$ over what the policy samples. In words: how many
# nats more the policy's own text surprises the reference than it surprises the policy. It is 0 where both agree, and
# above 0 wherever they don't.
#
# It can be estimated from the tokens that were sampled anyway. With $r = \pi_{\text{ref}} / \pi$ each token gives
# $-\ln r$, which is right on average, but a single one may be negative. GRPO takes $r - 1 - \ln r$ instead. Its mean is
# the same, because the mean of $r$ is 1, and it is never negative ([Schulman
# 2020](http://joschu.net/blog/kl-approx.html)).

# %% [markdown]
# ### Your turn: How far from the reference?
#
# `reinforcement.6` · *warm-up* · 8 minutes
#
# Estimate the KL divergence from sampled tokens, one number for each: r − 1 − ln r, where r is the probability of the
# token under the *reference* divided by that under the *policy*.
#
# Shapes: `policy` and `reference`, ln p of the tokens, [T]. Result: [T]; never negative, and 0 where both agree.
# Example: policy [−1], reference [−2] gives [0.368].
#
# ```python
# def kl_estimate(policy: Float[Tensor, "T"], reference: Float[Tensor, "T"]) -> Float[Tensor, "T"]
# ```

# %%
def kl_estimate(policy, reference): ...


check("reinforcement.6", kl_estimate)

# %% [markdown]
# And what is lost without that price? We train longer, let each model write 64 texts, and count how many *different*
# ones there are:

# %%
longer = replace(quick, steps=40, learning_rate=0.02)
for kl in (0.0, 0.1, 0.3):
    tiny = beginner()
    options = dict(B=16, say=lambda text: None)
    grpo(tiny, letters, share_of_a, longer, PolicyConfig(group_size=8, max_new_tokens=12, kl=kl), progress=False,
         sampling=options)  # fmt: skip
    texts = [one.text for one in complete(tiny, letters, [Prompt([letters.end])] * 64, letters.end, 12, seed=1)[0]]
    share = sum(text.count("a") for text in texts) / max(1, sum(map(len, texts)))
    print(f"kl {kl:<4} share of a {share:.2f}   different texts {len(set(texts)):>2} of 64   such as {texts[0]!r}")

# %% [markdown]
# The first line has the highest reward and hardly anything left to say. This is called **mode collapse**: the reward is
# satisfied by one text, so little else remains. (One run each: don't read an order into the two lower lines.) The
# penalty buys variety, and pays with some of the reward.
#
# ### The tested block
#
# All of it together is one objective for `training.run`. You have met every part but one. `behaviour` is
# $\ln \pi_{\text{old}}$; what is new is `mean_over`, which says whether each completion weighs the same, as in GRPO, or
# each token.

# %%
show(reinforcement.PolicyObjective)

# %% tags=["nbval-check-output"]
new, old, reference = (-torch.rand(3, 7, generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3))
A = reinforcement.group_advantages(torch.tensor([[1.0, 0.0, 2.0]]))[0, :, None]  # [3, 1]
ours = reinforcement.clipped_loss(new, old, A, 0.2) + 0.05 * reinforcement.kl_estimate(new, reference)
for b, t in itertools.product(range(3), range(7)):
    ratio, r = (new[b, t] - old[b, t]).exp(), (reference[b, t] - new[b, t]).exp()
    surrogate = min(ratio * A[b, 0], ratio.clamp(0.8, 1.2) * A[b, 0])
    assert torch.isclose(ours[b, t], -(surrogate - 0.05 * (r - 1 - r.log())), atol=1e-6)
print("the published formula, token by token: the same 21 numbers")

# %% [markdown]
# ## At size: happy ends
#
# Back to the stories. The reward is 1 for a story that ends well *and* is coherent, else 0. Each round the model writes
# 48 of them, in groups of 16, and makes two updates. Two dozen updates have to be enough; pre-training took 4,000. In
# the lines below, `flat` counts the groups whose rewards are all equal, `tokens` is the mean length of a story, and
# `kl` the distance to the reference.

# %%
def in_rounds(completions):
    """What to write down about each round."""
    return {name: sum(reward(completions)) / len(completions) for name, reward in wanted.items()}


happy, _ = checkpoints.committed("fables")
plan = replace(reinforcement.TRAINING, steps=24, learning_rate=4e-3)
policy = PolicyConfig(updates=2, kl=0.005)
sampling = dict(B=48, measure=in_rounds)
learned = grpo(happy, tokenizer, Product(happy_end, coherent), plan, policy, sampling=sampling)

# %%
points = {name: list(enumerate(learned.curve(name))) for name in ("happy", "coherent")}
pictures.lines(points, "round of 48 stories", "share of the stories", legend="lower right")

# %%
after = judge(happy, tokenizer, wanted, n=128, seed=7)
print(f"happy ends {before['happy']:.0%} → {after['happy']:.0%} (expected between 75 % and 100 %)")
print(f"coherent   {before['coherent']:.0%} → {after['coherent']:.0%} (expected between 65 % and 95 %)")
print(f"distance to where it came from: {learned.curve('kl')[-1]:.3f} nats per token (expected below 0.2)")
for one in complete(happy, tokenizer, [Prompt([tokenizer.end])] * 4, tokenizer.end, 159, seed=3)[0]:
    print("…", one.text[-95:])

# %% [markdown]
# Fewer than six hundred stories, each with one bit of feedback, and the model has found out what to do: let somebody
# with a virtue find the thing. Nobody told it that the finder's character decides the end. The grammar knows, and the
# model had learned it in pre-training; the reward had only to bring it out. That is typical. Reinforcement learning is
# good at choosing among the things that a model can already do.
#
# Is it the reward that did this, or would any training? The control has the same steps, the same number of stories and
# the same rewards, but each reward goes to the wrong story. Nothing in them says which end is better, so the share of
# happy ends can only wander, up or down, and with so few stories it can wander far. One control is one roll of the
# dice, so we made both runs beforehand with five seeds: with the true rewards the share ended between 80 % and 95 %,
# with the shuffled ones between 32 % and 66 %. The next cell repeats the first of the controls:

# %%
control, _ = checkpoints.committed("fables")
shuffled = Shuffled(Product(happy_end, coherent))
grpo(control, tokenizer, shuffled, plan, policy, sampling=sampling, progress=False)
lost = judge(control, tokenizer, wanted, n=128, seed=7)
print(f"shuffled rewards: happy ends {before['happy']:.0%} → {lost['happy']:.0%}, true rewards {after['happy']:.0%}")
print("(expected with shuffled rewards: between 15 % and 75 %, and less than with the true ones)")

# %% [markdown]
# ## Break it: the model takes you at your word
#
# You have seen a reward that says exactly what we want. Most can't. Suppose that you had no `fables.read`, and thought:
# happy stories have cheerful words in them, so let's count *danced*, *cheered*, *smile*, *kind* and a few others.
#
# *Before you run on:* what will the model write after two dozen updates?

# %%
predict("reinforcement.c", ...)


# %% tags=["answers-prediction"]
def show_story(model, seed=5):
    one = complete(model, tokenizer, [Prompt([tokenizer.end])], tokenizer.end, 159, seed=seed)[0][0]
    print(
        textwrap.fill(f"[{cheerful_words([one])[0]:.0f} cheerful words] … {one.text[-380:]}", width=100),
        "\n",
        flush=True,
    )


hacked, _ = checkpoints.committed("fables")
show_story(hacked)
for updates in (10, 14):
    eager = replace(plan, steps=updates, learning_rate=6e-3, decay_fraction=0.0)
    grpo(hacked, tokenizer, cheerful_words, eager, replace(policy, kl=0.0), progress=False,
         sampling=dict(B=32, measure=in_rounds))  # fmt: skip
    show_story(hacked)

# %%
spoiled = judge(hacked, tokenizer, wanted | {"words": cheerful_words}, n=64, seed=7)
untouched = judge(checkpoints.committed("fables")[0], tokenizer, {"words": cheerful_words}, n=64, seed=7)
print(f"cheerful words per story {untouched['words']:.1f} → {spoiled['words']:.1f} (expected: more)")
print(f"coherent {before['coherent']:.0%} → {spoiled['coherent']:.0%} (expected: far fewer)")

# %% [markdown]
# The answer is c. The reward has gone up, exactly as ordered, and the stories are ruined. This is **reward hacking**.
# The model isn't malicious; it found the shortest way to the number, and the number wasn't what we meant. As the saying
# goes: when a measure becomes a target, it ceases to be a good measure (Goodhart's law). In 2016 a boat in a racing
# game learned to drive in circles, on fire, because there were points to be had
# ([OpenAI](https://openai.com/index/faulty-reward-functions/)); today's versions are assistants that flatter because
# people like it, and programs that pass their tests by editing the tests.
#
# What helps? A price for distance, first:

# %%
held, _ = checkpoints.committed("fables")
eager = replace(plan, steps=24, learning_rate=6e-3, decay_fraction=0.0)
grpo(held, tokenizer, cheerful_words, eager, replace(policy, kl=0.3), sampling=dict(B=32, measure=in_rounds))
kept = judge(held, tokenizer, wanted | {"words": cheerful_words}, n=64, seed=7)
print(
    f"with KL: {kept['words']:.1f} cheerful words, coherent {kept['coherent']:.0%} (without: {spoiled['coherent']:.0%})"
)

# %% [markdown]
# Compare that with the run without the penalty. Some stories are worse than at the beginning, but they are still
# stories. The penalty doesn't know what we mean either; it only makes cheating expensive. And look at `happy` in those
# lines: in our run, counting words even helped while the policy stayed close. A poor measure may serve you well until
# you push it too far. The real cure is a better reward, and you have seen that one: the product with `coherent`, which
# can't be had by stuffing words.

# %% [markdown]
# ## Why a reward that hardly ever comes teaches so little
#
# If rewards can teach, why pre-train at all? Start with a model that knows nothing and reward coherent stories. Think of
# the groups: in most of them nobody succeeds, all rewards are 0, all advantages are 0.
#
# *Before you run on:* a model is coherent in 4 stories of 100. How many of 100 groups of 8 have any difference?

# %%
predict("reinforcement.d", ...)

# %% [markdown]
# ### Your turn: How many groups teach anything?
#
# `reinforcement.8` · *core* · 8 minutes
#
# A completion earns reward 1 with probability p, and 0 otherwise. What is the probability that a group of N
# independent completions has at least two different rewards in it? (The others give advantages of zero.)
#
# Input: `p`, a `float`; `N`, an `int` of at least 2. Result: a `float`. Example: p = 0.5, N = 2 gives 0.5.
#
# ```python
# def teaching_groups(p: float, N: int) -> float
# ```

# %%
def teaching_groups(p, N): ...


check("reinforcement.8", teaching_groups)

# %% [markdown]
# A bad model is easy to get: sample from the good one at a temperature of 1.9, and it stumbles nearly always. (The
# policy that is trained is then the model at that temperature.) Look at `flat`, the number of groups, out of 4, in
# which all rewards are equal (`kl` is 0 only because this run has no reference to measure from):

# %% tags=["answers-prediction"]
stumbling, _ = checkpoints.committed("fables")
rare = PolicyConfig(group_size=8, temperature=1.9, patience=99)
sparse = grpo(stumbling, tokenizer, coherent, replace(plan, steps=8), rare, sampling=dict(B=32))
flat = sum(sparse.curve("flat")) / (4 * len(sparse.records))
print(f"flat groups {flat:.0%} (expected above 40 %)")
first, last = (sum(sparse.curve("reward")[part]) / 4 for part in (slice(0, 4), slice(-4, None)))
print(f"coherent {first:.0%} in the first four rounds, {last:.0%} in the last four (expected: hardly a change)")

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 28: $1 - 0.96^8 - 0.04^8 \approx 0.28$. The other 72 groups are flat.
#
# </details>
#
# Most of the work of sampling was thrown away, and where one story did succeed, that single story had to speak for all.
# The cures are those of every large system: start from a model that succeeds sometimes, which is what pre-training and
# fine-tuning are for; choose problems that are neither hopeless nor solved, where the probability of exercise
# `reinforcement.8` is largest; or give a reward that has degrees.

# %% [markdown]
# ## Preferences
#
# Sometimes nobody can write the reward at all. What makes an answer helpful? But show two answers to a person, and they
# can say which one is better. That is a **preference**, and it is the human feedback in **RLHF**, reinforcement learning
# from human feedback ([Christiano and others 2017](https://arxiv.org/abs/1706.03741)).
#
# How do comparisons become numbers? By a model that also ranks players in sports ([Bradley and Terry
# 1952](https://doi.org/10.2307/2334029)): everyone has a strength $s$, and $i$ beats $j$ with probability $\sigma(s_i -
# s_j)$. The loss of a result is, as always, its surprise. With a lead of $\ln 3$ you win three times in four:

# %% tags=["nbval-check-output"]
lead = torch.tensor([1.0986])
print("probability to win:", round(float(lead.sigmoid()), 3))
print("surprise if the favourite wins:", round(float(bradley_terry_loss(lead, torch.zeros(1))), 3), "nats")
print("surprise if not:               ", round(float(bradley_terry_loss(torch.zeros(1), lead)), 3), "nats")

# %% [markdown]
# Our judge compares stories of the first model, and prefers those that end well and are coherent. A **reward model** is
# a copy of the GPT whose head gives one number instead of $V$ logits. From pairs it learns a score. (256 stories make
# at most 128 pairs of a good one with a bad one; where the judge sees no difference, there is no pair.)

# %%
base, _ = checkpoints.committed("fables")
pairs = make_pairs(base, tokenizer, Product(happy_end, coherent), n=256, seed=11)
print(len(pairs), "pairs")
scorer, _ = fit_reward_model(base, pairs, TrainConfig(steps=16, learning_rate=2e-3, warmup=2, evaluate_every=0), B=8)
unseen, _ = complete(base, tokenizer, [Prompt([tokenizer.end])] * 64, tokenizer.end, 159, seed=12)
scores, truth = rewards_of(scorer.as_reward(tokenizer), unseen), rewards_of(happy_end, unseen)
right = (scores[truth == 1][:, None] > scores[truth == 0]).float().mean()
print(f"an unseen happy story scores higher than a sad one in {right:.0%} of all pairs (expected above 75 %)")

# %% [markdown]
# This `as_reward` could go into `grpo` like any other reward, and that would be RLHF. It can also be hacked like any
# other, and more easily: it is right only about texts like those it has seen
# ([Gao and others 2022](https://arxiv.org/abs/2210.10760)).
#
# ### DPO: without sampling, without a reward model
#
# Is the detour necessary? [Rafailov and others (2023)](https://arxiv.org/abs/2305.18290) noticed that the best policy
# under a KL price $\beta$ satisfies $R = \beta \ln (\pi / \pi_{\text{ref}})$, up to a constant for each prompt. In
# words: of two texts that the reference finds equally likely, the one whose reward is higher by $\beta$ is written $e$
# times as often. So a policy *is* a reward model. Put that into Bradley and Terry's loss, where the constant cancels:
#
# $$ -\ln \sigma\Big( \beta \ln \tfrac{\pi(\text{chosen})}{\pi_{\text{ref}}(\text{chosen})}
#    - \beta \ln \tfrac{\pi(\text{rejected})}{\pi_{\text{ref}}(\text{rejected})} \Big) $$

# %% [markdown]
# ### Your turn: Direct preference optimization
#
# `reinforcement.7` · *stretch* · 15 minutes
#
# In Bradley and Terry's model, a completion with score s is preferred to one with score t with probability σ(s − t).
# DPO takes β ln(π / π_reference) as the score. Give the mean of −ln(probability that the chosen one is preferred).
#
# Shapes: four tensors [B] of ln p of whole completions, and β. Result: a scalar. Where all four are equal it is ln 2.
#
# ```python
# def dpo_loss(
#     chosen: Float[Tensor, "B"], rejected: Float[Tensor, "B"],
#     reference_chosen: Float[Tensor, "B"], reference_rejected: Float[Tensor, "B"], beta: float,
# ) -> Float[Tensor, ""]
# ```

# %%
def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta): ...


check("reinforcement.7", dpo_loss)

# %% [markdown]
# This is the loss of one pair, against the lead of the chosen completion. At first the policy is the reference, every
# lead is 0, and a pair costs ln 2. A large lead costs next to nothing; far in the wrong order, each further unit costs
# almost one nat.

# %%
leads = torch.linspace(-4, 4, 81)
losses = [(float(lead), float(bradley_terry_loss(lead[None], torch.zeros(1)))) for lead in leads]
pictures.lines(
    {"one pair": losses}, "lead of the chosen completion, s − t", "loss (nats)",
    at={"policy = reference": 0}, level={"ln 2": float(torch.tensor(2.0).log())}, bottom=0,
)  # fmt: skip

# %%
direct, _ = checkpoints.committed("fables")
how = TrainConfig(steps=48, learning_rate=1e-3, warmup=3, decay_fraction=0.5, evaluate_every=0)
dpo(direct, pairs, how, B=8)
chosen = judge(direct, tokenizer, wanted, n=128, seed=7)
print(f"DPO:  happy ends {before['happy']:.0%} → {chosen['happy']:.0%} (expected above 65 %)")
print(f"GRPO: happy ends {before['happy']:.0%} → {after['happy']:.0%}")
print(f"coherent after DPO {chosen['coherent']:.0%}, after GRPO {after['coherent']:.0%}")

# %% [markdown]
# The same goal from a fixed set of pairs, without sampling while it trains, with the plain training loop. What it can't
# do is explore: it never sees what its own new stories are like. GRPO does, every round.

# %% [markdown]
# ## What large systems do
#
# - **InstructGPT** ([Ouyang and others 2022](https://arxiv.org/abs/2203.02155)), whose recipe the first ChatGPT
#   followed: fine-tuning on about 13,000 demonstrations, a reward model from rankings for about 33,000 prompts, then
#   PPO on about 31,000 prompts, with a KL penalty, as here. About 40 people did the writing and ranking. People
#   preferred the answers of its 1.3-billion-parameter version to those of the plain GPT-3 with 175 billion.
# - **DeepSeek-R1-Zero** ([DeepSeek 2025](https://arxiv.org/abs/2501.12948)): GRPO from a base model, with rewards that
#   a program can check, as `fables.read` does: is the final answer right, is the format kept? On problems of the AIME
#   2024 it went from 15.6 % to 71.0 % correct at the first try, and its answers grew longer by themselves. Such rewards
#   are called **verifiable**.
# - **Between us and them** lies a lot of engineering. Most of the time goes into sampling, often on other machines than
#   the training, so the policy that samples is always a little out of date. That is what the ratio and the clip are
#   for.
#
# And what is the same, from our half a million parameters to theirs: a policy, a group of completions, a score, an
# advantage, and $-A \ln \pi$.

# %% [markdown]
# ## Exercises
#
# You have met all eight: a step on a bandit (1, warm-up), the baseline of the others (2, warm-up), group advantages (3,
# core), the log-probability of a completion (4, core), clipping (5, stretch), KL (6, warm-up), DPO (7, stretch) and
# groups that teach (8, core). And two that are open-ended:
#
# - *stretch:* Write a reward of your own ("the story mentions the weather twice", "no two names begin with the same
#   letter"), predict how it will be hacked, and see who was more inventive.
# - *stretch:* `python3 -m gptlab train reinforce --reward coherent` rewards coherence alone. By how much does the share of
#   self-contradicting stories fall? What does `--group-size 64` change, and why might it?

# %%
progress("reinforcement")

# %% [markdown]
# ## What to remember
#
# - The gradient of an expected reward is the mean of $R \, \nabla \ln \pi$ over what the policy samples. The reward
#   needs no gradient.
# - A baseline leaves the mean as it is and takes away noise. GRPO's baseline is the group.
# - The clip limits how far one set of samples can carry the policy, the KL penalty how far all of them together can.
# - The model does what is rewarded, not what was meant. Always read samples, and measure something that you did not
#   reward.
# - No success, no signal: reinforcement chooses among what a model can already do.
#
# **New terms.** Policy · action · trajectory (rollout, episode) · reward, return · REINFORCE, policy gradient ·
# baseline · advantage · GRPO (`GRPOTrainer` in trl; `group_size` is `num_generations`, `kl` is `beta`) · clipping
# (`epsilon`) · importance ratio · reference model, KL divergence, KL penalty · mode collapse · reward hacking ·
# verifiable reward (RLVR) · preference, Bradley–Terry model, reward model · RLHF · DPO (`DPOTrainer`).
#
# <details><summary>All rewards of a batch are equal. What is the gradient, and what should a training program do?</summary>
# Zero, apart from the KL price: every group-relative advantage is zero. It should say so, and stop if that never
# changes; ours raises `FlatRewards`.
# </details>
# <details><summary>Why must the end token be among the tokens that receive the advantage?</summary>
# Ending was an action of the policy. Without that gradient, no reward ever acts on the choice to stop.
# </details>
# <details><summary>Your reward climbs and climbs. Which two other curves do you look at?</summary>
# The distance to the reference, and something you want but did not reward, such as coherence or length. And you read
# samples.
# </details>
#
# **Deeper:** Sutton and Barto, *Reinforcement Learning* (2018), chapters 2 and 13, for bandits and the policy gradient;
# Shao et al. 2024, *DeepSeekMath*, section 4; Nathan Lambert, *RLHF* ([rlhfbook.com](https://rlhfbook.com)), for all of
# the practice. In the package, `gptlab/reinforcement.py` from top to bottom.

# %%
recap("reinforcement")

# %% [markdown]
# ## Next
#
# You have now walked the whole way: tokens, attention, training, an assistant, and a reward. One thing is missing, and it
# is yours. [Notebook 16](16_your_own_gpt.ipynb) starts from a text that you choose.
