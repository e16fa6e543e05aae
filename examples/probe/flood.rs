//! More questions than anybody needs: `probe flood NAME SECONDS SERVER ...` asks for the addresses of a name over UDP, of each
//! server some hundred times a second, and over TCP beside that, and tells how many questions were answered.

use std::io::Result;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ask;

const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_OF_STREAMS: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Count {
    asked: u64,
    answered: u64,
}

pub fn all(arguments: &[String]) -> Value {
    let [name, seconds, servers @ ..] = arguments else { return json!("probe flood NAME SECONDS SERVER ...") };
    let (question, start) = (ask::question(name, "A"), Instant::now());
    let end = start + Duration::from_secs(seconds.parse().unwrap_or(1));
    let servers = servers.iter().filter_map(|server| server.parse::<IpAddr>().ok());
    let servers: Vec<SocketAddr> = servers.map(|server| SocketAddr::new(server, 53)).collect();
    let counts = std::thread::scope(|scope| {
        let question = &question;
        let ways = servers.iter().flat_map(|server| {
            [scope.spawn(move || by_udp(*server, question, end)), scope.spawn(move || by_tcp(*server, question, end))]
        });
        let threads: Vec<_> = ways.collect();
        let join = |thread: ScopedJoinHandle<'_, Result<Count>>| thread.join().unwrap_or_else(|_| Ok(Count::default()));
        threads.into_iter().map(join).collect::<Result<Vec<Count>>>()
    });
    match counts {
        Ok(counts) => json!({
            "asked": counts.iter().map(|count| count.asked).sum::<u64>(),
            "answered": counts.iter().map(|count| count.answered).sum::<u64>(),
            "seconds": start.elapsed().as_secs_f64(),
        }),
        Err(error) => json!(format!("failed: {error}")),
    }
}

fn by_udp(server: SocketAddr, question: &[u8], end: Instant) -> Result<Count> {
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PAUSE))?;
    let (mut count, mut answer) = (Count::default(), [0; 512]);
    while Instant::now() < end {
        count.asked += 1;
        socket.send(question)?;
        while let Ok(length) = socket.recv(&mut answer) {
            count.answered += u64::from(is_answer(&answer[..length]));
        }
    }
    Ok(count)
}

fn by_tcp(server: SocketAddr, question: &[u8], end: Instant) -> Result<Count> {
    let mut count = Count::default();
    while Instant::now() < end {
        count.asked += 1;
        count.answered += u64::from(ask::by_tcp(server, question).is_ok_and(|answer| is_answer(&answer)));
        std::thread::sleep(PAUSE_OF_STREAMS);
    }
    Ok(count)
}

/// Without an error, and with a record.
fn is_answer(bytes: &[u8]) -> bool {
    bytes.get(3).is_some_and(|flags| flags & 15 == 0) && bytes.get(7).is_some_and(|records| *records > 0)
}
