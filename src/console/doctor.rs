//! `bivouac doctor`: what this kernel and host can do. Looks for itself; only for its images the daemon is needed.

use std::path::{Path, PathBuf};

use clap::Args;
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::client::Call;
use super::lines::Lines;
use super::{Client, Failure, screen};
use crate::model::Finding;
use crate::network::Wanted;
use crate::{network, runtime};

/// `EX_UNAVAILABLE` of `sysexits.h`: the host cannot run sandboxes.
pub const CANNOT_RUN: u8 = 69;

/// `EX_DATAERR` of `sysexits.h`: a layer was damaged.
pub const DAMAGED: u8 = 65;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON: an array of findings
    #[arg(long)]
    pub json: bool,

    /// Instead, have the daemon read all image layers and set aside those that are damaged: they are fetched again by the next
    /// pull or create
    #[arg(long)]
    pub verify_images: bool,

    /// Where the daemon keeps its state: the file system there is looked at [default: what BIVOUAC_STATE_DIR or the
    /// configuration file says]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Configuration file of the daemon [default: /etc/bivouac/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What the daemon says of a layer, and in its last line of all.
#[derive(Debug, Deserialize, Serialize)]
struct Looked {
    status: String,
    message: String,
    #[serde(default)]
    layer: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    images: Vec<String>,
}

/// Prints what became of each layer; returns the exit code, which says whether one was damaged.
///
/// # Errors
/// When the daemon cannot be asked, or could not read on.
pub async fn verify_images(client: &Client, args: &Doctor) -> Result<u8, Failure> {
    const ACTION: &str = "verify the images";
    let answer = client.answer(Call::new(Method::POST, "/v1/images/verify", ACTION)).await?;
    let mut lines = Lines::new(answer.into_body(), ACTION);
    let mut layers = Vec::new();
    loop {
        let line: Looked = lines.next().await?;
        match line.status.as_str() {
            "done" => break,
            "failed" => return Err(Failure::Unusable { action: ACTION.to_owned(), problem: line.message }),
            _ if !args.json => screen::line(&in_words(&line))?,
            _ => {}
        }
        layers.push(line);
    }
    let damaged = layers.iter().filter(|line| line.status == "damaged").count();
    match args.json {
        true => screen::json(&layers)?,
        false => screen::line(&format!("{} layers, {damaged} damaged.", layers.len()))?,
    }
    Ok(if damaged == 0 { 0 } else { DAMAGED })
}

fn in_words(line: &Looked) -> String {
    let layer: String = line.layer.chars().take(19).collect();
    let sound = format!("{:<8}  {layer}  {:>9}  {}", line.status, screen::bytes(line.size), line.images.join(", "));
    if line.status == "sound" { sound } else { format!("{sound}: {}", line.message) }
}

/// What a daemon has by its configuration; or what is wrong with that.
#[derive(Debug)]
pub struct Configured {
    pub state_dir: Result<PathBuf, String>,
    pub network: Result<Wanted, String>,
}

/// Prints the findings; returns the exit code, which says whether sandboxes can run here. `configured` tells what a daemon with
/// this configuration file has.
///
/// # Errors
/// When nobody tells the state directory, or standard output cannot be written.
pub fn doctor(args: &Doctor, configured: impl FnOnce(Option<&Path>) -> Configured) -> Result<u8, Failure> {
    let unknown = |problem| Failure::Unusable {
        action: "find the state directory (or name it: --state-dir DIR)".to_owned(),
        problem,
    };
    let Configured { state_dir, network } = configured(args.config.as_deref());
    let state_dir = args.state_dir.clone().map_or(state_dir, Ok).map_err(unknown)?;
    let mut findings = runtime::doctor::examine(&state_dir);
    findings.extend(network::doctor::examine(network));
    if args.json {
        screen::json(&findings)?;
    } else {
        print(&findings)?;
    }
    Ok(if missing(&findings).is_empty() { 0 } else { CANNOT_RUN })
}

fn print(findings: &[Finding]) -> Result<(), Failure> {
    let rows: Vec<_> = findings.iter().map(row).collect();
    screen::table(["FEATURE", "FOUND", "DETAIL", "WITHOUT IT"], &rows)?;
    let missing = missing(findings);
    if missing.is_empty() {
        screen::line("This host can run sandboxes.")
    } else {
        screen::line(&format!("This host cannot run sandboxes: it lacks {}.", missing.join(", ")))
    }
}

fn row(finding: &Finding) -> [String; 4] {
    [
        finding.feature.to_string(),
        verdict(finding).to_owned(),
        finding.detail.to_string(),
        if finding.found { String::new() } else { without(finding) },
    ]
}

fn verdict(finding: &Finding) -> &'static str {
    match (finding.found, finding.required) {
        (true, _) => "yes",
        (false, true) => "MISSING",
        (false, false) => "no",
    }
}

fn without(finding: &Finding) -> String {
    let parts: Vec<String> = [
        finding.required.then(|| "no sandbox can run".to_owned()),
        finding.fallback.as_ref().map(|way| format!("instead: {way}")),
        finding.lost.as_ref().map(|what| format!("lost: {what}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    parts.join("; ")
}

fn missing(findings: &[Finding]) -> Vec<&str> {
    findings
        .iter()
        .filter(|finding| finding.required && !finding.found)
        .map(|finding| finding.feature.as_ref())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_feature_says_what_is_done_instead_and_what_is_lost() {
        let finding = Finding {
            feature: "cgroup v2 cpu".into(),
            found: false,
            detail: "on a v1 hierarchy".into(),
            fallback: Some("the v1 controller".into()),
            lost: Some("burst".into()),
            required: false,
        };
        assert_eq!(row(&finding)[1..], ["no", "on a v1 hierarchy", "instead: the v1 controller; lost: burst"]);
        assert!(missing(std::slice::from_ref(&finding)).is_empty());
        let required = Finding { required: true, ..finding };
        assert_eq!(missing(std::slice::from_ref(&required)), ["cgroup v2 cpu"]);
        assert_eq!(row(&required)[1], "MISSING");
    }
}
