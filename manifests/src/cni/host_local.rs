//! `host-local` address management, the part without files: which addresses a
//! configuration has to give, and in which order they are tried.
//!
//! Source: the reference plugin's manual.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::result::Route;

/// What `ipam` of type `host-local` says, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Config {
    /// The pod gets one address from each of these; at least one.
    pub sets: Vec<RangeSet>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// Where leases are kept; below it one directory for each network.
    pub data_dir: PathBuf,
    /// A resolv.conf(5) that says how the pod resolves names.
    pub resolv_conf: Option<PathBuf>,
}

/// Ranges of one address family; they do not overlap.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSet(pub Vec<Range>);

/// Addresses to give, all in one subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The network.
    pub subnet: IpNet,
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
    /// The way out; never given to a pod.
    pub gateway: IpAddr,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(flatten)]
    range: RawRange,
    #[serde(default)]
    ranges: Vec<Vec<RawRange>>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    data_dir: Option<PathBuf>,
    #[serde(default)]
    resolv_conf: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRange {
    subnet: Option<IpNet>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

/// Why ranges cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Nothing to give.
    #[error("no subnet")]
    NoSubnet,
    /// An address with more than the prefix set.
    #[error("subnet {0} has host bits set; did you mean {mean}?", mean = .0.trunc())]
    HostBits(IpNet),
    /// A network for two addresses or one.
    #[error("subnet {0} is too small to give addresses from")]
    TooSmall(IpNet),
    /// Start, end or gateway is elsewhere.
    #[error("{what} {ip} is not in subnet {subnet}")]
    Outside {
        /// The key.
        what: &'static str,
        /// Its value.
        ip: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// Backwards.
    #[error("rangeStart {0} is behind rangeEnd {1}")]
    Backwards(IpAddr, IpAddr),
    /// Both families in one set.
    #[error("a range set is either IPv4 or IPv6")]
    Mixed,
    /// An address twice.
    #[error("ranges {0}-{1} and {2}-{3} overlap")]
    Overlap(IpAddr, IpAddr, IpAddr, IpAddr),
}

/// An address as a number, for counting.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The address `number` of the family of `like`.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

impl Range {
    fn check(raw: &RawRange) -> Result<Self, RangeError> {
        let subnet = raw.subnet.ok_or(RangeError::NoSubnet)?;
        if subnet.trunc() != subnet {
            return Err(RangeError::HostBits(subnet));
        }
        if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
            return Err(RangeError::TooSmall(subnet));
        }
        let network = subnet.network();
        let second = address(number(network) + 1, network);
        // The last address is the broadcast address in IPv4 and taken by
        // anycast (RFC 2526) in IPv6.
        let last = address(number(subnet.broadcast()) - 1, network);
        let inside = |what: &'static str, given: Option<IpAddr>, otherwise: IpAddr| match given {
            Some(ip) if !subnet.contains(&ip) => Err(RangeError::Outside { what, ip, subnet }),
            given => Ok(given.unwrap_or(otherwise)),
        };
        let range = Self {
            subnet,
            start: inside("rangeStart", raw.range_start, second)?,
            end: inside("rangeEnd", raw.range_end, last)?,
            // A gateway may be anywhere: some clouds have it outside.
            gateway: raw.gateway.unwrap_or(second),
        };
        if range.gateway.is_ipv4() != network.is_ipv4() {
            return Err(RangeError::Mixed);
        }
        if range.start > range.end {
            return Err(RangeError::Backwards(range.start, range.end));
        }
        Ok(range)
    }

    /// Whether `ip` is one to give, the gateway's included.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.start.is_ipv4() && self.start <= ip && ip <= self.end
    }
}

impl RangeSet {
    fn check(raw: &[RawRange]) -> Result<Self, RangeError> {
        let ranges = raw
            .iter()
            .map(Range::check)
            .collect::<Result<Vec<_>, _>>()?;
        if ranges.is_empty() {
            return Err(RangeError::NoSubnet);
        }
        if ranges
            .iter()
            .any(|r| r.start.is_ipv4() != ranges[0].start.is_ipv4())
        {
            return Err(RangeError::Mixed);
        }
        Ok(Self(ranges))
    }

    /// The range that has `ip`.
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip))
    }

    /// Every address once, beginning behind `last`, without the gateways: an
    /// address is given again as late as can be, so that nobody takes the new
    /// pod for the one before.
    pub fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let begin = last.and_then(|ip| {
            let at = self.0.iter().position(|range| range.contains(ip))?;
            Some((at, ip))
        });
        let count = self.0.len();
        let (first, from) = begin.map_or((0, None), |(at, ip)| (at, Some(ip)));
        // The range of `last` comes twice: its tail at first, its head at last.
        (0..count + usize::from(from.is_some())).flat_map(move |turn| {
            let range = &self.0[(first + turn) % count];
            let (start, end) = (number(range.start), number(range.end));
            let span = match (from, turn) {
                (Some(ip), 0) => number(ip) + 1..=end,
                (Some(ip), turn) if turn == count => start..=number(ip),
                _ => start..=end,
            };
            span.map(move |n| (address(n, range.start), range))
                .filter(|(ip, range)| *ip != range.gateway)
        })
    }
}

