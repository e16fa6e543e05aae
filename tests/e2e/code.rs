//! Code contexts in the interpreters of a real image.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{DEBIAN, Daemon, PLOTS, Response, Sandbox, until};

/// What one run told.
#[derive(Debug)]
struct Told {
    stdout: String,
    stderr: String,
    results: Vec<Value>,
    count: Option<u64>,
    last: Value,
}

impl Told {
    fn of(answer: &Response) -> Self {
        let text = answer.text();
        let event = |frame: &str| serde_json::from_str(frame.trim_start_matches("data: ")).expect("an event");
        let events: Vec<Value> = text.split_terminator("\n\n").map(event).collect();
        let of_kind = |kind: &'static str| events.iter().filter(move |event| event["type"] == kind).cloned();
        let text = |kind: &'static str| {
            of_kind(kind).map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(events[0]["type"], "init", "{events:?}");
        let ends = of_kind("error").count() + of_kind("execution_complete").count();
        assert_eq!(ends, 1, "success and failure exclude each other: {events:?}");
        Self {
            stdout: text("stdout"),
            stderr: text("stderr"),
            results: of_kind("result").map(|event| event["results"].clone()).collect(),
            count: of_kind("execution_count").next().and_then(|event| event["execution_count"].as_u64()),
            last: events.last().cloned().unwrap_or_default(),
        }
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.last["type"], "execution_complete", "{self:?}");
        assert!(self.last["execution_time"].as_u64().is_some_and(|time| time > 0), "{self:?}");
        self
    }

    /// The text of the only result.
    #[track_caller]
    fn value(self) -> String {
        let told = self.ok();
        assert_eq!(told.results.len(), 1, "{told:?}");
        told.results[0]["text"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn error(&self) -> (&str, &str) {
        assert_eq!(self.last["type"], "error", "{self:?}");
        let part = |name: &str| self.last["error"][name].as_str().unwrap_or_default();
        (part("ename"), part("evalue"))
    }
}

fn start(test: &str) -> Option<Daemon> {
    let daemon = Daemon::start(test)?;
    daemon.import_debian();
    Some(daemon)
}

fn sandbox(daemon: &Daemon) -> Sandbox<'_> {
    sandbox_of(daemon, DEBIAN)
}

fn sandbox_of<'a>(daemon: &'a Daemon, image: &str) -> Sandbox<'a> {
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["image"] = json!({ "uri": image });
    let sandbox = daemon.create_from(&request);
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    sandbox
}

#[track_caller]
fn context(sandbox: &Sandbox<'_>, language: &str) -> String {
    let made = sandbox.post("proxy/44772/code/context", &json!({ "language": language })).expect(200).json();
    assert_eq!(made["language"], language);
    made["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn run_in(sandbox: &Sandbox<'_>, context: &str, code: &str) -> Told {
    Told::of(&sandbox.post("proxy/44772/code", &json!({ "code": code, "context": { "id": context } })).expect(200))
}

/// Runs code that never ends by itself, and interrupts it once it has made the file `/tmp/here`.
fn interrupted(daemon: &Daemon, sandbox: &Sandbox<'_>, context: &str, code: &str) -> Told {
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| run_in(sandbox, context, code));
        let test = json!({"command": "rm /tmp/here"});
        until("it runs", || match sandbox.post("proxy/44772/command", &test).expect(200).text() {
            text if text.contains("execution_complete") => Ok(()),
            text => Err(text),
        });
        let again = sandbox.post("proxy/44772/code", &json!({ "code": "1", "context": { "id": context } }));
        let busy = again.expect_error(500, "RUNTIME_ERROR").json();
        assert!(busy["message"].as_str().is_some_and(|message| message.contains("session is busy")), "{busy}");
        daemon.client.delete(&sandbox.path(&format!("proxy/44772/code?id={context}"))).expect(200);
        stream.join().expect("it ended")
    })
}

