//! `extensions`: switches by name. Those with our clients' prefix are kept and echoed; unknown ones are ignored.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::model::Interaction;

const ECHOED_PREFIX: &str = "opensandbox.extensions.";
const RENEW: &str = "access.renew.extend.seconds";
/// Our own: `true`, the entrypoint has a pipe as its input.
const STDIN: &str = "bivouac.stdin";
/// Our own: `true`, or `COLUMNSxROWS`: the entrypoint has a terminal.
const TERMINAL: &str = "bivouac.terminal";
/// Our own: the directory that the entrypoint starts in.
const CWD: &str = "bivouac.cwd";
const ISOLATION: &str = "bootstrap.execd.isolation";

/// The extensions that are echoed back.
pub fn read(body: &Fields<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let extensions = body.text_map("extensions")?.unwrap_or_default();
    if extensions.contains_key("poolRef") {
        return Err(ApiError::refused(
            "SANDBOX::UNSUPPORTED_POOL_REF",
            "poolRef is not supported by this version, which has no pools; give an image and an entrypoint instead.",
        ));
    }
    if let Some(seconds) = extensions.get(RENEW) {
        check_renew(seconds)?;
    }
    if extensions.contains_key(ISOLATION) {
        return Err(ApiError::invalid(format!(
            "extensions[{ISOLATION:?}] is not supported by this version; leave it out."
        )));
    }
    let echoed = |name: &str| name.starts_with(ECHOED_PREFIX) || [STDIN, TERMINAL, CWD].contains(&name);
    Ok(extensions.into_iter().filter(|(name, _)| echoed(name)).collect())
}

/// What clients can give to the entrypoint while it runs.
pub fn interaction(body: &Fields<'_>) -> Result<Interaction, ApiError> {
    let extensions = body.text_map("extensions")?.unwrap_or_default();
    let refuse = |name: &str, what: &str, text: &str| {
        ApiError::invalid(format!("Invalid extensions[{name:?}]: must be {what}, got {}.", shown(text)))
    };
    let input = match extensions.get(STDIN).map(|text| text.trim()) {
        Some("true") => Interaction::Input,
        None | Some("false") => Interaction::None,
        Some(other) => return Err(refuse(STDIN, "true or false", other)),
    };
    match extensions.get(TERMINAL).map(|text| text.trim()) {
        None | Some("false") => Ok(input),
        Some("true") => Ok(Interaction::Terminal { columns: 80, rows: 24 }),
        Some(text) => {
            let side = |text: &str| text.parse::<u16>().ok().filter(|side| *side > 0);
            let size = text.split_once('x').and_then(|(columns, rows)| Some((side(columns)?, side(rows)?)));
            let (columns, rows) = size.ok_or_else(|| refuse(TERMINAL, "true, false or COLUMNSxROWS", text))?;
            Ok(Interaction::Terminal { columns, rows })
        }
    }
}

/// The directory that the entrypoint starts in.
pub fn cwd(body: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let cwd = body.text_map("extensions")?.unwrap_or_default().remove(CWD);
    match cwd {
        Some(cwd) if !cwd.starts_with('/') || cwd.len() > 4096 || cwd.contains('\0') => Err(ApiError::invalid(
            format!("Invalid extensions[{CWD:?}]: must be an absolute path, got {}.", shown(&cwd)),
        )),
        cwd => Ok(cwd),
    }
}

fn check_renew(text: &str) -> Result<(), ApiError> {
    let refuse = |why: String| Err(ApiError::invalid(format!("Invalid extensions[{RENEW:?}]: {why}")));
    match text.trim().parse::<i64>() {
        Ok(300..=86_400) => Ok(()),
        Ok(other) => {
            refuse(format!("must be between 300 and 86400 seconds (5 minutes to 24 hours inclusive), got {other}."))
        }
        Err(_) => refuse(format!("must be a whole number of seconds, got {}.", shown(text))),
    }
}
