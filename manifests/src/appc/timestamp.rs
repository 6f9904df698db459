//! Dates and times: RFC 3339, section 5.6, with an upper-case `T` and a zone.
//!
//! A grammar of one line needs no date library in every binary; nothing here
//! computes with times.

/// Whether the string is a date and time as annotations may hold it: RFC 3339
/// with a zone, but no lower-case `t` or `z` and no leap second.
pub fn is_timestamp(s: &str) -> bool {
    let Some((date, rest)) = s.split_once('T') else {
        return false;
    };
    let Some(time) = rest.get(..8) else {
        return false;
    };
    let zone = match rest[8..].strip_prefix('.') {
        None => &rest[8..],
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
    };
    is_date(date) && is_time(time) && is_zone(zone)
}

fn is_date(s: &str) -> bool {
    let Some([year, month, day]) = numbers(s, "-", [4, 2, 2]) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn is_time(s: &str) -> bool {
    matches!(numbers(s, ":", [2, 2, 2]), Some([h, m, s]) if h < 24 && m < 60 && s < 60)
}

fn is_zone(s: &str) -> bool {
    let offset = s.strip_prefix(['+', '-']);
    let in_range = |o| matches!(numbers(o, ":", [2, 2]), Some([h, m]) if h < 24 && m < 60);
    s == "Z" || offset.is_some_and(in_range)
}

/// Fields of exactly these widths between separators.
fn numbers<const N: usize>(s: &str, separator: &str, widths: [usize; N]) -> Option<[u32; N]> {
    let mut fields = s.split(separator);
    let mut out = [0; N];
    for (slot, width) in out.iter_mut().zip(widths) {
        let field = fields.next()?;
        if field.len() != width || !field.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *slot = field.parse().ok()?;
    }
    fields.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::is_timestamp;

    #[test]
    fn calendar_and_clock_are_checked() {
        for good in ["2024-02-29T23:59:59Z", "1999-12-31T00:00:00.5+23:59"] {
            assert!(is_timestamp(good), "{good}");
        }
        for bad in [
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-04-31T00:00:00Z",
            "2023-04-00T00:00:00Z",
            "2023-04-01T24:00:00Z",
            "2023-04-01T00:00:60Z",
            "2023-04-01T00:00:00.Z",
            "2023-04-01t00:00:00Z",
            "2023-04-01T00:00:00z",
            "2023-04-01T00:00:00+2",
            "2023-4-1T00:00:00Z",
            "+023-04-01T00:00:00Z",
            "2023-04-01T00:00:0\u{e9}Z",
        ] {
            assert!(!is_timestamp(bad), "{bad}");
        }
    }
}
