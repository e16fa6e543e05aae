//! The loopback interface (`netdevice(7)`).

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::error::{Result, checked, told};

/// Brings `lo` of the current network namespace up; the kernel gives it 127.0.0.1 and ::1.
pub fn bring_loopback_up() -> Result<()> {
    let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    let socket = told(made, || "socket(AF_INET, SOCK_DGRAM)".to_owned())?;
    // SAFETY: ifreq is plain data, for which all-zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    checked(libc::c_long::from(result), || "ioctl(SIOCSIFFLAGS, lo, IFF_UP)".to_owned())?;
    Ok(())
}
