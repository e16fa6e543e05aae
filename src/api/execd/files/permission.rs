//! Owner, group and mode in requests.

use serde_json::Value;

use super::failure::invalid;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::sandbox::files::Permission;

/// What a body gives for each path.
pub fn by_path(body: &Value) -> Result<Vec<(String, Permission)>, ApiError> {
    let map =
        body.as_object().ok_or_else(|| invalid("The request body must be a JSON object: paths with permissions."))?;
    let entry = |(path, value): (&String, &Value)| {
        let fields = Fields::at(shown(path), value).map_err(|error| invalid(error.into_message()))?;
        Ok((path.clone(), of(&fields)?))
    };
    map.iter().map(entry).collect()
}

/// `mode` as octal digits in a decimal number: 755 is 0o755. Zero and what is empty or null leave things as they are.
pub fn of(fields: &Fields<'_>) -> Result<Permission, ApiError> {
    let wrong = |error: ApiError| invalid(error.into_message());
    let text = |name| fields.text(name).map_err(wrong).map(|text| text.filter(|text| !text.is_empty()));
    let (owner, group) = (text("owner")?.map(str::to_owned), text("group")?.map(str::to_owned));
    if owner.iter().chain(&group).any(|name| name.len() > 256) {
        return Err(invalid(format!(
            "{} has an owner or group with a name longer than 256 bytes.",
            fields.name("owner")
        )));
    }
    let mode = fields.integer("mode").map_err(wrong)?.unwrap_or(0);
    let octal = u32::from_str_radix(&mode.to_string(), 8).ok().filter(|mode| *mode <= 0o7777);
    let octal = octal.ok_or_else(|| {
        invalid(format!("{} must be octal digits up to 7777, such as 644; not {mode}.", fields.name("mode")))
    })?;
    Ok(Permission { owner, group, mode: (octal > 0).then_some(octal) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mode_is_octal_and_nothing_is_left_as_it_is() {
        let of = |value: Value| by_path(&json!({ "/a": value })).map(|all| all[0].1.clone());
        let mode = |mode: Value| of(json!({ "mode": mode })).map(|permission| permission.mode);
        assert_eq!(mode(json!(755)), Ok(Some(0o755)));
        assert_eq!(mode(json!(4755)), Ok(Some(0o4755)));
        assert_eq!(mode(json!(0)), Ok(None));
        assert_eq!(of(json!({"owner": null, "group": ""})), Ok(Permission::default()));
        for wrong in [json!(8), json!(789), json!(-1), json!(77777), json!("755"), json!(7.5), json!(i64::MAX)] {
            assert!(mode(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(by_path(&json!([])).is_err() && by_path(&json!({"/a": 1})).is_err());
    }
}
