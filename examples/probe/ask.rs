//! What a resolver says: `probe ask udp|tcp SERVER NAME TYPE NAME TYPE ...`, one after the other (RFC 1035).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(3);

pub fn all(arguments: &[String]) -> Value {
    let [over, server, questions @ ..] = arguments else { return json!("probe ask udp|tcp SERVER NAME TYPE ...") };
    let one = |question: &[String]| match question {
        [name, kind] => one(over, server, name, kind).unwrap_or_else(|error| format!("failed: {error}")),
        _ => "failed: a name without a type".to_owned(),
    };
    json!(questions.chunks(2).map(one).collect::<Vec<_>>())
}

/// The code of the answer, and the addresses in it.
fn one(over: &str, server: &str, name: &str, kind: &str) -> std::io::Result<String> {
    let server: IpAddr = server.parse().map_err(std::io::Error::other)?;
    let (to, question) = (SocketAddr::new(server, 53), question(name, kind));
    let answer = if over == "tcp" { by_tcp(to, &question)? } else { by_udp(to, &question)? };
    read(&answer).ok_or_else(|| std::io::Error::other("rubbish"))
}

fn by_udp(to: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(question)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

pub fn by_tcp(to: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

pub fn question(name: &str, kind: &str) -> Vec<u8> {
    let number: u16 = match kind {
        "A" => 1,
        "CNAME" => 5,
        "NULL" => 10,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        "HTTPS" => 65,
        other => other.parse().unwrap_or(255),
    };
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

fn read(answer: &[u8]) -> Option<String> {
    let code = match answer.get(3)? & 15 {
        0 => "NoError".to_owned(),
        2 => "ServFail".to_owned(),
        3 => "NXDomain".to_owned(),
        5 => "Refused".to_owned(),
        other => other.to_string(),
    };
    let records = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let mut at = after_name(answer, 12)? + 4;
    let mut told = vec![code];
    for _ in 0..records {
        at = after_name(answer, at)?;
        let length = usize::from(u16::from_be_bytes([*answer.get(at + 8)?, *answer.get(at + 9)?]));
        let data = answer.get(at + 10..at + 10 + length)?;
        match u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]) {
            1 => told.push(Ipv4Addr::from(*data.first_chunk()?).to_string()),
            28 => told.push(Ipv6Addr::from(*data.first_chunk()?).to_string()),
            _ => {}
        }
        at += 10 + length;
    }
    Some(told.join(" "))
}

/// Where what follows a name begins.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}
