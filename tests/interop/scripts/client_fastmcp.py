"""The FastMCP client against `compere serve everything`.

python client_fastmcp.py http|sse URL
"""

import sys

import anyio
from fastmcp import Client
from fastmcp.exceptions import ToolError

heard = {"progress": [], "log": [], "changed": 0}


async def on_sample(messages, params, context):
    assert params.max_tokens == 7
    return "4"


async def on_elicit(message, response_type, params, context):
    return {"name": "Ada", "colour": "blue"}


async def on_log(message):
    heard["log"].append(message.level)


async def on_progress(progress, total, message):
    heard["progress"].append((progress, total))


async def on_message(message):
    note = getattr(message, "root", message)
    if type(note).__name__.endswith("ListChangedNotification"):
        heard["changed"] += 1


async def until(what, holds):
    for _ in range(500):
        if holds():
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{what} never came: {heard}")


async def exercise(client) -> None:
    assert await client.ping()
    assert any(tool.name == "echo" for tool in await client.list_tools())
    call = client.call_tool
    assert (await call("echo", {"message": "héllo 😀"})).content[0].text == "héllo 😀"
    weather = await call("get-structured-content", {"location": "Chicago"})
    assert weather.structured_content["conditions"]
    failed = await call("get-error", {"kind": "public"}, raise_on_error=False)
    assert failed.is_error
    try:
        await call("get-error", {"kind": "public"})
        raise AssertionError("was not refused")
    except ToolError:
        pass

    operation = {"duration": 0.2, "steps": 4}
    await call("trigger-long-running-operation", operation, progress_handler=on_progress)
    await until("progress", lambda: heard["progress"] == [(1, 4), (2, 4), (3, 4), (4, 4)])
    answer = await call("trigger-sampling-request", {"prompt": "2 + 2?", "maxTokens": 7})
    assert answer.content[0].text.endswith("says: 4")
    listed = await call("get-roots-list", {})
    assert "file:///home/ada" in listed.content[0].text
    answered = await call("trigger-elicitation-request", {})
    assert "Ada" in answered.content[0].text, answered

    prompt = await client.get_prompt("args-prompt", {"city": "London"})
    assert prompt.messages[0].content.text == "What is the weather in London?"
    assert len(await client.list_resources()) == 100
    read = await client.read_resource("demo://resource/dynamic/text/4")
    assert read[0].text == "Resource 4: this is its content."
    await client.set_logging_level("error")
    await call("trigger-logging", {})
    await until("the log", lambda: heard["log"] == ["error", "critical", "alert", "emergency"])
    await call("trigger-list-changed", {})
    await until("the changes", lambda: heard["changed"] == 6)


async def main() -> None:
    client = Client(
        sys.argv[2],
        mode="legacy",
        roots=["file:///home/ada"],
        sampling_handler=on_sample,
        elicitation_handler=on_elicit,
        log_handler=on_log,
        message_handler=on_message,
    )
    with anyio.fail_after(60):
        async with client:
            await exercise(client)
    print("everything passed")


anyio.run(main)
