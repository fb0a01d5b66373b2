"""A server made with the official Python SDK: the one of late 2024, which speaks 2024-11-05 only, or the
newest 1.x.

python server.py stdio
python server.py sse|http      listens on a free port of this machine and prints the URL
"""

import asyncio
import inspect
import socket
import sys

import mcp.types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server

server = Server("late-2024-python")


def related(session) -> dict:
    """Newer releases send what belongs to a call with the call, if told which it is."""
    known = inspect.signature(session.send_progress_notification).parameters
    if "related_request_id" not in known:
        return {}
    return {"related_request_id": str(server.request_context.request_id)}


@server.list_tools()
async def list_tools() -> list[types.Tool]:
    names = ["echo", "progress", "sample", "roots", "log"]
    return [types.Tool(name=name, inputSchema={"type": "object"}) for name in names]


@server.call_tool()
async def call_tool(name: str, arguments: dict | None):
    def text(value):
        return [types.TextContent(type="text", text=value)]

    session = server.request_context.session
    if name == "echo":
        return text(arguments["message"])
    if name == "progress":
        token = server.request_context.meta.progressToken
        for progress in (1, 2, 3):
            await session.send_progress_notification(token, progress, 3, **related(session))
        return text("done")
    if name == "sample":
        message = types.SamplingMessage(
            role="user", content=types.TextContent(type="text", text="2 + 2?")
        )
        answer = await session.create_message([message], max_tokens=10)
        return text(answer.content.text)
    if name == "roots":
        roots = await session.list_roots()
        return text(" ".join(str(root.uri) for root in roots.roots))
    if name == "log":
        await session.send_log_message("warning", {"disk": 93})
        return text("logged")
    raise ValueError("no such tool")


@server.list_prompts()
async def list_prompts() -> list[types.Prompt]:
    argument = types.PromptArgument(name="name", required=True)
    return [types.Prompt(name="greet", arguments=[argument])]


@server.get_prompt()
async def get_prompt(name: str, arguments: dict[str, str] | None) -> types.GetPromptResult:
    content = types.TextContent(type="text", text=f"Say hello to {arguments['name']}.")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])


@server.list_resources()
async def list_resources() -> list[types.Resource]:
    return [types.Resource(uri="test://text", name="text")]


@server.read_resource()
async def read_resource(uri) -> str:
    return "plain text"


@server.subscribe_resource()
async def subscribe(uri) -> None:
    await server.request_context.session.send_resource_updated(uri)


@server.set_logging_level()
async def set_level(level) -> None:
    pass


@server.completion()
async def complete(ref, argument, context=None) -> types.Completion:
    return types.Completion(values=[argument.value + "da"])


async def over_stdio() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def listen(app, path: str) -> None:
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
    config = uvicorn.Config(app, log_level="error", lifespan="off", interface="asgi3")
    await uvicorn.Server(config).serve(sockets=[listener])


async def over_sse() -> None:
    from mcp.server.sse import SseServerTransport

    transport = SseServerTransport("/messages")

    async def app(scope, receive, send):
        if scope["path"] == "/sse":
            async with transport.connect_sse(scope, receive, send) as (read, write):
                await server.run(read, write, server.create_initialization_options())
        else:
            await transport.handle_post_message(scope, receive, send)

    await listen(app, "/sse")


async def over_http() -> None:
    from mcp.server.streamable_http import EventMessage, EventStore
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

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

    manager = StreamableHTTPSessionManager(app=server, event_store=Events())
    async with manager.run():
        await listen(manager.handle_request, "/mcp")


async def main() -> None:
    kinds = {"stdio": over_stdio, "sse": over_sse, "http": over_http}
    await kinds[sys.argv[1]]()


asyncio.run(main())
