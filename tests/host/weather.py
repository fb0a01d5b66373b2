"""A server of one file, as the wheel that a test makes holds it."""

import json
import sys


def main():
    for line in sys.stdin:
        message = json.loads(line)
        method = message["method"]
        if method == "initialize":
            result = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "weather", "version": "2.0"},
            }
        elif method == "tools/list":
            result = {"tools": [{"name": "weather", "inputSchema": {"type": "object"}}]}
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": " ".join(sys.argv[1:])}]}
        else:
            result = {}
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
