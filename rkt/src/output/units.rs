//! Times and sizes in words.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 12 * MONTH;

/// `2 hours ago`, `3 days from now`.
pub(crate) fn relative(time: SystemTime, now: SystemTime) -> String {
    match now.duration_since(time) {
        Ok(ago) => in_words(ago.as_secs(), "ago"),
        Err(e) => in_words(e.duration().as_secs(), "from now"),
    }
}

fn in_words(seconds: u64, side: &str) -> String {
    let (unit, name) = match seconds {
        0 => return "now".to_owned(),
        s if s < MINUTE => (1, "second"),
        s if s < HOUR => (MINUTE, "minute"),
        s if s < DAY => (HOUR, "hour"),
        s if s < WEEK => (DAY, "day"),
        s if s < MONTH => (WEEK, "week"),
        s if s < YEAR => (MONTH, "month"),
        s if s < YEAR + YEAR / 2 => return format!("1 year {side}"),
        s if s < 2 * YEAR => return format!("2 years {side}"),
        s if s < 37 * YEAR => (YEAR, "year"),
        _ => return format!("a long while {side}"),
    };
    match seconds / unit {
        1 => format!("1 {name} {side}"),
        n => format!("{n} {name}s {side}"),
    }
}

/// `2006-01-02 15:04:05.999 -0700 MST` in the local zone.
pub(crate) fn absolute(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(timestamp) => zoned(&timestamp.to_zoned(TimeZone::system())),
        // Beyond the year 9999: a damaged file, and no reason to fail.
        Err(_) => "a long while".to_owned(),
    }
}

fn zoned(time: &Zoned) -> String {
    let milliseconds = time.millisecond();
    let fraction = match milliseconds {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    format!(
        "{}{fraction} {}",
        time.strftime("%Y-%m-%d %H:%M:%S"),
        time.strftime("%z %Z")
    )
}

/// `9B`, `1.5KiB`, `12MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count}B");
    }
    let mut unit = 0;
    let mut whole = count;
    let mut tenths = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    if whole < 10 {
        format!("{whole}.{tenths}{}", UNITS[unit])
    } else {
        format!("{whole}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ages_are_told_in_one_word_and_a_number() {
        let now = SystemTime::now();
        let ago = |seconds| relative(now - Duration::from_secs(seconds), now);
        assert_eq!(ago(0), "now");
        assert_eq!(ago(1), "1 second ago");
        assert_eq!(ago(59), "59 seconds ago");
        assert_eq!(ago(61), "1 minute ago");
        assert_eq!(ago(2 * HOUR), "2 hours ago");
        assert_eq!(ago(DAY), "1 day ago");
        assert_eq!(ago(8 * DAY), "1 week ago");
        assert_eq!(ago(31 * DAY), "1 month ago");
        assert_eq!(ago(13 * MONTH), "1 year ago");
        assert_eq!(ago(19 * MONTH), "2 years ago");
        assert_eq!(ago(3 * YEAR), "3 years ago");
        assert_eq!(ago(38 * YEAR), "a long while ago");
        assert_eq!(
            relative(now + Duration::from_secs(120), now),
            "2 minutes from now"
        );
    }

    #[test]
    fn absolute_times_drop_trailing_zeros() {
        let at = |ms: i64| {
            let timestamp = Timestamp::from_millisecond(1_136_214_245_000 + ms).unwrap();
            zoned(&timestamp.to_zoned(TimeZone::UTC))
        };
        assert_eq!(at(0), "2006-01-02 15:04:05 +0000 UTC");
        assert_eq!(at(120), "2006-01-02 15:04:05.12 +0000 UTC");
        assert_eq!(at(7), "2006-01-02 15:04:05.007 +0000 UTC");
    }

    #[test]
    fn sizes_have_one_decimal_below_ten() {
        assert_eq!(bytes(9), "9B");
        assert_eq!(bytes(1536), "1.5KiB");
        assert_eq!(bytes(12 << 20), "12MiB");
        assert_eq!(bytes(u64::MAX), "15EiB");
    }
}
