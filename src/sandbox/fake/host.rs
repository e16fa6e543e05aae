//! The pretended host as the lifecycle sees it.

use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::world::{self, Turn};
use super::{FakeHost, Step, lock};
use crate::model::{Exit, NetworkPolicy, Reason, SandboxId, SandboxSpec, Usage};
use crate::sandbox::execution::{ExecError, FoundExecution, Order, Process, Started};
use crate::sandbox::{ConnectError, End, Fetch, Host, HostError, IdBase, Launched, Life, Presence, Reservation};

/// How many users and groups a sandbox has.
const RANGE: IdBase = 65_536;

#[async_trait]
impl Host for FakeHost {
    fn boot_id(&self) -> &str {
        &self.boot_id
    }

    fn boot_nanos(&self) -> u64 {
        self.clock.boot_nanos()
    }

    fn unix_nanos(&self) -> i64 {
        self.clock.unix_nanos()
    }

    async fn check_image(&self, image: &str, _fetch: &Fetch) -> Result<Presence, HostError> {
        if lock(&self.world).missing_images.contains(image) {
            return Err(HostError { reason: Reason::ImageNotFound, message: format!("find image {image}: not here") });
        }
        let is_elsewhere = lock(&self.world).images_elsewhere.contains(image);
        Ok(if is_elsewhere { Presence::Elsewhere } else { Presence::Here })
    }

    async fn check_room(&self) -> Result<(), String> {
        if lock(&self.world).full { Err("the disk is full".to_owned()) } else { Ok(()) }
    }

    /// Tells once at the beginning and once in the middle.
    async fn fetch_image(
        &self,
        id: &SandboxId,
        image: &str,
        _fetch: Fetch,
        tell: watch::Sender<String>,
    ) -> Result<(), HostError> {
        let turn = self.turn(Step::Fetch, id);
        for part in ["0 of 2", "1 of 2"] {
            tell.send_replace(format!("pulling {image}: {part} layers"));
            pass(turn.behaviour.delay / 2).await;
        }
        turn.verdict()?;
        lock(&self.world).images_elsewhere.remove(image);
        Ok(())
    }

    async fn reserve(&self) -> Result<Reservation, HostError> {
        let mut taken = lock(&self.taken);
        // The lowest that is free, so that ranges are used again as soon as they can be.
        let free = (1..60_000).map(|number| number * RANGE).find(|base| !taken.contains(base));
        let free = free.ok_or_else(|| HostError { reason: Reason::StartFailed, message: "no id range".to_owned() })?;
        taken.insert(free);
        Ok(Reservation { id: SandboxId::random(), base: free })
    }

    fn claim(&self, base: IdBase) {
        if !lock(&self.taken).insert(base) {
            lock(&self.world).violations.push(format!("range {base} was claimed twice"));
        }
    }

    fn release(&self, base: IdBase) {
        let mut world = lock(&self.world);
        if !lock(&self.taken).remove(&base) {
            world.violations.push(format!("range {base} was released and not taken"));
        }
        world.check_unused(base);
    }

    async fn launch(&self, id: &SandboxId, base: IdBase, spec: &SandboxSpec) -> Result<Launched, HostError> {
        if !lock(&self.taken).contains(&base) {
            lock(&self.world).violations.push(format!("{id} was launched on range {base}, which is not taken"));
        }
        let turn = self.turn(Step::Launch, id);
        // One that fails fails half way, and leaves what it made.
        let parts = if turn.behaviour.fail.is_some() { &world::PARTS[..3] } else { &world::PARTS[..] };
        for part in parts {
            lock(&self.world).add(id, base, part);
            pass(turn.behaviour.delay / 6).await;
        }
        turn.verdict()?;
        lock(&self.world).policies.insert(id.clone(), spec.policy.clone());
        lock(&self.world).launched(id)
    }

    async fn adopt(&self, id: &SandboxId, base: IdBase, proof: &str) -> Result<Launched, HostError> {
        let turn = self.turn(Step::Adopt, id);
        pass(turn.behaviour.delay).await;
        turn.verdict()?;
        lock(&self.world).adopt(id, base, proof)
    }

    async fn set_policy(&self, id: &SandboxId, policy: Option<&NetworkPolicy>) -> Result<(), HostError> {
        let turn = self.turn(Step::SetPolicy, id);
        pass(turn.behaviour.delay).await;
        turn.verdict()?;
        lock(&self.world).policies.insert(id.clone(), policy.cloned());
        Ok(())
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), HostError> {
        self.set_frozen(Step::Freeze, id, true).await
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), HostError> {
        self.set_frozen(Step::Thaw, id, false).await
    }

