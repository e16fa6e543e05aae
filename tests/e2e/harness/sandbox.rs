//! A sandbox of a test, by its daemon's API.

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::http::Response;
use super::image::IMAGE;
use super::wait::until;

pub struct Sandbox<'a> {
    daemon: &'a Daemon,
    pub id: String,
}

impl Response {
    /// # Panics
    /// When the status is not 2xx.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!((200..300).contains(&self.status), "{self}");
        self
    }
}

impl Daemon {
    /// The body of a request for a sandbox that runs this.
    pub fn request(&self, entrypoint: &[&str]) -> Value {
        json!({ "image": { "uri": IMAGE }, "entrypoint": entrypoint, "resourceLimits": {} })
    }

    /// Creates a sandbox, whatever becomes of it.
    #[track_caller]
    pub fn create(&self, entrypoint: &[&str]) -> Sandbox<'_> {
        self.create_from(&self.request(entrypoint))
    }

    #[track_caller]
    pub fn create_from(&self, request: &Value) -> Sandbox<'_> {
        let made = self.client.post("/v1/sandboxes", request).expect(202).json();
        self.sandbox(made["id"].as_str().expect("an id"))
    }

    /// A sandbox that runs until it is deleted.
    #[track_caller]
    pub fn sleeper(&self) -> Sandbox<'_> {
        let sandbox = self.create(&["sleep", "1000000"]);
        assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
        sandbox
    }

    pub fn sandbox(&self, id: &str) -> Sandbox<'_> {
        Sandbox { daemon: self, id: id.to_owned() }
    }
}

impl Sandbox<'_> {
    pub fn path(&self, verb: &str) -> String {
        let slash = if verb.is_empty() { "" } else { "/" };
        format!("/v1/sandboxes/{}{slash}{verb}", self.id)
    }

    #[track_caller]
    pub fn get(&self) -> Value {
        self.daemon.client.get(&self.path("")).expect(200).json()
    }

    #[track_caller]
    pub fn state(&self) -> String {
        self.get()["status"]["state"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn post(&self, verb: &str, body: &Value) -> Response {
        self.daemon.client.post(&self.path(verb), body)
    }

    /// A post without a body.
    #[track_caller]
    pub fn call(&self, verb: &str) -> Response {
        self.daemon.client.ask("POST", &self.path(verb), b"")
    }

    #[track_caller]
    pub fn delete(&self) {
        self.daemon.client.delete(&self.path("")).expect(204);
    }

    /// The sandbox's status once it is in this state.
    #[track_caller]
    pub fn until(&self, state: &str) -> Value {
        until(state, || {
            let status = self.get()["status"].clone();
            if status["state"] == state { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Its status once its entrypoint has ended.
    #[track_caller]
    pub fn ended(&self) -> Value {
        self.daemon.client.get(&self.path("wait?timeout=60")).expect(200).json()["status"].clone()
    }

    /// What it uses now.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.daemon.client.get(&self.path("stats")).expect(200).json()
    }

    #[track_caller]
    pub fn log(&self) -> String {
        self.daemon.client.get(&self.path("logs")).expect(200).text()
    }

    /// Waits until nobody knows it any more.
    pub fn until_unknown(&self) {
        until("forgotten", || match self.daemon.client.get(&self.path("")) {
            answer if answer.status == 404 => Ok(()),
            answer => Err(answer.to_string()),
        });
    }
}
