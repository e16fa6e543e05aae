//! `bivouac image list`.

use chrono::Utc;
use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Image;
use crate::console::client::Call;
use crate::console::list::span;
use crate::console::{Client, Failure, screen};

#[derive(Debug, Args)]
pub struct List {
    /// Print JSON: an array of images as the API gives them
    #[arg(long)]
    pub json: bool,
}

#[derive(Deserialize)]
struct Images<T> {
    items: Vec<T>,
}

/// Prints the images.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn list(client: &Client, args: &List) -> Result<(), Failure> {
    let call = Call::new(Method::GET, "/v1/images", "list the images");
    if args.json {
        let images: Images<Value> = client.json(call).await?;
        return screen::json(&images.items);
    }
    let images: Images<Image> = client.json(call).await?;
    let rows: Vec<_> = images.items.iter().map(row).collect();
    screen::table(["NAME", "DIGEST", "SIZE", "SHARED", "IMPORTED", "USED BY"], &rows)
}

fn row(image: &Image) -> [String; 6] {
    let imported = image.imported_at.map(|at| format!("{} ago", span(at, Utc::now())));
    let used_by = match image.used_by.len() {
        0 => String::new(),
        1 => "1 sandbox".to_owned(),
        count => format!("{count} sandboxes"),
    };
    let (size, shared) = (screen::bytes(image.size), screen::bytes(image.shared_size));
    [image.name.clone(), short(&image.digest), size, shared, imported.unwrap_or_default(), used_by]
}

/// The algorithm and 12 digits tell images apart.
pub(super) fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, digits)) => format!("{algorithm}:{}", digits.chars().take(12).collect::<String>()),
        None => digest.to_owned(),
    }
}
