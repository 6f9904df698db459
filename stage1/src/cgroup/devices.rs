//! Which devices an app may open or make.
//!
//! The rules of a specification are applied in order and the last one that
//! matches counts. v1 has two files with that meaning; for v2 the rules
//! become a default and its exceptions, and those a BPF program.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::device_filter::Instruction;

use super::Setting;
use crate::error::{Error, Result};

// `BPF_DEVCG_ACC_*` and `BPF_DEVCG_DEV_*` of linux/bpf.h.
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// One rule, with its words understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// None for block and character devices alike.
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: u8,
}

impl Rule {
    fn new(rule: &LinuxDeviceCgroup) -> Result<Self> {
        let refuse = |reason| Error::Refused {
            field: "linux.resources.devices",
            value: rule.to_string(),
            reason,
        };
        let number = |n: Option<i64>| match n {
            None | Some(-1) => Ok(None),
            Some(n) => i32::try_from(n)
                .ok()
                .filter(|n| *n >= 0)
                .map(Some)
                .ok_or_else(|| refuse("a device number is out of range")),
        };
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => None,
            LinuxDeviceType::B => Some(BLOCK),
            LinuxDeviceType::C | LinuxDeviceType::U => Some(CHARACTER),
            LinuxDeviceType::P => return Err(refuse("pipes are not devices")),
        };
        let mut access = 0;
        for letter in rule.access().as_deref().unwrap_or_default().chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => return Err(refuse("access is made of the letters r, w and m")),
            };
        }
        if access == 0 {
            // An absent access means all of it, as runc and crun read it.
            access = ALL;
        }
        let (major, minor) = (number(rule.major())?, number(rule.minor())?);
        if kind.is_none() && (major.is_some() || minor.is_some() || access != ALL) {
            return Err(refuse(
                "a rule for all types is for all devices and all access",
            ));
        }
        Ok(Self {
            allow: rule.allow(),
            kind,
            major,
            minor,
            access,
        })
    }

    /// The rule in v1's words: `c 1:3 rw`.
    fn words(self) -> String {
        let Some(kind) = self.kind else {
            return "a".to_owned();
        };
        let number = |n: Option<i32>| n.map_or("*".to_owned(), |n| n.to_string());
        let mut words = format!(
            "{} {}:{} ",
            if kind == BLOCK { 'b' } else { 'c' },
            number(self.major),
            number(self.minor)
        );
        for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
            if self.access & bit != 0 {
                words.push(letter);
            }
        }
        words
    }

    fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }
}

