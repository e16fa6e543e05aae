//! Which daemon the client talks to, and with which key.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Address, Client, Failure};

/// The options that every command knows.
#[derive(Debug, Args)]
pub struct Remote {
    /// The daemon to talk to: unix:/path or tcp:ADDRESS:PORT
    #[arg(long, global = true, env = "BIVOUAC_HOST", value_name = "ADDR", default_value = Address::DEFAULT)]
    pub host: Address,

    /// File with the API key, one a line; BIVOUAC_API_KEY gives the key itself
    #[arg(long, global = true, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
}

impl Remote {
    /// A client for this daemon.
    ///
    /// # Errors
    /// When the key cannot be read or sent.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(self.host.clone(), self.key()?.as_deref())
    }

    /// The flag wins over the environment; an empty variable is the same as none.
    fn key(&self) -> Result<Option<String>, Failure> {
        let named = env::var_os("BIVOUAC_API_KEY_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = &self.api_key_file {
            return first_key(path).map(Some);
        }
        match env::var("BIVOUAC_API_KEY").ok().filter(|key| !key.trim().is_empty()) {
            Some(key) => Ok(Some(key.trim().to_owned())),
            None => named.as_deref().map(first_key).transpose(),
        }
    }
}

fn first_key(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|source| Failure::File {
        action: "read the API key file",
        path: path.to_owned(),
        source,
    })?;
    let key = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    key.map(str::to_owned).ok_or_else(|| Failure::Unusable {
        action: "use the API key".to_owned(),
        problem: format!("{} has no line with a key", path.display()),
    })
}
