# Runs code for a context. Reads "run NUL code NUL run NUL" from 60, says JSON lines on 61, and leaves the standard streams
# to the code.
def _bivouac():
    import ast, asyncio, base64, builtins, inspect, json, linecache, os, signal, sys, traceback, types

    LIMIT = 6 << 20
    TEXTS = {"html": "text/html", "markdown": "text/markdown", "svg": "image/svg+xml", "latex": "text/latex"}
    BINARIES = {"png": "image/png", "jpeg": "image/jpeg", "pdf": "application/pdf"}
    for number in (60, 61):
        os.set_inheritable(number, False)
    main = types.ModuleType("__main__")
    main.__builtins__ = builtins
    sys.modules["__main__"] = main
    space = main.__dict__
    state = {"run": 0, "count": 0, "loop": None, "ours": os.getpid()}

    def say(kind, **fields):
        # A fork of the code is not the context.
        if os.getpid() != state["ours"]:
            return
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        data = json.dumps({"run": state["run"], "kind": kind, **fields}).encode() + b"\n"
        while data:
            data = data[os.write(61, data):]

    def short(data):
        for mime in sorted(data, key=lambda mime: -len(str(data[mime]))):
            if sum(len(json.dumps(value)) for value in data.values()) <= LIMIT:
                break
            if mime == "text/plain":
                data[mime] = data[mime][: LIMIT // 16] + "..."
            else:
                data["text/plain"] = f"{data.get('text/plain', '')} ({mime} is left out: it is larger than {LIMIT} bytes)"
                del data[mime]
        return data

    def encoded(mime, value):
        if isinstance(value, (bytes, bytearray)):
            return base64.b64encode(value).decode()
        if mime == "application/json" or mime.endswith("+json"):
            json.dumps(value)
            return value
        return value if isinstance(value, str) else str(value)

    def bundle(value):
        data = {}
        def ask(name, *arguments):
            method = None if isinstance(value, type) else getattr(type(value), name, None) and getattr(value, name, None)
            if callable(method):
                try:
                    found = method(*arguments)
                except NotImplementedError:
                    return None
                except Exception:
                    sys.excepthook(*sys.exc_info())
                    return None
                # Some methods give metadata beside the data.
                return found[0] if isinstance(found, tuple) and found else found
        whole = ask("_repr_mimebundle_")
        if isinstance(whole, dict):
            data.update((str(mime), encoded(str(mime), item)) for mime, item in whole.items() if item is not None)
        for suffix, mime in {**TEXTS, **BINARIES, "json": "application/json", "javascript": "application/javascript"}.items():
            if mime not in data:
                found = ask(f"_repr_{suffix}_")
                if found is not None:
                    data[mime] = encoded(mime, found)
        if "text/plain" not in data:
            try:
                data["text/plain"] = repr(value)
            except Exception as error:
                data["text/plain"] = f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
        return short(data)

    def figures():
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or not hasattr(pyplot, "get_fignums"):
            return
        import io
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            image = io.BytesIO()
            figure.savefig(image, format="png", bbox_inches="tight")
            say("result", data=short({"text/plain": repr(figure), "image/png": encoded("image/png", image.getvalue())}))
        pyplot.close("all")

    def display(*values, raw=False, **_):
        for value in values:
            if raw and isinstance(value, dict):
                data = {str(mime): encoded(str(mime), item) for mime, item in value.items()}
                data.setdefault("text/plain", "")
                say("result", data=short(data))
            else:
                say("result", data=bundle(value))

    def hook_modules():
        for name in ("IPython.display", "IPython.core.display_functions"):
            module = sys.modules.get(name)
            if module is not None and getattr(module, "display", None) is not display:
                module.display = display
        pyplot = sys.modules.get("matplotlib.pyplot")
        # Where nobody looks at a window, a figure that is shown is a result.
        if pyplot is not None and not getattr(getattr(pyplot, "show", None), "_bivouac", False):
            backend = str(getattr(pyplot, "get_backend", lambda: "agg")()).lower()
            if backend == "agg":
                def show(*_, **__):
                    figures()
                show._bivouac = True
                pyplot.show = show

    class Hook:
        # Display and pyplot are hooked as soon as they have been imported.
        def find_spec(self, name, path=None, target=None):
            if name not in ("IPython.display", "IPython.core.display_functions", "matplotlib.pyplot"):
                return None
            sys.meta_path.remove(self)
            try:
                import importlib.util
                spec = importlib.util.find_spec(name)
            finally:
                sys.meta_path.insert(0, self)
            if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
                return spec
            execute = spec.loader.exec_module
            def exec_module(module):
                execute(module)
                hook_modules()
            try:
                spec.loader.exec_module = exec_module
            except AttributeError:
                pass
            return spec

    def no_input(prompt=""):
        raise EOFError("input() cannot be used: nobody types here; put the value into the code")

    def failed(error):
        chain, seen = error, set()
        # Frames of the runner stand before those of the code, in every link of the chain.
        while chain is not None and id(chain) not in seen:
            seen.add(id(chain))
            trace = chain.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename == FILE:
                trace = trace.tb_next
            chain.__traceback__ = trace
            chain = chain.__cause__ or chain.__context__
        try:
            value = str(error)
        except Exception:
            value = ""
        try:
            lines = [line for text in traceback.format_exception(type(error), error, error.__traceback__)
                     for line in text.rstrip("\n").split("\n") if not line.startswith(f'  File "{FILE}"')]
        except Exception:
            lines = [f"{type(error).__name__}: {value}"]
        if len(lines) > 400:
            lines = lines[:200] + ["..."] + lines[-199:]
        say("error", ename=type(error).__name__[:256], evalue=value[:65536], traceback=[line[:1024] for line in lines])

    def evaluate(code, text):
        found = eval(code, space)
        if inspect.iscoroutine(found) and code.co_flags & inspect.CO_COROUTINE:
            if state["loop"] is None or state["loop"].is_closed():
                state["loop"] = asyncio.new_event_loop()
            asyncio.set_event_loop(state["loop"])
            task = state["loop"].create_task(found)
            try:
                return state["loop"].run_until_complete(task)
            except KeyboardInterrupt:
                task.cancel()
                try:
                    state["loop"].run_until_complete(task)
                except BaseException:
                    pass
                raise
        return found

    def run(text):
        name = f"<cell {state['count']}>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(text, name, "exec", ast.PyCF_ONLY_AST | flags, dont_inherit=True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if last is not None and text.rstrip().endswith(";"):
            tree.body.append(last)
            last = None
        if tree.body:
            evaluate(compile(tree, name, "exec", flags, dont_inherit=True), text)
        if last is not None:
            value = evaluate(compile(ast.Expression(last.value), name, "eval", flags, dont_inherit=True), text)
            if value is not None:
                space["_"] = value
                say("result", data=bundle(value))
        figures()

    def guarded(text):
        try:
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                # From here on an interrupt ends the run.
                say("begun", count=state["count"])
                builtins.input = no_input
                hook_modules()
                run(text)
            finally:
                signal.signal(signal.SIGINT, lambda *_: None)
        except SystemExit as error:
            code = error.code
            if os.getpid() != state["ours"]:
                os._exit(code if isinstance(code, int) else 0 if code is None else 1)
            if code not in (None, 0):
                failed(error)
        except BaseException as error:
            if os.getpid() != state["ours"]:
                traceback.print_exc()
                os._exit(1)
            failed(error)
        if os.getpid() != state["ours"]:
            os._exit(0)

    FILE = _bivouac.__code__.co_filename
    space.update(__name__="__main__", display=display)
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.argv = [""]
    sys.meta_path.insert(0, Hook())
    signal.signal(signal.SIGINT, lambda *_: None)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    pending = b""
    fields = []
    while True:
        piece = os.read(60, 65536)
        if not piece:
            return
        *whole, pending = (pending + piece).split(b"\0")
        for field in whole:
            if fields or field:
                fields.append(field)
            if len(fields) < 3:
                continue
            (number, code, check), fields = fields, []
            if number != check or not number.isdigit():
                continue
            state["run"] = int(number)
            if code:
                state["count"] += 1
                guarded(code.decode("utf-8", "replace"))
            say("done")
_bivouac()
