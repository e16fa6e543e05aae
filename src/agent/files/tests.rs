//! The servant over its socket, on files of the test.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};

use super::*;
use crate::proto::{FileEntry, FileFailureKind, FileKind, Permission, Process};

struct Talk {
    socket: OwnedFd,
    dir: tempfile::TempDir,
}

impl Talk {
    fn begin() -> Self {
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (socket, theirs) = pair.expect("a socket pair");
        let dir = tempfile::tempdir().expect("a directory");
        let cwd = dir.path().display().to_string();
        let env = vec![format!("WORK={cwd}")];
        let process = Process { argv: Vec::new(), env, user: String::new(), cwd };
        let servant = Servant::new(theirs, &Program::from(process), "/nowhere/home");
        std::thread::spawn(move || servant.serve());
        Self { socket, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).expect("written");
        self.path(name)
    }

    fn hear(&self) -> (FileReply, Option<fs::File>) {
        let message = sys::receive(self.socket.as_fd(), MAX_FILE_MESSAGE, MsgFlags::empty()).expect("received");
        let message = message.expect("an answer");
        (proto::decode(&message.bytes).expect("a reply"), message.fds.into_iter().next().map(fs::File::from))
    }

    fn ask(&self, request: &FileRequest) -> (FileReply, Option<fs::File>) {
        self.assert_harmless(request);
        sys::send(self.socket.as_fd(), &proto::encode(request), &[], MsgFlags::empty()).expect("sent");
        self.hear()
    }

    /// These tests run as root on a real root: what removes or moves must name something in their own directory, before
    /// the code under test is asked to judge it.
    fn assert_harmless(&self, request: &FileRequest) {
        let paths = match request {
            FileRequest::Remove { path } | FileRequest::RemoveTree { path } => vec![path],
            FileRequest::Move { from, to } => vec![from, to],
            _ => return,
        };
        for path in paths {
            let inside = !path.starts_with('/') || Path::new(path).starts_with(self.dir.path());
            let own = inside || path.starts_with("/dev/shm/.tmp");
            assert!(own && !path.contains("..") && !path.contains(['$', '~']), "{path} is not the test's own");
        }
    }

    fn done(&self, request: &FileRequest) {
        assert_eq!(self.ask(request).0, FileReply::Done, "{request:?}");
    }

