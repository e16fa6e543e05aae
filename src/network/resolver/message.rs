//! Questions and answers: what is passed on, and what is not (RFC 1035).

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};

/// No question is longer: a name of 255 bytes and the options of today.
const LONGEST_QUESTION: usize = 512;
/// What an answer in one datagram may be as large as, where the asker takes it: more would be cut up on the way.
const LONGEST_DATAGRAM: u16 = 1232;

/// A question that is passed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// As the asker chose it.
    id: u16,
    query: Query,
    /// How large a datagram the asker takes, where it says so.
    payload: Option<u16>,
    bytes: Vec<u8>,
}

/// A question that is not: what to answer, if anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Option<Vec<u8>>);

impl Question {
    /// Reads a question; only a plain one about a single name is passed on.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let Some(id) = bytes.first_chunk().map(|id| u16::from_be_bytes(*id)) else { return Err(Refused(None)) };
        let refuse = |code| Refused(Message::error_msg(id, OpCode::Query, code).to_vec().ok());
        if bytes.len() > LONGEST_QUESTION {
            return Err(refuse(ResponseCode::FormErr));
        }
        let message = Message::from_vec(bytes).map_err(|_| refuse(ResponseCode::FormErr))?;
        if message.metadata.message_type != MessageType::Query {
            // Two that answer each other's answers would never end.
            return Err(Refused(None));
        }
        if message.metadata.op_code != OpCode::Query {
            return Err(refuse(ResponseCode::NotImp));
        }
        match &message.queries[..] {
            [query] => {
                let payload = message.edns.as_ref().map(|_| message.max_payload());
                Ok(Self { id, query: query.clone(), payload, bytes: bytes.to_vec() })
            }
            _ => Err(refuse(ResponseCode::FormErr)),
        }
    }

    /// A question of our own, that says nothing but a name and a type.
    #[must_use]
    pub fn plain(name: &str, kind: RecordType) -> Option<Self> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let query = Query::query(name, kind);
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut options = Edns::new();
        options.set_max_payload(LONGEST_DATAGRAM);
        message.set_edns(options);
        let bytes = message.to_vec().ok()?;
        Some(Self { id: message.metadata.id, query, payload: Some(LONGEST_DATAGRAM), bytes })
    }

    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// An answer of our own without records.
    #[must_use]
    pub fn reply(&self, code: ResponseCode) -> Option<Vec<u8>> {
        self.tell(code, Vec::new(), true)
    }

    /// An answer of our own. Where it is too long for a datagram, the asker comes again over TCP.
    #[must_use]
    pub fn tell(&self, code: ResponseCode, records: Vec<Record>, over_tcp: bool) -> Option<Vec<u8>> {
        let mut message = Message::error_msg(self.id, OpCode::Query, code);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        if self.payload.is_some() {
            let mut options = Edns::new();
            options.set_max_payload(LONGEST_DATAGRAM);
            message.set_edns(options);
        }
        message.add_answers(records);
        let most = self.payload.unwrap_or(512).clamp(512, LONGEST_DATAGRAM);
        let bytes = message.to_vec().ok()?;
        if over_tcp || bytes.len() <= usize::from(most) {
            return Some(bytes);
        }
        message.insert_answers(Vec::new());
        message.metadata.truncation = true;
        message.to_vec().ok()
    }

    /// As it is asked further, under another id.
    #[must_use]
    pub fn under(&self, id: u16) -> Vec<u8> {
        renamed(&self.bytes, id)
    }

    /// The answer for the asker, when these bytes are one to this question under that id.
    #[must_use]
    pub fn answer(&self, id: u16, bytes: &[u8]) -> Option<Vec<u8>> {
        let message = Message::from_vec(bytes).ok()?;
        let ours = message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
            && message.queries.iter().all(|query| *query == self.query);
        ours.then(|| renamed(bytes, self.id))
    }

    /// What to say when nobody answers.
    #[must_use]
    pub fn failure(&self) -> Option<Vec<u8>> {
        let mut message = Message::error_msg(self.id, OpCode::Query, ResponseCode::ServFail);
        message.add_query(self.query.clone());
        message.to_vec().ok()
    }
}

fn renamed(bytes: &[u8], id: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(place) = bytes.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn asked(names: &[&str]) -> Message {
        let mut message = Message::query();
        message.metadata.id = 7;
        for name in names {
            message.add_query(Query::query(Name::from_str(name).expect("a name"), RecordType::A));
        }
        message
    }

    fn bytes(message: &Message) -> Vec<u8> {
        message.to_vec().expect("encoded")
    }

    #[test]
    fn an_answer_is_to_the_question_and_under_its_id() {
        let question = Question::read(&bytes(&asked(&["a.test."]))).expect("a question");
        let reply = |message: &Message, id| {
            let mut reply = Message::response(id, OpCode::Query);
            reply.add_queries(message.queries.clone());
            bytes(&reply)
        };
        let good = question.answer(9, &reply(&asked(&["a.test."]), 9)).expect("an answer");
        assert_eq!(Message::from_vec(&good).expect("a message").metadata.id, 7);
        assert_eq!(question.answer(9, &reply(&asked(&["a.test."]), 8)), None, "another id");
        assert_eq!(question.answer(9, &reply(&asked(&["b.test."]), 9)), None, "another name");
        assert_eq!(question.answer(9, &question.under(9)), None, "a question");
        assert_eq!(question.answer(9, b"rubbish"), None);
    }

    #[test]
    fn what_is_no_plain_question_is_not_passed_on() {
        let code = |bytes: &[u8]| {
            let Err(Refused(answer)) = Question::read(bytes) else { panic!("passed on") };
            answer.map(|answer| Message::from_vec(&answer).expect("a message").metadata.response_code)
        };
        assert_eq!(code(b""), None);
        assert_eq!(code(b"rubbish"), Some(ResponseCode::FormErr));
        assert_eq!(code(&bytes(&asked(&[]))), Some(ResponseCode::FormErr));
        assert_eq!(code(&bytes(&asked(&["a.test.", "b.test."]))), Some(ResponseCode::FormErr));
        assert_eq!(code(&bytes(&Message::response(7, OpCode::Query))), None);
        let mut update = asked(&["a.test."]);
        update.metadata.op_code = OpCode::Notify;
        assert_eq!(code(&bytes(&update)), Some(ResponseCode::NotImp));
        assert_eq!(code(&[0; 600]), Some(ResponseCode::FormErr));
    }
}
