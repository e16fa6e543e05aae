//! How fast a sandbox may send: a queue before its end of the pair, which gives out so many bytes a second (`tc-tbf(8)`).
//!
//! A sender is slowed down by the queue, where a rule that drops what is too much would make it send again. The queue is in the
//! namespace of the sandbox, in which nobody has the right to change it.

use super::netlink::{Attributes, CREATE, Message, NetlinkError, Protocol, REPLACE, attributes, dump};

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const ROOT: u32 = u32::MAX;
const HANDLE: u32 = 0x1_0000;
const ETHERNET: u8 = 1;

/// What may be sent at once after a pause: a twentieth of a second, and the largest packet that a sender makes.
fn burst(rate: u64) -> u32 {
    u32::try_from(rate / 20).unwrap_or(u32::MAX / 2).clamp(68 << 10, u32::MAX / 2)
}

/// Puts the queue before the link, or changes the one that is there.
pub fn limit(link: u32, rate: u64) -> Message {
    let options = Attributes::new()
        .bytes(TCA_TBF_PARMS, &parameters(rate))
        .bytes(TCA_TBF_RATE64, &rate.to_ne_bytes())
        .native(TCA_TBF_BURST, burst(rate));
    let queue = Attributes::new().text(TCA_KIND, "tbf").nest(TCA_OPTIONS, &options);
    Message::new(format!("RTM_NEWQDISC(tbf, {rate})"), libc::RTM_NEWQDISC, CREATE | REPLACE, &header(link), &queue)
}

/// The rate of the queue before the link, as the kernel has it.
pub fn rate(link: u32) -> Result<Option<u64>, NetlinkError> {
    let request = Message::new("RTM_GETQDISC", libc::RTM_GETQDISC, 0, &header(link), &Attributes::new());
    Ok(dump(Protocol::Route, &request)?.iter().find_map(|body| read(body, link)))
}

fn read(body: &[u8], link: u32) -> Option<u64> {
    let found = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let inner = |kind| move |(found, _): &(u16, &[u8])| *found == kind;
    let (_, kind) = attributes(body.get(20..)?).find(inner(TCA_KIND))?;
    if found != link || kind != b"tbf\0" {
        return None;
    }
    let (_, options) = attributes(body.get(20..)?).find(inner(TCA_OPTIONS))?;
    if let Some((_, rate)) = attributes(options).find(inner(TCA_TBF_RATE64)) {
        return rate.first_chunk().map(|rate| u64::from_ne_bytes(*rate));
    }
    let (_, parameters) = attributes(options).find(inner(TCA_TBF_PARMS))?;
    parameters.get(8..)?.first_chunk().map(|rate| u32::from_ne_bytes(*rate).into())
}

/// `struct tcmsg`
fn header(link: u32) -> [u8; 20] {
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..12].copy_from_slice(&HANDLE.to_ne_bytes());
    header[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    header
}

/// `struct tc_tbf_qopt`: the rate twice over (`struct tc_ratespec`, the second is not used), what may wait, and two numbers that
/// the attributes beside it tell better.
fn parameters(rate: u64) -> [u8; 36] {
    let mut all = [0; 36];
    all[1] = ETHERNET;
    all[8..12].copy_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    // A tenth of a second waits; what comes then is dropped, which tells the sender.
    let waiting = u32::try_from(rate / 10).unwrap_or(u32::MAX / 2).min(u32::MAX / 2) + burst(rate);
    all[24..28].copy_from_slice(&waiting.to_ne_bytes());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_back_as_it_was_asked_for() {
        for rate in [8 << 10, 10 << 20, u64::from(u32::MAX) + 5] {
            let mut body = header(3).to_vec();
            let parms = parameters(rate);
            let mut options = Vec::new();
            for (kind, value) in [(TCA_TBF_PARMS, &parms[..]), (TCA_TBF_RATE64, &rate.to_ne_bytes()[..])] {
                if kind == TCA_TBF_RATE64 && rate <= u32::MAX.into() {
                    continue;
                }
                options.extend_from_slice(&u16::try_from(value.len() + 4).expect("short").to_ne_bytes());
                options.extend_from_slice(&kind.to_ne_bytes());
                options.extend_from_slice(value);
            }
            for (kind, value) in [(TCA_KIND, &b"tbf\0"[..]), (TCA_OPTIONS, &options)] {
                body.extend_from_slice(&u16::try_from(value.len() + 4).expect("short").to_ne_bytes());
                body.extend_from_slice(&kind.to_ne_bytes());
                body.extend_from_slice(value);
            }
            assert_eq!(read(&body, 3), Some(rate));
            assert_eq!(read(&body, 4), None);
        }
        assert_eq!(read(&[0; 20], 0), None);
        assert!(burst(0) >= 64 << 10 && burst(u64::MAX) > 0);
    }
}
