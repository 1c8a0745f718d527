"""Golden GRPO advantages: advantages.py OUT.json [--check-trl]   (needs torch; trl for the check)

TRL's `sum_then_normalize`: A = R - mean(group), divided by (std + 1e-4) unless scale_rewards is "none"; std with n-1, of the group or of the whole
batch; null = no reward applied, left out of mean and std, advantage 0. In f64, one process. Writes [{"name", "scale_rewards", "num_generations",
"rewards": [[G] per group], "advantages": [[G] per group], "reward", "reward_std", "frac_reward_zero_std"}] with TRL's logged metrics (for
scale_rewards "batch" TRL's last one looks at the batch's std, so it is 0 or 1).

--check-trl runs the very lines of the installed trl's GRPOTrainer on the same rewards. It passed with trl 1.16.0, torch 2.15.0.
"""
import argparse, json, math, random
import torch


def spread(x):
    x = x[~x.isnan()]
    return x.std() if len(x) > 1 else torch.tensor(math.nan, dtype=x.dtype)


def solve(name, scale, groups):
    nan = math.nan
    r = torch.tensor([[nan if x is None else x for x in g] for g in groups], dtype=torch.float64)  # [N, G]
    std = spread(r.flatten()).expand(len(r)) if scale == "batch" else torch.stack([spread(g) for g in r])
    adv = r - r.nanmean(1, keepdim=True)
    if scale != "none":
        adv = adv / (std.unsqueeze(1) + 1e-4)
    zero = torch.isclose(std, torch.zeros_like(std))
    return {"name": name, "scale_rewards": scale, "num_generations": r.shape[1], "rewards": groups, "advantages": adv.nan_to_num(nan=0.0).tolist(),
            "reward": r.nanmean().item(), "reward_std": spread(r.flatten()).item(), "frac_reward_zero_std": zero.double().mean().item()}


def cases():
    rng = random.Random(0)
    sets = {f"dense_g{g}": [[round(rng.uniform(-1, 3), 3) for _ in range(g)] for _ in range(3)] for g in range(2, 9)}
    sets |= {
        "binary_g8": [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]],
        "some_zero_variance_g4": [[0.1, 0.1, 0.1, 0.1], [0.0, 1.0, 0.5, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]],
        "all_zero_variance_g3": [[0.7, 0.7, 0.7], [0.7, 0.7, 0.7]],
        "tiny_variance_g2": [[0.5, 0.5001], [3.0, 3.001]],
        "large_rewards_g4": [[1000.0, -1000.0, 0.0, 250.0], [1.0, 2.0, 3.0, 4.0]],
        "null_g4": [[1.0, None, 0.0, 0.5], [None, None, 0.25, 0.75], [1.0, 0.0, 0.0, 0.0]],
        "one_scored_and_none_scored_g3": [[None, 2.0, None], [None, None, None], [0.0, 1.0, 2.0]],
    }
    return [solve(name + "_" + scale, scale, groups) for name, groups in sets.items() for scale in ("group", "batch", "none")]


def check_trl(c):
    """TRL computes advantages inside a 300-line method; run exactly those lines of it."""
    import inspect, textwrap
    from collections import defaultdict
    from types import SimpleNamespace as Stub
    from trl import GRPOTrainer
    from trl.trainer.utils import nanstd
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    between = lambda a, b: source[source.rindex("\n", 0, source.index(a)):source.rindex("\n", 0, source.index(b))]  # noqa: E731
    source = textwrap.dedent(between("unscorable_mask =", "# Slice to keep only") + between("rewards = (rewards_per_func * self.reward_weights.to(rewards_per_func", "# Log prompts and completions"))
    trainer = Stub(multi_objective_aggregation="sum_then_normalize", scale_rewards=c["scale_rewards"], reward_weights=torch.ones(1, dtype=torch.float64), _metrics={"train": defaultdict(list)})
    rewards = torch.tensor([[math.nan if x is None else x] for g in c["rewards"] for x in g], dtype=torch.float64)
    scope = {"torch": torch, "nanstd": nanstd, "self": trainer, "device": "cpu", "mode": "train", "num_generations": c["num_generations"], "rewards_per_func": rewards}
    exec(source, scope)
    got = [*scope["advantages"].tolist(), *(trainer._metrics["train"][k][0] for k in ("reward", "reward_std", "frac_reward_zero_std"))]
    want = [*(a for g in c["advantages"] for a in g), c["reward"], c["reward_std"], c["frac_reward_zero_std"]]
    assert all(math.isclose(g, w, rel_tol=1e-7, abs_tol=1e-9) for g, w in zip(got, want, strict=True)), c["name"]  # TRL takes n / (n - 1) in f32


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out"), ap.add_argument("--check-trl", action="store_true")
    a = ap.parse_args()
    rows = cases()
    with open(a.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, allow_nan=False) for c in rows) + "\n]\n")
    print(len(rows), "cases")
    if a.check_trl:
        for c in rows:
            check_trl(c)
        print("trl agrees on", len(rows), "cases")


if __name__ == "__main__":
    main()
