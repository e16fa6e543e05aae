//! From JSON to policies and changes of them; every error of the input is found here.

use serde_json::Value;

use crate::api::error::{ApiError, too_large};
use crate::api::fields::{Fields, shown};
use crate::model::{Action, NetworkPolicy, PolicyRule, Target};

/// `{"defaultAction", "egress": [...]}`; what is left out is to deny.
pub fn policy(fields: &Fields<'_>) -> Result<NetworkPolicy, ApiError> {
    let default = action(fields, "defaultAction")?;
    let listed = fields.list("egress")?.unwrap_or_default();
    let policy = NetworkPolicy { default, rules: rules(&fields.name("egress"), listed)? };
    policy.check_size().map_err(too_large)?;
    Ok(policy)
}

/// A body that replaces the policy; `null` and `{}` deny everything.
pub fn replacement(body: &Value) -> Result<NetworkPolicy, ApiError> {
    if body.is_null() { Ok(NetworkPolicy::closed()) } else { policy(&Fields::body(body)?) }
}

/// A body of rules that go before those that are there.
pub fn new_rules(body: &Value) -> Result<Vec<PolicyRule>, ApiError> {
    rules("rules", not_empty(body, r#"[{"action":"allow","target":"example.com"}]"#)?)
}

/// A body of targets whose rules go. What is no target is none of any rule.
pub fn old_targets(body: &Value) -> Result<Vec<Target>, ApiError> {
    let text = |(at, value): (usize, &Value)| {
        let text = value.as_str().ok_or_else(|| ApiError::invalid(format!("targets[{at}] must be a string.")))?;
        Ok(text.parse().ok())
    };
    let targets = not_empty(body, r#"["example.com"]"#)?.iter().enumerate().map(text);
    Ok(targets.collect::<Result<Vec<_>, ApiError>>()?.into_iter().flatten().collect())
}

fn not_empty<'a>(body: &'a Value, example: &str) -> Result<&'a [Value], ApiError> {
    let list = body.as_array().filter(|list| !list.is_empty());
    list.map(Vec::as_slice).ok_or_else(|| {
        ApiError::invalid(format!("The request body must be a JSON array with something in it, such as {example}."))
    })
}

fn rules(name: &str, listed: &[Value]) -> Result<Vec<PolicyRule>, ApiError> {
    let rule = |(at, value): (usize, &Value)| {
        let fields = Fields::at(format!("{name}[{at}]"), value)?;
        let text = fields.required_text("target")?;
        let wrong = |error| ApiError::invalid(format!("{} {} {error}.", fields.name("target"), shown(text)));
        Ok(PolicyRule { action: action(&fields, "action")?, target: text.parse::<Target>().map_err(wrong)? })
    };
    listed.iter().enumerate().map(rule).collect()
}

/// In any case of its letters. One that is left out denies.
fn action(fields: &Fields<'_>, field: &str) -> Result<Action, ApiError> {
    let Some(text) = fields.text(field)? else { return Ok(Action::Deny) };
    match text.trim().to_ascii_lowercase().as_str() {
        "allow" => Ok(Action::Allow),
        "deny" | "" => Ok(Action::Deny),
        _ => Err(ApiError::invalid(format!("{} must be allow or deny, not {}.", fields.name(field), shown(text)))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<(String, Vec<String>), String> {
        let read = replacement(body).map_err(|error| error.message().to_owned())?;
        let rules = read.rules.iter().map(|rule| format!("{} {}", rule.action.as_str(), rule.target)).collect();
        Ok((read.default.as_str().to_owned(), rules))
    }

    #[test]
    fn what_is_left_out_denies() {
        let denies = Ok(("deny".to_owned(), vec![]));
        for body in [json!(null), json!({}), json!({"egress": []}), json!({"defaultAction": null, "egress": null})] {
            assert_eq!(read(&body), denies, "{body}");
        }
        let rules = json!({"defaultAction": "ALLOW", "egress": [{"target": "A.com"}, {"action": "Allow", "target": "10.1.1.1/8"}]});
        let expected = vec!["deny a.com".to_owned(), "allow 10.0.0.0/8".to_owned()];
        assert_eq!(read(&rules), Ok(("allow".to_owned(), expected)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, message) in [
            (json!([]), "must be a JSON object"),
            (json!({"defaultAction": "maybe"}), "defaultAction must be allow or deny, not \"maybe\"."),
            (json!({"defaultAction": 1}), "defaultAction must be a string, not 1."),
            (json!({"egress": {}}), "egress must be an array, not an object."),
            (json!({"egress": ["a.com"]}), "egress[0] must be an object, not the string \"a.com\"."),
            (json!({"egress": [{"action": "allow"}]}), "egress[0].target is required."),
            (json!({"egress": [{"action": "allow", "target": ""}]}), "egress[0].target \"\" is empty"),
            (json!({"egress": [{"action": "let", "target": "a"}]}), "egress[0].action must be allow or deny"),
            (json!({"egress": [{"target": "a"}, {"target": "*"}]}), "egress[1].target \"*\" has a wildcard"),
            (json!({"egress": [{"target": "http://a"}]}), "egress[0].target \"http://a\" is no domain"),
        ] {
            let told = read(&body).expect_err("refused");
            assert!(told.contains(message), "{body}: {told}");
        }
        let many: Vec<Value> = (0..4097).map(|at| json!({"target": format!("h{at}.com")})).collect();
        let error = replacement(&json!({ "egress": many })).expect_err("refused");
        assert_eq!((error.status().as_u16(), error.code()), (413, "SANDBOX::POLICY_TOO_LARGE"));
        assert!(error.message().starts_with("A policy has at most 4096 rules"), "{}", error.message());
    }

    #[test]
    fn changes_are_lists_with_something_in_them() {
        for body in [json!([]), json!({}), json!(null), json!("a.com")] {
            assert!(new_rules(&body).is_err() && old_targets(&body).is_err(), "{body}");
        }
        assert_eq!(new_rules(&json!([{"action": "allow", "target": "a.com"}])).map(|rules| rules.len()), Ok(1));
        assert!(new_rules(&json!(["a.com"])).is_err());
        assert!(old_targets(&json!(["a.com", 1])).is_err());
        let targets = old_targets(&json!(["A.com", "no target at all", "*.b.com"])).expect("valid");
        assert_eq!(targets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.com", "*.b.com"]);
    }
}