/// The rules as writes into `devices.allow` and `devices.deny`.
pub(super) fn v1(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Setting>> {
    rules
        .iter()
        .map(|rule| {
            let rule = Rule::new(rule)?;
            let file = if rule.allow {
                "devices.allow"
            } else {
                "devices.deny"
            };
            Ok(Setting::new("devices", file, rule.words()))
        })
        .collect()
}

/// The rules as a program that answers 1 for yes and 0 for no.
pub(super) fn v2(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Instruction>> {
    let rules = rules.iter().map(Rule::new).collect::<Result<Vec<_>>>()?;
    let (default, exceptions) = settle(&rules);
    Ok(program(default, &exceptions))
}

/// What v1 does when the rules are written to it one by one: a default for
/// all devices, and exceptions that say the opposite.
fn settle(rules: &[Rule]) -> (bool, Vec<Rule>) {
    let mut default = true;
    let mut exceptions: Vec<Rule> = Vec::new();
    for rule in rules {
        let known = exceptions.iter_mut().find(|e| e.same_devices(rule));
        match (rule.kind, known) {
            (None, _) => {
                default = rule.allow;
                exceptions.clear();
            }
            (Some(_), Some(known)) if rule.allow == default => known.access &= !rule.access,
            (Some(_), Some(known)) => known.access |= rule.access,
            (Some(_), None) if rule.allow == default => {}
            (Some(_), None) => exceptions.push(*rule),
        }
    }
    exceptions.retain(|e| e.access != 0);
    (default, exceptions)
}

const fn op(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

/// Reads `struct bpf_cgroup_dev_ctx` (access and type in one word, major,
/// minor) and compares it with each exception.
fn program(default: bool, exceptions: &[Rule]) -> Vec<Instruction> {
    const LOAD: u8 = 0x61; // u32 from memory
    const AND: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const COPY: u8 = 0xbc;
    const SET: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    const JUMP_NOT_EQUAL: u8 = 0x56;
    const JUMP_EQUAL: u8 = 0x16;

    let mut code = vec![
        op(LOAD, 0x12, 0, 0), // r2: type
        op(AND, 0x02, 0, 0xffff),
        op(LOAD, 0x13, 0, 0), // r3: access
        op(SHIFT_RIGHT, 0x03, 0, 16),
        op(LOAD, 0x14, 4, 0), // r4: major
        op(LOAD, 0x15, 8, 0), // r5: minor
    ];
    for rule in exceptions {
        let mut tests = vec![op(COPY, 0x31, 0, 0)];
        if default {
            // Denied when any of what is asked for is denied …
            tests.push(op(AND, 0x01, 0, i32::from(rule.access)));
            tests.push(op(JUMP_EQUAL, 0x01, 0, 0));
        } else {
            // … and allowed only when all of it is allowed.
            tests.push(op(AND, 0x01, 0, i32::from(ALL & !rule.access)));
            tests.push(op(JUMP_NOT_EQUAL, 0x01, 0, 0));
        }
        for (register, value) in [(2, rule.kind), (4, rule.major), (5, rule.minor)] {
            if let Some(value) = value {
                tests.push(op(JUMP_NOT_EQUAL, register, 0, value));
            }
        }
        // A test that fails skips the rest and the two that answer.
        let length = tests.len();
        for (at, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, JUMP_EQUAL | JUMP_NOT_EQUAL) {
                test.offset = (length - at - 1 + 2) as i16;
            }
        }
        code.append(&mut tests);
        code.push(op(SET, 0, 0, i32::from(!default)));
        code.push(op(EXIT, 0, 0, 0));
    }
    code.push(op(SET, 0, 0, i32::from(default)));
    code.push(op(EXIT, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    const CLOSED: &str = r#"[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
        {"allow":true,"type":"c","major":136,"access":"rw"},
        {"allow":true,"type":"b","major":8,"minor":0,"access":"rwm"},
        {"allow":false,"type":"b","major":8,"minor":0,"access":"w"}]"#;

    #[test]
    fn v1_gets_the_rules_in_order() {
        let got: Vec<_> = v1(&rules(CLOSED))
            .unwrap()
            .into_iter()
            .map(|s| (s.file, s.value))
            .collect();
        let want = [
            ("devices.deny", "a"),
            ("devices.allow", "c 1:3 rw"),
            ("devices.allow", "c 136:* rw"),
            ("devices.allow", "b 8:0 rwm"),
            ("devices.deny", "b 8:0 w"),
        ];
        assert_eq!(got, want.map(|(f, v)| (f.to_owned(), v.to_owned())));
    }

    /// Runs the few operations that [`program`] uses.
    fn answer(program: &[Instruction], kind: i32, access: u8, major: i32, minor: i32) -> bool {
        let mut registers = [0_i64; 11];
        let context = [
            (i64::from(access) << 16) | i64::from(kind),
            major.into(),
            minor.into(),
        ];
        let mut at = 0;
        loop {
            let Instruction {
                code,
                registers: named,
                offset,
                immediate,
            } = program[at];
            let (to, from) = ((named & 15) as usize, (named >> 4) as usize);
            let immediate = i64::from(immediate);
            let mut jump = 0;
            match code {
                0x61 => registers[to] = context[offset as usize / 4],
                0x54 => registers[to] &= immediate,
                0x74 => registers[to] >>= immediate,
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = immediate,
                0x95 => return registers[0] == 1,
                0x56 if registers[to] != immediate => jump = offset,
                0x16 if registers[to] == immediate => jump = offset,
                0x56 | 0x16 => {}
                other => panic!("unknown operation {other:#x}"),
            }
            at += 1 + jump as usize;
        }
    }

    #[test]
    fn v2_decides_as_v1_would() {
        let closed = v2(&rules(CLOSED)).unwrap();
        let open = v2(&rules(
            r#"[{"allow":true},{"allow":false,"type":"c","major":1,"minor":1,"access":"w"}]"#,
        ))
        .unwrap();
        for (program, kind, access, major, minor, want) in [
            (&closed, CHARACTER, READ | WRITE, 1, 3, true),
            (&closed, CHARACTER, MKNOD, 1, 3, false),
            (&closed, BLOCK, READ, 1, 3, false),
            (&closed, CHARACTER, READ, 136, 7, true),
            (&closed, BLOCK, READ, 8, 0, true),
            (&closed, BLOCK, READ | WRITE, 8, 0, false),
            (&closed, BLOCK, READ, 8, 1, false),
            (&open, CHARACTER, READ, 1, 1, true),
            (&open, CHARACTER, READ | WRITE, 1, 1, false),
            (&open, CHARACTER, WRITE, 1, 2, true),
        ] {
            let got = answer(program, kind, access, major, minor);
            assert_eq!(got, want, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn bad_rules_are_refused() {
        for json in [
            r#"[{"allow":true,"type":"p"}]"#,
            r#"[{"allow":true,"type":"c","access":"x"}]"#,
            r#"[{"allow":true,"type":"a","major":1}]"#,
            r#"[{"allow":true,"type":"c","major":-7}]"#,
        ] {
            assert!(v1(&rules(json)).is_err(), "{json}");
        }
    }
}
