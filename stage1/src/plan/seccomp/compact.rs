//! The same filter in fewer instructions.
//!
//! libseccomp compares with one number at a time: four hundred allowed calls
//! are four hundred comparisons for each architecture, and the kernel checks,
//! translates and evaluates all of them whenever a filter is installed, which
//! is at every start of an app. But neighbouring calls mostly have the same
//! fate. So the program is cut into ranges of architectures and calls within
//! which it does the same, and written again as a binary search for the range.
//! What depends on a call's arguments is kept as libseccomp wrote it.
//!
//! Nothing is guessed: a program with an instruction that is not understood
//! here stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use sys::seccomp::INSTRUCTION;

/// One instruction (`struct sock_filter`, linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    /// Instructions to skip when the comparison holds.
    jt: u8,
    /// Instructions to skip when it does not.
    jf: u8,
    k: u32,
}

/// What libseccomp's programs are made of (linux/bpf_common.h).
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const CALL: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// What the accumulator holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Nothing,
    Architecture,
    Call,
    /// A part of an argument or something made of it.
    Argument,
}

/// Instructions that end in one [`RETURN`] on every way through.
type Code = Vec<Instruction>;

/// Writes the program again. None when it would not become shorter, or when
/// it is not understood.
pub(super) fn compact(program: &[u8]) -> Option<Vec<u8>> {
    let program = decode(program)?;
    let compacted = architectures(&program)?;
    (compacted.len() < program.len()).then(|| encode(&compacted))
}

fn decode(program: &[u8]) -> Option<Code> {
    let (whole, []) = program.as_chunks::<INSTRUCTION>() else {
        return None;
    };
    let decoded = |[a, b, jt, jf, k @ ..]: &[u8; INSTRUCTION]| Instruction {
        code: u16::from_ne_bytes([*a, *b]),
        jt: *jt,
        jf: *jf,
        k: u32::from_ne_bytes(*k),
    };
    Some(whole.iter().map(decoded).collect())
}

fn encode(code: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(code.len() * INSTRUCTION);
    for one in code {
        bytes.extend(one.code.to_ne_bytes());
        bytes.extend([one.jt, one.jf]);
        bytes.extend(one.k.to_ne_bytes());
    }
    bytes
}

/// The first numbers of the ranges within which no comparison of the program
/// makes a difference.
#[derive(Debug)]
struct Ranges {
    architectures: BTreeSet<u32>,
    calls: BTreeSet<u32>,
}

impl Ranges {
    fn of(program: &[Instruction]) -> Option<Self> {
        let mut ranges = Self {
            architectures: BTreeSet::from([0]),
            calls: BTreeSet::from([0]),
        };
        let mut seen = BTreeSet::new();
        let mut todo = vec![(0, Held::Nothing)];
        while let Some((at, held)) = todo.pop() {
            if !seen.insert((at, held)) {
                continue;
            }
            let one = program.get(at)?;
            match one.code {
                LOAD => todo.push((at + 1, loaded(one.k))),
                // A masked number would make other ranges than its own.
                AND if held == Held::Argument => todo.push((at + 1, held)),
                JUMP => todo.push((at + 1 + one.k as usize, held)),
                EQUAL | GREATER | GREATER_OR_EQUAL => {
                    let starts = match held {
                        Held::Architecture => Some(&mut ranges.architectures),
                        Held::Call => Some(&mut ranges.calls),
                        Held::Argument => None,
                        Held::Nothing => return None,
                    };
                    if let Some(starts) = starts {
                        starts.insert(one.k);
                        starts.extend(one.k.checked_add(1));
                    }
                    todo.push((at + 1 + usize::from(one.jt), held));
                    todo.push((at + 1 + usize::from(one.jf), held));
                }
                RETURN => {}
                _ => return None,
            }
        }
        Some(ranges)
    }
}

