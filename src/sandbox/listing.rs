//! Lists of sandboxes: what is asked for, in what order, which page.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshot::{Sandbox, Snapshot};
use crate::model::{Phase, SandboxId};

/// Which sandboxes a list shows. The default is all that are not removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; empty is any. Removed sandboxes are shown only when their phase is named here.
    pub phases: Vec<Phase>,
    /// All of these.
    pub metadata: BTreeMap<String, String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub items: Vec<Sandbox>,
    /// How many there are on all pages.
    pub total: usize,
}

/// What a name on a command line may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    One(Box<Sandbox>),
    None,
    /// The text fits all of these.
    Many(Vec<SandboxId>),
}

impl Filter {
    fn shows(&self, snapshot: &Snapshot) -> bool {
        let Sandbox { status, spec, .. } = &snapshot.sandbox;
        let phase = if self.phases.is_empty() { !snapshot.removed } else { self.phases.contains(&status.phase) };
        phase && self.metadata.iter().all(|(key, value)| spec.metadata.get(key) == Some(value))
    }
}

/// The page (from 1) of those that the filter shows, youngest first. Only what is on the page is copied.
pub(super) fn page(mut all: Vec<Arc<Snapshot>>, filter: &Filter, page: u32, page_size: u32) -> Listing {
    all.retain(|snapshot| filter.shows(snapshot));
    all.sort_unstable_by(|a, b| {
        let (a, b) = (&a.sandbox, &b.sandbox);
        b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id))
    });
    let size = usize::try_from(page_size).unwrap_or(usize::MAX);
    let before = usize::try_from(page.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(size);
    let items = all.iter().skip(before).take(size).map(|snapshot| snapshot.sandbox.clone()).collect();
    Listing { items, total: all.len() }
}

/// The sandbox that a text means: its id, else its `name`, else the beginning of its id. Removed ones have no name.
pub(super) fn find(all: &[Arc<Snapshot>], text: &str) -> Found {
    let by = |fits: &dyn Fn(&Sandbox) -> bool| -> Vec<&Sandbox> {
        all.iter().filter(|seen| !seen.removed).map(|seen| &seen.sandbox).filter(|sandbox| fits(sandbox)).collect()
    };
    let ways: [&dyn Fn(&Sandbox) -> bool; 3] = [
        &|sandbox| sandbox.id.as_str() == text,
        &|sandbox| sandbox.spec.metadata.get("name").is_some_and(|name| name == text),
        &|sandbox| !text.is_empty() && sandbox.id.as_str().starts_with(text),
    ];
    let hits = ways.into_iter().map(by).find(|hits| !hits.is_empty()).unwrap_or_default();
    match hits.as_slice() {
        [] => Found::None,
        [one] => Found::One(Box::new((*one).clone())),
        many => Found::Many(many.iter().map(|sandbox| sandbox.id.clone()).collect()),
    }
}
