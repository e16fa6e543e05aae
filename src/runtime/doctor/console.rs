//! Whether the kernel's messages hold up the processors: it writes them to a serial line one byte after another, and the
//! processor that has something to tell does nothing else meanwhile.

use std::fs;

use crate::model::Finding;

/// The level of what the kernel says when it kills a process for want of memory (`KERN_ERR`).
const ERRORS: u32 = 3;

/// What is seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Console {
    /// `/proc/consoles`
    pub consoles: String,
    /// `/proc/sys/kernel/printk`: messages of a lower level than its first number are shown.
    pub levels: String,
}

impl Console {
    pub fn gather() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self { consoles: read("/proc/consoles"), levels: read("/proc/sys/kernel/printk") }
    }

    fn level(&self) -> Option<u32> {
        self.levels.split_whitespace().next()?.parse().ok()
    }

    /// The serial console that is written to before the processor goes on.
    fn slow(&self) -> Option<&str> {
        self.consoles.lines().find_map(|line| {
            let (name, flags) = (line.split(' ').next()?, line.split_once('(')?.1.split_once(')')?.0);
            // `tty0` is the screen. `N` is for those that a thread of their own writes to.
            let serial = name.strip_prefix("tty").map_or(name.starts_with("hvc"), |rest| !starts_with_digit(rest));
            (serial && flags.contains('E') && !flags.contains('N')).then_some(name)
        })
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

pub fn finding(console: &Console) -> Finding {
    let level = console.level().unwrap_or(0);
    let slow = console.slow().filter(|_| level > ERRORS);
    let detail = match slow {
        Some(name) => format!(
            "errors are written to the serial console {name} as they happen (kernel.printk {level}); `sysctl -w kernel.printk=3` \
             leaves them to the log"
        ),
        None => "errors are left to the log, or shown on no serial console".to_owned(),
    };
    Finding {
        feature: "kernel messages that hold up nobody".to_owned(),
        found: slow.is_none(),
        detail,
        fallback: None,
        lost: Some("milliseconds of a CPU, for everybody, whenever a sandbox runs out of memory".to_owned()),
        required: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(consoles: &str, levels: &str) -> bool {
        finding(&Console { consoles: consoles.to_owned(), levels: levels.to_owned() }).found
    }

    #[test]
    fn only_errors_on_a_serial_line_are_told_of() {
        let serial = "ttyS0                -W- (EC  p a)    4:64\n";
        assert!(!found(serial, "4\t4\t1\t7\n") && !found(serial, "7 4 1 7"));
        assert!(found(serial, "3\t4\t1\t7\n") && found(serial, ""));
        let screen = "tty0                 -WU (EC  p  )    4:1\n";
        assert!(found(screen, "7 4 1 7") && !found(&format!("{screen}{serial}"), "7 4 1 7"));
        for harmless in [
            "ttyS0                -W- (C   p a)    4:64\n",
            "ttyS0   -W- (EC N p a)    4:64\n",
            "netcon0 -W- (E p a)\n",
        ] {
            assert!(found(harmless, "7 4 1 7"), "{harmless}");
        }
        assert!(!found("hvc0                 -W- (EC  p  )  229:0\n", "5 4 1 7"));
    }

    #[test]
    fn what_to_do_is_said() {
        let console = Console { consoles: "ttyAMA0 -W- (EC p a) 204:64\n".to_owned(), levels: "7 4 1 7".to_owned() };
        let told = finding(&console);
        assert!(told.detail.contains("ttyAMA0") && told.detail.contains("kernel.printk=3"), "{told:?}");
    }
}