fn loaded(offset: u32) -> Held {
    match offset {
        CALL => Held::Call,
        ARCHITECTURE => Held::Architecture,
        _ => Held::Argument,
    }
}

fn architectures(program: &[Instruction]) -> Option<Code> {
    let ranges = Ranges::of(program)?;
    let mut sections = Vec::new();
    for &architecture in &ranges.architectures {
        let mut calls = Vec::new();
        for &call in &ranges.calls {
            let known = Known {
                program,
                architecture,
                call,
            };
            calls.push((call, known.rest()?));
        }
        let mut section = search(merged(calls))?;
        if section.len() > 1 {
            section.insert(0, instruction(LOAD, CALL));
        }
        sections.push((architecture, section));
    }
    let mut code = search(merged(sections))?;
    code.insert(0, instruction(LOAD, ARCHITECTURE));
    Some(code)
}

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Joins neighbours that do the same.
fn merged(mut ranges: Vec<(u32, Code)>) -> Vec<(u32, Code)> {
    ranges.dedup_by(|next, kept| next.1 == kept.1);
    ranges
}

/// Finds the range that the accumulator is in, by halves. Each range begins
/// at its number; the first one's is 0.
fn search(mut ranges: Vec<(u32, Code)>) -> Option<Code> {
    if ranges.len() == 1 {
        return ranges.pop().map(|(_, code)| code);
    }
    let upper = ranges.split_off(ranges.len() / 2);
    let bound = upper.first()?.0;
    let lower = search(ranges)?;
    let mut code = vec![instruction(GREATER_OR_EQUAL, bound)];
    match u8::try_from(lower.len()) {
        Ok(near) => code[0].jt = near,
        Err(_) => {
            code[0].jf = 1;
            code.push(instruction(JUMP, u32::try_from(lower.len()).ok()?));
        }
    }
    code.extend(lower);
    code.extend(search(upper)?);
    Some(code)
}

/// The program for one architecture and call.
struct Known<'a> {
    program: &'a [Instruction],
    architecture: u32,
    call: u32,
}

impl Known<'_> {
    /// What is left to do when architecture and call are known: to return, or
    /// to look at arguments.
    fn rest(&self) -> Option<Code> {
        let first = self.follow(0, Held::Nothing)?;
        // From each instruction that is left to those that can come after it;
        // all jumps of a filter lead forward, so their order stays good.
        let mut left = BTreeMap::new();
        let mut todo = vec![first];
        while let Some(at) = todo.pop() {
            let one = self.program.get(at)?;
            let next = match one.code {
                RETURN => vec![],
                LOAD | AND => vec![self.follow(at + 1, Held::Argument)?],
                _ => vec![
                    self.follow(at + 1 + usize::from(one.jt), Held::Argument)?,
                    self.follow(at + 1 + usize::from(one.jf), Held::Argument)?,
                ],
            };
            todo.extend(next.iter().filter(|n| !left.contains_key(*n)));
            left.insert(at, next);
        }
        self.written(&left)
    }

    /// Goes on from an instruction until one whose work is not known yet.
    fn follow(&self, mut at: usize, mut held: Held) -> Option<usize> {
        loop {
            let one = self.program.get(at)?;
            let value = match held {
                Held::Architecture => self.architecture,
                Held::Call => self.call,
                Held::Nothing | Held::Argument => 0,
            };
            at = match one.code {
                RETURN => return Some(at),
                JUMP => at + 1 + one.k as usize,
                LOAD => {
                    held = loaded(one.k);
                    if held == Held::Argument {
                        return Some(at);
                    }
                    at + 1
                }
                _ if held == Held::Argument => return Some(at),
                EQUAL => at + 1 + one.skipped(value == one.k),
                GREATER => at + 1 + one.skipped(value > one.k),
                GREATER_OR_EQUAL => at + 1 + one.skipped(value >= one.k),
                _ => return None,
            };
        }
    }

    fn written(&self, left: &BTreeMap<usize, Vec<usize>>) -> Option<Code> {
        let order: Vec<usize> = left.keys().copied().collect();
        // A load that is not followed by what comes after it needs a jump.
        let needs_jump =
            |i: usize| matches!(left[&order[i]][..], [next] if order.get(i + 1) != Some(&next));
        let mut places = BTreeMap::new();
        let mut length = 0_usize;
        for (i, at) in order.iter().enumerate() {
            places.insert(*at, length);
            length += 1 + usize::from(needs_jump(i));
        }
        let mut code = Code::with_capacity(length);
        for (i, at) in order.iter().enumerate() {
            let mut one = self.program[*at];
            if let [holds, fails] = left[at][..] {
                one.jt = u8::try_from(places[&holds] - places[at] - 1).ok()?;
                one.jf = u8::try_from(places[&fails] - places[at] - 1).ok()?;
            }
            code.push(one);
            if needs_jump(i) {
                let distance = places[&left[at][0]] - places[at] - 2;
                code.push(instruction(JUMP, u32::try_from(distance).ok()?));
            }
        }
        Some(code)
    }
}

