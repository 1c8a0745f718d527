"""Logits of tiny Llama 3, Qwen2 and Qwen3 models: families.py OUT.json   (needs torch, transformers)

Writes {"ids", "cases": [{"name", "config" (config.json as transformers saves it), "logits" (of the last position)}]}, computed by transformers in f32 with
eager attention. Weights are made by `number` from a tensor's name and an index; all are exact in bf16, so that no file of weights is needed.
What the families differ by is in them: Llama 3's scaled rotary frequencies (kept, divided, and between), Qwen2's biases, Qwen3's normalised heads
whose width is not E / H.
"""
import json, os, sys, tempfile
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

SIZES = dict(vocab_size=259, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
CASES = {
    "llama3": LlamaConfig(**SIZES, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "qwen2": Qwen2Config(**SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    "qwen3": Qwen3Config(**SIZES, head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=True,
                         rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
}
IDS = [(17 + 101 * i) % 259 for i in range(120)]


def number(name, count):
    """Numbers of a tensor, from its name and their index: multiples of 1/256 from -1/2 to 1/2, of 1/64 around 1 for norms."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 % 2**32  # FNV-1a
    h = (np.arange(count, dtype=np.uint64) * 2654435761 + seed) % 2**32
    h ^= h >> np.uint64(15)
    h = h * 2246822519 % 2**32
    h ^= h >> np.uint64(13)
    centred = (h >> np.uint64(24)).astype(np.float32) - 128
    return 1 + np.trunc(centred / 16) / 64 if name.endswith("norm.weight") else centred / 256


def main():
    torch.set_num_threads(1)
    cases = []
    for name, config in CASES.items():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            for key, p in model.named_parameters():
                p.copy_(torch.from_numpy(number(key, p.numel()).astype(np.float32)).reshape(p.shape))
                assert torch.equal(p, p.bfloat16().float()), key
            logits = model(torch.tensor([IDS])).logits[0, -1]
        with tempfile.TemporaryDirectory() as folder:
            config.architectures = [type(model).__name__]
            config.save_pretrained(folder)
            saved = json.load(open(os.path.join(folder, "config.json")))
        saved.pop("transformers_version")
        cases.append({"name": name, "config": saved, "logits": [round(x, 6) for x in logits.tolist()]})
        print(name, sum(p.numel() for p in model.parameters()), "numbers, logits from", float(logits.min()), "to", float(logits.max()))
    with open(sys.argv[1], "w") as f:
        f.write(json.dumps({"ids": IDS})[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
