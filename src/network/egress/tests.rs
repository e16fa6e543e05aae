use nix::errno::Errno;

use super::*;
use crate::model::PolicyRule;
use crate::network::nft::on_trial::{elsewhere, with_table};

fn member(number: u8) -> Member {
    let v6 = format!("fd00::{number:x}").parse().expect("an address");
    Member { link: number.into(), addresses: vec![[10, 9, 0, number].into(), v6], connections: 100, network: None }
}

fn enter(egress: &Egress, number: u8) -> Arc<Ward> {
    egress.enter(member(number)).expect("let through");
    egress.ward(member(number).addresses[0]).expect("a ward")
}

/// Only what these lead to.
fn policy(targets: &[&str]) -> NetworkPolicy {
    let rule = |text: &&str| PolicyRule { action: Action::Allow, target: text.parse().expect("a target") };
    NetworkPolicy { default: Action::Deny, rules: targets.iter().map(rule).collect() }
}

fn is_let_through(table: &Table, number: u8) -> bool {
    table.have(&[member(number)]).expect("listed") == [true]
}

fn learned(table: &Table) -> Vec<(IpAddr, String)> {
    let entries = table.policy_entries().expect("listed").into_iter().filter(|entry| entry.life.is_some());
    entries.filter_map(|entry| Some((entry.address()?, entry.comment?))).collect()
}

fn answer(seconds: u64) -> [Answer; 1] {
    [([23, 1, 1, 1].into(), Duration::from_secs(seconds))]
}

fn cannot_forget(_: &[IpAddr], _: &dyn Fn(IpAddr, IpAddr) -> bool) -> Result<(), NetlinkError> {
    Err(NetlinkError { what: "IPCTNL_MSG_CT_GET".to_owned(), errno: Errno::EMFILE })
}

#[test]
fn a_sandbox_is_shut_until_its_forbidden_connections_are_forgotten() {
    with_table(|table, _| {
        let mut egress = Egress::new(table.clone(), &[]);
        let ward = enter(&egress, 3);
        assert!(is_let_through(table, 3));
        egress.forget_unless = cannot_forget;
        assert!(egress.govern(&ward, Some(&policy(&["a.example"]))).is_err());
        assert!(!is_let_through(table, 3));
        egress.repair(false);
        assert!(!is_let_through(table, 3), "it failed again");
        egress.forget_unless = |_, _| Ok(());
        egress.repair(false);
        assert!(is_let_through(table, 3));
        assert_eq!(ward.kernel().entries, compile::entries(Some(&policy(&["a.example"])), 3).into_iter().collect());
    });
}

#[test]
fn what_was_shut_stays_so_until_a_later_daemon_knows_what_holds() {
    with_table(|table, _| {
        let before = Egress::new(table.clone(), &[]);
        let policy = policy(&["a.example"]);
        for number in [3, 4] {
            before.govern(&enter(&before, number), Some(&policy)).expect("in force");
        }
        table.remove(&[member(4)]).expect("shut");
        let mut egress = Egress::new(table.clone(), &[]);
        egress.find_again(vec![member(3), member(4)], false).expect("found");
        egress.repair(false);
        assert_eq!((is_let_through(table, 3), is_let_through(table, 4)), (true, false));
        // Its connections were to be forgotten, and the policy is the same: that is not to be forgotten.
        egress.forget_unless = cannot_forget;
        let wards = [3, 4].map(|number| egress.ward(member(number).addresses[0]).expect("a ward"));
        assert_eq!(wards.each_ref().map(|ward| egress.govern(ward, Some(&policy)).is_ok()), [true, false]);
        assert_eq!((is_let_through(table, 3), is_let_through(table, 4)), (true, false));
        egress.forget_unless = |_, _| Ok(());
        egress.repair(false);
        assert!(is_let_through(table, 4));
    });
}

#[test]
fn an_address_that_could_not_be_let_through_again_goes_with_its_name() {
    with_table(|table, _| {
        let egress = Egress::new(table.clone(), &[]);
        let ward = enter(&egress, 3);
        egress.govern(&ward, Some(&policy(&["a.example"]))).expect("in force");
        assert_eq!(egress.learn(&ward, "a.example", &answer(100)), Ok(Lesson::Learned));
        // There is no such table there, and here nothing changes.
        assert!(elsewhere(|| egress.learn(&ward, "a.example", &answer(1000))).is_err());
        assert_eq!(learned(table), [([23, 1, 1, 1].into(), "a.example".to_owned())]);
        assert!(!ward.kernel().knows([23, 1, 1, 1].into(), "a.example", Instant::now() + SHORTEST));
        egress.govern(&ward, Some(&policy(&["b.example"]))).expect("in force");
        assert_eq!(learned(table), []);
    });
}

#[test]
fn an_answer_that_went_with_a_policy_is_let_through_again() {
    with_table(|table, _| {
        let egress = Egress::new(table.clone(), &[]);
        let ward = enter(&egress, 3);
        let policy = policy(&["a.example"]);
        // A resolver that remembers tells what is left of the time.
        for seconds in [600, 590] {
            egress.govern(&ward, Some(&policy)).expect("in force");
            assert_eq!(egress.learn(&ward, "a.example", &answer(seconds)), Ok(Lesson::Learned));
            assert_eq!(learned(table).len(), 1, "{seconds}");
            egress.govern(&ward, None).expect("taken away");
            assert_eq!(learned(table), []);
        }
    });
}

#[test]
fn a_short_life_is_no_change_for_every_question() {
    with_table(|table, _| {
        let egress = Egress::new(table.clone(), &[]);
        let ward = enter(&egress, 3);
        egress.govern(&ward, Some(&policy(&["a.example"]))).expect("in force");
        assert_eq!(egress.learn(&ward, "a.example", &answer(5)), Ok(Lesson::Learned));
        // Nothing could be changed from there.
        assert_eq!(elsewhere(|| egress.learn(&ward, "a.example", &answer(5))), Ok(Lesson::Learned));
        assert!(elsewhere(|| egress.learn(&ward, "a.example", &answer(300))).is_err());
    });
}

#[test]
fn a_long_name_is_whole_for_a_later_daemon() {
    with_table(|table, _| {
        let label = "a".repeat(60);
        let name = format!("{label}.{label}.{label}.{label}.example");
        let before = Egress::new(table.clone(), &[]);
        let ward = enter(&before, 3);
        before.govern(&ward, Some(&policy(&["*.example"]))).expect("in force");
        assert_eq!(before.learn(&ward, &name, &answer(600)), Ok(Lesson::Learned));
        let egress = Egress::new(table.clone(), &[]);
        egress.find_again(vec![member(3)], false).expect("found");
        let ward = egress.ward(member(3).addresses[0]).expect("a ward");
        egress.govern(&ward, Some(&policy(&["b.test", "*.example"]))).expect("in force");
        assert_eq!(learned(table), [([23, 1, 1, 1].into(), name)]);
    });
}

#[test]
fn the_rules_do_not_grow_with_sandboxes() {
    with_table(|table, filter| {
        let egress = Egress::new(table.clone(), &[]);
        for number in 2..30 {
            let policy = policy(&["a.example", "23.1.0.0/16", "2a05::/32"]);
            egress.govern(&enter(&egress, number), Some(&policy)).expect("in force");
        }
        // There are as many of them as there were before the first.
        assert!(!table.restore(filter).expect("looked at"));
    });
}
