//! What an app said, as it stands in its log file.
//!
//! One line a record, in the format that container runtimes write for
//! Kubernetes, so that every log shipper reads it:
//!
//! ```text
//! 2024-05-01T12:00:00.123456789Z stdout F a whole line, or the end of one
//! 2024-05-01T12:00:00.123456790Z stderr P a piece of a line that goes on
//! ```
//!
//! Source: Kubernetes, "CRI: log management for container stdout/stderr".

use std::io::Write as _;

/// Where an app wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Output,
    /// Its standard error.
    Error,
}

impl Stream {
    /// The word in the file and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        }
    }
}

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read from the app, in nanoseconds since the epoch.
    pub time: u64,
    /// Where the app wrote it.
    pub stream: Stream,
    /// The line ends here; otherwise the stream's next record goes on with it.
    pub whole: bool,
    /// What the app wrote, without the end of the line.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Adds the record to a buffer, with the end of its line.
    pub fn write(&self, to: &mut Vec<u8>) {
        write_time(self.time, to);
        let (stream, tag) = (self.stream.as_str(), if self.whole { 'F' } else { 'P' });
        // Writing to memory does not fail.
        let _written = write!(to, " {stream} {tag} ");
        to.extend_from_slice(self.text);
        to.push(b'\n');
    }

    /// Reads a line of a log file, without its end; none when it is no record.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let time = parse_time(std::str::from_utf8(parts.next()?).ok()?)?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Output,
            b"stderr" => Stream::Error,
            _ => return None,
        };
        // More tags may follow one day, joined by colons.
        let whole = match parts.next()?.split(|&byte| byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self {
            time,
            stream,
            whole,
            text: parts.next()?,
        })
    }
}

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// RFC 3339 in UTC with nine digits, the only form that is written.
fn write_time(time: u64, to: &mut Vec<u8>) {
    let (seconds, nanoseconds) = (time / SECOND, time % SECOND);
    let (year, month, day) = date(seconds / DAY);
    let second = seconds % DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _written = write!(
        to,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z"
    );
}

/// The time as it stands in a log file.
pub fn time_text(time: u64) -> String {
    let mut text = Vec::with_capacity(30);
    write_time(time, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn parse_time(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(digits);
    let days = days(date.next()??, date.next()??, date.next()??)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(digits);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let scale = 10_u64.checked_pow(9_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?)?;
    let nanoseconds = digits(fraction)? * scale;
    let seconds = days
        .checked_mul(DAY)?
        .checked_add(hour * 3600 + minute * 60 + second)?;
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Year, month and day of so many days since the epoch. Eras of 400 years
/// begin on 1 March, so that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year) = (year / 400, year % 400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day = (153 * month + 2) / 5 + day - 1;
    let day = year * 365 + year / 4 - year / 100 + day;
    (era * 146_097 + day).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(record: Record<'_>) -> String {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_record_looks_like_everybodys() {
        let record = Record {
            time: 1_475_107_649_801_234_567,
            stream: Stream::Error,
            whole: true,
            text: b"log content",
        };
        assert_eq!(
            line(record),
            "2016-09-29T00:07:29.801234567Z stderr F log content\n"
        );
        let empty = Record {
            text: b"",
            whole: false,
            time: 0,
            stream: Stream::Output,
        };
        assert_eq!(line(empty), "1970-01-01T00:00:00.000000000Z stdout P \n");
    }

    #[test]
    fn leap_days_are_days() {
        for (time, text) in [
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert!(time_text(time * SECOND).starts_with(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_record_is_told_apart() {
        for line in [
            "",
            "x",
            "2016-09-29T00:07:29Z stdin F x",
            "2016-09-29T00:07:29Z stdout X x",
            "2016-13-29T00:07:29Z stdout F x",
            "2016-09-29 00:07:29 stdout F x",
            "2016-09-29T00:07:29Z stdout F",
            "2016-09-29T00:07:29.1234567891Z stdout F x",
        ] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
        // Another runtime's, with fewer digits and more tags.
        let other = Record::parse(b"2016-09-29T00:07:29.5Z stdout P:X a b").unwrap();
        assert_eq!(
            (other.time % SECOND, other.text),
            (500_000_000, &b"a b"[..])
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(time in 0..8_000_000_000_000_000_000_u64, error: bool, whole: bool,
                                   text in prop::collection::vec(any::<u8>().prop_filter("no line end", |b| *b != b'\n'), 0..40)) {
            let stream = if error { Stream::Error } else { Stream::Output };
            let record = Record { time, stream, whole, text: &text };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            prop_assert_eq!(bytes.pop(), Some(b'\n'));
            prop_assert_eq!(Record::parse(&bytes), Some(record));
        }
    }
}
