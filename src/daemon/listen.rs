//! The doors of the daemon: a Unix socket, whose permissions say who may come in, and TCP.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::console::Address;

/// Connections that wait to be taken. Whoever comes when the queue is full is told to try again (EAGAIN), so it is longer
/// than any burst that is served in a second.
const WAITING: i32 = 4096;

/// Its members may use the socket.
const GROUP: &str = "bivouac";

/// Each text completes "failed to ...".
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("listen on unix:{path}: {action}", path = path.display())]
    Unix { path: PathBuf, action: &'static str, source: io::Error },
    #[error("listen on unix:{path}: something else answers there", path = path.display())]
    Answered { path: PathBuf },
    #[error("listen on unix:{path}: there is something that is not a socket", path = path.display())]
    NotASocket { path: PathBuf },
    #[error("listen on tcp:{address}")]
    Tcp { address: SocketAddr, source: io::Error },
}

/// An open door.
#[derive(Debug)]
pub enum Listener {
    Unix { listener: UnixListener, _file: SocketFile },
    Tcp(TcpListener),
}

/// The file of a socket that we made; taken away with this value.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another daemon may have put its own socket there since; that one stays.
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Listener {
    /// Opens the door. Needs the runtime.
    ///
    /// # Errors
    /// When somebody is there already, or the kernel refuses.
    pub async fn open(address: &Address) -> Result<Self, ListenError> {
        match address {
            Address::Unix(path) => open_unix(path),
            Address::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|source| ListenError::Tcp { address: *address, source }),
        }
    }

    /// Whether only the file's permissions decide who comes in.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix { .. })
    }
}

/// Binds, sets owner and mode, and only then listens: until the last step nobody can connect, so there is no moment at which
/// the socket is open to more people than it should be. The umask of the process (077) keeps the file to root until then; to
/// change it here would change it for the other threads as well.
fn open_unix(path: &Path) -> Result<Listener, ListenError> {
    let failed = |action| move |source| ListenError::Unix { path: path.to_owned(), action, source };
    make_dir(path).map_err(failed("make its directory"))?;
    clear_stale(path)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
        .map_err(|error| failed("make a socket")(error.into()))?;
    let address = UnixAddr::new(path).map_err(|error| failed("name it")(error.into()))?;
    bind(socket.as_raw_fd(), &address).map_err(|error| failed("bind it")(error.into()))?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path).map_err(failed("look at it"))? };
    open_to_group(path).map_err(failed("set its owner and mode"))?;
    Backlog::new(WAITING)
        .and_then(|backlog| listen(&socket, backlog))
        .map_err(|error| failed("listen")(error.into()))?;
    let listener = UnixListener::from_std(StdUnixListener::from(socket)).map_err(failed("watch it"))?;
    Ok(Listener::Unix { listener, _file: file })
}

/// A directory that is missing is made so that everybody can pass through it and nobody can look or write. One that is
/// there belongs to somebody who has decided about it.
fn make_dir(socket: &Path) -> io::Result<()> {
    let Some(dir) = socket.parent() else { return Ok(()) };
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o711).create(dir)?;
    // The umask has cut the mode.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
}

/// Removes a socket at which nobody answers any more; anything else stays and is an error.
fn clear_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |action| move |source| ListenError::Unix { path: path.to_owned(), action, source };
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at what is there")(error)),
    };
    if !about.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove a stale socket"))
        }
        Ok(_) => Err(ListenError::Answered { path: path.to_owned() }),
        // A full queue (EAGAIN) is somebody, too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ListenError::Answered { path: path.to_owned() }),
        Err(error) => Err(failed("see whether somebody answers")(error)),
    }
}

fn open_to_group(path: &Path) -> io::Result<()> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if let Some(group) = group_id(&groups, GROUP) {
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
}

/// The id of a group in the text of `/etc/group` (`group(5)`). Read by ourselves: the program is static, and the C library
/// would load the host's name service modules into it.
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let id = fields.nth(1)?;
        if found { id.parse().ok() } else { None }
    })
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|about| (about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group_in_a_directory_to_pass_through() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run/b.sock");
        let door = Listener::open(&Address::Unix(path.clone())).await.expect("opened");
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(&dir.path().join("run")), 0o711);
        assert!(matches!(Listener::open(&Address::Unix(path.clone())).await, Err(ListenError::Answered { .. })));
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_everything_else_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("b.sock");
        drop(StdUnixListener::bind(&path).expect("bound"));
        drop(Listener::open(&Address::Unix(path.clone())).await.expect("replaced"));

        fs::write(&path, "precious").expect("written");
        assert!(matches!(Listener::open(&Address::Unix(path.clone())).await, Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");

        let link = dir.path().join("link.sock");
        symlink(&path, &link).expect("linked");
        assert!(matches!(Listener::open(&Address::Unix(link)).await, Err(ListenError::NotASocket { .. })));
    }

    #[tokio::test]
    async fn a_socket_that_another_put_there_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("b.sock");
        let door = Listener::open(&Address::Unix(path.clone())).await.expect("opened");
        fs::rename(&path, dir.path().join("moved")).expect("moved");
        let _other = StdUnixListener::bind(&path).expect("bound");
        drop(door);
        assert!(path.exists());
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nbivouacs:x:7:\nbad\nbivouac:x:990:alice,bob\n";
        assert_eq!(group_id(groups, "bivouac"), Some(990));
        assert_eq!(group_id(groups, "root"), Some(0));
        assert_eq!(group_id(groups, "none"), None);
        assert_eq!(group_id("bivouac:x:many:", "bivouac"), None);
    }
}
