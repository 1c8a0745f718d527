"""Last-position logits of three prompts: logits.py HF_FOLDER OUT.json MODEL.gguf   (needs torch, transformers)

HF_FOLDER holds the f32 weights that transformers dequantised from MODEL.gguf, which is read for its sha256 only. Prompts are token ids, so no
tokenizer takes part. Writes {"gguf_sha256", "cases": [{"name", "ids", "stride", "logits" (every stride-th of the last position, from 0), "argmax",
"logsumexp", "top5": [[id, logit]]}]}, computed by transformers in f32 with eager attention; f64 differs by at most 3e-5.
"""
import hashlib, json, sys
import torch
from transformers import AutoModelForCausalLM

STRIDE = 64
PROMPTS = {
    # <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n
    "chat": [1, 4093, 198, 26843, 2, 198, 1, 520, 9531, 198],
    "one_token": [1],
    # no text at all: every id is different, long enough for rope and the causal mask to matter
    "scattered": [(17 + 7919 * i) % 49152 for i in range(200)],
}


def main():
    torch.set_num_threads(2)
    with open(sys.argv[3], "rb") as f:
        sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager").eval()
    rows = []
    for name, ids in PROMPTS.items():
        with torch.no_grad():
            last = model(torch.tensor([ids])).logits[0, -1]
        top = last.topk(5)
        rows.append({"name": name, "ids": ids, "stride": STRIDE, "logits": last[::STRIDE].tolist(), "argmax": int(last.argmax()),
                     "logsumexp": float(last.double().logsumexp(-1)), "top5": [[i, v] for i, v in zip(top.indices.tolist(), top.values.tolist())]})
        print(name, len(ids), "ids -> argmax", rows[-1]["argmax"], "logsumexp", rows[-1]["logsumexp"])
    with open(sys.argv[2], "w") as f:
        f.write(f'{{"gguf_sha256": "{sha256}",\n"cases": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")


if __name__ == "__main__":
    main()
