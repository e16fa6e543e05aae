//! Archives that try to get out, to hide something or to cost too much. Each is refused with a reason, or contained; the
//! files beside the store stay as they are, and nothing of what was refused stays in it.

mod image_support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use bivouac::image::UnpackLimits;
use image_support::corpus::{self, Hostile, sparse};
use image_support::tar::{Entry, Tar, gzip, zstd};
use image_support::{Fixture, is_whiteout, names, xattrs};

/// Each archive must be refused, for a reason that says `why`.
fn refused(cases: Vec<Hostile>) {
    let fixture = Fixture::new();
    for (name, tar, why) in cases {
        // An innocent entry first: what was written before the refusal must go as well.
        let bytes = Tar::new().file("innocent/file", "x").0;
        let error = fixture.refuse(&[bytes, tar.end()].concat());
        assert!(error.contains(why), "{name}: {error}");
    }
}

#[test]
fn names_that_lead_elsewhere() {
    let fixture = Fixture::new();
    refused(corpus::names(fixture.canary().to_str().unwrap()));
}

#[test]
fn absolute_names_are_names_in_the_layer() {
    let fixture = Fixture::new();
    let canary = fixture.canary();
    let target = canary.join("file");
    let layer =
        fixture.unpack(&Tar::new().pax(&[("path", target.to_str().unwrap().as_bytes())]).file("x", "evil").end());
    assert_eq!(fs::read_to_string(layer.join(target.strip_prefix("/").unwrap())).unwrap(), "evil");
    let layer = fixture.unpack(&Tar::new().file("a\nb", "").file(b"\xff\xfe", "").file("\u{202e}", "").end());
    assert_eq!(fs::read_dir(layer).unwrap().count(), 3);
    fixture.assert_canary();
}

#[test]
fn links_that_lead_elsewhere() {
    let fixture = Fixture::new();
    refused(corpus::links(fixture.canary().to_str().unwrap()));
    fixture.assert_canary();
}

#[test]
fn links_that_stay_links() {
    let fixture = Fixture::new();
    let canary = fixture.canary();
    let canary = canary.to_str().unwrap();
    // A directory entry on a symlink replaces it: neither its mode nor its owner reach what it points to.
    let dir = Entry { mode: 0o777, uid: 1234, ..Entry::new(b'5', "d") };
    let file = Entry { mode: 0o777, uid: 1234, data: b"evil".to_vec(), ..Entry::new(b'0', "f") };
    let target = format!("{canary}/file");
    let tar = Tar::new()
        .symlink("d", canary)
        .entry(&dir)
        .symlink("f", &target)
        .entry(&file)
        .symlink("l", &target)
        .hard_link("h", "l")
        .pax(&[("SCHILY.xattr.user.x", b"y")])
        .symlink("x", &target);
    let layer = fixture.unpack(&tar.end());
    assert!(fs::symlink_metadata(layer.join("d")).unwrap().is_dir());
    assert!(fs::symlink_metadata(layer.join("f")).unwrap().is_file());
    // A hard link to a symlink is the symlink.
    assert!(fs::symlink_metadata(layer.join("h")).unwrap().is_symlink());
    fixture.assert_canary();
}

#[test]
fn a_link_of_one_layer_means_nothing_to_the_next() {
    let fixture = Fixture::new();
    let canary = fixture.canary();
    let layers = [
        Tar::new().symlink("d", canary.to_str().unwrap()).symlink("f", canary.join("file").to_str().unwrap()).end(),
        Tar::new().file("d/file", "evil").file("f", "evil").end(),
    ];
    let layout = image_support::layout::Layout::image(&fixture.path("layout"), &layers);
    let image = fixture.import_path(&layout.path).unwrap();
    let upper = fixture.store.layers_dir().join(&image.layers[1].dir);
    assert_eq!(names(&upper), ["d", "d/file", "f"]);
    let linked = Tar::new().hard_link("x", "f").end();
    let layout = image_support::layout::Layout::image(&fixture.path("linked"), &[layers[0].clone(), linked]);
    assert!(fixture.import_path(&layout.path).is_err());
    fixture.assert_canary();
}

#[test]
fn whiteouts_of_what_is_no_name() {
    refused(corpus::whiteouts());
}

#[test]
fn nothing_in_an_archive_becomes_a_whiteout_or_a_device() {
    let fixture = Fixture::new();
    let device = |kind, name: &str| Entry { mode: 0o666, ..Entry::new(kind, name) };
    let tar = Tar::new()
        .entry(&device(b'3', "zero"))
        .entry(&device(b'4', "block"))
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.whiteout", b"y"),
            ("SCHILY.xattr.user.overlay.whiteout", b"y"),
            ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ])
        .file("f", "")
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/secret"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.origin", b"y"),
        ])
        .dir("d/");
    let layer = fixture.unpack(&tar.end());
    assert_eq!(names(&layer), ["d", "f"]);
    assert!(!is_whiteout(&layer.join("zero")));
    assert!(!xattrs(&layer.join("d")).contains("overlay") && !xattrs(&layer.join("f")).contains("overlay"));
}

#[test]
fn headers_that_two_readers_would_read_differently() {
    refused(corpus::headers());
}

#[test]
fn owners_outside_of_a_sandbox() {
    refused(corpus::owners());
}

fn small() -> UnpackLimits {
    UnpackLimits {
        layer_bytes: 8 << 20,
        image_bytes: 12 << 20,
        file_bytes: 4 << 20,
        entries: 1000,
        ratio: 10,
        ratio_from: 1 << 20,
        sparse_regions: 100,
        ..UnpackLimits::default()
    }
}

