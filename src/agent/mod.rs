//! The first process of a sandbox: carries out the launch plan, then is PID 1 until the sandbox ends.
//!
//! Floor 1, built without tokio or HTTP: this code is all that Bivouac ever runs inside a sandbox. It starts as a fork
//! of the launcher, real root in fresh namespaces that belong to the host, and gives up step by step: it builds the
//! root, enters it, becomes nobody's id, enters the sandbox's user namespace, and only then starts the entrypoint.
//!
//! The mount, PID, IPC, UTS and cgroup namespaces stay owned by the host's user namespace. Capabilities inside the
//! sandbox count only against its own user namespace, so even a process that got `CAP_SYS_ADMIN` there could not
//! mount, unmount or change a host name. The network namespace belongs to the sandbox.

mod identity;
mod log;
mod rootfs;
pub mod seccomp;
mod step;
mod supervise;
mod user;
mod workload;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::MsgFlags;

use crate::proto::{self, LaunchPlan, Report};
use crate::sys::{self, Instruction, SingleThreaded};

pub use step::{Named, Step};

/// What a launch brings along; see [`proto::LAUNCH_FDS`].
#[derive(Debug)]
pub struct Inheritance {
    pub plan: OwnedFd,
    pub root: OwnedFd,
    pub user_namespace: OwnedFd,
    pub network_namespace: OwnedFd,
    pub workload_cgroup: OwnedFd,
    pub logs: [OwnedFd; 2],
    /// `cgroup.procs` of the version 1 hierarchies that the workload joins.
    pub joins: Vec<OwnedFd>,
    /// Our end of the control socket.
    pub control: OwnedFd,
}

/// Is the first process of a sandbox, from the fork to the end.
pub fn run(single: &SingleThreaded, inheritance: Inheritance, filter: &[Instruction]) -> ! {
    let code = match launch(single, inheritance, filter) {
        Ok(supervisor) => supervisor.run(),
        Err((control, failure)) => {
            report(&control, &Report::Failed(failure));
            1
        }
    };
    std::process::exit(code)
}

fn launch(
    single: &SingleThreaded,
    inheritance: Inheritance,
    filter: &[Instruction],
) -> Result<supervise::Supervisor, (OwnedFd, proto::StepFailure)> {
    let Inheritance { plan, root, user_namespace, network_namespace, workload_cgroup, logs, joins, control } =
        inheritance;
    let started = (|| {
        let plan = read_plan(plan)?;
        identity::leave_launcher(
            &control,
            &[
                root.as_raw_fd(),
                user_namespace.as_raw_fd(),
                network_namespace.as_raw_fd(),
                workload_cgroup.as_raw_fd(),
                logs[0].as_raw_fd(),
                logs[1].as_raw_fd(),
            ],
            &joins,
        )?;
        identity::enter_network(&network_namespace)?;
        identity::set_machine_name(&plan.hostname)?;
        identity::set_oom_score_adj(plan.oom_score_adj)?;
        rootfs::build_and_enter(&root, &plan)?;
        identity::become_supervisor(plan.supervisor_id, &user_namespace)?;
        drop((root, user_namespace, network_namespace));
        let log = log::LogWriter::start(logs, plan.log_segment_bytes).step("start the log")?;
        let pipes = workload::Pipes::make()?;
        let place = workload::Place { cgroup: workload_cgroup.as_fd(), joins: &joins };
        let entrypoint = workload::spawn(single, &plan.process, place, &pipes, filter)?;
        drop((workload_cgroup, joins));
        Ok((plan, log, pipes, entrypoint))
    })();
    match started {
        Ok((plan, log, pipes, entrypoint)) => {
            report(&control, &Report::Ready);
            Ok(supervise::Supervisor::new(control, plan.nonce, log, pipes, entrypoint))
        }
        Err(failure) => Err((control, failure)),
    }
}

/// Takes the descriptor, because it is not among those that outlive [`identity::leave_launcher`].
fn read_plan(fd: OwnedFd) -> Step<LaunchPlan> {
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).step("read the plan")?;
    proto::decode(&bytes).step("read the plan")
}

/// Tells the daemon; one that is gone will ask again.
fn report(control: &OwnedFd, report: &Report) {
    drop(sys::send(control.as_fd(), &proto::encode(report), &[], MsgFlags::MSG_DONTWAIT));
}
