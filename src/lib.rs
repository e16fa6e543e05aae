//! Bivouac runs programs in isolated sandboxes on a bare Linux host, behind the OpenSandbox API.
//!
//! This page is the architecture. Each module's own page says how its part is done and why.
//!
//! # Processes
//!
//! ```text
//! bivouac serve               the daemon: HTTP, images, records, one driver task for each sandbox
//!   |  SOCK_SEQPACKET
//!   +- bivouac-init namespaces   makes user and network namespaces ahead of creates; ends with the daemon
//!   |
//! bivouac-init launch         the launcher: single-threaded, parent of every sandbox's first process; outlives the daemon
//!   +- PID 1 of a sandbox        a fork of the launcher: builds the root, drops to nobody's id, has the entrypoint started
//!        +- the entrypoint          the user's program
//! ```
//!
//! The daemon does not fork for a sandbox (only `mke2fs` is run, once for each size of a disk). What takes a kernel long
//! (namespaces) is prepared ahead, and what would take a large process long (a fork) is done by a small one. A daemon
//! that dies takes nobody with it: the launcher keeps, for each sandbox, the pidfd of PID 1 and the daemon's end of its
//! control socket, and hands them to the next daemon, which believes them only after it has checked process id, start
//! time and a nonce against its records. The launcher ends with its last sandbox when no daemon is there.
//!
//! # How a sandbox comes to life
//!
//! Most of it lives before anybody asks. [`runtime::slots`] keeps a few sandboxes prepared: an id, an id range, namespaces,
//! cgroups, the image layers shifted into the range, and a first process ([`agent`], cloned by the launcher straight into its
//! cgroup) that has mounted the kernel file systems and raised a child in the cgroups of the workload, behind the seccomp
//! filter. Both wait. Bounded disks of the sizes that are asked for wait as well, where they take a file system of their own
//! ([`runtime::disk`]). What remains for a create:
//!
//! 1. [`api`]: JSON becomes a [`model::SandboxSpec`]; every error of the input is found here.
//! 2. [`sandbox`]: a slot is taken, and the record is written as `Pending`, with everything from which the sandbox could be
//!    removed again.
//!    Where the image is not here, the answer is Pending at once, and [`image::Puller`] fetches it first: one download for all
//!    who wait for it, unpacked while it arrives.
//! 3. [`sandbox::linux`]: directory, overlay root, limits, and the order to start with a [`proto::StartPlan`] made by a pure
//!    function.
//! 4. [`agent`]: the first process attaches the root, enters it, becomes nobody's id, enters the user namespace; the child
//!    takes its user and directory and executes the program. A step that fails is named, with its call and errno.
//! 5. [`guest`]: PID 1 says that it is ready; the record becomes `Running`; the client has its answer.
//!
//! No step of this waits for a disk: records are committed to a write-ahead log that another thread syncs, because a
//! power cut ends every sandbox anyway.
//!
//! # Isolation, in one paragraph
//!
//! Every sandbox has a user namespace of its own with 65,536 host ids that nobody else has, so root inside is nobody
//! outside. Mount, PID, IPC, UTS and cgroup namespaces belong to the *host's* user namespace: capabilities inside cannot
//! change them even if seccomp and the bounding set failed. Image layers are shared, read-only, and shifted by idmapped
//! mounts; what is written goes to a directory owned by the sandbox's own ids below a directory that only root may enter.
//! `no_new_privs`, a seccomp allow list for the native ABI only, eleven capabilities, masked and read-only kernel paths, six
//! devices, limits on memory, CPU, processes and, where asked for, the disk ([`runtime::disk`]). What is not protected
//! against: bugs of the kernel, which is shared, and side channels.
//!
//! # Ports
//!
//! What listens inside is reached through the daemon, which makes its connecting socket in the sandbox's own network namespace
//! ([`runtime::sockets`]); the sandbox needs no network for that, and no address of it means anything outside. The API
//! carries requests there (`api::proxy`), to who has the API key, the port's token or a signed address ([`api::access`]). Port
//! 44772 is the daemon itself: the exec API.
//!
//! # Network
//!
//! A sandbox has loopback alone, or a pair of interfaces that leads to the host and nowhere else, made with its prepared place
//! ([`network`]). Where the operator does not say which, the daemon looks what the host can do as it is. The network of the host
//! itself is given to who asks, where the operator allows it, by a place made anew for that sandbox. What may pass is decided by
//! one table of the packet filter, whose rules do not grow with sandboxes, and which stays when the daemon ends. What a single
//! sandbox may reach of that, by name and by address, is its policy ([`model::NetworkPolicy`]): the daemon's resolver answers by
//! it, and lets packets through to the answers before they are told.
//!
//! # State
//!
//! One driver task makes all changes of a sandbox's state. What it does is decided by a pure function
//! (`sandbox::machine`), recorded in SQLite ([`store`]) before it is done, and undone from the record alone. Time to live is
//! counted on a clock that nobody sets.
//!
//! # Floors
//!
//! Imports go down only, and never to a neighbour on the same floor; `tests/tidy.rs` checks it.
//!
//! ```text
//! 6  cli        daemon (config, assembly, run)      programs: bivouac, bivouac-init
//! 5  api        console
//! 4  sandbox    (lifecycle: machine, drivers, registry, adoption, expiry; linux: the real host)
//! 2  image      store      guest (client of PID 1)      runtime (plan, launch, namespaces, cgroup, root)
//!    network    (links, addresses, rules of the packet filter)
//!    agent      (PID 1 itself)
//! 1  proto      (what daemon, launcher and PID 1 say to each other)
//! 0  sys (every system call, the only unsafe)      model (ids, specifications, states, limits)
//! ```
//!
//! Everything that `bivouac-init` needs builds without the `daemon` feature: no tokio, no HTTP, no SQLite.

pub mod agent;
pub mod model;
pub mod proto;
pub mod runtime;
pub mod sys;

#[cfg(feature = "daemon")]
pub mod api;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod console;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod guest;
#[cfg(feature = "daemon")]
pub mod image;
#[cfg(feature = "daemon")]
pub mod network;
#[cfg(feature = "daemon")]
pub mod sandbox;
#[cfg(feature = "daemon")]
pub mod store;
