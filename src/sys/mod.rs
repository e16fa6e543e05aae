//! Every system call that the standard library and `nix` do not wrap safely, and the only `unsafe` of the project.

mod xattr;

pub use xattr::set_xattr;
