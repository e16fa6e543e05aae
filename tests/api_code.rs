//! Code contexts of a pretended sandbox, with the bash of this machine.

mod api_support;

use api_support::{Reply, Server};
use serde_json::{Value, json};

struct Inside {
    server: Server,
    path: String,
}

impl Inside {
    async fn start() -> Self {
        let server = Server::start().await;
        let id = server.created(json!({})).await;
        Self { path: format!("/v1/sandboxes/{id}/proxy/44772/code"), server }
    }

    async fn context(&self) -> String {
        let made = self.server.post(&format!("{}/context", self.path), json!({"language": "bash"})).await;
        assert_eq!(made.status, 200, "{made:?}");
        made.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn run(&self, body: Value) -> Reply {
        self.server.post(&self.path, body).await
    }
}

fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")), "{reply:?}");
    let text = reply.text();
    let event = |frame: &str| serde_json::from_str(frame.trim_start_matches("data: ")).expect("an event");
    text.split_terminator("\n\n").map(event).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

#[tokio::test]
async fn a_run_tells_its_context_its_output_and_its_end() {
    let inside = Inside::start().await;
    let context = inside.context().await;
    let told = events(
        &inside.run(json!({"code": "x=1; printf 'a\\nb'", "context": {"id": context, "language": "bash"}})).await,
    );
    assert_eq!(kinds(&told), ["init", "stdout", "execution_complete"], "{told:?}");
    assert_eq!((&told[0]["text"], &told[1]["text"]), (&json!(context), &json!("a\nb")), "not split into lines");
    let told = events(&inside.run(json!({"code": "echo $x >&2; (exit 9)", "context": {"id": context}})).await);
    assert_eq!(kinds(&told), ["init", "stderr", "status", "error"]);
    assert_eq!((&told[1]["text"], &told[3]["error"]["evalue"]), (&json!("1\n"), &json!("9")));
}

#[tokio::test]
async fn contexts_are_listed_and_deleted() {
    let inside = Inside::start().await;
    let (first, second) = (inside.context().await, inside.context().await);
    let contexts = format!("{}/contexts", inside.path);
    let ids = async |query: &str| {
        let listed = inside.server.get(&format!("{contexts}{query}")).await.json();
        let ids = listed.as_array().expect("a list").iter().map(|context| context["id"].as_str().unwrap_or_default());
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids("?language=bash").await, [first.clone(), second.clone()]);
    assert_eq!(ids("?language=python").await, Vec::<String>::new());
    assert_eq!(ids("").await.len(), 2);
    assert_eq!(inside.server.get(&format!("{contexts}?language=command")).await.refusal().0, 500);
    assert_eq!(
        inside.server.get(&format!("{contexts}/{first}")).await.json(),
        json!({"id": first, "language": "bash"})
    );
    assert_eq!(inside.server.send("DELETE", &format!("{contexts}/{first}"), None).await.status, 200);
    let gone = inside.server.get(&format!("{contexts}/{first}")).await;
    assert_eq!(gone.refusal(), (404, "CONTEXT_NOT_FOUND".to_owned()));
    assert_eq!(inside.server.send("DELETE", &contexts, None).await.refusal(), (400, "MISSING_QUERY".to_owned()));
    assert_eq!(inside.server.send("DELETE", &format!("{contexts}?language=bash"), None).await.status, 200);
    assert_eq!(ids("").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let inside = Inside::start().await;
    let context = inside.context().await;
    for (body, status, code) in [
        (json!({}), 400, "SANDBOX::INVALID_PARAMETER"),
        (json!({"code": " "}), 400, "INVALID_REQUEST_BODY"),
        (json!({"code": "a\u{0}b", "context": {"id": context}}), 400, "INVALID_REQUEST_BODY"),
        (json!({"code": "1", "context": {"language": "java"}}), 400, "INVALID_REQUEST_BODY"),
        (json!({"code": "1", "context": {"id": context, "language": "python"}}), 400, "INVALID_REQUEST_BODY"),
        (json!({"code": "1", "context": {"id": "none"}}), 404, "CONTEXT_NOT_FOUND"),
        (json!({"code": "1", "context": "bash"}), 400, "SANDBOX::INVALID_PARAMETER"),
    ] {
        assert_eq!(inside.run(body.clone()).await.refusal(), (status, code.to_owned()), "{body}");
    }
    let create = format!("{}/context", inside.path);
    for body in [json!({}), json!({"language": "java"}), json!({"language": "bash", "cwd": "/".repeat(5000)})] {
        assert_eq!(inside.server.post(&create, body.clone()).await.status, 400, "{body}");
    }
    let interrupt = async |query: &str| inside.server.send("DELETE", &format!("{}{query}", inside.path), None).await;
    assert_eq!(interrupt("").await.refusal(), (400, "MISSING_QUERY".to_owned()));
    assert_eq!(interrupt("?id=none").await.refusal(), (500, "RUNTIME_ERROR".to_owned()));
    assert_eq!(interrupt(&format!("?id={context}")).await.status, 200, "nothing to interrupt");
}

#[tokio::test]
async fn a_context_has_one_run_at_a_time_and_another_goes_on_beside_it() {
    let inside = Inside::start().await;
    let (busy, free) = (inside.context().await, inside.context().await);
    let long = inside.run(json!({"code": "echo begun; sleep 1000", "context": {"id": busy}}));
    let meanwhile = async {
        let second = async || inside.run(json!({"code": "echo", "context": {"id": busy}})).await;
        // The first of the two may be begun after the second: then its end comes at once.
        let refused = loop {
            let reply = second().await;
            if reply.status != 200 {
                break reply;
            }
            tokio::task::yield_now().await;
        };
        assert!(refused.message().contains("session is busy"), "{refused:?}");
        let told = events(&inside.run(json!({"code": "echo free", "context": {"id": free}})).await);
        assert_eq!(told[1]["text"], "free\n");
        inside.server.send("DELETE", &format!("{}/contexts/{busy}", inside.path), None).await
    };
    let (long, deleted) = tokio::join!(long, meanwhile);
    let told = events(&long);
    assert_eq!((deleted.status, &told[told.len() - 1]["error"]["ename"]), (200, &json!("ContextDeleted")), "{told:?}");
}

#[tokio::test]
async fn without_a_language_it_is_a_line_for_the_shell() {
    let inside = Inside::start().await;
    let told = events(&inside.run(json!({"code": "echo plain; exit 3"})).await);
    assert_eq!(kinds(&told), ["init", "stdout", "error"]);
    assert_eq!((&told[1]["text"], &told[2]["error"]["evalue"]), (&json!("plain"), &json!("3")));
}