    async fn is_frozen(&self, id: &SandboxId) -> Result<bool, HostError> {
        let turn = self.turn(Step::IsFrozen, id);
        pass(turn.behaviour.delay).await;
        turn.verdict()?;
        lock(&self.world).is_frozen(id)
    }

    async fn signal(&self, id: &SandboxId, signal: i32) -> Result<(), HostError> {
        let behaviour = lock(&self.script).next(Step::Signal, id);
        pass(behaviour.delay).await;
        behaviour.fail.map_or_else(|| lock(&self.world).signal(id, signal), Err)
    }

    async fn usage(&self, id: &SandboxId) -> Result<Usage, HostError> {
        let scripted = lock(&self.script).usage(id);
        Ok(Usage { boot_nanos: self.clock.boot_nanos(), ..scripted })
    }

    fn describe(
        &self,
        _id: &SandboxId,
        base: Option<IdBase>,
        _spec: &SandboxSpec,
        _proof: Option<&str>,
    ) -> Vec<(String, String)> {
        base.map(|base| ("User ids".to_owned(), format!("from {base}"))).into_iter().collect()
    }

    async fn process_defaults(&self, _id: &SandboxId, spec: &SandboxSpec) -> Result<Process, HostError> {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        let env = spec.env.iter().map(|(name, value)| format!("{name}={value}")).chain([path]);
        Ok(Process { argv: Vec::new(), env: env.collect(), user: String::new(), cwd: "/".to_owned() })
    }

    async fn exec(&self, _id: &SandboxId, order: Order) -> Result<Started, ExecError> {
        self.processes.start(order)
    }

    async fn executions(&self, _id: &SandboxId) -> Result<Vec<FoundExecution>, ExecError> {
        Ok(Vec::new())
    }

    /// The loopback of the test, which all pretended sandboxes share.
    async fn connect(&self, _id: &SandboxId, port: u16) -> Result<TcpStream, ConnectError> {
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?)
    }

    /// On another port, because of that.
    async fn listen(&self, _id: &SandboxId, _port: u16, _backlog: u32) -> Result<TcpListener, ConnectError> {
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)
    }

    async fn stop(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError> {
        self.remove(Step::Stop, id, base, world::LOGS).await
    }

    async fn destroy(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError> {
        self.remove(Step::Destroy, id, base, "").await
    }

    async fn sweep(&self, known: &[SandboxId]) -> Vec<String> {
        lock(&self.world).sweep(known)
    }

    fn leave(&self) {
        lock(&self.world).is_left = true;
    }
}

impl FakeHost {
    /// A turn on a sandbox: as long as it is held, no other call on the sandbox is expected.
    fn turn(&self, step: Step, id: &SandboxId) -> Turn {
        let behaviour = lock(&self.script).next(step, id);
        assert!(!behaviour.panic, "the script says that {step:?} panics");
        Turn::take(&self.world, id, step, behaviour)
    }

    /// Half of the time passes before the kernel has done it and half after, as for a daemon killed at either point.
    async fn set_frozen(&self, step: Step, id: &SandboxId, frozen: bool) -> Result<(), HostError> {
        let turn = self.turn(step, id);
        pass(turn.behaviour.delay / 2).await;
        turn.verdict()?;
        lock(&self.world).set_frozen(id, frozen)?;
        pass(turn.behaviour.delay / 2).await;
        Ok(())
    }

    async fn remove(&self, step: Step, id: &SandboxId, base: IdBase, keep: &str) -> Result<(), HostError> {
        let turn = self.turn(step, id);
        let parts = world::PARTS.into_iter().rev().filter(|part| *part != keep);
        // One that fails has removed the processes and nothing else.
        for part in parts.take(if turn.behaviour.fail.is_some() { 1 } else { usize::MAX }) {
            lock(&self.world).remove(id, base, part);
            pass(turn.behaviour.delay / 6).await;
        }
        turn.verdict()
    }
}

/// The living side of a pretended sandbox.
pub(super) struct FakeLife(pub(super) watch::Receiver<Option<End>>);

#[async_trait]
impl Life for FakeLife {
    async fn ended(&mut self) -> End {
        let lost = End { exit: Exit::Unknown, oom: None, lost: true };
        match self.0.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(lost),
            Err(_) => lost,
        }
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
