"""Golden GRPO losses: losses.py OUT.json [--check-trl]   (needs torch; trl for the check)

TRL's per-token loss, its three aggregations and its logged means, in f64 by torch autograd, for one process, gradient accumulation 1 and one
step per generation. Writes [{"name", inputs, outputs}]: rows are ragged; "old" is null when on-policy (old = logprobs without gradient), "ref"
is null when beta is 0; "sampler" is null where sampling used the update's own arithmetic, else its logprobs, for which a token's loss is
corrected by the ratio exp(old - sampler), at most SAMPLER_CAP (TRL's token_truncate); "grad" is dloss/dlogprob per token; "kl" is null when beta is 0. As in TRL, tokens are clip-counted after the ratio
was capped at delta.

--check-trl feeds every case to the installed trl's own GRPOTrainer._compute_loss, with a stub in place of the model, and asserts equal losses,
gradients and metrics. It passed with trl 1.16.0, torch 2.15.0.
"""
import argparse, json, math, random
import torch

SAMPLER_CAP = 3.0  # TRL's vllm_importance_sampling_clip_max
CLIP = ["low_mean", "high_mean", "region_mean"]


def padded(rows, dtype=torch.float64):
    t = max(map(len, rows))
    return torch.tensor([list(r) + [0] * (t - len(r)) for r in rows], dtype=dtype)  # [B, T]


def sampler_ratio(lp, old, sampler):
    """trl/trainer/grpo_trainer.py, _generate_and_score_completions, token_truncate."""
    return torch.clamp(torch.exp((lp.detach() if old is None else old) - sampler), max=SAMPLER_CAP)


