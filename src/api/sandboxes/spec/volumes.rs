//! `volumes`: checked in full and then refused, since this version mounts none.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};

const BACKENDS: [&str; 3] = ["host", "pvc", "ossfs"];

pub fn check(body: &Fields<'_>) -> Result<(), ApiError> {
    let volumes = body.list("volumes")?.unwrap_or_default();
    let mut names = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        let name = check_shape(at, volume)?;
        if !names.insert(name) {
            return Err(ApiError::refused(
                "VOLUME::DUPLICATE_NAME",
                format!("Volume name '{name}' is used twice; give each volume a name of its own."),
            ));
        }
    }
    volumes.iter().enumerate().try_for_each(|(at, volume)| refuse_backend(&Fields::at(path(at), volume)?))
}

fn path(at: usize) -> String {
    format!("volumes[{at}]")
}

/// The rules of the schema; gives the name.
fn check_shape(at: usize, volume: &Value) -> Result<&str, ApiError> {
    let volume = Fields::at(path(at), volume)?;
    let name = volume.required_text("name")?;
    if !valid_name(name, 63) {
        return Err(ApiError::refused(
            "VOLUME::INVALID_NAME",
            format!(
                "{} {} must be up to 63 of [a-z0-9-], with [a-z0-9] at both ends.",
                volume.name("name"),
                shown(name)
            ),
        ));
    }
    let mount = volume.required_text("mountPath")?;
    if !mount.starts_with('/') || mount.contains('\0') {
        let field = volume.name("mountPath");
        let message = format!("{field} {} must be an absolute path inside the sandbox.", shown(mount));
        return Err(ApiError::refused("VOLUME::INVALID_MOUNT_PATH", message));
    }
    volume.boolean("readOnly")?;
    check_sub_path(&volume)?;
    check_backends(&volume)?;
    Ok(name)
}

fn check_sub_path(volume: &Fields<'_>) -> Result<(), ApiError> {
    let Some(sub) = volume.text("subPath")? else { return Ok(()) };
    let escapes = sub.starts_with('/') || sub.contains('\0') || sub.split('/').any(|part| part == "..");
    if !escapes {
        return Ok(());
    }
    let message = format!("{} {} must be a relative path without '..'.", volume.name("subPath"), shown(sub));
    Err(ApiError::refused("VOLUME::INVALID_SUB_PATH", message))
}

fn check_backends(volume: &Fields<'_>) -> Result<(), ApiError> {
    let given: Vec<&str> = BACKENDS.into_iter().filter(|backend| volume.has(backend)).collect();
    if given.len() != 1 {
        let found = if given.is_empty() { "none was".to_owned() } else { format!("{} were", given.join(", ")) };
        let message = format!("Exactly one backend (host, pvc, ossfs) must be specified, but {found} provided.");
        return Err(ApiError::refused("VOLUME::INVALID_BACKEND", message));
    }
    if let Some(host) = volume.object("host")? {
        let path = host.required_text("path")?;
        if !path.starts_with('/') || path.contains('\0') {
            let message = format!("{} {} must be an absolute path on the host.", host.name("path"), shown(path));
            return Err(ApiError::refused("VOLUME::INVALID_HOST_PATH", message));
        }
    }
    if let Some(claim) = volume.object("pvc")? {
        check_claim(&claim)?;
    }
    if let Some(bucket) = volume.object("ossfs")? {
        bucket.required_text("bucket")?;
        bucket.required_text("endpoint")?;
    }
    Ok(())
}

fn check_claim(claim: &Fields<'_>) -> Result<(), ApiError> {
    let name = claim.required_text("claimName")?;
    if !valid_name(name, 253) {
        let field = claim.name("claimName");
        let message = format!("{field} {} must be up to 253 of [a-z0-9-], with [a-z0-9] at both ends.", shown(name));
        return Err(ApiError::refused("VOLUME::INVALID_PVC_NAME", message));
    }
    claim.boolean("createIfNotExists")?;
    claim.boolean("deleteOnSandboxTermination")?;
    claim.text("storageClass")?;
    claim.text("storage")?;
    claim.texts("accessModes").map(drop)
}

/// No path of the host may be mounted and no volume is kept: the allow-list is empty.
fn refuse_backend(volume: &Fields<'_>) -> Result<(), ApiError> {
    if let Some(host) = volume.object("host")? {
        let path: String = host.required_text("path")?.chars().take(256).collect();
        return Err(ApiError::refused(
            "VOLUME::HOST_PATH_NOT_ALLOWED",
            format!("Host path '{path}' is not under any allowed prefix. Allowed prefixes: []"),
        ));
    }
    let backend = if volume.has("pvc") { "pvc" } else { "ossfs" };
    Err(ApiError::refused(
        "VOLUME::UNSUPPORTED_BACKEND",
        format!("The volume backend '{backend}' is not supported by this version; leave volumes out."),
    ))
}

fn valid_name(name: &str, most: usize) -> bool {
    let bytes = name.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=most).contains(&bytes.len())
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
}
