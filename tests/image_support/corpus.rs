//! Hostile archives, each with what the reason for refusing it says.

use super::tar::{Entry, Tar, record};

/// A name for it, the archive without its end, and a part of the reason.
pub type Hostile = (&'static str, Tar, &'static str);

/// All of them. `canary` is a directory that none of them may reach, with a `file` and a `dir/sub` in it.
pub fn all(canary: &str) -> Vec<Hostile> {
    [names(canary), links(canary), whiteouts(), headers(), owners(), sparse_lies()].concat()
}

pub fn names(canary: &str) -> Vec<Hostile> {
    let long = |length| "n".repeat(length);
    let file_at = |path: &str| Tar::new().pax(&[("path", path.as_bytes())]).file("x", "evil");
    vec![
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
    ]
}

pub fn links(canary: &str) -> Vec<Hostile> {
    let file = format!("{canary}/file");
    let through = "something that is no directory";
    let chain =
        (0..41).fold(Tar::new().symlink("l0", canary), |tar, at| tar.symlink(format!("l{}", at + 1), format!("l{at}")));
    vec![
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
    ]
}

pub fn whiteouts() -> Vec<Hostile> {
    vec![
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
    ]
}

pub fn headers() -> Vec<Hostile> {
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
    vec![
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
    ]
}

pub fn owners() -> Vec<Hostile> {
    let owned = |uid, gid| Tar::new().entry(&Entry { uid, gid, ..Entry::new(b'0', "f") });
    vec![
        ("uid 65536", owned(65536, 0), "not in 0..=65535"),
        ("gid 65536", owned(0, 65536), "not in 0..=65535"),
        ("uid 2^31", owned(1 << 31, 0), "not in 0..=65535"),
        ("uid 2^32", owned(1 << 32, 0), "not in 0..=65535"),
        ("uid 2^32 by PAX", Tar::new().pax(&[("uid", b"4294967296")]).file("f", ""), "not in 0..=65535"),
        ("uid -1 by PAX", Tar::new().pax(&[("uid", b"-1")]).file("f", ""), "invalid value"),
        ("gid 0x0 by PAX", Tar::new().pax(&[("gid", b"0x0")]).file("f", ""), "invalid value"),
        ("directory of 2^16", Tar::new().entry(&Entry { uid: 65536, ..Entry::new(b'5', "d") }), "not in 0..=65535"),
    ]
}

pub fn sparse_lies() -> Vec<Hostile> {
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
    vec![
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
    ]
}

fn negative_size() -> [u8; 512] {
    let mut header = Entry::new(b'0', "f").header();
    header[124..136].fill(0xff);
    header
}

/// An old GNU sparse header of one region of `length` bytes at `offset`.
pub fn sparse(real_size: u64, offset: u64, length: u64, data: &[u8]) -> Tar {
    let mut header = Entry { gnu: true, size: Some(data.len() as u64), ..Entry::new(b'S', "s") }.header();
    let base256 = |value: u64| [&[0x80, 0, 0, 0][..], &value.to_be_bytes()].concat();
    header[386..398].copy_from_slice(&base256(offset));
    header[398..410].copy_from_slice(&base256(length));
    header[483..495].copy_from_slice(&base256(real_size));
    Tar::new().raw(header, data)
}
