"""A server made with the newest official Python SDK.

python server_new.py stdio
python server_new.py http      listens on a free port of this machine and prints the URL
"""

import asyncio
import socket
import sys

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventMessage, EventStore


class Events(EventStore):
    """What was said, for clients whose connection was cut."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        after = int(last_event_id)
        stream_id, _ = self.events[after - 1]
        for number, (of, message) in enumerate(self.events[after:], after + 1):
            if of == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


def text(value):
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)])


async def list_tools(context, params):
    names = ["echo", "progress", "sample", "roots", "log"]
    schema = {"type": "object"}
    return types.ListToolsResult(
        tools=[types.Tool(name=name, input_schema=schema) for name in names]
    )


def question(name):
    if name == "roots":
        return types.ListRootsRequest()
    content = types.TextContent(type="text", text="2 + 2?")
    message = types.SamplingMessage(role="user", content=content)
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=10)
    return types.CreateMessageRequest(params=params)


async def call_tool(context, params):
    session = context.session
    related = {"related_request_id": context.request_id}
    if params.name == "echo":
        return text(params.arguments["message"])
    if params.name == "progress":
        for progress in (1, 2, 3):
            await session.report_progress(progress, 3)
        return text("done")
    # Without a session what is asked is the answer, and the call comes again with what was said.
    is_modern = context.protocol_version >= "2026-07-28"
    brought = (params.input_responses or {}).get("answer")
    if is_modern and params.name in ("sample", "roots"):
        if brought is None:
            return types.InputRequiredResult(input_requests={"answer": question(params.name)})
        if params.name == "sample":
            return text(brought.content.text)
        return text(" ".join(str(root.uri) for root in brought.roots))
    if params.name == "sample":
        message = types.SamplingMessage(
            role="user", content=types.TextContent(type="text", text="2 + 2?")
        )
        answer = await session.create_message([message], max_tokens=10, **related)
        return text(answer.content.text)
    if params.name == "roots":
        roots = await session.list_roots()
        return text(" ".join(str(root.uri) for root in roots.roots))
    if params.name == "log":
        await session.send_log_message("warning", {"disk": 93}, **related)
        return text("logged")
    raise ValueError("no such tool")


async def list_prompts(context, params):
    argument = types.PromptArgument(name="name", required=True)
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet", arguments=[argument])])


async def get_prompt(context, params):
    said = f"Say hello to {params.arguments['name']}."
    message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=said))
    return types.GetPromptResult(messages=[message])


async def list_resources(context, params):
    return types.ListResourcesResult(resources=[types.Resource(uri="test://text", name="text")])


async def read_resource(context, params):
    contents = types.TextResourceContents(uri=params.uri, text="plain text")
    return types.ReadResourceResult(contents=[contents])


async def subscribe(context, params):
    await context.session.send_resource_updated(params.uri)
    return types.EmptyResult()


async def set_level(context, params):
    return types.EmptyResult()


async def complete(context, params):
    return types.CompleteResult(completion=types.Completion(values=[params.argument.value + "da"]))


server = Server(
    "newest-python",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_list_resources=list_resources,
    on_read_resource=read_resource,
    on_subscribe_resource=subscribe,
    on_set_logging_level=set_level,
    on_completion=complete,
)


async def main() -> None:
    if sys.argv[1] == "stdio":
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
        return
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(server.streamable_http_app(event_store=Events()), log_level="error")
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