#[test]
fn python_keeps_its_state_and_shows_values_and_errors() {
    let Some(daemon) = start("python_keeps_its_state") else { return };
    let sandbox = sandbox(&daemon);
    let python = context(&sandbox, "python");
    let run = |code: &str| run_in(&sandbox, &python, code);
    let told = run("import os\nx = 20\nprint('out')\nos.system('echo child; echo err >&2')\nx + 1").ok();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str(), told.count), ("out\nchild\n", "err\n", Some(1)));
    assert_eq!(told.results, [json!({"text": "21"})]);
    assert_eq!(run("x + _").value(), "41");
    assert_eq!(run("import asyncio\nawait asyncio.sleep(0, 'awaited')").value(), "'awaited'");
    assert_eq!(run("__name__, os.getcwd(), os.getuid()").value(), "('__main__', '/srv/made', 5)");
    assert_eq!(run("os.write(1, b'\\xff\\xc3\\xa9'); None").ok().stdout, "\u{fffd}\u{e9}");
    assert_eq!(run("import sys; sys.exit()").ok().results, Vec::<Value>::new());

    let told = run("def f():\n    return 1 / 0\nf()");
    assert_eq!(told.error(), ("ZeroDivisionError", "division by zero"));
    let traceback: Vec<&str> =
        told.last["error"]["traceback"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    assert!(traceback.contains(&"    return 1 / 0"), "the source is shown: {traceback:?}");
    assert!(!traceback.iter().any(|line| line.contains("bivouac")), "{traceback:?}");
    assert_eq!(run("1 +").error().0, "SyntaxError");
    assert_eq!(run("input()").error().0, "EOFError");
    assert_eq!(run("sys.exit(3)").error(), ("SystemExit", "3"));

    let rich = "class Rich:\n    def __repr__(self): return 'rich'\n    def _repr_html_(self): return '<b>'\n    \
                def _repr_png_(self): return b'\\x89PNG'\ndisplay(Rich())\nRich()";
    let rich_value = json!({"text": "rich", "text/html": "<b>", "image/png": "iVBORw=="});
    assert_eq!(run(rich).ok().results, [rich_value.clone(), rich_value]);
    // What matplotlib does, as far as it is seen from outside.
    let plot = "import types\nm = types.ModuleType('matplotlib.pyplot')\nm.fignums = [1]\nclass Figure:\n    \
                def savefig(self, to, **_): to.write(b'\\x89PNG')\n    def __repr__(self): return '<Figure>'\n\
                m.get_fignums = lambda: m.fignums\nm.figure = lambda n: Figure()\nm.close = lambda _: m.fignums.clear()\n\
                m.get_backend = lambda: os.environ['MPLBACKEND']\nsys.modules['matplotlib.pyplot'] = m";
    assert_eq!(run(plot).ok().results, [json!({"text": "<Figure>", "image/png": "iVBORw=="})]);
    assert_eq!(run("m.fignums.append(1); m.show(); print('after')").ok().results.len(), 1);

    // A context of its own, and both at once.
    let other = context(&sandbox, "python");
    assert_eq!(run_in(&sandbox, &other, "x").error().0, "NameError");
    assert_eq!(run("x").value(), "20");
}

#[test]
fn javascript_keeps_its_state_and_shows_values_and_errors() {
    let Some(daemon) = start("javascript_keeps_its_state") else { return };
    let sandbox = sandbox(&daemon);
    let node = context(&sandbox, "javascript");
    let run = |code: &str| run_in(&sandbox, &node, code);
    let told = run("const x = 20; console.log('out'); console.error('err'); ({ x: [x + 1] })").ok();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str(), told.count), ("out\n", "err\n", Some(1)));
    assert_eq!(told.results, [json!({"text": "{ x: [ 21 ] }"})]);
    assert_eq!(run("const x = await new Promise(done => setTimeout(done, 5, 7)); x").value(), "7");
    assert_eq!(run("require('os').EOL + (await import('node:path')).sep").value(), "'\\n/'");
    assert_eq!(run("'import(x)'").value(), "'import(x)'");
    let child = "require('child_process').execSync('echo child; echo err >&2', { stdio: 'inherit' }); undefined";
    let told = run(child).ok();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("child\n", "err\n"));
    let told = run("function f() { null.x }\nf()");
    assert_eq!(told.error().0, "TypeError");
    assert!(told.last["error"]["traceback"].to_string().contains("at f "), "{told:?}");
    assert!(!told.last["error"]["traceback"].to_string().contains("bivouac"), "{told:?}");
    assert_eq!(run("Promise.reject(new RangeError('loose')); undefined").error(), ("RangeError", "loose"));
    assert_eq!(run("let y =").error().0, "SyntaxError");
    let told = run("display({ a: 1 }, { 'text/html': '<b>' })").ok();
    assert_eq!(told.results, [json!({"text": "{ a: 1 }", "text/html": "<b>"})]);
    let told = run("process.exit(3)");
    assert!(told.error().1.contains("status 3"), "{told:?}");
    assert_eq!(run("typeof x").value(), "'undefined'", "a fresh one");

    // Node 18 of this image knows no types; a compiler that is installed does.
    let refused = sandbox.post("proxy/44772/code/context", &json!({"language": "typescript"}));
    let refused = refused.expect_error(500, "RUNTIME_ERROR").json();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("TypeScript")), "{refused}");
    let install = "mkdir -p /tmp/node_modules/typescript; cd /tmp/node_modules/typescript; echo \"exports.transpileModule = \
                   code => ({ outputText: code.replace(/: number/g, '') })\" > index.js";
    sandbox.post("proxy/44772/command", &json!({ "command": install })).expect(200);
    let made = sandbox.post("proxy/44772/code/context", &json!({"language": "typescript", "cwd": "/tmp"}));
    let made = made.expect(200).json();
    assert_eq!(made["cwd"], "/tmp");
    let told = run_in(&sandbox, made["id"].as_str().expect("an id"), "const n: number = 4; n * 2");
    assert_eq!(told.value(), "8");
}

