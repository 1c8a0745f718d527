"""Chats with tools: templates.py TRL_ROOT OUT.json   (needs transformers 5.23.0; TRL_ROOT: the unpacked wheel of trl 1.16.0)

Strings as transformers renders our own messages and tools with the templates in the wheel (trl/chat_templates/), which are not copied here:
tests/templates.rs takes them from the wheel, too. The day is given as 26 July 2024 and thinking is off, both of which Whetstone fixes.
Writes {"tools", "chats", "cases": [{"template", "chat", "tools", "add_generation_prompt", "text"}]}; a case's "tools" says whether they were handed over.
"""
import json, sys
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3_1", "llama3_2", "lfm2", "lfm2_v2", "lfm2_2_5", "gemma4_v5"]


def tool(name, description, properties, required):
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {"type": "object", "properties": properties, "required": required}}}


TOOLS = [
    tool("trains.find", "Finds trains <b>& \"buses\"</b>.", {
        "from": {"type": "string", "description": "Station, e.g. Z\u00fcrich HB"},
        "hours": {"type": "number", "default": 1e-05},
        "class": {"type": "integer", "enum": [1, 2]}}, ["from"]),
    tool("noop", "Does nothing", {}, []),
]
CALL = {"type": "function", "function": {"name": "trains.find", "arguments": {"from": "Z\u00fcrich 'HB'", "hours": 2.0, "class": 1, "direct": True}}}
CHATS = {
    "user": [{"role": "user", "content": " When does the next train leave? "}],
    "system_user": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<Next> train & bus?"}],
    "history": [{"role": "user", "content": "Next train?"}, {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "name": "trains.find", "content": "{\"leaves\": \"10:04\"}"}, {"role": "assistant", "content": "At 10:04."}, {"role": "user", "content": "And then?"}],
    "results": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "The calls"},
                {"role": "tool", "content": "10:04, \"G\u00f6schenen\""}, {"role": "tool", "content": "error: no such train"}],
}


def main():
    root, out = sys.argv[1:3]
    cases = []
    for name in TEMPLATES:
        source = open(f"{root}/trl/chat_templates/{name}.jinja", newline="").read()
        for chat, messages in CHATS.items():
            for tools in (TOOLS, None):
                generate = chat != "system_user"
                [text], _ = render_jinja_template([messages], tools=tools, chat_template=source, add_generation_prompt=generate,
                                                  bos_token="<bos>", eos_token="<eos>", date_string="26 Jul 2024", enable_thinking=False)
                cases.append({"template": name, "chat": chat, "tools": tools is not None, "add_generation_prompt": generate, "text": text})
    with open(out, "w") as f:
        f.write('{"tools": ' + json.dumps(TOOLS) + ',\n"chats": ' + json.dumps(CHATS) + ',\n"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
