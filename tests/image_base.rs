//! The built-in image: made without a network, the same each time, and a root that one can work in.

mod image_support;

use std::fs;

use bivouac::image::{NoProgress, Source};
use image_support::{Fixture, run};

#[test]
fn the_base_image_is_the_same_each_time_and_works() {
    let fixture = Fixture::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/base-image");
    let (first, second) = (fixture.path("first.tar"), fixture.path("second.tar"));
    for tar in [&first, &second] {
        run(script, &[tar.to_str().unwrap()]);
    }
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "it differs from run to run");

    let image = fixture.store.import(Source::Path(&first), Some("bivouac/base"), &NoProgress).unwrap();
    assert_eq!((image.name.as_str(), image.config.cmd.join(" ")), ("bivouac/base:latest", "/bin/sh".into()));
    let root = fixture.store.layers_dir().join(&image.layers[0].dir);
    let inside =
        run("chroot", &[root.to_str().unwrap(), "/bin/sh", "-c", "id -un; ls -ld /tmp; . /etc/os-release; echo $ID"]);
    let lines: Vec<_> = inside.lines().collect();
    assert_eq!((lines[0], lines[2]), ("root", "bivouac-base"));
    assert!(lines[1].starts_with("drwxrwxrwt"), "{inside}");
}