#[test]
fn bash_keeps_its_state_and_ends_runs_with_their_status() {
    let Some(daemon) = start("bash_keeps_its_state") else { return };
    let sandbox = sandbox(&daemon);
    let bash = context(&sandbox, "bash");
    let run = |code: &str| run_in(&sandbox, &bash, code);
    assert_eq!(run("x='a b'; f() { echo \"in f $x\"; }; cd /tmp; echo it\\'s; echo err >&2").ok().stdout, "it's\n");
    assert_eq!(run("f; pwd; cat; echo 'done!'").ok().stdout, "in f a b\n/tmp\ndone!\n");
    assert_eq!(run("(exit 7)").error(), ("CommandExecError", "7"));
    assert!(run("if (").stderr.contains("syntax error"));
    assert_eq!(run("printf '\\xff\\xc3\\xa9'").ok().stdout, "\u{fffd}\u{e9}");
    let told = run("echo before; exit 0").ok();
    assert!(told.stdout == "before\n" && told.stderr.contains("fresh"), "{told:?}");
    assert_eq!(run("echo \"[$x]\"; exit 3").stdout, "[]\n");
    assert_eq!(run("exit 3").error(), ("CommandExecError", "3"));
    assert_eq!(run("ls /proc/self/fd").ok().stdout, "0\n1\n2\n3\n", "3 is the directory itself");
}

#[test]
fn an_interrupt_ends_the_run_and_keeps_the_context() {
    let Some(daemon) = start("an_interrupt_ends_the_run") else { return };
    let sandbox = sandbox(&daemon);
    let touch = "import os; v = 1; open('/tmp/here', 'w').close()";
    for (language, code, ename) in [
        ("python", format!("{touch}\nwhile True: pass"), "KeyboardInterrupt"),
        ("python", format!("{touch}\nimport time; time.sleep(1000)"), "KeyboardInterrupt"),
        (
            "javascript",
            "var v = 1; require('fs').writeFileSync('/tmp/here', ''); while (true);".to_owned(),
            "Interrupted",
        ),
        (
            "javascript",
            "var v = 1; require('fs').writeFileSync('/tmp/here', ''); await new Promise(() => {})".to_owned(),
            "Interrupted",
        ),
        ("bash", "v=1; : > /tmp/here; while :; do :; done; echo never".to_owned(), "CommandExecError"),
        ("bash", "v=1; touch /tmp/here; sleep 1000; echo never".to_owned(), "CommandExecError"),
    ] {
        let context = context(&sandbox, language);
        let told = interrupted(&daemon, &sandbox, &context, &code);
        assert_eq!(told.error().0, ename, "{code}: {told:?}");
        assert_eq!(told.stdout, "", "{code}");
        let (look, text) = if language == "bash" { ("echo $v", "1\n") } else { ("v", "1") };
        let told = run_in(&sandbox, &context, look).ok();
        assert!(told.stdout == text || told.results[0]["text"] == text, "{told:?}");
    }
}

