//! Whom the daemon asks for names: a server outside that knows some, and remembers what it was asked.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::world::World;

/// Long enough that nothing is too old before a test ends.
const TTL: u32 = 600;

/// A name, and what it leads to: addresses, or other names.
pub type Entry = (&'static str, &'static [&'static str]);

pub struct Zone {
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Zone {
    /// Answers at this address outside.
    pub fn start(world: &World, address: &str, entries: &'static [Entry]) -> Self {
        let at = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), 53);
        let socket = world.outside.run(|| UdpSocket::bind(at).expect("bound"));
        let zone = Self { asked: Arc::default(), over: Arc::default() };
        let (asked, over) = (Arc::clone(&zone.asked), Arc::clone(&zone.over));
        std::thread::spawn(move || serve(&socket, entries, &asked, &over));
        zone
    }

    /// The names and types that were asked for since the last look, in the order of the alphabet and each once.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().expect("whole"));
        asked.sort_unstable();
        asked.dedup();
        asked
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn serve(socket: &UdpSocket, entries: &[Entry], asked: &Mutex<Vec<String>>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(200_u8)).expect("polled");
        let mut question = [0; 1500];
        if ready[0].any().unwrap_or(false)
            && let Ok((length, from)) = socket.recv_from(&mut question)
            && let Ok(question) = Message::from_vec(&question[..length])
        {
            let answer = answer(&question, entries, asked);
            drop(socket.send_to(&answer.to_vec().expect("encoded"), from));
        }
    }
}

fn answer(question: &Message, entries: &[Entry], asked: &Mutex<Vec<String>>) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_queries(question.queries.clone());
    let query = &question.queries[0];
    asked.lock().expect("whole").push(format!("{} {}", query.name, query.query_type));
    let mut at = query.name.clone();
    let known =
        |name: &Name| entries.iter().find(|(own, _)| Name::from_str(&format!("{own}.")).expect("a name") == *name);
    if known(&at).is_none() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    while let Some((_, values)) = known(&at) {
        let mut next = None;
        for value in *values {
            match value.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) if query.query_type == RecordType::A => {
                    answer.add_answer(Record::from_rdata(at.clone(), TTL, RData::A(address.into())));
                }
                Ok(IpAddr::V6(address)) if query.query_type == RecordType::AAAA => {
                    answer.add_answer(Record::from_rdata(at.clone(), TTL, RData::AAAA(address.into())));
                }
                Ok(_) => {}
                Err(_) => {
                    let to = Name::from_str(&format!("{value}.")).expect("a name");
                    answer.add_answer(Record::from_rdata(at.clone(), TTL, RData::CNAME(CNAME(to.clone()))));
                    next = Some(to);
                }
            }
        }
        let Some(to) = next else { break };
        at = to;
    }
    answer
}
