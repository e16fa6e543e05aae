//! The `Content-Disposition` of a download (RFC 6266, RFC 5987).

use axum::http::HeaderValue;

/// The last part of a path as the name to save it under.
pub fn attachment(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    let text = if plain {
        format!("attachment; filename=\"{name}\"")
    } else {
        let encoded = encoded(name);
        format!("attachment; filename=\"{encoded}\"; filename*=UTF-8''{encoded}")
    };
    // Both forms are printable ASCII.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("attachment"))
}

fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_breaks_the_header() {
        let shown = |path| attachment(path).to_str().unwrap_or_default().to_owned();
        assert_eq!(shown("/a/b c.txt"), "attachment; filename=\"b c.txt\"");
        assert_eq!(shown("/a/\u{e9}"), "attachment; filename=\"%C3%A9\"; filename*=UTF-8''%C3%A9");
        assert_eq!(
            shown("/a/\"\r\nX: y"),
            "attachment; filename=\"%22%0D%0AX%3A%20y\"; filename*=UTF-8''%22%0D%0AX%3A%20y"
        );
    }
}
