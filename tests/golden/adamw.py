"""Golden AdamW steps: adamw.py OUT.json   (needs torch)

torch.nn.utils.clip_grad_norm_ (over all tensors together, max 1.0) and torch.optim.AdamW (betas 0.9/0.99, eps 1e-8) in f64 for five steps with a
learning rate per step, on two tensors with given gradients (a zero among them; norms above and below the clip). Writes {"betas", "eps",
"max_grad_norm", "cases": [{"weight_decay", "params": [{"shape", "values"}], "steps": [{"lr", "grads": [flat], "grad_norm" (before the clip), "params":
[flat]}], "exp_avg": [flat], "exp_avg_sq": [flat] (after the last step)}]}. Numbers are row-major.
"""
import json, random, sys
import torch

SHAPES, RATES, SCALES = [(3, 2), (4,)], [0.01, 0.02, 0.015, 0.01, 0.0], [0.1, 3.0, 0.5, 1e-4, 1.0]
BETAS, EPS, MAX_NORM = (0.9, 0.99), 1e-8, 1.0


def flat(tensors):
    return [t.detach().flatten().tolist() for t in tensors]


def solve(weight_decay):
    rng = random.Random(0)
    draw = lambda scale: [torch.tensor([round(rng.gauss(0, 1), 4) * scale for _ in range(torch.Size(s).numel())], dtype=torch.float64).reshape(s) for s in SHAPES]  # noqa: E731
    params = [torch.nn.Parameter(p) for p in draw(1.0)]
    start = [{"shape": list(s), "values": v} for s, v in zip(SHAPES, flat(params))]
    optimiser = torch.optim.AdamW(params, lr=0.0, betas=BETAS, eps=EPS, weight_decay=weight_decay)
    steps = []
    for lr, scale in zip(RATES, SCALES):
        grads = draw(scale)
        grads[1][0] = 0.0
        for p, g in zip(params, grads):
            p.grad = g.clone()
        norm = torch.nn.utils.clip_grad_norm_(params, MAX_NORM)
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.step()
        steps.append({"lr": lr, "grads": flat(grads), "grad_norm": norm.item(), "params": flat(params)})
    moments = {k: flat(optimiser.state[p][k] for p in params) for k in ("exp_avg", "exp_avg_sq")}
    return {"weight_decay": weight_decay, "params": start, "steps": steps, **moments}


def main():
    cases = [solve(w) for w in (0.0, 0.01)]
    with open(sys.argv[1], "w") as f:
        json.dump({"betas": BETAS, "eps": EPS, "max_grad_norm": MAX_NORM, "cases": cases}, f, indent=1)
        f.write("\n")
    print("gradient norms", [s["grad_norm"] for s in cases[0]["steps"]])


if __name__ == "__main__":
    main()
