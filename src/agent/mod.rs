//! The first process of a sandbox: carries out the launch plan, then is PID 1 until the sandbox ends.
//!
//! Floor 1, built without tokio or HTTP: this code is all that Bivouac ever runs inside a sandbox. It starts as a fork
//! of the launcher, real root in fresh namespaces that belong to the host, and gives up step by step.
//!
//! First it prepares what is the same for every sandbox: proc, sysfs and /dev on a stage, and a *nursling*, a child that has
//! joined the workload's cgroups, entered the user namespace, and loaded the seccomp filter. Both then wait; no byte of any image has been touched. With the
//! order to start it attaches the root, moves the stage into it, enters it, becomes nobody's id, enters the user namespace,
//! and the nursling becomes the entrypoint.
//!
//! The mount, PID, IPC, UTS and cgroup namespaces stay owned by the host's user namespace. Capabilities inside the
//! sandbox count only against its own user namespace, so even a process that got `CAP_SYS_ADMIN` there could not
//! mount, unmount or change a host name. The network namespace belongs to the sandbox.

mod exec;
mod executable;
pub mod files;
mod identity;
mod log;
mod rootfs;
pub mod seccomp;
mod step;
mod supervise;
mod tenant;
mod user;
mod workload;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::MsgFlags;

use crate::proto::{self, Command, MAX_CONTROL_BYTES, Report, START_FDS, SeedPlan, StartPlan};
use crate::sys::{self, Instruction, SingleThreaded};

pub use rootfs::STAGE;
pub use step::{Named, Step};

/// What a launch brings along; see [`proto::LAUNCH_FDS`].
#[derive(Debug)]
pub struct Inheritance {
    pub plan: OwnedFd,
    pub user_namespace: OwnedFd,
    pub network_namespace: OwnedFd,
    pub workload_cgroup: OwnedFd,
    /// `tasks` of the version 1 hierarchies that the workload joins.
    pub joins: Vec<OwnedFd>,
    /// Our end of the control socket.
    pub control: OwnedFd,
}

/// Is the first process of a sandbox, from the fork to the end.
pub fn run(single: &SingleThreaded, inheritance: Inheritance, filter: &[Instruction]) -> ! {
    let begun = prepare(single, &inheritance, filter).and_then(|seed| start(seed, &inheritance));
    let Inheritance { control, plan, user_namespace, network_namespace, workload_cgroup, joins } = inheritance;
    drop((plan, user_namespace, network_namespace));
    let code = match begun {
        Ok(Some((running, seed))) => {
            report(&control, &Report::Ready);
            let nursery = exec::Nursery { single, filter, seed, cgroup: workload_cgroup, joins };
            supervise::Supervisor::new(control, running, nursery).run()
        }
        // Nobody wants this sandbox any more.
        Ok(None) => 0,
        Err(failure) => {
            report(&control, &Report::Failed(failure));
            1
        }
    };
    std::process::exit(code)
}

/// Everything that does not depend on what will run, done before anybody asks for it.
struct Seed {
    plan: SeedPlan,
    stage: rootfs::Stage,
    nursling: workload::Nursling,
}

fn prepare(single: &SingleThreaded, from: &Inheritance, filter: &[Instruction]) -> Step<Seed> {
    let plan: SeedPlan = read_plan(&from.plan)?;
    identity::leave_launcher(
        &from.control,
        &[
            from.plan.as_raw_fd(),
            from.user_namespace.as_raw_fd(),
            from.network_namespace.as_raw_fd(),
            from.workload_cgroup.as_raw_fd(),
        ],
        &from.joins,
    )?;
    identity::enter_network(&from.network_namespace)?;
    identity::set_machine_name(&plan.hostname)?;
    identity::set_oom_score_adj(plan.oom_score_adj)?;
    let stage = rootfs::set_stage(&plan)?;
    let place = workload::Place {
        cgroup: from.workload_cgroup.as_fd(),
        joins: &from.joins,
        user_namespace: &from.user_namespace,
    };
    let nursling = workload::raise(single, &plan, place, filter)?;
    Ok(Seed { plan, stage, nursling })
}

/// Waits until the sandbox is wanted, and makes it run; `None` when daemon and launcher have let go of it.
fn start(seed: Seed, from: &Inheritance) -> Step<Option<(supervise::Running, SeedPlan)>> {
    let Some(order) = await_order(&from.control)? else { return Ok(None) };
    let [plan, root, first_log, second_log] = order;
    let plan: StartPlan = read_plan(&plan)?;
    rootfs::enter(&root, &seed.stage)?;
    let log = log::LogWriter::start([first_log, second_log], plan.log_segment_bytes).step("start the log")?;
    identity::become_supervisor(seed.plan.supervisor_id, &from.user_namespace)?;
    let born = seed.nursling.execute(&plan.process, plan.interaction)?;
    let (nonce, interaction) = (seed.plan.nonce.clone(), plan.interaction);
    Ok(Some((supervise::Running { nonce, log, born, interaction }, seed.plan)))
}

fn await_order(control: &OwnedFd) -> Step<Option<[OwnedFd; START_FDS]>> {
    let step = "wait for the order to start";
    loop {
        let message = sys::receive(control.as_fd(), MAX_CONTROL_BYTES, MsgFlags::empty()).step(step)?;
        let Some(message) = message else { return Ok(None) };
        if let Command::Start = proto::decode(&message.bytes).step(step)? {
            let fds = <[OwnedFd; START_FDS]>::try_from(message.fds);
            return fds.map(Some).map_err(|fds| format!("{} descriptors came", fds.len())).step(step);
        }
    }
}

fn read_plan<T: serde::de::DeserializeOwned>(fd: &OwnedFd) -> Step<T> {
    let mut bytes = Vec::new();
    let file = fd.try_clone().step("read the plan")?;
    File::from(file).read_to_end(&mut bytes).step("read the plan")?;
    proto::decode(&bytes).step("read the plan")
}

/// Tells the daemon; one that is gone will ask again.
fn report(control: &OwnedFd, report: &Report) {
    drop(sys::send(control.as_fd(), &proto::encode(report), &[], MsgFlags::MSG_DONTWAIT));
}
