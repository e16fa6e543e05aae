//! The image of a sandbox that is being made: here, or fetched and then kept for it.

use tokio::sync::watch;

use super::{Inner, failed, image_failed};
use crate::image::{ImageError, Policy, PullRequest, PullState, Reference};
use crate::model::{Reason, SandboxId, with_causes};
use crate::sandbox::host::HostError;
use crate::sandbox::{Fetch, Presence};

impl Inner {
    pub(super) fn presence(&self, image: &str, fetch: &Fetch) -> Result<Presence, HostError> {
        let found = self.images.find(image);
        match (fetch.policy.unwrap_or(self.config.pull_policy), found) {
            (Policy::Missing | Policy::Never, Ok(image)) => {
                // Until it is held, a policy must not find that nobody uses it.
                self.images.touch(&image);
                Ok(Presence::Here)
            }
            (Policy::Always, _)
            | (Policy::Missing, Err(ImageError::NotFound { .. } | ImageError::Damaged { pulled: true, .. })) => {
                // What is no name is found out before anything is recorded.
                let name = image.parse::<Reference>();
                name.map(|_| Presence::Elsewhere).map_err(image_failed)
            }
            (_, Err(error)) => Err(image_failed(error)),
        }
    }

    pub(super) async fn fetch(
        &self,
        id: &SandboxId,
        image: &str,
        fetch: Fetch,
        tell: watch::Sender<String>,
    ) -> Result<(), HostError> {
        let request = PullRequest { image: image.to_owned(), credentials: fetch.credentials };
        let mut pulling = self.puller.pull(&request).map_err(|error| failed(Reason::ImagePullFailed, &error))?;
        let mut state = pulling.state();
        loop {
            match &state {
                // The pull still stands between the image and whoever removes it.
                PullState::Done(pulled) => {
                    return self.images.find_and_hold(&pulled.name, id.as_str()).map(drop).map_err(image_failed);
                }
                PullState::Failed(error) => {
                    let message = format!("failed to {}", with_causes(&**error));
                    return Err(HostError { reason: Reason::ImagePullFailed, message });
                }
                other => drop(tell.send_replace(format!("pulling {image}: {other}"))),
            }
            state = pulling.changed().await;
        }
    }
}
