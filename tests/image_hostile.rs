//! Archives that try to get out, to hide something or to cost too much. Each is refused with a reason, or contained; the
//! files beside the store stay as they are, and nothing of what was refused stays in it.

mod image_support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use bivouac::image::UnpackLimits;
use image_support::tar::{Entry, Tar, gzip, record, zstd};
use image_support::{Fixture, is_whiteout, names, xattrs};

/// Each archive must be refused, for a reason that says `why`.
fn refused(cases: Vec<(&str, Tar, &str)>) {
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
    let canary = Fixture::new().canary();
    let canary = canary.to_str().unwrap();
    let long = |length| "n".repeat(length);
    let file_at = |path: &str| Tar::new().pax(&[("path", path.as_bytes())]).file("x", "evil");
    refused(vec![
        ("up", Tar::new().file("../x", "evil"), "\"..\""),
        ("up and down", Tar::new().file("a/../../x", "evil"), "\"..\""),
        ("absolute and up", Tar::new().file("/../x", "evil"), "\"..\""),
        ("up as a directory", Tar::new().dir("../"), "\"..\""),
        ("up at the end", Tar::new().dir("a/.."), "\"..\""),
        ("up by PAX", file_at("../x"), "\"..\""),
        ("up by a GNU long name", Tar::new().long(b'L', "../x").file("x", "evil"), "\"..\""),
        ("up through the canary", file_at(&format!("../../..{canary}/file")), "\"..\""),
        ("no name", Tar::new().file("", "x"), "it has no name"),
        ("NUL by PAX", file_at("a\0b"), "invalid value"),
        ("NUL by a GNU long name", Tar::new().long(b'L', "a\0../b").file("x", ""), "holds a NUL"),
        ("long component", file_at(&long(256)), "longer than 255"),
        ("long path", file_at(&format!("{}x", "d/".repeat(2100))), "longer than 4095"),
        ("deep", file_at(&format!("{}x", "d/".repeat(300))), "too deep"),
        ("deep directory", Tar::new().pax(&[("path", "d/".repeat(300).as_bytes())]).dir("x"), "too deep"),
        ("file named like a directory", Tar::new().file("a/", "x"), "ends in a slash"),
        ("file that ends in a dot", Tar::new().file("a/.", "x"), "only be a directory's"),
        ("root as a file", Tar::new().file("./", "x"), "ends in a slash"),
        ("root as a symlink", Tar::new().symlink("./", canary), "only be a directory's"),
        ("root as a symlink, bare", Tar::new().symlink("/", canary), "only be a directory's"),
        ("root as a symlink by PAX", Tar::new().pax(&[("path", b".")]).symlink("x", canary), "only be a directory's"),
    ]);
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
    let canary = fixture.canary();
    let canary = canary.to_str().unwrap();
    let file = format!("{canary}/file");
    let through = "something that is no directory";
    let chain =
        (0..41).fold(Tar::new().symlink("l0", canary), |tar, at| tar.symlink(format!("l{}", at + 1), format!("l{at}")));
    refused(vec![
        ("file through a symlink", Tar::new().symlink("d", canary).file("d/file", "evil"), through),
        ("file through a relative symlink", Tar::new().symlink("d", "../../../canary").file("d/file", "evil"), through),
        ("directory through a symlink", Tar::new().symlink("d", canary).dir("d/new/"), through),
        ("deep through a symlink", Tar::new().symlink("d", canary).file("d/dir/sub/x", "evil"), through),
        ("through a symlink in the middle", Tar::new().symlink("a/d", canary).file("a/d/dir/x", "evil"), through),
        ("through 41 symlinks", chain.file("l41/file", "evil"), through),
        ("through a symlink to the root", Tar::new().symlink("d", "/").file("d/tmp/x", "evil"), through),
        ("through a symlink to itself", Tar::new().symlink("d", "d").file("d/x", ""), through),
        ("through a magic link", Tar::new().symlink("d", "/proc/self/root").file("d/tmp/x", ""), through),
        ("through a file", Tar::new().file("d", "").file("d/x", ""), through),
        ("hard link to the host", Tar::new().hard_link("p", &file), "nothing in its layer"),
        ("hard link up", Tar::new().hard_link("p", "../../../canary/file"), "\"..\""),
        (
            "hard link through a symlink",
            Tar::new().symlink("d", canary).hard_link("p", "d/file"),
            "nothing in its layer",
        ),
        ("hard link to what comes later", Tar::new().hard_link("p", "later").file("later", ""), "nothing in its layer"),
        ("hard link to a directory", Tar::new().dir("d/").hard_link("p", "d"), "no file"),
        ("hard link to the root", Tar::new().hard_link("p", "."), "hard link"),
        ("hard link to itself", Tar::new().file("p", "").hard_link("p", "./p"), "to itself"),
        ("hard link to nothing", Tar::new().link(b'1', "p", ""), "no name"),
        ("hard link to a whiteout", Tar::new().file(".wh.w", "").hard_link("p", "w"), "no file"),
        ("hard link to a marker", Tar::new().file("a/.wh..wh..opq", "").hard_link("p", "a/.wh..wh..opq"), "no file"),
        ("symlink to nothing", Tar::new().link(b'2', "p", ""), "no path"),
        ("opaque through a symlink", Tar::new().symlink("d", canary).file("d/.wh..wh..opq", ""), through),
        ("whiteout through a symlink", Tar::new().symlink("d", canary).file("d/.wh.file", ""), through),
    ]);
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
    refused(vec![
        ("empty", Tar::new().file(".wh.", ""), "whiteout of no name"),
        ("dot", Tar::new().file(".wh..", ""), "whiteout of no name"),
        ("dot dot", Tar::new().file(".wh...", ""), "whiteout of no name"),
        ("dot dot below", Tar::new().file("a/b/.wh...", ""), "whiteout of no name"),
        ("slash", Tar::new().file(".wh./x", ""), "below a whiteout"),
        ("up", Tar::new().file(".wh../../x", ""), "\"..\""),
        ("below a whiteout", Tar::new().file("a/.wh.b/c", ""), "below a whiteout"),
        ("a directory", Tar::new().dir(".wh.x/"), "and is no file"),
        ("a symlink", Tar::new().symlink(".wh.x", "/etc"), "and is no file"),
        ("a device", Tar::new().entry(&Entry::new(b'3', ".wh.x")), "and is no file"),
        ("an opaque directory", Tar::new().dir(".wh..wh..opq/"), "and is no file"),
    ]);
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
    let hidden = Tar::new().file("hidden", "x").0;
    let smuggled = |records: &[(&str, &[u8])], size| {
        Tar::new().pax(records).raw(Entry { size: Some(size), ..Entry::new(b'0', "f") }.header(), &hidden)
    };
    let length = hidden.len().to_string();
    let pax_data = |data: Vec<u8>| Tar::new().entry(&Entry { data, ..Entry::new(b'x', "p") }).file("f", "");
    let global = |key: &str| Tar::new().entry(&Entry { data: record(key, "1"), ..Entry::new(b'g', "g") }).file("f", "");
    let ended = Tar(vec![0; 1024]).file("after", "x");
    let lone = Tar(vec![0; 512]).file("after", "x");
    let mut wrong_sum = Tar::new().file("f", "x");
    wrong_sum.0[0] ^= 1;
    let with_data = |kind| Tar::new().raw(Entry { size: Some(512), ..Entry::new(kind, "l") }.header(), &hidden);
    refused(vec![
        ("PAX size over a header of 0", smuggled(&[("size", length.as_bytes())], 0), "disagree about its size"),
        ("PAX size below the header's", smuggled(&[("size", b"0")], hidden.len() as u64), "disagree about its size"),
        ("two PAX sizes", smuggled(&[("size", b"0"), ("size", length.as_bytes())], 0), "comes twice"),
        ("PAX size that is no number", smuggled(&[("size", b"1e3")], 0), "invalid value"),
        (
            "PAX size hidden behind a newline",
            pax_data([record("a", "x\n9 size=1"), b"junk".to_vec()].concat()),
            "malformed",
        ),
        ("PAX record longer than the header", pax_data(b"999 path=x\n".to_vec()), "malformed"),
        ("PAX record without a newline", pax_data(b"9 path=xx".to_vec()), "malformed"),
        ("PAX header of NULs", pax_data(vec![0; 20]), "malformed"),
        ("two PAX headers", Tar::new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("f", ""), "two PAX headers"),
        ("two long names", Tar::new().long(b'L', "a").long(b'L', "b").file("f", ""), "two long names"),
        ("PAX and GNU name", Tar::new().pax(&[("path", b"a")]).long(b'L', "b").file("f", ""), "both give its name"),
        (
            "PAX and GNU link",
            Tar::new().long(b'K', "a").pax(&[("linkpath", b"b")]).link(b'2', "l", "c"),
            "both give its name",
        ),
        ("PAX header of nothing", Tar::new().pax(&[("path", b"a")]), "ends after an extended header"),
        ("global path", global("path"), "every entry after it"),
        ("global size", global("size"), "every entry after it"),
        ("global attribute", global("SCHILY.xattr.user.x"), "every entry after it"),
        ("symlink with data", with_data(b'2'), "says that it has data"),
        ("hard link with data", with_data(b'1'), "says that it has data"),
        ("directory with data", with_data(b'5'), "says that it has data"),
        (
            "directory with data by PAX",
            Tar::new().pax(&[("size", b"512")]).raw(Entry::new(b'5', "d").header(), &hidden),
            "disagree",
        ),
        ("entries after the end", ended, "follows the end"),
        ("entries after one block of zeros", lone, "follows the end"),
        ("wrong checksum", wrong_sum, "checksum"),
        ("negative size", Tar::new().raw(negative_size(), b""), "not a number"),
        ("volume label", Tar::new().entry(&Entry { gnu: true, ..Entry::new(b'V', "v") }), "not supported"),
        ("continuation", Tar::new().entry(&Entry { gnu: true, ..Entry::new(b'M', "v") }), "not supported"),
        ("unknown type", Tar::new().entry(&Entry::new(b'Z', "v")), "not supported"),
        ("size of star", Tar::new().pax(&[("SCHILY.realsize", b"9")]).file("f", ""), "star"),
        (
            "sparse of the old PAX kind",
            Tar::new().pax(&[("GNU.sparse.map", b"0,1")]).file("f", "x"),
            "sparse files are",
        ),
    ]);
}