#[test]
fn contexts_are_found_again_by_the_next_daemon() {
    let Some(mut daemon) = start("contexts_are_found_again") else { return };
    let id = sandbox(&daemon).id;
    let all: Vec<String> = {
        let sandbox = daemon.sandbox(&id);
        let all = ["python", "javascript", "bash"].map(|language| context(&sandbox, language));
        run_in(&sandbox, &all[0], "x = 'kept'\nimport threading, time").ok();
        run_in(&sandbox, &all[1], "let x = 'kept'").ok();
        run_in(&sandbox, &all[2], "x=kept").ok();
        all.into()
    };
    // One of them has work to do meanwhile, and nobody to tell of it.
    let path = daemon.sandbox(&id).path("proxy/44772/code");
    let busy = json!({"code": "import os\nopen('/tmp/here', 'w').close()\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\nprint('lost')",
        "context": {"id": all[0]}});
    let client = daemon.client.clone();
    let listener = std::thread::spawn(move || client.try_ask("POST", &path, busy.to_string().as_bytes()).is_ok());
    let command = |daemon: &Daemon, line: &str| {
        daemon.sandbox(&id).post("proxy/44772/command", &json!({ "command": line })).expect(200).text()
    };
    until("it runs", || match command(&daemon, "test -e /tmp/here") {
        text if text.contains("execution_complete") => Ok(()),
        text => Err(text),
    });
    daemon.kill();
    drop(listener.join());
    daemon.launch();

    let sandbox = daemon.sandbox(&id);
    let listed = daemon.client.get(&sandbox.path("proxy/44772/code/contexts")).expect(200).json();
    let listed: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(listed, all);
    let look = json!({"code": "x", "context": {"id": all[0]}});
    sandbox.post("proxy/44772/code", &look).expect_error(500, "RUNTIME_ERROR");
    command(&daemon, "touch /tmp/go");
    let told = until("the python context is free", || match sandbox.post("proxy/44772/code", &look) {
        answer if answer.status == 200 => Ok(Told::of(&answer)),
        answer => Err(answer.to_string()),
    });
    assert_eq!(told.stdout, "", "what nobody heard is gone");
    assert_eq!(told.value(), "'kept'");
    let free = |context: &String, code: &str| {
        let body = json!({ "code": code, "context": { "id": context } });
        until("free", || match sandbox.post("proxy/44772/code", &body) {
            answer if answer.status == 200 => Ok(Told::of(&answer)),
            answer => Err(answer.to_string()),
        })
    };
    assert_eq!(free(&all[1], "x").value(), "'kept'");
    assert_eq!(free(&all[2], "echo $x").ok().stdout, "kept\n");
    sandbox.delete();
    sandbox.until_unknown();
}