    fn refused(&self, request: &FileRequest) -> FileFailureKind {
        match self.ask(request) {
            (FileReply::Failed(failure), None) => failure.kind,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn read(&self, path: &str) -> String {
        let mut text = String::new();
        let (_, file) = self.ask(&FileRequest::Read { path: path.to_owned() });
        file.expect("a file").read_to_string(&mut text).expect("read");
        text
    }

    fn begin_writing(&self, path: &str, permission: Permission) -> fs::File {
        let path = path.to_owned();
        let (reply, file) = self.ask(&FileRequest::Write { path, permission, in_place: true });
        file.unwrap_or_else(|| panic!("{reply:?}"))
    }

    fn save(&self, path: &str, permission: Permission, content: &str) {
        self.begin_writing(path, permission).write_all(content.as_bytes()).expect("written");
        self.done(&FileRequest::Keep);
    }

    fn list(&self, request: &FileRequest) -> Vec<FileEntry> {
        let mut all = Vec::new();
        let mut reply = self.ask(request).0;
        loop {
            match reply {
                FileReply::Entries(entries) => all.extend(entries),
                FileReply::Done => return all,
                other => panic!("{other:?}"),
            }
            reply = self.hear().0;
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("a directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
        names.sort();
        names
    }
}

fn mode(bits: u32) -> Permission {
    Permission { mode: Some(bits), ..Permission::default() }
}

fn bits(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o7777
}

#[test]
fn paths_are_expanded_and_nonsense_is_refused() {
    let talk = Talk::begin();
    talk.write("a", "content");
    for path in ["a", "./a", "$WORK/a", "${WORK}//a/", "$WORK/../../${WORK}/a"] {
        assert_eq!(talk.read(path), "content", "{path}");
    }
    let look = |path: &str| talk.refused(&FileRequest::Look { path: path.to_owned() });
    assert_eq!(look("~/a"), FileFailureKind::NotFound);
    for path in ["", "a\0b", "$UNSET/a", &"x/".repeat(4000)] {
        assert_eq!(look(path), FileFailureKind::Invalid, "{path:?}");
    }
    assert_eq!(look("a/b"), FileFailureKind::NotADirectory);
}

#[test]
fn only_regular_files_are_opened_and_nobody_waits() {
    let talk = Talk::begin();
    let fifo = talk.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    let _socket = std::os::unix::net::UnixListener::bind(talk.path("socket")).expect("a socket");
    symlink("/proc/self/exe", talk.path("exe")).expect("a link");
    symlink("loop", talk.path("loop")).expect("a link");
    let socket = talk.path("socket");
    for path in [&fifo, &socket, "/dev/null", "/dev/zero", "/proc/self/status", "/sys/kernel/uevent_seqnum"] {
        let read = FileRequest::Read { path: path.to_owned() };
        assert!(matches!(talk.refused(&read), FileFailureKind::NotAFile | FileFailureKind::Other), "{path}");
        let write = FileRequest::Write { path: path.to_owned(), permission: Permission::default(), in_place: true };
        assert!(matches!(talk.refused(&write), FileFailureKind::NotAFile | FileFailureKind::Other), "{path}");
    }
    for path in ["exe", "loop", "/proc/self/fd/0", "/proc/self/root/etc/passwd"] {
        assert_eq!(talk.refused(&FileRequest::Read { path: path.to_owned() }), FileFailureKind::Other, "{path}");
    }
    assert_eq!(talk.refused(&FileRequest::Read { path: "/".to_owned() }), FileFailureKind::Directory);
    assert_eq!(talk.refused(&FileRequest::Read { path: "none".to_owned() }), FileFailureKind::NotFound);
}

#[test]
fn a_file_takes_its_place_when_it_is_complete() {
    let talk = Talk::begin();
    talk.save("new/deep/file", Permission::default(), "first");
    let path = talk.path("new/deep/file");
    assert_eq!((fs::read_to_string(&path).expect("read"), bits(&path)), ("first".to_owned(), 0o644));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).expect("chmod");
    symlink("new/deep/file", talk.path("link")).expect("a link");
    let mut file = talk.begin_writing("link", Permission::default());
    file.write_all(b"second").expect("written");
    assert_eq!(talk.read(&path), "first", "it is not complete yet");
    talk.done(&FileRequest::Keep);
    assert_eq!((talk.read(&path).as_str(), bits(&path)), ("second", 0o750), "what raises privileges must be asked for");
    assert!(fs::symlink_metadata(talk.path("link")).expect("there").is_symlink());
    talk.save("link", mode(0o4711), "third");
    assert_eq!(bits(&path), 0o4711);
    symlink("made", talk.path("dangling")).expect("a link");
    talk.save("dangling", mode(0o600), "x");
    assert_eq!(bits(talk.path("made")), 0o600);
}

#[test]
fn what_breaks_off_changes_nothing_and_leaves_nothing() {
    let talk = Talk::begin();
    talk.write("file", "old");
    talk.begin_writing("file", Permission::default()).write_all(b"half").expect("written");
    talk.done(&FileRequest::Discard);
    assert_eq!((talk.names(), talk.read("file").as_str()), (vec!["file".to_owned()], "old"));
    talk.begin_writing("file", Permission::default()).write_all(b"half").expect("written");
    // Another one begins, and nobody ends the first.
    drop(talk.begin_writing("other", Permission::default()));
    assert_eq!(talk.names().len(), 2, "{:?}", talk.names());
    let Talk { socket, dir } = talk;
    drop(socket);
    let gone = || fs::read_dir(dir.path()).expect("a directory").count() == 1;
    while !gone() {
        std::thread::yield_now();
    }
}

#[test]
fn a_file_with_several_names_keeps_them() {
    let talk = Talk::begin();
    talk.write("file", "old");
    fs::hard_link(talk.path("file"), talk.path("twin")).expect("a link");
    let in_place = FileRequest::Write { path: "file".to_owned(), permission: Permission::default(), in_place: false };
    assert_eq!(talk.refused(&in_place), FileFailureKind::Other);
    assert_eq!(talk.read("twin"), "old");
    talk.save("file", Permission::default(), "new");
    assert_eq!(talk.read("twin"), "new");
}

#[test]
fn moving_never_replaces_and_crosses_file_systems() {
    let talk = Talk::begin();
    let rename = |from: &str, to: &str| FileRequest::Move { from: from.to_owned(), to: to.to_owned() };
    talk.write("a", "a");
    talk.write("b", "b");
    assert_eq!(talk.refused(&rename("a", "b")), FileFailureKind::Exists);
    assert_eq!(talk.refused(&rename("none", "c")), FileFailureKind::NotFound);
    talk.done(&rename("a", "x/y/a"));
    assert_eq!(talk.read("x/y/a"), "a");
    symlink("../y", talk.path("x/y/up")).expect("a link");
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("another file system");
    let target = elsewhere.path().join("x").display().to_string();
    talk.done(&rename("x", &target));
    assert_eq!(talk.read(&format!("{target}/y/up/a")), "a");
    assert_eq!(talk.names(), ["b"]);
}

#[test]
fn lists_are_in_order_and_links_are_not_followed() {
    let talk = Talk::begin();
    for dir in ["d/e", "b"] {
        fs::create_dir_all(talk.path(dir)).expect("made");
    }
    for file in ["d/2", "d/e/3", "a", "c"] {
        talk.write(file, "x");
    }
    symlink("d", talk.path("l")).expect("a link");
    let list = |path: &str, depth| {
        let entries = talk.list(&FileRequest::List { path: path.to_owned(), depth });
        let root = talk.path("");
        entries.iter().map(|entry| entry.path.trim_start_matches(&root).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list("$WORK", 0), Vec::<String>::new());
    assert_eq!(list("$WORK", 1), ["a", "b", "c", "d", "l"]);
    assert_eq!(list("$WORK", 2), ["a", "b", "c", "d", "d/2", "d/e", "l"]);
    assert_eq!(list("$WORK", u32::MAX), ["a", "b", "c", "d", "d/2", "d/e", "d/e/3", "l"]);
    assert_eq!(talk.refused(&FileRequest::List { path: "l".to_owned(), depth: 1 }), FileFailureKind::NotADirectory);
    let search = |pattern: &str| {
        let entries = talk.list(&FileRequest::Search { path: "$WORK".to_owned(), pattern: pattern.to_owned() });
        let name = |entry: &FileEntry| entry.path.rsplit('/').next().unwrap_or_default().to_owned();
        entries.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(search("**"), ["a", "c", "2", "3", "l"]);
    assert_eq!(search("[a-c]"), ["a", "c"]);
    assert_eq!(search("{2,l}"), ["2", "l"]);
    let bad = FileRequest::Search { path: "$WORK".to_owned(), pattern: "[".to_owned() };
    assert_eq!(talk.refused(&bad), FileFailureKind::Invalid);
    let link = talk.list(&FileRequest::Search { path: "$WORK".to_owned(), pattern: "l".to_owned() }).remove(0);
    assert_eq!((link.kind, link.target.as_deref()), (FileKind::Symlink, Some("d")));
}

#[test]
fn a_list_of_any_length_comes_in_parts() {
    let talk = Talk::begin();
    for number in 0..3000 {
        talk.write(&format!("{number}-\u{1}\u{2}\u{3}\u{4}"), "");
    }
    assert_eq!(talk.list(&FileRequest::List { path: "$WORK".to_owned(), depth: 1 }).len(), 3000);
}

#[test]
fn removing_is_content_with_what_is_missing() {
    let talk = Talk::begin();
    talk.write("file", "x");
    fs::create_dir_all(talk.path("d/e")).expect("made");
    talk.write("d/e/f", "x");
    symlink(talk.path("d"), talk.path("link")).expect("a link");
    let remove = |path: &str| FileRequest::Remove { path: path.to_owned() };
    let tree = |path: &str| FileRequest::RemoveTree { path: path.to_owned() };
    for gone in ["file", "file", "file/below", "none/x"] {
        talk.done(&remove(gone));
        talk.done(&tree(gone));
    }
    assert_eq!(talk.refused(&remove("d")), FileFailureKind::Directory);
    talk.done(&tree("link"));
    assert_eq!(talk.read("d/e/f"), "x", "a link is removed, not followed");
    talk.done(&tree("d"));
    assert_eq!(talk.names(), Vec::<String>::new());
}

#[test]
fn directories_are_made_and_old_ones_left_alone() {
    let talk = Talk::begin();
    let make = |path: &str, bits| FileRequest::MakeDirectory { path: path.to_owned(), permission: mode(bits) };
    talk.done(&make("a/b", 0o700));
    assert_eq!((bits(talk.path("a")), bits(talk.path("a/b"))), (0o755, 0o700));
    talk.done(&make("a/b", 0o777));
    assert_eq!(bits(talk.path("a/b")), 0o700);
    talk.write("file", "x");
    assert_eq!(talk.refused(&make("file", 0o700)), FileFailureKind::NotADirectory);
    let change = |owner: &str| FileRequest::Change {
        path: "file".to_owned(),
        permission: Permission { owner: Some(owner.to_owned()), ..mode(0o2640) },
    };
    assert_eq!(talk.refused(&change("no-such-user")), FileFailureKind::Other);
    talk.done(&FileRequest::Change { path: "file".to_owned(), permission: mode(0o2640) });
    assert_eq!(bits(talk.path("file")), 0o2640);
    talk.done(&FileRequest::Link { path: "file".to_owned(), target: "a/b".to_owned() });
    assert_eq!(fs::read_link(talk.path("file")).expect("a link"), Path::new("a/b"));
}
