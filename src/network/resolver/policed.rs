//! Answers for sandboxes under a policy.
//!
//! Nothing of such a question goes out but a name that the policy allows and a type: the question is written anew, in lower case
//! and without options, so what a sandbox may ask is all that it can say by asking. Of the answer, only what follows from the
//! name asked comes back. The addresses are let through before they are told; those that are not of the public Internet
//! never are (whoever owns a name could point it at the neighbours of this host), and are told only where a rule or the default
//! lets them through anyway.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::message::Question;
use super::upstream::Upstreams;
use crate::model::{Action, NetworkPolicy};
use crate::network::egress::{Answer, Egress, LONGEST, Lesson, Ward};
use crate::network::nft::doh;

/// Names in a row that lead to one another.
const LONGEST_CHAIN: usize = 16;
/// Records that are told of one answer.
const MOST_RECORDS: usize = 64;
/// What a name may have below the domain of a wildcard: room for what people call machines, and little to carry data in.
const LONGEST_BELOW: usize = 128;

/// What to do with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Ask for addresses of the name.
    Addresses,
    /// Pass on as it is: the policy lets everything through that it does not name.
    AsItIs,
    /// Say this and ask nobody.
    Say(ResponseCode),
}

/// One who is asked, on behalf of a sandbox under this policy.
#[derive(Debug)]
pub struct Policed<'a> {
    pub upstreams: &'a Upstreams,
    pub egress: &'a Arc<Egress>,
    pub ward: &'a Arc<Ward>,
    pub policy: &'a NetworkPolicy,
}

impl Policed<'_> {
    pub async fn answer(&self, question: &Question, over_tcp: bool) -> Option<Vec<u8>> {
        let Some(name) = plain(&question.query().name) else { return question.reply(ResponseCode::NXDomain) };
        match way(self.policy, &name, question.query().query_type, question.query().query_class) {
            Way::Say(code) => question.reply(code),
            Way::AsItIs => self.upstreams.ask(question, over_tcp).await.or_else(|| question.failure()),
            Way::Addresses => match self.addresses(question, &name).await {
                Ok(answer) => question.tell(ResponseCode::NoError, answer, over_tcp),
                Err(code) => question.reply(code),
            },
        }
    }

    async fn addresses(&self, question: &Question, name: &str) -> Result<Vec<Record>, ResponseCode> {
        let asked = Question::plain(name, question.query().query_type).ok_or(ResponseCode::ServFail)?;
        let message = self.ask(&asked).await.ok_or(ResponseCode::ServFail)?;
        match message.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Err(ResponseCode::NXDomain),
            _ => return Err(ResponseCode::ServFail),
        }
        let chain = follow(&asked.query().name, question.query().query_type, &message.answers);
        let has_addresses = chain.iter().any(|record| address(record).is_some());
        let told: Vec<Record> = chain.into_iter().filter(|record| self.may_be_told(record)).collect();
        let answers: Vec<Answer> =
            told.iter().filter_map(answer).filter(|(to, _)| !self.egress.is_special(*to)).collect();
        if has_addresses && !told.iter().any(|record| address(record).is_some()) {
            tracing::debug!(name, "all addresses of a name are closed to the sandbox that asks");
            return Err(ResponseCode::Refused);
        }
        self.learn(name, answers).await?;
        Ok(told)
    }

    /// Over TCP only when the answer was cut off.
    async fn ask(&self, asked: &Question) -> Option<Message> {
        let read = |bytes: Vec<u8>| Message::from_vec(&bytes).ok();
        let message = read(self.upstreams.ask(asked, false).await?)?;
        if message.metadata.truncation { read(self.upstreams.ask(asked, true).await?) } else { Some(message) }
    }

    fn may_be_told(&self, record: &Record) -> bool {
        let Some(address) = address(record) else { return true };
        let lets_through = match self.policy.judge_address(address) {
            Some(action) => action == Action::Allow,
            None => self.policy.default == Action::Allow || !self.egress.is_special(address),
        };
        lets_through && !self.egress.is_closed(address)
    }

    async fn learn(&self, name: &str, answers: Vec<Answer>) -> Result<(), ResponseCode> {
        let (egress, ward, name) = (Arc::clone(self.egress), Arc::clone(self.ward), name.to_owned());
        let learned = tokio::task::spawn_blocking(move || egress.learn(&ward, &name, &answers)).await;
        match learned {
            Ok(Ok(Lesson::Learned)) => Ok(()),
            Ok(Ok(Lesson::Forbidden)) => Err(ResponseCode::NXDomain),
            Ok(Ok(Lesson::Full)) => Err(ResponseCode::ServFail),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the addresses of a name could not be let through");
                Err(ResponseCode::ServFail)
            }
            Err(_) => Err(ResponseCode::ServFail),
        }
    }
}