#[test]
fn contexts_come_and_go_and_say_how_they_ended() {
    let Some(daemon) = start("contexts_come_and_go") else { return };
    let sandbox = sandbox(&daemon);
    let idle = daemon.processes(&sandbox.id).len();
    let by_language = |code: &str, language: &str| {
        Told::of(
            &sandbox.post("proxy/44772/code", &json!({"code": code, "context": {"language": language}})).expect(200),
        )
    };
    by_language("y = 5", "python").ok();
    assert_eq!(by_language("y", "python").value(), "5", "the same default context");
    assert_eq!(daemon.processes(&sandbox.id).len(), idle + 1, "one process");
    let told = Told::of(&sandbox.post("proxy/44772/code", &json!({"code": "echo plain; exit 4"})).expect(200));
    assert_eq!((told.stdout.as_str(), told.error()), ("plain", ("CommandExecError", "4")));

    let python = context(&sandbox, "python");
    let listed = daemon.client.get(&sandbox.path("proxy/44772/code/contexts?language=python")).expect(200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let told = run_in(&sandbox, &python, "import os, signal\nprint('last')\nos.kill(os.getpid(), signal.SIGKILL)");
    assert!(told.stdout == "last\n" && told.error().1.contains("killed by signal 9"), "{told:?}");
    let told = run_in(&sandbox, &python, "6 * 7").ok();
    assert!(told.stderr.contains("fresh") && told.results[0]["text"] == "42", "{told:?}");
    // What closes our descriptors only hurts itself.
    let told =
        run_in(&sandbox, &python, "import os\nfor n in range(3, 70):\n    try: os.close(n)\n    except OSError: pass");
    assert!(told.error().1.contains("next run begins"), "{told:?}");
    let told = run_in(&sandbox, &python, "import os; os.write(61, b'{\"run\":0}\\n' + b'x' * 100000 + b'\\n'); 1");
    assert_eq!(told.value(), "1");

    let path = sandbox.path(&format!("proxy/44772/code/contexts/{python}"));
    daemon.client.get(&path).expect(200);
    daemon.client.delete(&path).expect(200);
    daemon.client.get(&path).expect_error(404, "CONTEXT_NOT_FOUND");
    daemon.client.delete(&path).expect_error(404, "CONTEXT_NOT_FOUND");
    daemon.client.delete(&sandbox.path("proxy/44772/code/contexts")).expect_error(400, "MISSING_QUERY");
    daemon.client.delete(&sandbox.path("proxy/44772/code/contexts?language=python")).expect(200);
    until("no process is left", || match daemon.processes(&sandbox.id).len() {
        left if left == idle => Ok(()),
        left => Err(format!("{left} processes")),
    });

    sandbox.call("pause").expect(202);
    sandbox.post("proxy/44772/code", &json!({"code": "1"})).expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    sandbox.call("resume").expect(202);
    assert_eq!(by_language("1", "python").value(), "1");
}

#[test]
fn an_image_without_an_interpreter_says_what_is_missing() {
    let Some(daemon) = Daemon::start("an_image_without_an_interpreter") else { return };
    let sandbox = daemon.sleeper();
    for (language, word) in [("python", "python3"), ("javascript", "node"), ("bash", "bash"), ("typescript", "node")] {
        let refused = sandbox.post("proxy/44772/code/context", &json!({ "language": language }));
        let refused = refused.expect_error(500, "RUNTIME_ERROR").json();
        assert!(
            refused["message"].as_str().is_some_and(|text| text.contains(word) && text.contains("image")),
            "{refused}"
        );
    }
    sandbox.post("proxy/44772/code/context", &json!({"language": "java"})).expect_error(400, "INVALID_REQUEST_BODY");
}

#[test]
fn much_output_is_whole_and_runs_stand_beside_each_other() {
    let Some(daemon) = start("much_output_is_whole") else { return };
    let sandbox = sandbox(&daemon);
    let told: Vec<Told> = std::thread::scope(|scope| {
        let runs = ["python", "javascript", "bash"].map(|language| {
            let sandbox = &sandbox;
            scope.spawn(move || {
                let code = match language {
                    "python" => "for n in range(200000): print(n)",
                    "javascript" => "for (let n = 0; n < 200000; n++) console.log(n)",
                    _ => "seq 0 199999",
                };
                run_in(sandbox, &context(sandbox, language), code)
            })
        });
        runs.into_iter().map(|run| run.join().expect("it ended")).collect()
    });
    for told in told {
        let told = told.ok();
        let lines: Vec<&str> = told.stdout.lines().collect();
        assert!(lines.len() == 200_000 && lines.iter().enumerate().all(|(n, line)| line.parse() == Ok(n)));
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), 200_000);
    }
}