/// The archive must be refused for `why`, having written not much more than the limit.
fn bomb(limits: UnpackLimits, bytes: &[u8], why: &str) {
    let fixture = Fixture::with(limits);
    let begun = Instant::now();
    let error = fixture.refuse(bytes);
    assert!(error.contains(why), "{error}");
    assert!(begun.elapsed().as_secs() < 20, "it took {:?} to refuse it", begun.elapsed());
}

#[test]
fn bombs() {
    let zeros = Tar::new().file("f", vec![0; 3 << 20]).file("g", vec![0; 3 << 20]).file("h", vec![0; 3 << 20]).end();
    let noisy = |size: usize| (0..size).map(|at| ((at * at) >> 7) as u8 ^ at as u8).collect::<Vec<_>>();
    bomb(small(), &zeros, "limit of 8388608");
    bomb(small(), &gzip(&zeros), "each compressed one");
    bomb(small(), &zstd(&zeros), "each compressed one");
    bomb(small(), &Tar::new().file("f", noisy(5 << 20)).end(), "bytes of the file");
    let many = (0..1001).fold(Tar::new(), |tar, at| tar.file(format!("f{at}"), ""));
    bomb(small(), &many.end(), "entries");
    let cheap = UnpackLimits { entries_from: 500, ..UnpackLimits::default() };
    let links = (0..1001).fold(Tar::new(), |tar, at| tar.symlink(format!("usr/l{at}"), "x"));
    bomb(cheap.clone(), &zstd(&links.clone().end()), "nearly nothing when compressed");
    let deep = |at: u32| format!("{at}/{}f", "d/".repeat(200));
    let implied = (0..6).fold(Tar::new(), |tar, at| tar.pax(&[("path", deep(at).as_bytes())]).file("f", ""));
    bomb(small(), &implied.end(), "entries");
    // The same as it is, or with names that cannot be compressed.
    let name = |at: u64| bivouac::image::Digest::of(&at.to_le_bytes()).hex();
    let named = (0..600).fold(Tar::new(), |tar, at| tar.file(format!("usr/{}", name(at)), ""));
    for bytes in [gzip(&named.end()), links.end()] {
        assert!(Fixture::with(cheap.clone()).import(&bytes).is_ok());
    }
    let dirs = (0..1001).fold(Tar::new(), |tar, _| tar.dir("same/"));
    bomb(small(), &dirs.end(), "entries");
    // Many small members in a row are one stream with one limit.
    let members = gzip(&Tar::new().file("f", noisy(9 << 20)).0).repeat(2);
    bomb(UnpackLimits { file_bytes: 1 << 40, ratio: 1000, ..small() }, &members, "limit of 8388608");
}

#[test]
fn headers_that_claim_much() {
    let huge = |kind, size| Tar::new().raw(Entry { size: Some(size), ..Entry::new(kind, "f") }.header(), b"").end();
    bomb(UnpackLimits::default(), &huge(b'0', 1 << 60), "bytes of the file");
    bomb(UnpackLimits::default(), &huge(b'0', u64::MAX >> 2), "bytes of the file");
    bomb(UnpackLimits::default(), &huge(b'x', 1 << 40), "extended header");
    bomb(UnpackLimits::default(), &huge(b'g', 1 << 40), "extended header");
    bomb(UnpackLimits::default(), &huge(b'L', 1 << 40), "extended header");
    bomb(UnpackLimits::default(), &huge(b'0', 1 << 20), "ends within an entry's data");
}

#[test]
fn sparse_files_that_lie() {
    let fixture = Fixture::new();
    let layer = fixture.unpack(&sparse(1 << 30, 1 << 29, 4, b"data").end());
    let metadata = fs::metadata(layer.join("s")).unwrap();
    assert!(metadata.len() == 1 << 30 && metadata.blocks() < 64);
    // Holes count like data.
    bomb(UnpackLimits::default(), &sparse(1 << 62, 0, 4, b"data").end(), "bytes of the file");
    let many = (0..5).fold(Tar::new(), |tar, _| Tar([tar.0, sparse(2 << 20, 0, 4, b"data").0].concat()));
    bomb(small(), &many.end(), "bytes of all files");
    refused(corpus::sparse_lies());
}

#[test]
fn compressed_data_that_is_not_whole() {
    let fixture = Fixture::new();
    let tar = Tar::new().file("f", (0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).end();
    for (name, whole) in [("gzip", gzip(&tar)), ("zstd", zstd(&tar))] {
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        let cut = &whole[..whole.len() - 5];
        for bytes in [&[whole.as_slice(), b"garbage"].concat(), &[whole.as_slice(), &[0; 600]].concat(), &flipped, cut]
        {
            let error = fixture.refuse(bytes);
            assert!(!error.is_empty(), "{name}");
        }
        assert!(fixture.import(&whole).is_ok(), "{name}");
        fixture.store.remove("test").unwrap();
    }
    for start in [b"\xfd7zXZ\0".as_slice(), b"BZh9", b"", b"\x1f\x8b", b"hello", b"PK\x03\x04", &[0; 100]] {
        fixture.refuse(start);
    }
    fixture.refuse(&tar[..tar.len() - 1024]);
    fixture.refuse(&tar[..1000]);
    fixture.refuse(&[0; 10240][..511]);
}

#[test]
fn a_window_of_gigabytes_is_refused() {
    let fixture = Fixture::new();
    let with_window = |log| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        std::io::Write::write_all(&mut encoder, &Tar::new().file("f", "x").end()).unwrap();
        encoder.finish().unwrap()
    };
    for log in [26, 27] {
        let error = fixture.refuse(&with_window(log));
        assert!(error.contains("32 MiB are allowed"), "{error}");
    }
    // A small frame first does not let a large one in.
    let second = [with_window(20), with_window(25)].concat();
    assert!(fixture.refuse(&second).contains("decompressed"));
    assert!(fixture.import(&with_window(25)).is_ok());
}
