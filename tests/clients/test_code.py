"""The code interpreter: contexts that keep state, results, errors, interrupts."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from code_interpreter import CodeInterpreter
from code_interpreter.models.code import SupportedLanguage
from conftest import IMAGE
from opensandbox import Sandbox
from opensandbox.exceptions import SandboxException
from opensandbox.models.execd import ExecutionHandlers
from test_sdk import config, lines

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def interpreter(reach):
    made = await Sandbox.create(IMAGE, connection_config=config(reach))
    try:
        yield await CodeInterpreter.create(made)
    finally:
        await made.kill()
        await made.close()


def text(messages):
    return "".join(message.text for message in messages)


async def test_each_language_keeps_its_state(reach):
    async with interpreter(reach) as made:
        for language, first, second, said in [
            (SupportedLanguage.PYTHON, "x = 41", "print(x + 1)", "42\n"),
            (SupportedLanguage.JAVASCRIPT, "const x = 41", "console.log(x + 1)", "42\n"),
            (SupportedLanguage.BASH, "x=41", "echo $((x + 1))", "42\n"),
        ]:
            context = await made.codes.create_context(language)
            assert context.language == language
            assert (await made.codes.run(first, context=context)).error is None
            done = await made.codes.run(second, context=context)
            assert text(done.logs.stdout).rstrip("\n") == said.rstrip("\n"), language
            assert done.complete is not None
            other = await made.codes.create_context(language)
            # A context of its own knows nothing of that.
            assert "42" not in text((await made.codes.run(second, context=other)).logs.stdout)
            assert {one.id for one in await made.codes.list_contexts(language)} == {context.id, other.id}
            assert (await made.codes.get_context(context.id)).language == language
            await made.codes.delete_context(other.id)
            await made.codes.delete_contexts(language)
            assert await made.codes.list_contexts(language) == []


async def test_results_and_errors(reach):
    async with interpreter(reach) as made:
        done = await made.codes.run("21 * 2", language=SupportedLanguage.PYTHON)
        assert [result.text for result in done.result] == ["42"] and done.execution_count == 1
        rich = "class R:\n def __repr__(self): return 'plain'\n def _repr_html_(self): return '<b>rich</b>'\nR()"
        done = await made.codes.run(rich, language=SupportedLanguage.PYTHON)
        # Of a result, this client reads the text.
        assert [result.text for result in done.result] == ["plain"]
        failed = await made.codes.run("def f():\n    return 1 / 0\nf()", language=SupportedLanguage.PYTHON)
        assert (failed.error.name, failed.error.value) == ("ZeroDivisionError", "division by zero")
        assert "return 1 / 0" in "\n".join(failed.error.traceback) and failed.complete is None
        failed = await made.codes.run("throw new TypeError('no')", language=SupportedLanguage.JAVASCRIPT)
        assert (failed.error.name, failed.error.value) == ("TypeError", "no")
        assert (await made.codes.run("6 * 7", language=SupportedLanguage.JAVASCRIPT)).result[0].text == "42"


async def test_an_interrupt_ends_the_run_and_not_the_context(reach):
    async with interpreter(reach) as made:
        for language, setting, loop, look in [
            (SupportedLanguage.PYTHON, "x = 7", "while True: pass", "print(x)"),
            (SupportedLanguage.JAVASCRIPT, "let x = 7", "while (true) {}", "console.log(x)"),
            (SupportedLanguage.BASH, "x=7", "while :; do :; done", "echo $x"),
        ]:
            context = await made.codes.create_context(language)
            await made.codes.run(setting, context=context)
            begun = asyncio.Event()
            async def note(_):
                begun.set()
            run = asyncio.create_task(made.codes.run(loop, context=context, handlers=ExecutionHandlers(on_init=note)))
            await begun.wait()
            await made.codes.interrupt(context.id)
            assert (await asyncio.wait_for(run, 30)).error is not None, language
            assert lines((await made.codes.run(look, context=context)).logs.stdout)[0].strip() == "7", language


async def test_what_the_image_lacks_is_named(reach):
    async with interpreter(reach) as made:
        with pytest.raises(SandboxException) as refused:
            await made.codes.create_context(SupportedLanguage.JAVA)
        assert "java" in str(refused.value).lower()
