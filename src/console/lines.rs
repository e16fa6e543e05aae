//! Answers that are lines of JSON, read as they come.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::Failure;

/// No line is longer.
const LONGEST: usize = 16 << 20;

/// The lines of one answer.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    text: Vec<u8>,
    action: String,
}

impl Lines {
    pub fn new(body: Incoming, action: &str) -> Self {
        Self { body, text: Vec::new(), action: action.to_owned() }
    }

    /// The next line.
    ///
    /// # Errors
    /// When it is not what is expected, or the answer ends: whoever reads knows which line is the last.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let rest = self.text.split_off(end + 1);
                let line = std::mem::replace(&mut self.text, rest);
                return serde_json::from_slice(&line).map_err(|error| self.unreadable(error.to_string()));
            }
            let frame = self.body.frame().await.ok_or_else(|| self.unreadable("the daemon hung up".to_owned()))?;
            let frame = frame.map_err(|error| self.unreadable(error.to_string()))?;
            self.text.extend_from_slice(&frame.into_data().unwrap_or_default());
            if self.text.len() > LONGEST {
                return Err(self.unreadable("a line has no end".to_owned()));
            }
        }
    }

    fn unreadable(&self, problem: String) -> Failure {
        Failure::Unreadable { action: self.action.clone(), problem }
    }
}
