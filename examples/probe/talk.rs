//! One connection for as long as the process lives: `probe talk tcp|udp ADDRESS PORT` says again and again whether it is answered.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_millis(300);

pub fn forever(arguments: &[String]) -> Value {
    let [kind, address, port] = arguments else { return json!("probe talk tcp|udp ADDRESS PORT") };
    let (Ok(address), Ok(port)) = (address.parse::<IpAddr>(), port.parse()) else { return json!("no address") };
    let to = SocketAddr::new(address, port);
    let talked = if kind == "tcp" { tcp(to) } else { udp(to) };
    json!(talked.map_or_else(|error| error.to_string(), |()| String::new()))
}

fn tcp(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    loop {
        // What was written before and comes later is an answer as well.
        stream.write_all(b"?")?;
        say(stream.read(&mut [0; 100]).is_ok_and(|length| length > 0))?;
    }
}

fn udp(to: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    loop {
        // To be told that it is prohibited is no answer, and no end either.
        let sent = socket.send(b"?");
        say(sent.is_ok() && socket.recv(&mut [0; 100]).is_ok())?;
    }
}

fn say(is_answered: bool) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{}", if is_answered { "answered" } else { "silent" })?;
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}
