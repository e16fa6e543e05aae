//! Mutated archives: what we take, we take as GNU tar does; anything that could be read in two ways, we refuse.

mod image_support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use image_support::tar::{Entry, Tar};
use image_support::{Fixture, names};

/// More of them with `BIVOUAC_MUTANTS`.
fn mutants() -> u64 {
    std::env::var("BIVOUAC_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000)
}

/// Archives of each header format with links, long names and sizes.
fn originals() -> Vec<Vec<u8>> {
    let plain =
        Tar::new().dir("d/").file("d/f", vec![b'x'; 600]).hard_link("d/h", "d/f").symlink("l", "d/f").file("z", "");
    let hidden = Tar::new().file("hidden", "").0;
    let pax = Tar::new().pax(&[("path", b"p/long"), ("mtime", b"1.5")]).file("p", hidden.clone()).file("q", "");
    let gnu = Tar::new()
        .long(b'L', "g/long")
        .entry(&Entry { gnu: true, data: hidden, ..Entry::new(b'0', "g") })
        .long(b'K', "target")
        .entry(&Entry { gnu: true, ..Entry::new(b'2', "s") });
    [plain, pax, gnu].map(Tar::end).to_vec()
}

/// A small generator (xorshift), so that every run tests the same archives.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Changes a byte of some block, and makes all checksums right again: the rest of the reader is what is tested.
fn mutate(tar: &mut [u8], random: &mut Random) {
    const INTERESTING: [u8; 16] =
        [0, 1, b' ', b'/', b'.', b'0', b'1', b'2', b'5', b'7', b'9', b'L', b'x', b'\n', 0x80, 0xff];
    let block = random.below(tar.len() / 512 - 2) * 512;
    // The name, the numbers and the type are at the front of a header.
    let reach = if random.below(3) == 0 { 512 } else { 160 };
    let at = block + random.below(reach);
    tar[at] = INTERESTING[random.below(INTERESTING.len())];
    for block in tar.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// What GNU tar makes of it, or what it complains about.
fn by_gnu_tar(tar: &Path, into: &Path) -> Result<BTreeSet<String>, String> {
    fs::create_dir_all(into).unwrap();
    let arguments = ["--numeric-owner", "--no-same-owner", "-xf", tar.to_str().unwrap(), "-C", into.to_str().unwrap()];
    let output = Command::new("tar").args(arguments).output().unwrap();
    let found = names(into).into_iter().collect();
    fs::remove_dir_all(into).unwrap();
    if output.status.success() { Ok(found) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn what_is_taken_is_what_gnu_tar_takes() {
    let fixture = Fixture::in_memory();
    let originals = originals();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for number in 0..mutants() {
        let mut tar = originals[random.below(originals.len())].clone();
        for _ in 0..=random.below(2) {
            mutate(&mut tar, &mut random);
        }
        let Ok(image) = fixture.import(&tar) else {
            refused += 1;
            continue;
        };
        taken += 1;
        let ours: BTreeSet<_> = names(&fixture.store.layers_dir().join(&image.layers[0].dir)).into_iter().collect();
        let file = fixture.path("mutant.tar");
        fs::write(&file, &tar).unwrap();
        let theirs = by_gnu_tar(&file, &fixture.path("theirs"));
        // Devices are left out by us, and a whiteout has another name.
        if image.layers[0].skipped_devices == 0 {
            let theirs =
                theirs.unwrap_or_else(|error| panic!("GNU tar refuses mutant {number}, we take {ours:?}: {error}"));
            assert_eq!(ours, theirs, "mutant {number}");
        }
    }
    assert!(
        taken > mutants() / 10 && refused > mutants() / 10,
        "{taken} taken, {refused} refused: the mutants are no test"
    );
    fixture.assert_canary();
}
