"""The newest official Python 1.x client against `compere serve everything`.

python client_1.py sse|http URL
"""

import sys

import anyio
import mcp.types as types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError

heard = {"progress": [], "log": [], "updated": [], "changed": 0}
roots = [types.Root(uri="file:///home/ada", name="home")]


async def on_sample(context, params):
    assert params.maxTokens == 7
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="4"), model="abacus"
    )


async def on_roots(context):
    return types.ListRootsResult(roots=roots)


async def on_log(params):
    heard["log"].append(params.level)


async def on_message(message):
    if isinstance(message, Exception):
        raise message
    note = getattr(message, "root", message)
    name = type(note).__name__
    if name == "ResourceUpdatedNotification":
        heard["updated"].append(str(note.params.uri))
    elif name.endswith("ListChangedNotification"):
        heard["changed"] += 1


async def on_progress(progress, total, message):
    heard["progress"].append((progress, total))


async def until(what, holds):
    for _ in range(500):
        if holds():
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{what} never came: {heard}")


async def refused(code, awaitable):
    try:
        await awaitable
    except McpError as error:
        assert error.error.code == code, error
        return
    raise AssertionError("was not refused")


async def exercise(session: ClientSession) -> None:
    result = await session.initialize()
    assert result.protocolVersion == "2025-11-25"
    await session.send_ping()

    call = session.call_tool
    tools = (await session.list_tools()).tools
    assert any(tool.name == "echo" for tool in tools)
    assert (await call("echo", {"message": "héllo 😀"})).content[0].text == "héllo 😀"
    assert (await call("get-tiny-image", {})).content[1].mimeType == "image/png"
    assert (await call("get-tiny-sound", {})).content[0].type == "audio"
    assert (await call("get-error", {"kind": "public"})).isError
    assert (await call("get-sum", {"a": "two", "b": 3})).isError
    await refused(-32602, call("no-such-tool", {}))
    await refused(-32603, call("get-error", {"kind": "panic"}))

    operation = {"duration": 0.2, "steps": 4}
    await call("trigger-long-running-operation", operation, progress_callback=on_progress)
    await until("progress", lambda: heard["progress"] == [(1, 4), (2, 4), (3, 4), (4, 4)])

    answer = await call("trigger-sampling-request", {"prompt": "2 + 2?", "maxTokens": 7})
    assert answer.content[0].text == "abacus says: 4"
    listed = await call("get-roots-list", {})
    assert "home: file:///home/ada" in listed.content[0].text
    roots.clear()
    await session.send_roots_list_changed()
    listed = await call("get-roots-list", {})
    assert listed.content[0].text.startswith("0 roots")

    assert any(prompt.name == "args-prompt" for prompt in (await session.list_prompts()).prompts)
    prompt = await session.get_prompt("args-prompt", {"city": "London"})
    assert prompt.messages[0].content.text == "What is the weather in London?"
    await refused(-32602, session.get_prompt("args-prompt", {}))

    assert len((await session.list_resources()).resources) == 100
    assert len((await session.list_resource_templates()).resourceTemplates) == 2
    read = await session.read_resource("demo://resource/dynamic/text/4")
    assert read.contents[0].text == "Resource 4: this is its content."
    await refused(-32002, session.read_resource("demo://nothing"))
    await session.subscribe_resource("demo://resource/dynamic/text/2")
    await call("toggle-subscriber-updates", {})
    await until("an update", lambda: heard["updated"])
    await call("toggle-subscriber-updates", {})
    await session.unsubscribe_resource("demo://resource/dynamic/text/2")

    completed = await session.complete(
        types.PromptReference(type="ref/prompt", name="completable-prompt"),
        {"name": "department", "value": "s"},
    )
    assert completed.completion.values == ["Sales", "Support"]

    await session.set_logging_level("error")
    await call("trigger-logging", {})
    await until("the log", lambda: heard["log"] == ["error", "critical", "alert", "emergency"])
    await call("trigger-list-changed", {})
    # Behind some relays several changes at once are told once.
    least = 3 if "relayed" in sys.argv else 6
    await until("the changes", lambda: least <= heard["changed"] <= 6)


async def main() -> None:
    kind, target = sys.argv[1:3]
    transport = sse_client(target) if kind == "sse" else streamablehttp_client(target)
    async with transport as (read, write, *_):
        async with ClientSession(
            read,
            write,
            sampling_callback=on_sample,
            list_roots_callback=on_roots,
            logging_callback=on_log,
            message_handler=on_message,
        ) as session:
            with anyio.fail_after(60):
                await exercise(session)
    print("everything passed")


anyio.run(main)
