//! The launcher runs from a sealed copy of its program in memory.
//!
//! Every sandbox's first process is a fork of the launcher, so `/proc/self/exe` of a program that is about to be executed
//! leads to the launcher's own. A sealed copy cannot be written by anybody, and is no file of the host. The copy is also
//! started without a path on its command line, which sandboxes can read as that of their process 1.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::fexecve;

use crate::agent::{Named, Step};

/// What the copy is started as, in the run directory.
pub const VERB: &str = "launch-sealed";

/// Goes on as the copy; `run_dir` becomes its current directory. Its only variable says whose launcher it is, for people
/// who look for it from outside.
///
/// # Errors
/// A step that failed; on success this process has become the copy.
pub fn become_copy(run_dir: &Path) -> Step<()> {
    std::env::set_current_dir(run_dir).step("enter the run directory")?;
    let mut program = Vec::new();
    File::open("/proc/self/exe")
        .and_then(|mut file| file.read_to_end(&mut program))
        .step("read the launcher's program")?;
    let copy = memfd_create(c"bivouac-init", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING);
    let copy = copy.step("make a file in memory")?;
    File::from(copy.try_clone().step("copy the program")?).write_all(&program).step("copy the program")?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(copy.as_fd(), FcntlArg::F_ADD_SEALS(seals)).step("seal the copy")?;
    let argument = |text: &str| CString::new(text).step("name the copy");
    let arguments = [argument("bivouac-init")?, argument(VERB)?];
    let variables = [argument(&format!("BIVOUAC_RUN_DIR={}", run_dir.display()))?];
    fexecve(&copy, &arguments, &variables).step("execute the copy").map(drop)
}
