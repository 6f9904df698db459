//! Resource quantities: `1.5Gi`, `300m`, `1e3`.
//!
//! Source: appc specification, "Resource Isolators", and its reference
//! library. Everything is an integer number of 10⁻⁹; there is no floating
//! point anywhere, because a limit must not depend on rounding.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::decode::{Decode, Node, Result, deserialize_by_decode};

/// Parts of one: the smallest amount that can be told apart.
const NANO: i128 = 1_000_000_000;
/// The greatest magnitude, in units.
const MAX: i128 = i64::MAX as i128;

/// How a quantity was written, and so will be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    /// `n u m k M G T P E`
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`
    Binary,
    /// `e3`
    Exponent,
}

/// An amount of a resource, exact to 10⁻⁹ (and 20 digits) and at most 2⁶³−1 in
/// magnitude; what is finer is rounded away from zero, what is greater is cut.
///
/// Two quantities are equal if their amounts are, however they were written.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    family: Family,
}

/// Why a string is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a quantity: {reason}")]
pub struct QuantityError {
    value: String,
    reason: &'static str,
}

const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

/// Suffixes that are powers of ten, the greatest first, as they are written.
const DECIMAL: [(&str, i32); 10] = [
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];

impl Quantity {
    /// So many units (bytes, cores, operations).
    pub fn from_units(units: i64) -> Self {
        Self {
            nano: i128::from(units) * NANO,
            family: Family::Decimal,
        }
    }

    /// So many thousandths of a unit.
    pub fn from_milli(milli: i64) -> Self {
        Self {
            nano: i128::from(milli) * (NANO / 1000),
            family: Family::Decimal,
        }
    }

    /// The amount in units, rounded away from zero.
    pub fn units(self) -> i64 {
        i64::try_from(divide_up(self.nano, NANO)).expect("the constructors keep it within i64")
    }

    /// The amount in thousandths, rounded away from zero.
    pub fn milli(self) -> i128 {
        divide_up(self.nano, NANO / 1000)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }
}

/// Integer division, rounded away from zero.
fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    match value % by {
        0 => quotient,
        _ => quotient + value.signum(),
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(s: &str) -> std::result::Result<Self, QuantityError> {
        let error = |reason| QuantityError {
            value: s.to_owned(),
            reason,
        };
        let unsigned = s.strip_prefix(['+', '-']).unwrap_or(s);
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = unsigned.find(|c| !is_number(c)).unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(error("more than one decimal point"));
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(error("it has no digits"));
        }
        let (scale, family) = scale(suffix).ok_or_else(|| {
            error("unknown suffix: expected one of n u m k M G T P E Ki Mi Gi Ti Pi Ei, or e and a number")
        })?;
        let magnitude = magnitude(whole, fraction, scale);
        let nano = if s.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
        Ok(Self { nano, family })
    }
}

/// What the digits are multiplied with.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i64),
    Two(u32),
}

fn scale(suffix: &str) -> Option<(Scale, Family)> {
    // The specification's text writes K, its library k.
    if suffix == "K" {
        return Some((Scale::Ten(3), Family::Decimal));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Ten(i64::from(*power)), Family::Decimal));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Two(*power), Family::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // An exponent beyond i64 means zero or infinity all the same.
    let power = exponent.parse().unwrap_or(match exponent.starts_with('-') {
        true => i64::MIN / 2,
        false => i64::MAX / 2,
    });
    Some((Scale::Ten(power), Family::Exponent))
}

/// `whole.fraction × scale` in 10⁻⁹, rounded up and capped.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let cap = MAX * NANO;
    // The value is `digits × 10^power × 2^shift` in 10⁻⁹.
    let (ten, two) = match scale {
        Scale::Ten(power) => (power, 0),
        Scale::Two(power) => (0, power),
    };
    let digits = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|b| i128::from(b - b'0'));
    let mut power = ten
        .saturating_add(9)
        .saturating_sub_unsigned(fraction.len() as u64);
    // Leading digits are taken while they fit beside the binary suffix (20 at
    // least); those left over only tell whether to round up.
    let room = ((i128::MAX >> two) - 9) / 10;
    let mut mantissa: i128 = 0;
    let mut inexact = false;
    for digit in digits {
        if mantissa <= room {
            mantissa = mantissa * 10 + digit;
        } else {
            inexact |= digit != 0;
            power = power.saturating_add(1);
        }
    }
    let mut value = mantissa << two;
    if value == 0 {
        return 0;
    }
    while power > 0 && value <= cap {
        value *= 10;
        power -= 1;
    }
    if value > cap {
        return cap;
    }
    while power < 0 && value > 0 {
        inexact |= value % 10 != 0;
        value /= 10;
        power += 1;
    }
    cap.min(value + i128::from(inexact))
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the greatest suffix of its family that
    /// is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.nano / NANO;
        let whole = self.nano % NANO == 0;
        if self.family == Family::Binary && whole && units.abs() >= 1024 {
            let exact = |(_, power): &&(&str, u32)| units % (1 << power) == 0;
            return match BINARY.iter().rev().find(exact) {
                Some((suffix, power)) => write!(f, "{}{suffix}", units >> power),
                None => write!(f, "{units}"),
            };
        }
        if self.nano == 0 {
            return f.write_str("0");
        }
        let step = |power: i32| 10i128.pow(u32::try_from(power + 9).unwrap_or(0));
        let exact = |(_, power): &&(&str, i32)| self.nano % step(*power) == 0;
        let (suffix, power) = DECIMAL
            .iter()
            .find(exact)
            .expect("the last step is one, which divides everything");
        write!(f, "{}", self.nano / step(*power))?;
        match (self.family, power) {
            (_, 0) => Ok(()),
            (Family::Exponent, power) => write!(f, "e{power}"),
            _ => f.write_str(suffix),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Decode for Quantity {
    /// A string, its outer spaces ignored, or a bare number.
    fn decode(node: &Node<'_>) -> Result<Self> {
        let text = match node.raw() {
            Value::Number(number) => number.to_string(),
            _ => node.str()?.trim().to_owned(),
        };
        text.parse().map_err(|e: QuantityError| node.invalid(e))
    }
}

deserialize_by_decode!(Quantity);

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn quantity(s: &str) -> Quantity {
        s.parse().unwrap()
    }

    #[test]
    fn the_edges_are_rounded_and_cut() {
        assert_eq!(quantity("0.9n").to_string(), "1n");
        assert_eq!(quantity("-0.9n").to_string(), "-1n");
        assert_eq!(quantity("1e-400").to_string(), "1e-9");
        assert_eq!(quantity("0e400").to_string(), "0");
        assert_eq!(quantity("9Ei").units(), i64::MAX);
        assert_eq!(quantity("-9Ei").units(), -i64::MAX);
        assert_eq!(quantity("1e999999999999999999999").units(), i64::MAX);
        assert_eq!(quantity("1E"), quantity("1E18"));
        assert_eq!(quantity("0.5Ki").to_string(), "512");
        assert_eq!(quantity("1.0005k").to_string(), "1000500m");
        assert_eq!(quantity("9223372036854775807").units(), i64::MAX);
        assert_eq!(
            quantity("12345678901234567890123e-6").units(),
            12_345_678_901_234_568
        );
        assert_eq!(quantity("1.").units(), 1);
        for bad in [
            ".", "m", "-", "e3", "1+1.0M", "0.1am", "1e+", "1 ", "\u{661}",
        ] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_and_strings_read_alike() {
        for json in ["1500", "\"1500\"", "\" 1.5k \"", "1.5e3"] {
            let q: Quantity = serde_json::from_str(json).unwrap();
            assert_eq!(q, Quantity::from_units(1500), "{json}");
        }
    }

    proptest! {
        /// Printing loses nothing, and what was printed prints the same.
        #[test]
        fn canonical_form_is_stable(
            whole in any::<u64>(),
            fraction in "[0-9]{0,12}",
            suffix in "(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2})?",
            sign in "[+-]?",
        ) {
            let q = quantity(&format!("{sign}{whole}.{fraction}{suffix}"));
            let printed = q.to_string();
            prop_assert_eq!(quantity(&printed), q);
            prop_assert_eq!(quantity(&printed).to_string(), printed);
        }

        /// Against arithmetic that cannot be wrong: whole numbers and suffixes
        /// that stay within 64 bits.
        #[test]
        fn whole_amounts_are_exact(n in 0i64..1_000_000, power in 0u32..4) {
            let decimal = ["", "k", "M", "G"][power as usize];
            let binary = ["", "Ki", "Mi", "Gi"][power as usize];
            prop_assert_eq!(quantity(&format!("{n}{decimal}")).units(), n * 1000i64.pow(power));
            prop_assert_eq!(quantity(&format!("{n}{binary}")).units(), n * 1024i64.pow(power));
            prop_assert_eq!(quantity(&format!("-{n}m")).milli(), -i128::from(n));
            prop_assert_eq!(quantity(&format!("{n}m")).units(), (n + 999) / 1000);
        }

        /// Any string is a quantity or an error, never a panic.
        #[test]
        fn nothing_panics(s in "[-+.0-9eEinumkKMGTP ]{0,40}") {
            let _ = s.parse::<Quantity>().map(|q| (q.units(), q.milli(), q.to_string()));
        }
    }
}
