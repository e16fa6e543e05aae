//! From the policy to a program of classic BPF (`seccomp(2)`, `linux/filter.h`).
//!
//! Layout: the architecture is checked, then a binary tree over ranges of numbers with the same action. A node is
//! `jge middle` followed by a long jump to its right half, because a conditional jump reaches only 255 instructions.

use super::policy::{
    Action, DENIED, FAMILIES, FAMILY_ERROR, FAMILY_NETLINK, FORBIDDEN_IOCTLS, HIGHEST_KNOWN, NAMESPACE_FLAGS,
    NETLINK_ROUTE, PERSONALITIES, Rule, UNKNOWN,
};
use crate::sys::Instruction;

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`; arguments are 64 bits wide, and their low half comes first on the
/// little-endian machines that are supported.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const RETURN_ALLOW: u32 = 0x7FFF_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7;
/// From here on numbers are those of the x32 ABI, or no calls at all.
const FOREIGN: u32 = 0x4000_0000;

/// Compiles a policy sorted by number.
#[must_use]
pub fn compile(policy: &[(u32, Action)]) -> Vec<Instruction> {
    let mut program = vec![
        load(ARCHITECTURE),
        when(JUMP_EQUAL, NATIVE, 1, 0),
        errno(DENIED),
        load(NUMBER),
        when(JUMP_GREATER_OR_EQUAL, FOREIGN, 0, 1),
        errno(DENIED),
    ];
    program.extend(tree(&ranges(policy)));
    program
}

/// The first number of each range, with its action; the first range starts at 0, the last never ends.
fn ranges(policy: &[(u32, Action)]) -> Vec<(u32, Action)> {
    let mut ranges: Vec<(u32, Action)> = Vec::new();
    let mut push = |start: u32, action: Action| {
        if ranges.last().is_none_or(|(_, last)| *last != action) {
            ranges.push((start, action));
        }
    };
    let mut next = 0;
    for (number, action) in policy {
        if *number > next {
            push(next, Action::Errno(DENIED));
        }
        push(*number, *action);
        next = number + 1;
    }
    if next <= HIGHEST_KNOWN {
        push(next, Action::Errno(DENIED));
    }
    push(HIGHEST_KNOWN + 1, Action::Errno(UNKNOWN));
    ranges
}

fn tree(ranges: &[(u32, Action)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![errno(DENIED)],
        [(_, action)] => leaf(*action),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let (middle, left) = (right[0].0, tree(left));
            let skip = u32::try_from(left.len()).unwrap_or(u32::MAX);
            let mut node = vec![when(JUMP_GREATER_OR_EQUAL, middle, 0, 1), jump(skip)];
            node.extend(left);
            node.extend(tree(right));
            node
        }
    }
}

fn leaf(action: Action) -> Vec<Instruction> {
    match action {
        Action::Allow => vec![allow()],
        Action::Errno(error) => vec![errno(error)],
        Action::Check(Rule::CloneWithoutNamespaces) => {
            vec![load(argument(0)), when(JUMP_ANY_BIT, NAMESPACE_FLAGS, 0, 1), errno(DENIED), allow()]
        }
        Action::Check(Rule::HarmlessPersonality) => one_of(0, &PERSONALITIES, allow(), errno(DENIED)),
        Action::Check(Rule::HarmlessIoctl) => one_of(1, &FORBIDDEN_IOCTLS, errno(DENIED), allow()),
        Action::Check(Rule::AllowedFamily) => {
            let mut block = one_of(0, &FAMILIES, allow(), errno(FAMILY_ERROR));
            block.pop();
            block.extend([
                load(argument(0)),
                when(JUMP_EQUAL, FAMILY_NETLINK, 0, 3),
                load(argument(2)),
                when(JUMP_EQUAL, NETLINK_ROUTE, 0, 1),
                allow(),
                errno(FAMILY_ERROR),
            ]);
            block
        }
    }
}

/// `hit` when the argument is one of `values`, otherwise `miss`, which is the last instruction.
fn one_of(index: u32, values: &[u32], hit: Instruction, miss: Instruction) -> Vec<Instruction> {
    let mut block = vec![load(argument(index))];
    for value in values {
        block.extend([when(JUMP_EQUAL, *value, 0, 1), hit]);
    }
    block.push(miss);
    block
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD_WORD, jump_true: 0, jump_false: 0, value: offset }
}

const fn when(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

const fn jump(distance: u32) -> Instruction {
    Instruction { code: JUMP, jump_true: 0, jump_false: 0, value: distance }
}

const fn allow() -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, value: RETURN_ALLOW }
}

const fn errno(error: i32) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, value: RETURN_ERRNO | error.cast_unsigned() }
}

#[cfg(test)]
mod tests {
    use super::super::policy::policy;
    use super::*;

    /// Runs a program as the kernel would and returns the action word.
    fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => arch,
            _ => {
                let (index, high) = ((offset - 16) / 8, (offset - 16) % 8 == 4);
                let value = arguments[index as usize];
                if high { (value >> 32) as u32 } else { value as u32 }
            }
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, value } = program[at];
            at += 1;
            let holds = match code {
                LOAD_WORD => {
                    accumulator = word(value);
                    continue;
                }
                JUMP => {
                    at += value as usize;
                    continue;
                }
                RETURN => return value,
                JUMP_EQUAL => accumulator == value,
                JUMP_GREATER_OR_EQUAL => accumulator >= value,
                JUMP_ANY_BIT => accumulator & value != 0,
                other => panic!("an instruction nobody emits: {other:#x}"),
            };
            at += usize::from(if holds { jump_true } else { jump_false });
        }
    }

    fn error(errno: i32) -> u32 {
        RETURN_ERRNO | errno.cast_unsigned()
    }

    #[test]
    fn the_tree_says_what_the_policy_says_for_every_number() {
        let policy = policy();
        let program = compile(&policy);
        for number in 0..600 {
            let expected = match policy.iter().find(|(listed, _)| *listed == number) {
                Some((_, Action::Check(_))) => continue,
                Some((_, Action::Allow)) => RETURN_ALLOW,
                Some((_, Action::Errno(errno))) => error(*errno),
                None if number > HIGHEST_KNOWN => error(UNKNOWN),
                None => error(DENIED),
            };
            assert_eq!(run(&program, NATIVE, number, [0; 6]), expected, "call {number}");
        }
    }

    #[test]
    fn other_architectures_get_nothing() {
        let program = compile(&policy());
        for number in [0, 1, 39, 59, 102, 359, FOREIGN, FOREIGN + 1, FOREIGN | 512, u32::MAX] {
            assert_eq!(run(&program, 0x4000_0003, number, [0; 6]), error(DENIED), "i386 {number}");
            if number >= FOREIGN {
                assert_eq!(run(&program, NATIVE, number, [0; 6]), error(DENIED), "x32 {number:#x}");
            }
        }
    }

    #[test]
    fn arguments_decide_by_their_low_half() {
        let program = compile(&policy());
        let call = |number: libc::c_long, arguments: [u64; 6]| run(&program, NATIVE, number as u32, arguments);
        assert_eq!(call(libc::SYS_clone, [0x1200011, 0, 0, 0, 0, 0]), RETURN_ALLOW);
        for flag in [0x2_0000_u64, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            assert_eq!(call(libc::SYS_clone, [flag | 17, 0, 0, 0, 0, 0]), error(DENIED), "clone {flag:#x}");
        }
        for family in 0..64_u64 {
            let expected = if [1, 2, 10, 16].contains(&family) { RETURN_ALLOW } else { error(FAMILY_ERROR) };
            assert_eq!(call(libc::SYS_socket, [family | 5 << 32, 1, 0, 0, 0, 0]), expected, "family {family}");
        }
        assert_eq!(call(libc::SYS_socket, [16, 3, 12, 0, 0, 0]), error(FAMILY_ERROR));
        assert_eq!(call(libc::SYS_ioctl, [0, 0x5412 | 1 << 32, 0, 0, 0, 0]), error(DENIED));
        assert_eq!(call(libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0]), RETURN_ALLOW);
        // FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR; to read them is allowed.
        for changes in [0x4008_6602, 0x401C_5820] {
            assert_eq!(call(libc::SYS_ioctl, [3, changes, 0, 0, 0, 0]), error(DENIED));
        }
        for reads in [0x8008_6601, 0x801C_581F] {
            assert_eq!(call(libc::SYS_ioctl, [3, reads, 0, 0, 0, 0]), RETURN_ALLOW);
        }
        assert_eq!(call(libc::SYS_personality, [0xFFFF_FFFF, 0, 0, 0, 0, 0]), RETURN_ALLOW);
        assert_eq!(call(libc::SYS_personality, [0x40000, 0, 0, 0, 0, 0]), error(DENIED));
    }

    #[test]
    fn the_program_stays_far_below_the_kernels_limit() {
        assert!(compile(&policy()).len() < 1024, "{}", compile(&policy()).len());
    }
}