def policy_loss(lp, old, ref, sampler, mask, adv, *, loss_type, epsilon, epsilon_high, delta, beta, max_completion_length):
    """trl/trainer/grpo_trainer.py, _compute_loss: lp, old, ref, sampler, mask [B, T], adv [B] -> loss, metrics."""
    correction = 1.0 if sampler is None else sampler_ratio(lp, old, sampler)
    old = lp.detach() if old is None else old
    high = epsilon if epsilon_high is None else epsilon_high
    adv = adv.unsqueeze(1)
    ratio = torch.exp(lp - old)
    clipped = torch.clamp(ratio, 1 - epsilon, 1 + high)
    if delta is not None:
        ratio = torch.clamp(ratio, max=delta)
    token = -torch.min(ratio * adv, clipped * adv) * correction
    kl = torch.exp(ref - lp) - (ref - lp) - 1 if beta != 0 else None
    if beta != 0:
        token = token + beta * kl
    if loss_type == "grpo":
        loss = ((token * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    elif loss_type == "dr_grpo":
        loss = (token * mask).sum() / (token.size(0) * max_completion_length)
    elif loss_type == "dapo":
        loss = (token * mask).sum() / mask.sum().clamp(min=1)
    else:
        raise ValueError(loss_type)

    def mean(x):
        return ((x * mask).sum() / mask.sum().clamp(min=1)).item()

    low, up = (ratio < 1 - epsilon) & (adv < 0), (ratio > 1 + high) & (adv > 0)
    metrics = {"kl": None if kl is None else mean(kl), "clip_low_mean": mean(low), "clip_high_mean": mean(up), "clip_region_mean": mean(low | up)}
    return loss, metrics


def case(name, loss_type, seed, lengths, *, spread=0.0, sampled=0.0, holes=(), empty=(), adv=None, epsilon=0.2, epsilon_high=None, delta=None, beta=0.0, max_completion_length=16):
    """spread: standard deviation of lp - old (0: on-policy); sampled: of lp - sampler (0: none); holes: (row, from, to) masked inside; empty: rows without an active token."""
    rng = random.Random(seed)
    draw = lambda mean, std: [[round(rng.gauss(mean, std), 4) for _ in range(n)] for n in lengths]  # noqa: E731
    lp = [[-abs(x) - 0.01 for x in row] for row in draw(-1.5, 1.0)]
    lp = [[round(x, 4) for x in row] for row in lp]
    shift = lambda std: [[round(x + d, 4) for x, d in zip(*rows)] for rows in zip(lp, draw(0.0, std))]  # noqa: E731
    old, ref = shift(spread) if spread else None, shift(0.5) if beta else None
    mask = [[0 if i in empty or any(r == i and a <= t < b for r, a, b in holes) else 1 for t in range(n)] for i, n in enumerate(lengths)]
    adv = [round(rng.gauss(0, 1), 4) for _ in lengths] if adv is None else adv
    sampler = shift(sampled) if sampled else None
    return {"name": name, "loss_type": loss_type, "epsilon": epsilon, "epsilon_high": epsilon_high, "delta": delta, "beta": beta,
            "max_completion_length": max_completion_length, "logprobs": lp, "old": old, "ref": ref, "sampler": sampler, "mask": mask, "advantages": adv}


RAGGED, TOOLS = [5, 8, 3, 6], [(1, 2, 5), (3, 0, 1)]
CASES = [
    *(case(f"{kind}_on_policy", kind, 1, RAGGED) for kind in ("dapo", "grpo", "dr_grpo")),
    *(case(f"{kind}_off_policy", kind, 2, RAGGED, spread=0.4) for kind in ("dapo", "grpo", "dr_grpo")),
    *(case(f"{kind}_tool_mask_and_empty_row", kind, 3, RAGGED, spread=0.4, holes=TOOLS, empty=(2,)) for kind in ("dapo", "grpo", "dr_grpo")),
    *(case(f"{kind}_kl", kind, 4, RAGGED, spread=0.3, holes=TOOLS, beta=0.04) for kind in ("dapo", "grpo", "dr_grpo")),
    *(case(f"{kind}_everything", kind, 5, [7, 1, 9, 4, 2, 6], spread=0.6, holes=[(0, 3, 6), (2, 1, 4)], empty=(4,), epsilon=0.1, epsilon_high=0.28, delta=1.6, beta=0.1,
           max_completion_length=9) for kind in ("dapo", "grpo", "dr_grpo")),
    case("dapo_clip_higher", "dapo", 6, [6, 6, 6, 6], spread=0.4, adv=[1.5, 1.0, -1.0, -1.5], epsilon_high=0.28),
    case("dapo_delta_caps_negative_advantages", "dapo", 7, [6, 6, 6, 6], spread=1.0, adv=[-1.5, -1.0, -0.5, 1.0], delta=1.5),
    case("dapo_delta_below_clip", "dapo", 8, [6, 6, 6, 6], spread=1.0, adv=[-1.5, 1.0, 0.5, -1.0], epsilon_high=0.6, delta=1.25),
    case("grpo_far_off_policy", "grpo", 9, [4, 7], spread=3.0, adv=[0.8, -0.8], beta=0.02),
    case("grpo_zero_advantage_kl_only", "grpo", 10, [4, 2, 5], adv=[0.0, 0.0, 0.0], beta=0.02),
    case("dapo_one_zero_advantage", "dapo", 11, [4, 2, 5], spread=0.4, adv=[1.0, 0.0, -1.0]),
    case("dapo_one_token", "dapo", 12, [1], adv=[-2.0]),
    *(case(f"{kind}_other_sampler", kind, 14, RAGGED, sampled=0.8, holes=TOOLS, beta=0.04) for kind in ("dapo", "grpo", "dr_grpo")),
    case("dapo_other_sampler_off_policy", "dapo", 15, [9, 9, 8], spread=0.4, sampled=0.8),
    *(case(f"{kind}_nothing_active", kind, 13, [3, 2], spread=0.2, empty=(0, 1), beta=0.04) for kind in ("dapo", "grpo", "dr_grpo")),
]


def tensors(c):
    lp, old, ref, sampler, mask = (None if c[k] is None else padded(c[k]) for k in ("logprobs", "old", "ref", "sampler", "mask"))
    return lp.requires_grad_(), old, ref, sampler, mask, torch.tensor(c["advantages"], dtype=torch.float64)


def solve(c):
    lp, old, ref, sampler, mask, adv = tensors(c)
    keys = ("loss_type", "epsilon", "epsilon_high", "delta", "beta", "max_completion_length")
    loss, metrics = policy_loss(lp, old, ref, sampler, mask, adv, **{k: c[k] for k in keys})
    loss.backward()
    grad = [row[:len(r)].tolist() for row, r in zip(lp.grad, c["logprobs"])]
    ratio = torch.exp(lp - (lp if old is None else old))
    for edge in (1 - c["epsilon"], 1 + (c["epsilon_high"] or c["epsilon"]), c["delta"]):  # an f32 twin must fall on the same side
        assert edge is None or ((ratio - edge).abs()[mask > 0] > 1e-4).all(), c["name"]
    return {**c, "loss": loss.item(), "grad": grad, **metrics}


def check_trl(c):
    from types import SimpleNamespace as Stub
    from collections import defaultdict
    from trl import GRPOTrainer
    lp, old, ref, sampler, mask, adv = tensors(c)
    one = Stub(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True)
    trainer = Stub(args=Stub(delta=c["delta"], use_bias_correction_kl=False, steps_per_generation=1), accelerator=one, model=Stub(training=True), beta=c["beta"],
                   loss_type=c["loss_type"], epsilon_low=c["epsilon"], epsilon_high=c["epsilon"] if c["epsilon_high"] is None else c["epsilon_high"],
                   max_completion_length=c["max_completion_length"], current_gradient_accumulation_steps=1, importance_sampling_level="token",
                   top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=sampler is not None, vllm_importance_sampling_correction=True, aux_loss_enabled=False, _entropy_bonus_enabled=False,
                   _metrics={"train": defaultdict(list)}, _get_per_token_logps_and_entropies=lambda *_, **__: (lp, torch.zeros_like(lp), None))
    ids = torch.zeros(lp.shape, dtype=torch.long)
    completion = padded([[1] * len(r) for r in c["logprobs"]], torch.long)  # TRL's mask is completion_mask * tool_mask
    inputs = {"prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids, "completion_mask": completion, "tool_mask": mask.long(),
              "advantages": adv, "num_items_in_batch": mask.long().sum(), **({} if old is None else {"old_per_token_logps": old}), **({} if ref is None else {"ref_per_token_logps": ref}),
              **({} if sampler is None else {"importance_sampling_ratio": sampler_ratio(lp, old, sampler)})}
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    logged = {k: v[0] for k, v in trainer._metrics["train"].items()}
    got = [loss.item(), *lp.grad.flatten().tolist()]
    want = [c["loss"], *padded(c["grad"]).flatten().tolist()]
    assert all(math.isclose(g, w, rel_tol=1e-12, abs_tol=1e-15) for g, w in zip(got, want, strict=True)), c["name"]
    assert all(abs(logged[f"clip_ratio/{k}"] - c[f"clip_{k}"]) < 1e-6 for k in CLIP), c["name"]  # TRL counts in f32
    assert ("kl" in logged) == (c["kl"] is not None) and (c["kl"] is None or abs(logged["kl"] - c["kl"]) < 1e-12), c["name"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out"), ap.add_argument("--check-trl", action="store_true")
    a = ap.parse_args()
    cases = [solve(c) for c in CASES]
    with open(a.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    for c in cases:
        print(f"{c['name']:38} loss {c['loss']:+.6f} kl {c['kl']} clipped {c['clip_low_mean']:.3f} {c['clip_high_mean']:.3f}")
    if a.check_trl:
        for c in cases:
            check_trl(c)
        print("trl agrees on", len(cases), "cases")


if __name__ == "__main__":
    main()