#[test]
fn real_plots_and_display_objects_come_with_their_types() {
    let Some(daemon) = Daemon::start("real_plots_and_display_objects") else { return };
    daemon.import_plots();
    let sandbox = sandbox_of(&daemon, PLOTS);
    let python = context(&sandbox, "python");
    let run = |code: &str| run_in(&sandbox, &python, code).ok();
    let is_png = |result: &Value| result["image/png"].as_str().is_some_and(|data| data.starts_with("iVBORw0KGgo"));
    let types = |result: &Value| {
        let mut types: Vec<_> = result.as_object().expect("an object").keys().cloned().collect();
        types.sort();
        types
    };
    // A figure comes when the run ends, or when it is shown, and only once.
    let told = run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.title('one'); None");
    assert!(told.results.len() == 1 && is_png(&told.results[0]), "{told:?}");
    assert_eq!(types(&told.results[0]), ["image/png", "text"]);
    assert!(told.results[0]["text"].as_str().is_some_and(|text| text.starts_with("<Figure size 640x480")));
    let told = run("for n in range(2):\n    plt.figure(); plt.plot([n, 1]); plt.show(); print('shown', n)");
    assert!(told.results.len() == 2 && told.results.iter().all(is_png), "{told:?}");
    assert_eq!(told.stdout, "shown 0\nshown 1\n");
    assert_eq!(run("plt.get_backend()").value().to_lowercase(), "'agg'");

    let told = run("from IPython.display import *\ndisplay(HTML('<b>bold</b>'))\nMarkdown('# head')");
    assert_eq!(told.results.len(), 2, "{told:?}");
    assert_eq!(told.results[0]["text/html"], "<b>bold</b>");
    assert_eq!(told.results[0]["text"], "<IPython.core.display.HTML object>");
    assert_eq!(told.results[1]["text/markdown"], "# head");
    let told = run("display(JSON({'a': [1]}), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'), Math('x^2'))");
    assert_eq!(told.results[0]["application/json"], json!({"a": [1]}));
    assert!(told.results[1]["image/svg+xml"].as_str().is_some_and(|svg| svg.starts_with("<svg")), "{told:?}");
    assert!(told.results[2]["text/latex"].as_str().is_some_and(|latex| latex.contains("x^2")), "{told:?}");
    let told =
        run("import io\nplt.plot([1]); to = io.BytesIO(); plt.savefig(to); plt.close()\nImage(data=to.getvalue())");
    assert!(told.results.len() == 1 && is_png(&told.results[0]), "{told:?}");
    let told = run("import IPython\nIPython.display.display({'text/html': '<i>', 'text/plain': 'i'}, raw=True)");
    assert_eq!(told.results, [json!({"text": "i", "text/html": "<i>"})]);
    sandbox.delete();
}

/// Says results of seven million bytes, each of millions of values, as the runner would.
const HOSTILE: &str = "import os, sys
frame = sys._getframe()
while 'state' not in frame.f_locals: frame = frame.f_back
head = b'{\"run\":%d,\"kind\":\"result\",\"data\":{\"a\":[' % frame.f_locals['state']['run']
line = head + b'[],' * 2333333 + b'0]}}\\n'
for _ in range(2):
    left = line
    while left: left = left[os.write(61, left):]";

#[test]
fn results_take_no_more_memory_in_the_daemon_than_their_text() {
    let Some(daemon) = start("results_take_no_more_memory") else { return };
    let sandbox = sandbox(&daemon);
    let contexts = ["python"; 2].map(|language| context(&sandbox, language));
    run_in(&sandbox, &contexts[0], "1").ok();
    std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("the peak is forgotten");
    let before = daemon.peak_kib();
    std::thread::scope(|scope| {
        for context in &contexts {
            let body = json!({ "code": HOSTILE, "context": { "id": context } });
            let sandbox = &sandbox;
            scope.spawn(move || {
                let told = sandbox.post("proxy/44772/code", &body).expect(200);
                assert!(told.body.len() > 2 * 7_000_000, "{} bytes", told.body.len());
                assert!(told.body.windows(18).rev().take(200).any(|part| part == b"execution_complete"));
            });
        }
    });
    let grown = daemon.peak_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "the daemon has grown by {grown} KiB");
}

#[test]
fn a_run_ends_with_the_sandbox_and_nothing_is_left() {
    let Some(daemon) = start("a_run_ends_with_the_sandbox") else { return };
    run_until_deleted(&daemon);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("the daemon runs").count();
    // What the daemon opens once is open by now.
    let before = descriptors();
    run_until_deleted(&daemon);
    until("no descriptor more", || match descriptors() {
        now if now <= before => Ok(()),
        now => Err(format!("{before} before, {now} now")),
    });
}

fn run_until_deleted(daemon: &Daemon) {
    let sandbox = sandbox(daemon);
    let python = context(&sandbox, "python");
    let told = std::thread::scope(|scope| {
        let code = "open('/tmp/here', 'w').close()\nwhile True: pass";
        let stream = scope.spawn(|| run_in(&sandbox, &python, code));
        let test = json!({"command": "test -e /tmp/here"});
        until("it runs", || match sandbox.post("proxy/44772/command", &test).expect(200).text() {
            text if text.contains("execution_complete") => Ok(()),
            text => Err(text),
        });
        sandbox.delete();
        stream.join().expect("the stream ended")
    });
    assert!(told.error().1.contains("the sandbox is"), "{told:?}");
    sandbox.until_unknown();
    assert_eq!(daemon.processes(&sandbox.id), Vec::<i32>::new());
}
