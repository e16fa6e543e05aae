//! Loop devices (`loop(4)`): a file as a block device.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;

use super::error::{Result, SyscallError, checked, told};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
/// The device lets go of its file when its last user has gone.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// The file is not kept in memory a second time.
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// How often another may take the free device first.
const ATTEMPTS: u32 = 64;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device that lasts as long as it is open or mounted.
#[derive(Debug)]
pub struct LoopDevice {
    pub path: PathBuf,
    /// Keeps it until it is mounted.
    pub open: File,
}

/// Makes a device of a file that is open for reading and writing (`LOOP_CONFIGURE`, Linux 5.8).
pub fn attach_loop(file: BorrowedFd<'_>) -> Result<LoopDevice> {
    let control = open("/dev/loop-control")?;
    let mut failure = SyscallError { call: "LOOP_CTL_GET_FREE".to_owned(), errno: Errno::EBUSY };
    for _ in 0..ATTEMPTS {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        checked(libc::c_long::from(number), || "ioctl(/dev/loop-control, LOOP_CTL_GET_FREE)".to_owned())?;
        let path = format!("/dev/loop{number}");
        let device = open(&path)?;
        match configure(&device, file, LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO)
            // Not every file system below can do without its own cache.
            .or_else(|error| {
                if error.errno == Errno::EINVAL { configure(&device, file, LO_FLAGS_AUTOCLEAR) } else { Err(error) }
            }) {
            Ok(()) => return Ok(LoopDevice { path: path.into(), open: device }),
            Err(error) if error.errno == Errno::EBUSY => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

fn open(path: &str) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    told(opened, || format!("open({path:?}, O_RDWR)"))
}

fn configure(device: &File, file: BorrowedFd<'_>, flags: u32) -> Result<()> {
    let info = LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    // No descriptor is negative.
    let config = LoopConfig { fd: file.as_raw_fd().cast_unsigned(), block_size: 4096, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads a loop_config, whose layout this is, and which lives across the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    checked(libc::c_long::from(result), || format!("ioctl(LOOP_CONFIGURE, [{}], flags={flags})", file.as_raw_fd()))?;
    Ok(())
}
