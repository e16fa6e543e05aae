//! Where an answer may send us.

use hyper::header::{HeaderMap, LOCATION};
use hyper::{StatusCode, Uri};

use super::origin::Origin;

/// Longer chains are loops.
pub const MOST: usize = 5;

pub fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The address in `Location`, seen from `from`. Nobody is sent from https to http.
pub fn target(from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or("it redirects to nowhere")?;
    let origin = Origin::of(from)?;
    let absolute = if location.starts_with("//") {
        format!("{}:{location}", if origin.https { "https" } else { "http" })
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else {
        location.to_owned()
    };
    let absolute = absolute.split('#').next().unwrap_or_default();
    let uri: Uri = absolute.parse().map_err(|_| "it redirects to something that is no address".to_owned())?;
    let to = Origin::of(&uri).map_err(|problem| format!("it redirects to an address that is refused: {problem}"))?;
    if origin.https && !to.https {
        return Err(format!("it redirects from https to {to}, which is refused"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(from: &str, location: &str) -> Result<String, String> {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().expect("a value"))]);
        target(&from.parse().expect("a URI"), &headers).map(|uri| uri.to_string())
    }

    #[test]
    fn addresses_are_made_absolute_and_never_less_safe() {
        let from = "https://r.example:5000/v2/a";
        assert_eq!(to(from, "/x?y=1").as_deref(), Ok("https://r.example:5000/x?y=1"));
        assert_eq!(to(from, "https://cdn.example/b#f").as_deref(), Ok("https://cdn.example/b"));
        assert_eq!(to(from, "//cdn.example/b").as_deref(), Ok("https://cdn.example/b"));
        for bad in ["http://cdn.example/b", "https://u:p@cdn.example/b", "file:///etc/passwd", "b", "https://"] {
            assert!(to(from, bad).is_err(), "{bad}");
        }
        assert!(to("http://localhost:1/", "http://localhost:2/").is_ok());
    }
}
