//! What a sandbox finds about itself in its `/etc`, whatever the image has there.

use tar::{Builder, EntryType, Header};

use crate::harness::Daemon;

fn entry(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).expect("an entry in memory");
}

fn link(tar: &mut Builder<Vec<u8>>, path: &str, target: &str) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, path, target).expect("a link in memory");
}

/// A root with a shell, and with what `more` adds.
fn root(more: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| std::fs::read(path).ok());
    entry(&mut tar, "bin/busybox", EntryType::Regular, 0o755, &busybox.expect("busybox"));
    link(&mut tar, "bin/sh", "busybox");
    more(&mut tar);
    tar.into_inner().expect("an archive in memory")
}

/// What a script prints in a sandbox of this image, and the sandbox's name.
fn printed(daemon: &Daemon, image: &[u8], script: &str) -> (String, String) {
    daemon.client.ask("POST", "/v1/images/import?name=about:1", image).expect_success();
    let mut request = daemon.request(&["/bin/busybox", "sh", "-c", script]);
    request["image"]["uri"] = "about:1".into();
    let sandbox = daemon.create_from(&request);
    sandbox.ended();
    let (log, name) = (sandbox.log(), sandbox.id.replace('-', "")[..12].to_owned());
    sandbox.delete();
    (log, name)
}

#[test]
fn the_directory_stays_as_the_image_has_it() {
    let Some(daemon) = Daemon::start("the_directory_stays_as_the_image_has_it") else { return };
    let image = root(|tar| {
        entry(tar, "etc", EntryType::Directory, 0o750, b"");
        entry(tar, "etc/own", EntryType::Regular, 0o644, b"own\n");
        link(tar, "etc/resolv.conf", "../run/nowhere");
        entry(tar, "etc/hosts", EntryType::Regular, 0o600, b"1.2.3.4 of-the-image\n");
    });
    let script = "b=/bin/busybox; $b stat -c '%a %u %g %Y' /etc; $b cat /etc/own /etc/hostname; $b tail -n 1 /etc/hosts; \
                  $b stat -c '%a %u %F' /etc/resolv.conf";
    let (told, name) = printed(&daemon, &image, script);
    assert_eq!(told, format!("750 0 0 1000000000\nown\n{name}\n127.0.0.1\t{name}\n644 0 regular file\n"));
}

#[test]
fn the_files_are_the_sandboxs_to_change() {
    let Some(daemon) = Daemon::start("the_files_are_the_sandboxs_to_change") else { return };
    let script = "b=/bin/busybox; echo 1.1.1.1 one >> /etc/hosts; $b sed -i 's/one/two/' /etc/hosts; $b tail -n 1 /etc/hosts; \
                  echo mine > /etc/new; $b mv /etc/new /etc/hostname; $b cat /etc/hostname; \
                  $b rm /etc/resolv.conf; $b ls /etc; $b chown 7:7 /etc/hosts; $b stat -c %u /etc/hosts";
    let (told, _) = printed(&daemon, &root(|_| {}), script);
    assert_eq!(told, "1.1.1.1 two\nmine\nhostname\nhosts\n7\n");
}

#[test]
fn an_etc_elsewhere_is_found_inside_the_image() {
    let Some(daemon) = Daemon::start("an_etc_elsewhere_is_found_inside_the_image") else { return };
    let image = root(|tar| {
        entry(tar, "usr/etc", EntryType::Directory, 0o755, b"");
        entry(tar, "usr/etc/own", EntryType::Regular, 0o644, b"own\n");
        link(tar, "etc", "usr/etc");
    });
    let (told, name) =
        printed(&daemon, &image, "/bin/busybox cat /etc/own /usr/etc/hostname; /bin/busybox readlink /etc");
    assert_eq!(told, format!("own\n{name}\nusr/etc\n"));
}
