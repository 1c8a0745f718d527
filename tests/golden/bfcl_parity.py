"""BFCL's own verdicts on mutated answers: bfcl_parity.py BFCL_ROOT OUT.json   (plain Python; BFCL_ROOT: the unpacked bfcl-eval wheel)

For every problem of the categories below six predictions are drawn: an accepted answer as it is, and five with one to three mutations. Draws are
integer arithmetic (splitmix64), so that server/tooluse/tests/bfcl_parity.rs draws the same ones from the same wheel; only the checker's verdicts are written, as
bits, with a hash of the predictions of each category. Where the checker raises, the verdict is wrong.
Rule for both sides: a draw is made exactly where this file makes it, also when its result is not used.
"""
import copy, json, struct, sys, types

CATEGORIES = ["simple_python", "multiple", "parallel", "parallel_multiple", "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"]
SEED, VARIANTS, MASK = 20261124, 6, (1 << 64) - 1
JUNK = [0, 1, 7, -3, 1.0, 2.5, True, False, None, "", "x", "5", "True", [], {}, [1], [1.0], ["a"], [True], [{}], {"a": 1}, [[1]], [None]]


class Rng:
    def __init__(self, state):
        self.state = state & MASK

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def answer(rng, name, accepted):
    arguments = {}
    for key, values in accepted.items():
        if values:
            value = values[rng.below(len(values))]
            if not (value == "" and rng.below(2) == 0):
                arguments[key] = plain(rng, value)
    return [name, arguments]


def plain(rng, value):
    if isinstance(value, dict):
        return unlisted(rng, value)
    if isinstance(value, list):
        return [unlisted(rng, v) if isinstance(v, dict) else v for v in value]
    return value


def unlisted(rng, value):
    out = {}
    for key, options in value.items():
        if isinstance(options, list) and options:
            option = options[rng.below(len(options))]
            if not (option == "" and rng.below(2) == 0):
                out[key] = option
        else:
            out[key] = options
    return out


def mutate(rng, calls, functions):
    op = rng.below(30)
    at = rng.below(max(len(calls), 1))
    function = functions[rng.below(len(functions))]
    junk = copy.deepcopy(JUNK[rng.below(len(JUNK))])
    if op == 2:
        calls.reverse()
    elif op == 3:
        calls.append([function["name"], {}])
    if not calls or op in (2, 3):
        return
    name, arguments = calls[at]
    keys = list(arguments)
    key = rng.below(max(len(keys), 1))
    other = rng.below(max(len(keys), 1))
    if op == 0:
        calls.append(copy.deepcopy(calls[at]))
    elif op == 1:
        del calls[at]
    elif op == 4:
        calls[at][0] = function["name"]
    elif op == 5:
        calls[at][0] = name + "_x"
    elif op == 6:
        arguments["extra_argument"] = junk
    elif op == 7:
        known = list(function["parameters"].get("properties", {}))
        if known:
            arguments[known[rng.below(len(known))]] = junk
    elif keys:
        key, other = keys[key], keys[other]
        if op == 8:
            del arguments[key]
        elif op == 9:
            arguments[key] = junk
        elif op == 10:
            arguments[key] = copy.deepcopy(arguments[other])
        else:
            arguments[key] = changed(rng, op, arguments[key], junk)


def integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def changed(rng, op, value, junk):
    at = rng.below(1000)
    if op == 11 and integer(value):
        return float(value)
    if op == 12 and isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return int(value)
    if op == 13 and (integer(value) or isinstance(value, bool) or value is None):
        return json.dumps(value)
    if op == 14 and isinstance(value, str):
        return value.upper()
    if op == 15 and isinstance(value, str):
        return value.replace(" ", "")
    if op == 16 and isinstance(value, str):
        return value + " -."
    if op == 17 and isinstance(value, str):
        return value[:-1]
    if op == 18 and isinstance(value, list):
        return value[::-1]
    if op == 19 and isinstance(value, list):
        return value[:-1]
    if op == 20 and isinstance(value, list):
        return value + value[:1]
    if op == 21:
        return [value]
    if op == 22 and isinstance(value, list):
        return [float(v) if integer(v) else v for v in value]
    if op == 23 and isinstance(value, dict):
        return {**value, "extra_key": junk}
    if op == 24 and isinstance(value, dict) and value:
        return {k: v for i, (k, v) in enumerate(value.items()) if i != at % len(value)}
    if op == 25 and isinstance(value, bool):
        return int(value)
    if op == 25 and integer(value) and value in (0, 1):
        return bool(value)
    if op == 26 and isinstance(value, list) and value:
        return [junk if i == at % len(value) else v for i, v in enumerate(value)]
    if op == 27 and isinstance(value, str):
        return value.replace("'", '"').lower()
    if op == 28 and integer(value) and abs(value) < 1 << 53:
        return value + 1
    if op == 29 and isinstance(value, list):
        return [v.upper() if isinstance(v, str) else v for v in value]
    if op == 29 and isinstance(value, dict) and value:
        return {k: junk if i == at % len(value) else v for i, (k, v) in enumerate(value.items())}
    return value


def encode(value):
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, str):
        return b"s" + value.encode() + b"\0"
    if isinstance(value, list):
        return b"[" + b"".join(map(encode, value)) + b"]"
    return b"{" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"}"


def main():
    root, out = sys.argv[1:3]
    sys.path.insert(0, root)
    # the checker looks one flag up in a table that imports every model handler
    stub = types.ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = {"whetstone": types.SimpleNamespace(underscore_to_dot=False)}
    sys.modules["bfcl_eval.constants.model_config"] = stub
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    load = lambda path: list(map(json.loads, open(path)))
    categories, raised = [], 0
    for c, category in enumerate(CATEGORIES):
        questions = load(f"{root}/bfcl_eval/data/BFCL_v4_{category}.json")
        truths = {r["id"]: r["ground_truth"] for r in load(f"{root}/bfcl_eval/data/possible_answer/BFCL_v4_{category}.json")}
        bits, digest = [], 0xCBF29CE484222325
        for p, question in enumerate(questions):
            functions, truth = question["function"], truths[question["id"]]
            for v in range(VARIANTS):
                rng = Rng(SEED * 0x100000001B3 + (c << 40) + p * 64 + v)
                calls = []
                for expected in truth:
                    [(name, accepted)] = expected.items()
                    if "multiple" not in category and "parallel" not in category:
                        name = functions[0]["name"]
                    calls.append(answer(rng, name, accepted))
                for _ in range(1 + rng.below(3) if v else 0):
                    mutate(rng, calls, functions)
                for byte in encode(calls):
                    digest = ((digest ^ byte) * 0x100000001B3) & MASK
                valid = False
                if calls:
                    try:
                        decoded = [{name: copy.deepcopy(arguments)} for name, arguments in calls]
                        valid = ast_checker(functions, decoded, truth, Language.PYTHON, category, "whetstone")["valid"]
                    except Exception:
                        raised += 1
                bits.append("1" if valid else "0")
        total, right = len(bits), bits.count("1")
        bits += ["0"] * (-len(bits) % 4)
        nibbles = "".join(format(int("".join(bits[i : i + 4]), 2), "x") for i in range(0, len(bits), 4))
        categories.append({"name": category, "predictions": total, "right": right, "hash": f"{digest:016x}", "bits": nibbles})
        print(category, total, "predictions,", right, "right")
    with open(out, "w") as f:
        f.write('{"seed": %d, "variants": %d, "categories": [\n' % (SEED, VARIANTS) + ",\n".join(map(json.dumps, categories)) + "\n]}\n")
    print(sum(c["predictions"] for c in categories), "in all; the checker raised on", raised)


if __name__ == "__main__":
    main()
