use std::str::FromStr;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::*;
use crate::network::resolver::upstream::{read_framed, write_framed};

/// One who answers every question with its own name and nothing else.
async fn upstream() -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")).await {
            break (udp, tcp);
        }
    };
    let at = udp.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, asker)) = udp.recv_from(&mut buffer).await {
            drop(udp.send_to(&reply(&buffer[..length]), asker).await);
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let question = read_framed(&mut stream).await.expect("a question");
            drop(write_framed(&mut stream, &reply(&question)).await);
        }
    });
    at
}

fn reply(question: &[u8]) -> Vec<u8> {
    let question = Message::from_vec(question).expect("a question");
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.add_queries(question.queries);
    reply.to_vec().expect("encoded")
}

fn question(id: u16) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.add_query(Query::query(Name::from_str("a.test.").expect("a name"), RecordType::A));
    message.to_vec().expect("encoded")
}

async fn resolver(upstreams: Vec<SocketAddr>) -> (Resolver, SocketAddr) {
    loop {
        // A port that is free for both, until another takes it.
        let free = UdpSocket::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
        if let Ok(resolver) = Resolver::start_at(&[free], Upstreams::at(upstreams.clone()), None) {
            return (resolver, free);
        }
    }
}

async fn ask(at: SocketAddr, id: u16) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    socket.send_to(&question(id), at).await.expect("sent");
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).await.expect("received");
    Message::from_vec(&buffer[..length]).expect("a message")
}

#[tokio::test]
async fn answers_come_back_over_both_ways() {
    let (_resolver, at) = resolver(vec![upstream().await]).await;
    let answer = ask(at, 77).await;
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (77, ResponseCode::NoError));
    let mut stream = tokio::net::TcpStream::connect(at).await.expect("connected");
    for id in [1, 2] {
        write_framed(&mut stream, &question(id)).await.expect("sent");
        let answer = Message::from_vec(&read_framed(&mut stream).await.expect("an answer")).expect("a message");
        assert_eq!(answer.metadata.id, id);
    }
}

#[tokio::test]
async fn when_nobody_can_be_asked_that_is_said() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    let (_resolver, at) = resolver(vec![closed]).await;
    assert_eq!(ask(at, 5).await.metadata.response_code, ResponseCode::ServFail);
    let (_resolver, at) = resolver(vec![closed, upstream().await]).await;
    assert_eq!(ask(at, 5).await.metadata.response_code, ResponseCode::NoError, "the next one is asked");
}
