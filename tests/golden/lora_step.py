"""Ten golden GRPO steps of a LoRA adapter on a tiny Llama: lora_step.py OUT_FOLDER   (needs torch, transformers, peft, safetensors)

Writes to OUT_FOLDER
  golden_tiny.safetensors           base weights, f32, Hugging Face names (lm_head is tied); config.json beside it
  golden_tiny_adapter.safetensors   initial A and B (B not zero), f32, peft's names; r 4, alpha 8, on q, k, v, o, gate, up, down
  lora_step.json                    {"temperature", "beta", "lr", "betas", "eps", "weight_decay", "max_grad_norm", "r", "alpha", "epsilon", "loss_type",
                                     "rows": [{"prompt", "completion", "mask"}] (two prompts x G 4, in group order), "advantages": [step][row],
                                     "steps": [{"loss", "kl", "grad_norm" (before the clip), "mean_logprob" (active tokens, before the update)}],
                                     "first_logprobs": [row][token], "first_grad_norms", "final_norms": {peft tensor name: value},
                                     "f32_max_difference": {key of a step: value}}
Per step: logits / temperature, log-softmax, TRL's dapo loss (losses.py, checked against TRL there), old = own logprobs without gradient, k3 KL to
the adapter-off model, one AdamW update. Rows run one by one, so nothing is padded. All numbers are f64: transformers computes norms and rope in f32
whatever the model's dtype, so both are replaced by f64 twins; "f32_max_difference" is what plain transformers in f32 gets instead.
"""
import json, os, random, sys
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama
from losses import padded, policy_loss

G, STEPS, TEMPERATURE, BETA, LR, BETAS, EPS, MAX_NORM, R, ALPHA, EPSILON = 4, 10, 0.9, 0.02, 1e-2, (0.9, 0.99), 1e-8, 1.0, 4, 8, 0.2
CONFIG = dict(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5,
              rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True, max_position_embeddings=128, bos_token_id=1, eos_token_id=2)


def norm_f64(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rope_f64(self, x, position_ids):
    dim = self.config.hidden_size // self.config.num_attention_heads
    inverse = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = (position_ids.double().unsqueeze(-1) * inverse).repeat(1, 1, 2)  # [B, T, D]: half-split rope
    return angles.cos(), angles.sin()


def weights():
    """Base and adapter, drawn larger than models are initialised, so that every adapter tensor has a gradient worth comparing."""
    g = torch.Generator().manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG))
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            p.copy_(1 + 0.1 * noise if "norm" in name else 0.2 * noise)
    base = {k: v.clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    lora = get_peft_model_state_dict(wrap(model))
    return base, {k: torch.randn(v.shape, generator=g) * (0.2 if "lora_A" in k else 0.1) for k, v in sorted(lora.items())}


def wrap(model):
    return get_peft_model(model, LoraConfig(r=R, lora_alpha=ALPHA, lora_dropout=0.0, task_type="CAUSAL_LM",
                                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))


def batch():
    rng = random.Random(0)
    rows = []
    for prompt_len, lengths in ((7, (5, 9, 1, 6)), (12, (8, 3, 10, 4))):
        prompt = [1] + [rng.randrange(3, 97) for _ in range(prompt_len - 1)]
        for n in lengths:
            rows.append({"prompt": prompt, "completion": [rng.randrange(3, 97) for _ in range(n - 1)] + [2], "mask": [1] * n})
    rows[1]["mask"][3:6] = [0, 0, 0]  # as after a tool call
    advantages = [[round(rng.gauss(0, 1), 4) for _ in rows] for _ in range(STEPS)]
    advantages[3][:G] = [0.0] * G  # a group without spread: only the KL moves it
    return rows, advantages


def logprobs(model, row):
    ids = torch.tensor([row["prompt"] + row["completion"]])
    logits = model(ids).logits[0, len(row["prompt"]) - 1:-1]  # [C, V]
    return (logits / TEMPERATURE).log_softmax(-1).gather(1, ids[0, len(row["prompt"]):, None])[:, 0]


def train(dtype, base, lora, rows, advantages):
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="sdpa"))
    model.load_state_dict(base, strict=False)
    model = wrap(model.to(dtype))
    set_peft_model_state_dict(model, lora)
    model.to(dtype).train()
    adapter = {k: p for k, p in model.named_parameters() if p.requires_grad}
    name = lambda k: k.replace(".default", "")  # noqa: E731
    optimiser = torch.optim.AdamW(adapter.values(), lr=LR, betas=BETAS, eps=EPS, weight_decay=0.0)
    mask = padded([r["mask"] for r in rows], dtype)
    pad = lambda many: torch.nn.utils.rnn.pad_sequence(many, batch_first=True)  # noqa: E731
    with torch.no_grad(), model.disable_adapter():
        ref = pad([logprobs(model, r) for r in rows])
    out = {"steps": []}
    for step, adv in enumerate(advantages):
        lp = pad([logprobs(model, r) for r in rows])
        loss, metrics = policy_loss(lp, None, ref, mask, torch.tensor(adv, dtype=dtype), loss_type="dapo", epsilon=EPSILON, epsilon_high=None, delta=None,
                                    beta=BETA, max_completion_length=16)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            out["first_logprobs"] = [x[:len(r["mask"])].tolist() for x, r in zip(lp.detach(), rows)]
            out["first_grad_norms"] = {name(k): p.grad.norm().item() for k, p in adapter.items()}
        norm = torch.nn.utils.clip_grad_norm_(adapter.values(), MAX_NORM)
        optimiser.step()
        out["steps"].append({"loss": loss.item(), "kl": metrics["kl"], "grad_norm": norm.item(), "mean_logprob": ((lp * mask).sum() / mask.sum()).item()})
    out["final_norms"] = {name(k): p.norm().item() for k, p in adapter.items()}
    return out


def main():
    torch.set_num_threads(1)
    folder = sys.argv[1]
    base, lora = weights()
    rows, advantages = batch()
    plain = train(torch.float32, base, lora, rows, advantages)
    modeling_llama.LlamaRMSNorm.forward, modeling_llama.LlamaRotaryEmbedding.forward = norm_f64, rope_f64
    exact = train(torch.float64, base, lora, rows, advantages)
    assert all(v > 0 for v in exact["first_grad_norms"].values()) and len(exact["first_grad_norms"]) == len(lora)
    difference = {k: max(abs(p[k] - e[k]) for p, e in zip(plain["steps"], exact["steps"])) for k in exact["steps"][0]}
    save_file(base, os.path.join(folder, "golden_tiny.safetensors"), metadata={"format": "pt"})
    save_file(lora, os.path.join(folder, "golden_tiny_adapter.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w") as f:  # rope_theta at both places: hub models before and after transformers 5
        json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "float32", "rope_theta": 10000.0, **CONFIG}, f, indent=1)
        f.write("\n")
    settings = {"temperature": TEMPERATURE, "beta": BETA, "lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": 0.0, "max_grad_norm": MAX_NORM, "r": R, "alpha": ALPHA,
                "epsilon": EPSILON, "loss_type": "dapo"}
    with open(os.path.join(folder, "lora_step.json"), "w") as f:
        json.dump({**settings, "rows": rows, "advantages": advantages, **exact, "f32_max_difference": difference}, f, indent=1)
        f.write("\n")
    for name in ("golden_tiny.safetensors", "golden_tiny_adapter.safetensors"):
        os.chmod(os.path.join(folder, name), 0o644)
    for s in exact["steps"]:
        print(s)
    print("f32 against f64:", difference)


if __name__ == "__main__":
    main()
