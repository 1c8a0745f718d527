"""Tokens per second of llama.cpp on the work of `whetstone bench generate`: llama.py MODEL.gguf [--rows 1 8 32] [--tokens 64] [--threads 2]

Needs `pip install llama-cpp-python` (builds llama.cpp for this machine). One prompt of 200 tokens is read once and shared by all rows; every row
then samples from the full distribution at temperature 1. The decode phase alone is timed, the median of three.
"""
import argparse
import json
import statistics
import time

import llama_cpp as llama

ap = argparse.ArgumentParser()
ap.add_argument("model")
ap.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
ap.add_argument("--tokens", type=int, default=64)
ap.add_argument("--threads", type=int, default=2)
a = ap.parse_args()
PROMPT = [1000 + (j * 104_729) % 20_000 for j in range(200)]


@llama.llama_log_callback
def quiet(*_):
    pass


llama.llama_log_set(quiet, None)
llama.llama_backend_init()
params = llama.llama_model_default_params()
model = llama.llama_model_load_from_file(a.model.encode(), params)


def run(rows):
    c = llama.llama_context_default_params()
    c.n_ctx, c.n_batch, c.n_ubatch, c.n_seq_max = 256 + rows * (a.tokens + 8), 512, 512, rows
    c.n_threads = c.n_threads_batch = a.threads
    c.kv_unified = True  # rows share the prompt's keys and values
    context = llama.llama_init_from_model(model, c)
    memory = llama.llama_get_memory(context)
    batch = llama.llama_batch_init(max(rows, len(PROMPT)), 0, 1)
    samplers = []
    for row in range(rows):
        sampler = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        llama.llama_sampler_chain_add(sampler, llama.llama_sampler_init_temp(1.0))
        llama.llama_sampler_chain_add(sampler, llama.llama_sampler_init_dist(row))
        samplers.append(sampler)

    def put(entries):
        batch.n_tokens = len(entries)
        for i, (token, position, row, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = row
        if llama.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")

    put([(token, i, 0, i + 1 == len(PROMPT)) for i, token in enumerate(PROMPT)])
    for row in range(1, rows):
        llama.llama_memory_seq_cp(memory, 0, row, -1, -1)
    tokens = [llama.llama_sampler_sample(samplers[row], context, len(PROMPT) - 1) for row in range(rows)]
    start = time.perf_counter()
    for step in range(a.tokens):
        put([(tokens[row], len(PROMPT) + step, row, True) for row in range(rows)])
        tokens = [llama.llama_sampler_sample(samplers[row], context, row) for row in range(rows)]
    seconds = time.perf_counter() - start
    for sampler in samplers:
        llama.llama_sampler_free(sampler)
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    return rows * a.tokens / seconds


for rows in a.rows:
    print(json.dumps({"rows": rows, "tokens_per_second": statistics.median(run(rows) for _ in range(3))}), flush=True)