/// The name in lower case, of letters, digits, hyphens and underscores; whatever else is possible in a label names nothing here.
fn plain(name: &Name) -> Option<String> {
    let label = |label: &[u8]| {
        let fits = label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        fits.then(|| String::from_utf8_lossy(label).to_ascii_lowercase())
    };
    let labels: Vec<String> = name.iter().map(label).collect::<Option<_>>()?;
    (!labels.is_empty()).then(|| labels.join("."))
}

fn way(policy: &NetworkPolicy, name: &str, kind: RecordType, class: DNSClass) -> Way {
    let below =
        policy.rules.iter().find(|rule| rule.target.has_name(name)).map_or(0, |rule| rule.target.length_below(name));
    let is_canary = doh::CANARIES.iter().any(|canary| name == *canary || name.ends_with(&format!(".{canary}")));
    if policy.judge_name(name) == Action::Deny || is_canary || below > LONGEST_BELOW {
        return Way::Say(ResponseCode::NXDomain);
    }
    match kind {
        _ if class != DNSClass::IN => Way::Say(ResponseCode::Refused),
        // Addresses among others would be told as they are.
        RecordType::ANY => Way::Say(ResponseCode::Refused),
        RecordType::A | RecordType::AAAA | RecordType::CNAME => Way::Addresses,
        // Who may ask for every name has no need to hide anything in a type.
        _ if policy.default == Action::Allow => Way::AsItIs,
        // Clients ask for these beside the addresses, and go without.
        RecordType::HTTPS | RecordType::SVCB => Way::Say(ResponseCode::NoError),
        _ => Way::Say(ResponseCode::Refused),
    }
}

/// The records that lead from the name to its addresses, in that order.
fn follow(name: &Name, kind: RecordType, answers: &[Record]) -> Vec<Record> {
    let (mut at, mut all) = (name.clone(), Vec::new());
    for _ in 0..LONGEST_CHAIN {
        let own = || answers.iter().filter(|record| record.dns_class == DNSClass::IN && record.name == at);
        let alias = own().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record, target.0.clone())),
            _ => None,
        });
        let Some((record, target)) = alias else {
            all.extend(own().filter(|record| record.record_type() == kind && address(record).is_some()).cloned());
            break;
        };
        all.push(record.clone());
        at = target;
    }
    all.truncate(MOST_RECORDS);
    let longest = u32::try_from(LONGEST.as_secs()).unwrap_or(u32::MAX);
    all.iter_mut().for_each(|record| record.ttl = record.ttl.min(longest));
    all
}

fn address(record: &Record) -> Option<IpAddr> {
    record.data.ip_addr()
}

