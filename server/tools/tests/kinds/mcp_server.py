"""A small MCP server on stdin and stdout, for the tests: JSON-RPC, one message a line."""
import json
import sys
import time

NUMBER = {"type": "number"}
TOOLS = [
    {"name": "add", "description": "Add two numbers", "inputSchema": {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]}},
    {"name": "fail", "description": "Always says no", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "sleep", "description": "Takes a minute", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "picture", "description": "Answers without text", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "long", "description": "Answers at length", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "flood", "description": "Writes without end and without a line's end", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "line", "description": "Answers with that many characters", "inputSchema": {"type": "object", "properties": {"length": NUMBER}}},
    {"name": "die", "description": "Ends the server", "inputSchema": {"type": "object", "properties": {}}},
]


def text(words, is_error=False):
    return {"content": [{"type": "text", "text": words}], "isError": is_error}


def call(name, arguments):
    if name == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if name == "fail":
        return text("the tool says no", True)
    if name == "sleep":
        time.sleep(60)
    if name == "picture":
        return {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}
    if name == "long":
        return text("x" * 100_000)
    if name == "flood":
        while True:
            sys.stdout.write("x" * 65536)
    if name == "line":
        return text("x" * arguments["length"])
    if name == "die":
        sys.exit(3)
    return text("unknown tool", True)


for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "initialize":
        answer["result"] = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "test", "version": "1"},
        }
    elif method == "tools/list":
        answer["result"] = {"tools": TOOLS}
        if "endless" in sys.argv:
            answer["result"]["nextCursor"] = "more"
    elif method == "tools/call":
        answer["result"] = call(params["name"], params.get("arguments") or {})
    elif method == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer), flush=True)
