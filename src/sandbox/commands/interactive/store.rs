//! Where interactive processes are kept on the host, and how a later daemon finds them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OnceCell, watch};

use super::seat::Seat;
use super::tape::Tape;
use super::{Blueprint, Interactive, start};
use crate::model::ExecId;
use crate::sandbox::commands::label::Kind;
use crate::sandbox::commands::shelf::io_failed;
use crate::sandbox::{ExecError, Execution, Inside};

/// Bytes of output that can be seen again.
const KEEP: u64 = 1 << 20;
pub const KEEP_FOR_PATIENT: u64 = 16 << 20;

/// The files of one: its blueprint, its output, and the marks in that.
#[derive(Debug, Clone)]
pub struct Place {
    blueprint: PathBuf,
    output: PathBuf,
    marks: PathBuf,
}

/// What PID 1 knows of the interactive processes of a sandbox.
pub type Found = HashMap<ExecId, (Kind, Execution)>;

impl Place {
    fn new(dir: &Path, id: &ExecId) -> Self {
        let file = |kind: &str| dir.join(format!("{kind}-{id}"));
        Self { blueprint: file("blueprint"), output: file("output"), marks: file("marks") }
    }

    pub fn remove(&self) {
        for path in [&self.blueprint, &self.output, &self.marks] {
            // What was never written is not there.
            drop(fs::remove_file(path));
        }
    }

    fn write(&self, blueprint: &Blueprint) -> io::Result<()> {
        let text = serde_json::to_vec(blueprint)?;
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.blueprint)?.write_all(&text)
    }
}

impl Interactive {
    /// Makes one that is not started.
    pub(in crate::sandbox::commands) fn make(
        dir: &Path,
        inside: Inside,
        blueprint: Blueprint,
    ) -> io::Result<Arc<Self>> {
        let id = ExecId::random();
        let place = Place::new(dir, &id);
        let made = place.write(&blueprint).and_then(|()| Self::open(id, inside, blueprint, place.clone()));
        made.map(Arc::new).inspect_err(|_| place.remove())
    }

    /// All that an earlier daemon has left.
    pub(in crate::sandbox::commands) async fn find_all(
        dir: &Path,
        inside: &Inside,
        mut found: Found,
    ) -> Result<HashMap<ExecId, Arc<Self>>, ExecError> {
        let mut all = HashMap::new();
        for (id, blueprint) in blueprints(dir) {
            let opened = Self::open(id.clone(), inside.clone(), blueprint, Place::new(dir, &id));
            let process = opened.map_err(io_failed)?;
            if let Some((kind, execution)) = found.remove(&id) {
                let running = start::take_over(&process, execution, kind).await?;
                // It is empty still.
                drop(process.running.set(running));
            }
            all.insert(id, Arc::new(process));
        }
        // Those were being deleted.
        found.into_values().for_each(|(_, execution)| start::end(execution));
        Ok(all)
    }

    fn open(id: ExecId, inside: Inside, blueprint: Blueprint, place: Place) -> io::Result<Self> {
        let keep = if blueprint.patient { KEEP_FOR_PATIENT } else { KEEP };
        let tape = Arc::new(Tape::open(&place.output, &place.marks, keep)?);
        let seat = Arc::new(Seat::new(tape.end()));
        let (running, closed) = (OnceCell::new(), watch::Sender::new(false));
        Ok(Self { id, blueprint, place, inside, tape, seat, running, closed })
    }

    pub(in crate::sandbox::commands) fn is_idle(&self) -> bool {
        self.has_ended() && self.seat.is_free()
    }
}

fn blueprints(dir: &Path) -> Vec<(ExecId, Blueprint)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.strip_prefix("blueprint-")?.parse().ok()?;
        let text = fs::read(entry.path()).ok()?;
        // One that was cut short belongs to a request that was never answered.
        Some((id, serde_json::from_slice(&text).ok()?))
    };
    entries.filter_map(read).collect()
}
