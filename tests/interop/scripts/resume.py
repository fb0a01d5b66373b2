"""An official Python client that calls one tool and prints what it heard, as JSON. Whether its
connection lives that long is up to whoever stands between.

python resume.py URL
"""

import json
import sys

import anyio
from mcp.client import streamable_http
from mcp.client.session import ClientSession

open_transport = getattr(streamable_http, "streamable_http_client", None)


async def main() -> None:
    steps = []

    async def on_progress(progress, total, message):
        steps.append(progress)

    async with open_transport(sys.argv[1]) as (read, write, *_):
        async with ClientSession(read, write) as session:
            await session.initialize()
            result = await session.call_tool(
                "trigger-long-running-operation",
                {"duration": 0.5, "steps": 5},
                progress_callback=on_progress,
            )
    print(json.dumps({"steps": steps, "text": result.content[0].text}), flush=True)


anyio.run(main)