fn answer(record: &Record) -> Option<Answer> {
    Some((address(record)?, Duration::from_secs(record.ttl.into())))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::rdata::{A, CNAME, TXT};

    use super::*;
    use crate::model::PolicyRule;

    fn name(text: &str) -> Name {
        Name::from_str(text).expect("a name")
    }

    fn policy(default: Action, rules: &[(Action, &str)]) -> NetworkPolicy {
        let rule =
            |(action, target): &(Action, &str)| PolicyRule { action: *action, target: target.parse().expect("one") };
        NetworkPolicy { default, rules: rules.iter().map(rule).collect() }
    }

    #[test]
    fn a_name_is_plain_or_names_nothing() {
        assert_eq!(plain(&name("WWW.Example.com.")).as_deref(), Some("www.example.com"));
        assert_eq!(plain(&Name::root()), None);
        let odd = |label: &[u8]| Name::from_labels([label, b"com"]).expect("a name");
        for label in [&b"a.b"[..], b"a b", b"\0", b"\xff", b"*", b"a/b"] {
            assert_eq!(plain(&odd(label)), None, "{label:?}");
        }
    }

    #[test]
    fn what_is_asked_for_decides_how() {
        use RecordType as T;
        let closed = policy(Action::Deny, &[(Action::Allow, "a.com"), (Action::Allow, "*.b.com")]);
        let open = policy(Action::Allow, &[(Action::Deny, "bad.com")]);
        let way = |policy, name: &str, kind| way(policy, name, kind, DNSClass::IN);
        assert_eq!(way(&closed, "a.com", T::A), Way::Addresses);
        assert_eq!(way(&closed, "a.com", T::AAAA), Way::Addresses);
        assert_eq!(way(&closed, "a.com", T::HTTPS), Way::Say(ResponseCode::NoError));
        for kind in [T::TXT, T::NULL, T::MX, T::SRV, T::ANY, T::PTR, T::AXFR] {
            assert_eq!(way(&closed, "a.com", kind), Way::Say(ResponseCode::Refused), "{kind}");
            assert_eq!(way(&closed, "x.com", kind), Way::Say(ResponseCode::NXDomain), "{kind}");
        }
        let long = format!("{}.{}.{}.b.com", "a".repeat(60), "b".repeat(60), "c".repeat(10));
        assert_eq!(way(&closed, &long, T::A), Way::Say(ResponseCode::NXDomain));
        assert_eq!(way(&closed, &long[8..], T::A), Way::Addresses);
        assert_eq!(way(&open, "bad.com", T::A), Way::Say(ResponseCode::NXDomain));
        assert_eq!(way(&open, "good.com", T::TXT), Way::AsItIs);
        assert_eq!(way(&open, "good.com", T::ANY), Way::Say(ResponseCode::Refused));
        assert_eq!(way(&open, "use-application-dns.net", T::A), Way::Say(ResponseCode::NXDomain));
        assert_eq!(super::way(&closed, "a.com", T::A, DNSClass::CH), Way::Say(ResponseCode::Refused));
    }

    #[test]
    fn only_what_follows_from_the_name_comes_back() {
        let alias = |from: &str, to: &str| Record::from_rdata(name(from), 60, RData::CNAME(CNAME(name(to))));
        let a = |from: &str, last: u8, ttl| Record::from_rdata(name(from), ttl, RData::A(A::new(1, 2, 3, last)));
        let text = Record::from_rdata(name("c.net."), 60, RData::TXT(TXT::new(vec!["x".to_owned()])));
        let answers = [
            a("c.net.", 4, 90_000),
            a("other.net.", 5, 60),
            alias("b.net.", "C.net."),
            text,
            alias("a.com.", "b.net."),
            alias("x.com.", "y.com."),
            a("c.net.", 6, 60),
        ];
        let told = follow(&name("A.com."), RecordType::A, &answers);
        assert_eq!(
            told.iter().filter_map(address).collect::<Vec<_>>(),
            ["1.2.3.4", "1.2.3.6"].map(|a| a.parse::<IpAddr>().expect("one"))
        );
        assert_eq!(told.len(), 4);
        assert_eq!(told[2].ttl, 3600);
        assert_eq!(follow(&name("a.com."), RecordType::AAAA, &answers).len(), 2, "an alias alone");
        assert!(follow(&name("nosuch.com."), RecordType::A, &answers).is_empty());
        let round = [alias("a.com.", "b.com."), alias("b.com.", "a.com.")];
        assert_eq!(follow(&name("a.com."), RecordType::A, &round).len(), LONGEST_CHAIN);
    }
}
