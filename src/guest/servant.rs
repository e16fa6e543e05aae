//! A file servant, as the daemon talks to it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use tokio::io::unix::AsyncFd;

use super::{GuestError, descriptor, within};
use crate::proto::{self, FileReply, FileRequest, MAX_FILE_MESSAGE};
use crate::sys;

/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// What may have to go through a whole tree, or a whole file.
const LONG_DEADLINE: Duration = Duration::from_secs(600);

/// The daemon's end of a servant's socket. Closing it ends the servant.
#[derive(Debug)]
pub struct Servant {
    socket: AsyncFd<OwnedFd>,
}

impl Servant {
    /// Must run within the runtime.
    pub fn new(socket: OwnedFd) -> Result<Self, GuestError> {
        Ok(Self { socket: sys::watch_readable(socket)? })
    }

    /// Whether it is there, and has nothing to say: nobody has asked it anything.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let said = sys::receive(self.socket.as_fd(), MAX_FILE_MESSAGE, MsgFlags::MSG_DONTWAIT);
        said.is_err_and(|error| error.errno == Errno::EAGAIN)
    }

    /// Asks for something. The answers come from [`hear`](Self::hear).
    pub fn ask(&self, request: &FileRequest) -> Result<(), GuestError> {
        let sent = sys::send(self.socket.as_fd(), &proto::encode(request), &[], MsgFlags::MSG_DONTWAIT);
        sent.map_err(|error| if error.errno == Errno::EPIPE { GuestError::Gone } else { error.into() })
    }

    /// The next answer to a request; a regular file comes with [`FileReply::Opened`], and with no other.
    pub async fn hear(&self, request: &FileRequest) -> Result<(FileReply, Option<File>), GuestError> {
        let long = matches!(
            request,
            FileRequest::Keep | FileRequest::Move { .. } | FileRequest::RemoveTree { .. } | FileRequest::Search { .. }
        );
        let (reply, fds) = within(if long { LONG_DEADLINE } else { DEADLINE }, self.receive()).await?;
        let mut fds = fds.into_iter();
        match (&reply, fds.next(), fds.next()) {
            (FileReply::Opened { .. }, Some(fd), None) => Ok((reply, Some(descriptor::check_file(fd)?))),
            (FileReply::Opened { .. }, ..) | (_, Some(_), _) => Err(GuestError::OutOfTurn),
            (_, None, _) => Ok((reply, None)),
        }
    }

    async fn receive(&self) -> Result<(FileReply, Vec<OwnedFd>), GuestError> {
        loop {
            let mut ready = self.socket.readable().await?;
            match sys::receive(self.socket.as_fd(), MAX_FILE_MESSAGE, MsgFlags::MSG_DONTWAIT) {
                Ok(Some(message)) => {
                    let reply = proto::decode(&message.bytes).map_err(|_| GuestError::OutOfTurn)?;
                    return Ok((reply, message.fds));
                }
                Ok(None) => return Err(GuestError::Gone),
                Err(error) if error.errno == Errno::EAGAIN => ready.clear_ready(),
                Err(error) if error.errno == Errno::ECONNRESET => return Err(GuestError::Gone),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn pair() -> (Servant, OwnedFd) {
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = pair.expect("a socket pair");
        (Servant::new(ours).expect("a servant"), theirs)
    }

    async fn heard(reply: &FileReply, fds: &[OwnedFd]) -> Result<(FileReply, Option<File>), GuestError> {
        let (servant, socket) = pair();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        sys::send(socket.as_fd(), &proto::encode(reply), &fds, MsgFlags::empty()).expect("sent");
        servant.hear(&FileRequest::Discard).await
    }

    #[tokio::test]
    async fn only_one_regular_file_is_taken_and_only_where_one_is_due() {
        let open = |path: &str| OwnedFd::from(File::open(path).expect("opened"));
        let regular = || OwnedFd::from(tempfile::tempfile().expect("a file"));
        let opened = FileReply::Opened { path: "/x".to_owned() };
        assert!(heard(&opened, &[regular()]).await.expect("taken").1.is_some());
        assert!(matches!(heard(&opened, &[]).await, Err(GuestError::OutOfTurn)));
        assert!(matches!(heard(&opened, &[regular(), regular()]).await, Err(GuestError::OutOfTurn)));
        assert!(matches!(heard(&FileReply::Done, &[regular()]).await, Err(GuestError::OutOfTurn)));
        for other in ["/dev/zero", "/proc/self/status", "/sys/kernel/uevent_seqnum", "/"] {
            assert!(matches!(heard(&opened, &[open(other)]).await, Err(GuestError::WrongDescriptor)), "{other}");
        }
        let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
        assert!(matches!(heard(&opened, &[reader]).await, Err(GuestError::WrongDescriptor)));
        let only_a_path = nix::fcntl::OFlag::O_PATH;
        let path = nix::fcntl::open("/etc/passwd", only_a_path, nix::sys::stat::Mode::empty()).expect("opened");
        assert!(matches!(heard(&opened, &[path]).await, Err(GuestError::WrongDescriptor)));
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_silence_and_death_are_told_apart() {
        let (servant, socket) = pair();
        assert!(servant.is_waiting());
        assert!(matches!(servant.hear(&FileRequest::Discard).await, Err(GuestError::Deadline(_))));
        sys::send(socket.as_fd(), b"{", &[], MsgFlags::empty()).expect("sent");
        assert!(matches!(servant.hear(&FileRequest::Discard).await, Err(GuestError::OutOfTurn)));
        drop(socket);
        assert!(!servant.is_waiting());
        assert!(matches!(servant.ask(&FileRequest::Discard), Err(GuestError::Gone)));
        assert!(matches!(servant.hear(&FileRequest::Discard).await, Err(GuestError::Gone)));
    }
}
