//! `GET /sandboxes`.

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::query::{self, Query};
use crate::api::types::{PageBody, PaginationBody, SandboxBody, phase};
use crate::sandbox::{Filter, Listing, Sandboxes};

const PAGE_SIZE: u32 = 20;
const MOST_PAGE_SIZE: u32 = 200;
const MOST_PAGE: u32 = i32::MAX as u32;

/// One page of the sandboxes, youngest first.
pub async fn list(State(sandboxes): State<Sandboxes>, query: Query) -> Result<Json<PageBody>, ApiError> {
    let page = query.number("page", 1..=MOST_PAGE)?.unwrap_or(1);
    let page_size = query.number("pageSize", 1..=MOST_PAGE_SIZE)?.unwrap_or(PAGE_SIZE);
    let listing = match filter(&query)? {
        Some(filter) => sandboxes.list(&filter, page, page_size),
        None => Listing { items: Vec::new(), total: 0 },
    };
    let pagination = PaginationBody::new(page, page_size, listing.total);
    Ok(Json(PageBody { items: listing.items.into_iter().map(SandboxBody::whole).collect(), pagination }))
}

/// `None` when states were asked for and none of them exists: nothing is in such a state, as in the reference.
fn filter(query: &Query) -> Result<Option<Filter>, ApiError> {
    let metadata = query.get("metadata").map_or_else(|| Ok(Default::default()), query::metadata)?;
    let asked = query.all("state").count() > 0;
    let phases: Vec<_> = query.all("state").filter_map(phase).collect();
    Ok((!asked || !phases.is_empty()).then_some(Filter { phases, metadata }))
}
