//! `POST /images/pull`: an image from its registry, with its progress as lines of JSON.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use crate::api::credentials;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::api::state::ApiState;
use crate::api::stream::ChannelBody;
use crate::api::types::PullLine;
use crate::image::{ImageStore, Policy, PullRequest, PullState, Puller, Pulling};

/// Lines that wait for a slow reader; then the next that is sent is the newest.
const LINES: usize = 4;

/// A pull that fails before anything is fetched is answered with the error itself; after that the last line says how it ended.
/// A client that goes away gives up its interest.
pub async fn pull(State(state): State<ApiState>, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let body = Fields::body(&body)?;
    let image = body.object("image")?.ok_or_else(|| body.missing("image"))?;
    let uri = image.required_text("uri")?.to_owned();
    let policy = body.text("policy")?.map_or(Ok(Policy::Always), str::parse);
    let policy = policy.map_err(|problem| ApiError::invalid(format!("policy cannot be used: {problem}.")))?;
    let request = PullRequest { image: uri, credentials: credentials::read(&image)? };
    let here = state.images.find(&request.image);
    let lines = match (here, policy) {
        (Ok(image), Policy::Missing | Policy::Never) => PullState::Done(image).into(),
        (Err(error), Policy::Never) => return Err(ApiError::image(error)),
        _ => begin(puller(&state)?, &request).await?,
    };
    let (sender, receiver) = mpsc::channel(LINES);
    drop(tokio::spawn(tell(lines, state.images, sender)));
    let body = Body::new(ChannelBody::new(receiver, |line| line));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn puller(state: &ApiState) -> Result<&Puller, ApiError> {
    state.puller.as_ref().ok_or_else(|| ApiError::unavailable("Nothing can be pulled now. Try again shortly."))
}

/// What is to be told: how it ended already, or a pull that goes on.
struct Lines {
    state: PullState,
    pulling: Option<Pulling>,
}

impl From<PullState> for Lines {
    fn from(state: PullState) -> Self {
        Self { state, pulling: None }
    }
}

/// Waits until something is being fetched, or it is over.
async fn begin(puller: &Puller, request: &PullRequest) -> Result<Lines, ApiError> {
    let mut pulling = puller.pull(request).map_err(ApiError::image)?;
    let mut state = pulling.state();
    while matches!(state, PullState::Waiting | PullState::Resolving) {
        state = pulling.changed().await;
    }
    match state {
        PullState::Failed(error) => Err(ApiError::of_image(&error)),
        state => Ok(Lines { state, pulling: Some(pulling) }),
    }
}

async fn tell(lines: Lines, store: Arc<ImageStore>, sender: mpsc::Sender<io::Result<Bytes>>) {
    let Lines { mut state, mut pulling } = lines;
    loop {
        let line = PullLine::of(&state, &store).to_bytes();
        if sender.send(Ok(line)).await.is_err() || state.is_over() {
            return;
        }
        let Some(pulling) = &mut pulling else { return };
        state = tokio::select! {
            state = pulling.changed() => state,
            () = sender.closed() => return,
        };
    }
}