impl TryFrom<Raw> for Config {
    type Error = RangeError;

    fn try_from(raw: Raw) -> Result<Self, RangeError> {
        let mut sets = Vec::new();
        if raw.range.subnet.is_some() {
            sets.push(RangeSet::check(&[raw.range])?);
        }
        for set in &raw.ranges {
            sets.push(RangeSet::check(set)?);
        }
        if sets.is_empty() {
            return Err(RangeError::NoSubnet);
        }
        let all: Vec<&Range> = sets.iter().flat_map(|set| &set.0).collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                if one.contains(other.start) || other.contains(one.start) {
                    return Err(RangeError::Overlap(
                        one.start,
                        one.end,
                        other.start,
                        other.end,
                    ));
                }
            }
        }
        Ok(Self {
            sets,
            routes: raw.routes,
            data_dir: raw
                .data_dir
                .unwrap_or_else(|| "/var/lib/cni/networks".into()),
            resolv_conf: raw.resolv_conf,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|e: serde_json::Error| e.to_string())
    }

    #[test]
    fn defaults_follow_the_subnet() {
        let config = read(r#"{"subnet":"10.1.2.0/24"}"#).unwrap();
        let range = &config.sets[0].0[0];
        assert_eq!(range.start.to_string(), "10.1.2.1");
        assert_eq!(range.end.to_string(), "10.1.2.254");
        assert_eq!(range.gateway.to_string(), "10.1.2.1");
        let first = config.sets[0].candidates(None).next().unwrap().0;
        assert_eq!(first.to_string(), "10.1.2.2");
    }

    #[test]
    fn faulty_ranges_are_refused() {
        let table = [
            ("{}", "no subnet"),
            (r#"{"subnet":"10.1.2.3/24"}"#, "did you mean 10.1.2.0/24?"),
            (r#"{"subnet":"10.1.2.0/31"}"#, "too small"),
            (
                r#"{"subnet":"10.1.2.0/24","rangeStart":"10.1.3.1"}"#,
                "rangeStart 10.1.3.1 is not in",
            ),
            (
                r#"{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.3"}"#,
                "behind",
            ),
            (r#"{"subnet":"10.1.2.0/24","gateway":"fd00::1"}"#, "either"),
            (
                r#"{"ranges":[[{"subnet":"10.1.2.0/24"},{"subnet":"fd00::/64"}]]}"#,
                "either",
            ),
            (
                r#"{"ranges":[[{"subnet":"10.1.0.0/16"}],[{"subnet":"10.1.2.0/24"}]]}"#,
                "overlap",
            ),
            (r#"{"ranges":[[]]}"#, "no subnet"),
        ];
        for (json, message) in table {
            let error = read(json).unwrap_err();
            assert!(error.contains(message), "{json}: {error}");
        }
    }

    proptest! {
        /// Whatever the ranges and the last address: every address that may be
        /// given comes exactly once, and never a gateway.
        #[test]
        fn candidates_are_a_permutation(
            sizes in prop::collection::vec((2u8..=6, 0u32..8), 1..4),
            last in prop::option::of(0u32..200),
        ) {
            let mut base = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0));
            let mut ranges = Vec::new();
            for (bits, skip) in sizes {
                let subnet: IpNet = format!("{}/{}", std::net::Ipv4Addr::from(base), 32 - bits).parse().unwrap();
                let start = base + 1 + skip.min((1 << bits) - 3);
                ranges.push(format!(
                    r#"{{"subnet":"{subnet}","rangeStart":"{}"}}"#,
                    std::net::Ipv4Addr::from(start)
                ));
                base += 64;
            }
            let config = read(&format!(r#"{{"ranges":[[{}]]}}"#, ranges.join(","))).unwrap();
            let set = &config.sets[0];
            let last = last.map(|n| IpAddr::V4((u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0)) + n).into()));
            let given: Vec<IpAddr> = set.candidates(last).map(|(ip, _)| ip).collect();
            let unique: HashSet<_> = given.iter().copied().collect();
            prop_assert_eq!(unique.len(), given.len());
            let expected: HashSet<IpAddr> = set.0.iter().flat_map(|range| {
                (number(range.start)..=number(range.end))
                    .map(|n| address(n, range.start))
                    .filter(|ip| *ip != range.gateway)
            }).collect();
            prop_assert_eq!(&unique, &expected);
            // The last one given comes again only after all others.
            let again = last.filter(|ip| expected.contains(ip));
            prop_assert!(again.is_none_or(|ip| given.last() == Some(&ip)));
        }
    }
}