fn negative_size() -> [u8; 512] {
    let mut header = Entry::new(b'0', "f").header();
    header[124..136].fill(0xff);
    header
}

#[test]
fn owners_outside_of_a_sandbox() {
    let owned = |uid, gid| Tar::new().entry(&Entry { uid, gid, ..Entry::new(b'0', "f") });
    refused(vec![
        ("uid 65536", owned(65536, 0), "not in 0..=65535"),
        ("gid 65536", owned(0, 65536), "not in 0..=65535"),
        ("uid 2^31", owned(1 << 31, 0), "not in 0..=65535"),
        ("uid 2^32", owned(1 << 32, 0), "not in 0..=65535"),
        ("uid 2^32 by PAX", Tar::new().pax(&[("uid", b"4294967296")]).file("f", ""), "not in 0..=65535"),
        ("uid -1 by PAX", Tar::new().pax(&[("uid", b"-1")]).file("f", ""), "invalid value"),
        ("gid 0x0 by PAX", Tar::new().pax(&[("gid", b"0x0")]).file("f", ""), "invalid value"),
        ("directory of 2^16", Tar::new().entry(&Entry { uid: 65536, ..Entry::new(b'5', "d") }), "not in 0..=65535"),
    ]);
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

/// An old GNU sparse header of one region of `length` bytes at `offset`.
fn sparse(real_size: u64, offset: u64, length: u64, data: &[u8]) -> Tar {
    let mut header = Entry { gnu: true, size: Some(data.len() as u64), ..Entry::new(b'S', "s") }.header();
    let base256 = |value: u64| [&[0x80, 0, 0, 0][..], &value.to_be_bytes()].concat();
    header[386..398].copy_from_slice(&base256(offset));
    header[398..410].copy_from_slice(&base256(length));
    header[483..495].copy_from_slice(&base256(real_size));
    Tar::new().raw(header, data)
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
    let pax = |map: &[u8], size: &[u8]| {
        let mut data = map.to_vec();
        data.resize(512, 0);
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", size),
        ];
        Tar::new().pax(&records).file("GNUSparseFile.0/s", data)
    };
    refused(vec![
        ("region beyond the end", sparse(10, 8, 4, b"data"), "beyond its end"),
        ("region beyond 64 bits", sparse(10, u64::MAX >> 1, u64::MAX >> 1, b""), "beyond its end"),
        ("less data than the map", sparse(100, 0, 50, b"data"), "not as long as its data"),
        ("more data than the map", sparse(100, 0, 2, b"data"), "not as long as its data"),
        ("PAX map of letters", pax(b"x\n", b"10"), "holds no numbers"),
        ("PAX map without an end", pax(b"9\n0\n1\n", b"10"), "holds no numbers"),
        ("PAX map of endless digits", pax(&[b'1'; 512], b"10"), "holds no numbers"),
        ("PAX map that overlaps", pax(b"2\n0\n5\n3\n5\n", b"10"), "overlap"),
        ("PAX map beyond the end", pax(b"1\n9\n5\n", b"10"), "beyond its end"),
        ("PAX map of more than there is", pax(b"1\n0\n5\n", b"10"), "not as long as its data"),
        (
            "PAX path of a sparse name",
            {
                let records: [(&str, &[u8]); 4] = [
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"../../x"),
                    ("GNU.sparse.realsize", b"0"),
                ];
                Tar::new().pax(&records).file("f", format!("0\n{}", "\0".repeat(510)))
            },
            "\"..\"",
        ),
    ]);
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
