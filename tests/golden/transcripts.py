"""Every turn of a run's conversations against its tokens, by transformers: transcripts.py SERVER RUN TOKENIZER_FOLDER

SERVER is a running `whetstone serve`, as http://127.0.0.1:4270. Each turn must be the text of its tokens, each token of a tool must
have mask 0 and each of the model mask 1, and the turns must cover the row. Prints what was looked at; exits with 1 on a difference.
"""
import json
import sys
import urllib.request

from transformers import AutoTokenizer

server, run, folder = sys.argv[1:4]
tokenizer = AutoTokenizer.from_pretrained(folder)
counts = dict(steps=0, rollouts=0, turns=0, turns_of_tools=0, calls_run=0, failed=0, differences=0)


def get(path):
    return json.load(urllib.request.urlopen(f"{server}/api/v1/runs/{run}/{path}"))


def differs(group, rollout, what):
    counts["differences"] += 1
    print(f"group {group}, rollout {rollout['index']}: {what}")


def look(group, rollout):
    counts["rollouts"] += 1
    end = 0
    for turn in rollout["turns"]:
        said_by_tool = turn["role"] == "tool"
        counts["turns"] += 1
        counts["turns_of_tools"] += said_by_tool
        ids = rollout["ids"][turn["start"] : turn["end"]]
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if turn["start"] != end or text != turn["text"]:
            differs(group, rollout, f"{text!r} is shown as {turn['text']!r}")
        if set(rollout["mask"][turn["start"] : turn["end"]]) - {0 if said_by_tool else 1}:
            differs(group, rollout, f"the mask of a turn of {turn['role']}")
        for exchange in turn.get("exchanges", []):
            counts["calls_run"] += 1
            counts["failed"] += exchange["result"].get("failure") is not None
            if said_by_tool and exchange["result"]["text"][:20] not in turn["text"]:
                differs(group, rollout, "a result that is not shown")
        end = turn["end"]
    if end != len(rollout["ids"]):
        differs(group, rollout, "turns that do not cover the row")


step = 0
while True:
    try:
        groups = get(f"steps/{step + 1}")
    except urllib.error.HTTPError:
        break
    if not groups:
        break
    step += 1
    for group in groups:
        full = get(f"groups/{group['id']}")
        for rollout in full.get("rollouts") or full["group"]["rollouts"]:
            look(group["id"], rollout)
counts["steps"] = step
print(json.dumps(counts))
sys.exit(counts["differences"] > 0 or step == 0)