impl Instruction {
    fn skipped(self, holds: bool) -> usize {
        usize::from(if holds { self.jt } else { self.jf })
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxSeccomp;
    use proptest::prelude::*;

    use super::*;

    /// Runs a filter over one `struct seccomp_data`, as the kernel does.
    fn run(program: &[Instruction], data: &[u32; 16]) -> u32 {
        let (mut at, mut held) = (0, 0);
        loop {
            let one = program[at];
            at += 1 + match one.code {
                RETURN => return one.k,
                LOAD => {
                    held = data[one.k as usize / 4];
                    0
                }
                AND => {
                    held &= one.k;
                    0
                }
                JUMP => one.k as usize,
                EQUAL => one.skipped(held == one.k),
                GREATER => one.skipped(held > one.k),
                GREATER_OR_EQUAL => one.skipped(held >= one.k),
                code => panic!("instruction {code:#x}"),
            };
        }
    }

    /// Both forms of a section's filter.
    fn both(section: &str) -> (Code, Code) {
        let section: LinuxSeccomp = serde_json::from_str(section).unwrap();
        let long = super::super::build(&section).unwrap();
        let short = compact(&long).expect("shorter");
        (decode(&long).unwrap(), decode(&short).unwrap())
    }

    fn same(long: &[Instruction], short: &[Instruction], arguments: &[u32; 12]) {
        let native = match std::env::consts::ARCH {
            "x86_64" => 0xc000_003e,
            "aarch64" => 0xc000_00b7,
            _ => 0,
        };
        let calls = (0..600).chain(0x4000_0000..0x4000_0250).chain([
            0x3fff_ffff,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ]);
        for call in calls {
            for architecture in [native, 0x4000_0003, 0x4000_0028, 0, u32::MAX] {
                let mut data = [0; 16];
                data[..2].copy_from_slice(&[call, architecture]);
                data[4..].copy_from_slice(arguments);
                assert_eq!(
                    run(short, &data),
                    run(long, &data),
                    "call {call:#x} of {architecture:#x} with {arguments:x?}"
                );
            }
        }
    }

    /// A list of the size of the default one: most calls, some of them by
    /// their arguments, for all architectures of the processor.
    fn large() -> String {
        let names: Vec<String> = (0..400)
            .filter(|n| n % 25 != 3 && *n != 56 && *n != 135)
            .filter_map(|n| libseccomp::ScmpSyscall::from(n).get_name().ok())
            .map(|name| format!("{name:?}"))
            .collect();
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
            "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[
            {{"names":[{}],"action":"SCMP_ACT_ALLOW"}},
            {{"names":["reboot","kexec_load"],"action":"SCMP_ACT_KILL_PROCESS"}},
            {{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
              {{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}}]}},
            {{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[
              {{"index":0,"value":8,"op":"SCMP_CMP_EQ"}},{{"index":0,"value":131072,"op":"SCMP_CMP_EQ"}}]}}]}}"#,
            names.join(",")
        )
    }

    #[test]
    fn a_large_list_becomes_a_fraction_and_does_the_same() {
        let (long, short) = both(&large());
        assert!(
            short.len() < long.len() / 2,
            "{} of {}",
            short.len(),
            long.len()
        );
        for arguments in [
            [0; 12],
            [0x1000_0000; 12],
            [8; 12],
            [0x0002_0000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            same(&long, &short, &arguments);
        }
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is() {
        // BPF_RET | BPF_A: the filter returns what it loaded.
        let odd = encode(&[instruction(LOAD, CALL), instruction(0x16, 0)]);
        assert!(compact(&odd).is_none());
        // A mask on a call's number.
        let masked = encode(&[
            instruction(LOAD, CALL),
            instruction(AND, 1),
            instruction(EQUAL, 1),
            instruction(RETURN, 0),
        ]);
        assert!(compact(&masked).is_none());
        let falls_off_the_end = encode(&[instruction(LOAD, CALL)]);
        assert!(compact(&falls_off_the_end).is_none());
        assert!(compact(&[0; INSTRUCTION - 1]).is_none());
    }

    #[test]
    fn far_ranges_are_reached() {
        // Each range does something else, so nothing merges and the tree is
        // longer than a short jump reaches.
        let ranges: Vec<(u32, Code)> = (0..1000)
            .map(|n| (n * 3, vec![instruction(RETURN, n)]))
            .collect();
        let mut code = search(ranges).unwrap();
        code.insert(0, instruction(LOAD, CALL));
        for call in 0..3100 {
            let mut data = [0; 16];
            data[0] = call;
            assert_eq!(run(&code, &data), (call / 3).min(999));
        }
    }

    /// A rule for some calls, by an argument or not.
    fn rule() -> impl Strategy<Value = String> {
        let operator = prop_oneof![
            Just("EQ"),
            Just("NE"),
            Just("LT"),
            Just("LE"),
            Just("GT"),
            Just("GE"),
            Just("MASKED_EQ")
        ];
        let argument = (0..6_u32, 0..5_u64, 0..2_u64, operator).prop_map(|(index, value, two, operator)| {
            let value = value * 0x4000_0001;
            format!(r#"{{"index":{index},"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{operator}"}}"#)
        });
        let action = prop_oneof![Just("KILL_PROCESS"), Just("ALLOW"), Just("LOG")];
        (
            proptest::collection::vec(0..330_i32, 1..40),
            action,
            proptest::option::of(argument),
        )
            .prop_map(|(calls, action, argument)| {
                let names: Vec<String> = calls
                    .into_iter()
                    .filter_map(|n| libseccomp::ScmpSyscall::from(n).get_name().ok())
                    .map(|name| format!("{name:?}"))
                    .collect();
                let args = argument.map_or(String::new(), |a| format!(r#","args":[{a}]"#));
                format!(
                    r#"{{"names":[{}],"action":"SCMP_ACT_{action}"{args}}}"#,
                    names.join(",")
                )
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_short_form_does_what_the_long_one_does(
            rules in proptest::collection::vec(rule(), 1..6),
            arguments in proptest::array::uniform12(prop_oneof![0..4_u32, Just(0x4000_0001), Just(u32::MAX)]),
        ) {
            let section = format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO",
                "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{}]}}"#,
                rules.join(",")
            );
            let section: LinuxSeccomp = serde_json::from_str(&section).unwrap();
            let Ok(long) = super::super::build(&section) else {
                // libseccomp refuses rules that contradict each other.
                return Ok(());
            };
            if let Some(short) = compact(&long) {
                same(&decode(&long).unwrap(), &decode(&short).unwrap(), &arguments);
            }
        }
    }
}
