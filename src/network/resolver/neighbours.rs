//! Names within a network that sandboxes share: each is known there by its host name, to those in the same network alone. Such a
//! question goes no further, and no policy has to allow it.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::message::Question;
use crate::network::together::Networks;

/// Whoever is gone is soon forgotten.
const LIFE_SECONDS: u32 = 5;

/// The answer for a sandbox in the network with this number; `None` when the name is of nobody there.
#[must_use]
pub fn answer(networks: &Networks, number: u32, question: &Question, over_tcp: bool) -> Option<Vec<u8>> {
    let query = question.query();
    let host = label(&query.name).filter(|_| query.query_class == DNSClass::IN)?;
    let addresses = networks.find(number, &host)?;
    let records = addresses.each().filter_map(|address| match (address, query.query_type) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    });
    let records = records.map(|data| Record::from_rdata(query.name.clone(), LIFE_SECONDS, data)).collect();
    question.tell(ResponseCode::NoError, records, over_tcp)
}

/// The only label of a name, in lower case.
fn label(name: &Name) -> Option<String> {
    let mut labels = name.iter();
    let label = std::str::from_utf8(labels.next()?).ok()?;
    labels.next().is_none().then(|| label.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;

    use super::*;
    use crate::model::SandboxId;
    use crate::network::Addresses;

    #[test]
    fn who_is_in_the_network_has_a_name_there() {
        let (networks, id) = (Networks::default(), SandboxId::random());
        let addresses = Addresses { v4: [10, 9, 0, 2].into(), v6: "fd00::2".parse().ok() };
        let number = networks.join(&"team".parse().expect("a name"), &id, addresses).expect("room");
        let told = |number, name: &str, kind| {
            let question = Question::plain(name, kind).expect("a question");
            let message = Message::from_vec(&answer(&networks, number, &question, false)?).expect("a message");
            Some(message.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>())
        };
        let upper = id.short().to_uppercase();
        assert_eq!(told(number, &id.short(), RecordType::A), Some(vec!["10.9.0.2".to_owned()]));
        assert_eq!(told(number, &upper, RecordType::AAAA), Some(vec!["fd00::2".to_owned()]));
        assert_eq!(told(number, &id.short(), RecordType::TXT), Some(vec![]));
        assert_eq!(told(number + 1, &id.short(), RecordType::A), None);
        assert_eq!(told(number, &format!("{}.example", id.short()), RecordType::A), None);
        assert_eq!(told(number, "other", RecordType::A), None);
    }
}
