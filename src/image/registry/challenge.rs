//! `WWW-Authenticate` (RFC 9110, section 11.6.1).

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be shown who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The challenge that is understood; `Bearer` before `Basic`.
pub fn read(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<Challenge> = texts.filter_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut rest) = (None, None, rest);
    while let Some((name, value, left)) = parameter(rest) {
        // Of one that comes twice nobody knows which is meant.
        let place = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut realm,
            "service" => &mut service,
            _ => &mut None,
        };
        if place.replace(value).is_some() {
            return None;
        }
        rest = left;
    }
    realm.map(|realm| Challenge::Bearer { realm, service })
}

/// `name="value"` or `name=value`, and what comes after it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let (name, rest) = text.split_once('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        let (value, left) = rest.split_at(end);
        return Some((name.trim(), value.to_owned(), left));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            // A quotation mark is one byte.
            '"' => return Some((name.trim(), value, quoted.get(at + 1..).unwrap_or_default())),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        assert_eq!(parse(hub), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(parse("bearer realm=https://x/t, error=\"a, b=c\""), bearer("https://x/t", None));
        assert_eq!(parse(r#"Bearer realm="a\"b""#), bearer("a\"b", None));
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("BASIC"), Some(Challenge::Basic));
    }

    #[test]
    fn what_is_ambiguous_or_broken_is_none() {
        for bad in
            ["", "Digest realm=x", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"open", "Bearer realm=a,realm=b"]
        {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
