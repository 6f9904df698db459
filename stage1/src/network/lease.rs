//! `host-local` address management, the part with files.
//!
//! `DATADIR/NETWORK/ADDRESS` holds who has the address: the pod's UUID and the
//! interface's name. Making that file exclusively is what leases; the lock and
//! the file `last_reserved_ip.N` are the reference plugin's, so that both can
//! serve one network.
//!
//! A lease of a dead pod that nobody has collected yet is taken back when an
//! address is needed: by doing all that gc would do with that pod's network,
//! because the address may be in the firewall too.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manifests::cni::host_local::{Config, RangeSet};
use manifests::cni::{CniResult, Dns, IpConfig};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{Error, Result};

/// How long to wait for others to be done with a network's leases.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who leases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    /// The pod's UUID.
    pub(crate) uuid: &'a str,
    /// The interface in the pod.
    pub(crate) if_name: &'a str,
}

impl Holder<'_> {
    fn text(&self) -> String {
        format!("{}\r\n{}", self.uuid, self.if_name)
    }

    fn holds(&self, text: &str) -> bool {
        let mut lines = text.trim().lines().map(str::trim);
        // Old plugins wrote no interface.
        lines.next() == Some(self.uuid) && lines.next().is_none_or(|name| name == self.if_name)
    }
}

/// The leases of one network, locked.
struct Leases {
    directory: PathBuf,
    _lock: File,
}

impl Leases {
    fn open(directory: PathBuf) -> Result<Self> {
        let path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        let since = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        directory,
                        _lock: lock,
                    });
                }
                Err(Errno::WOULDBLOCK) if since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(errno) => return Err(Error::file("lock", &path)(errno)),
            }
        }
    }

    /// Leases `ip`, unless somebody has it.
    fn take(&self, ip: IpAddr, holder: Holder<'_>) -> Result<bool> {
        let path = self.directory.join(ip.to_string());
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(holder.text().as_bytes())
                    .map_err(Error::file("write", &path))?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // A file without content is what a crash leaves between making
                // and writing, both of which happen under the lock.
                if fs::metadata(&path).is_ok_and(|m| m.len() == 0) {
                    fs::write(&path, holder.text()).map_err(Error::file("write", &path))?;
                    return Ok(true);
                }
                Ok(false)
            }
            Err(error) => Err(Error::file("create", &path)(error)),
        }
    }

    fn last(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.directory.join(format!("last_reserved_ip.{set}")))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn remember(&self, set: usize, ip: IpAddr) -> Result<()> {
        let path = self.directory.join(format!("last_reserved_ip.{set}"));
        fs::write(&path, ip.to_string()).map_err(Error::file("write", path))
    }

    /// Every lease: address and content.
    fn all(&self) -> Result<Vec<(IpAddr, String)>> {
        let entries =
            fs::read_dir(&self.directory).map_err(Error::file("read", &self.directory))?;
        Ok(entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let ip = entry.file_name().to_str()?.parse().ok()?;
                Some((ip, fs::read_to_string(entry.path()).ok()?))
            })
            .collect())
    }
}

/// Leases an address from each range set for `holder`, `requested` ones where
/// they are in the set. `reclaim` is told the UUID of a holder, and says
/// whether it was dead and its leases are free now.
///
/// # Errors
/// [`Error::Exhausted`], [`Error::RequestedTaken`], [`Error::RequestedGateway`];
/// [`Error::File`].
pub(crate) fn acquire(
    config: &Config,
    network: &str,
    holder: Holder<'_>,
    requested: &[IpAddr],
    mut reclaim: impl FnMut(&str) -> bool,
) -> Result<CniResult> {
    let directory = config.data_dir.join(network);
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    if let Some(ip) = requested
        .iter()
        .find(|ip| config.sets.iter().all(|s| s.range_of(**ip).is_none()))
    {
        return Err(Error::RequestedTaken {
            ip: *ip,
            network: network.to_owned(),
            holder: String::new(),
        });
    }
    let mut result = CniResult {
        routes: config.routes.clone(),
        dns: config
            .resolv_conf
            .as_deref()
            .map(read_resolv_conf)
            .transpose()?
            .unwrap_or_default(),
        ..CniResult::default()
    };
    for (number, set) in config.sets.iter().enumerate() {
        let wanted = requested
            .iter()
            .copied()
            .find(|ip| set.range_of(*ip).is_some());
        let mut found = take_one(&directory, set, number, holder, wanted)?;
        if found.is_none() && reclaim_any(&directory, wanted, &mut reclaim)? {
            found = take_one(&directory, set, number, holder, wanted)?;
        }
        let network = || network.to_owned();
        result.ips.push(found.ok_or_else(|| match wanted {
            Some(ip) => Error::RequestedTaken {
                ip,
                network: network(),
                holder: holder_of(&directory.join(ip.to_string())),
            },
            None => Error::Exhausted { network: network() },
        })?);
    }
    Ok(result)
}

fn take_one(
    directory: &Path,
    set: &RangeSet,
    number: usize,
    holder: Holder<'_>,
    wanted: Option<IpAddr>,
) -> Result<Option<IpConfig>> {
    let leases = Leases::open(directory.to_owned())?;
    if let Some(ip) = wanted {
        let Some(range) = set.range_of(ip) else {
            return Ok(None);
        };
        if range.gateway == ip {
            return Err(Error::RequestedGateway);
        }
        let taken = leases.take(ip, holder)?;
        return Ok(taken.then(|| config_of(ip, range)));
    }
    for (ip, range) in set.candidates(leases.last(number)) {
        if leases.take(ip, holder)? {
            leases.remember(number, ip)?;
            return Ok(Some(config_of(ip, range)));
        }
    }
    Ok(None)
}

/// Who a lease says has the address.
fn holder_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    match (lines.next(), lines.next()) {
        (Some(pod), Some(if_name)) => format!("{if_name} of {pod}"),
        (Some(pod), None) => pod.to_owned(),
        (None, _) => "somebody".to_owned(),
    }
}

fn config_of(ip: IpAddr, range: &manifests::cni::host_local::Range) -> IpConfig {
    IpConfig {
        address: ipnet::IpNet::new(ip, range.subnet.prefix_len()).unwrap_or_else(|_| ip.into()),
        gateway: Some(range.gateway),
        interface: None,
    }
}

/// Offers the holders of all leases, or of that of `wanted`, to `reclaim`;
/// without the lock, because to reclaim is to release.
fn reclaim_any(
    directory: &Path,
    wanted: Option<IpAddr>,
    reclaim: &mut impl FnMut(&str) -> bool,
) -> Result<bool> {
    let leases = Leases::open(directory.to_owned())?.all()?;
    let mut any = false;
    for (ip, text) in leases {
        if wanted.is_none_or(|wanted| wanted == ip)
            && let Some(uuid) = text.lines().next()
        {
            any |= reclaim(uuid.trim());
        }
    }
    Ok(any)
}

/// Gives back what `holder` has of `network`; that it has nothing is no error.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn release(config: &Config, network: &str, holder: Holder<'_>) -> Result<()> {
    let directory = config.data_dir.join(network);
    if !directory.exists() {
        return Ok(());
    }
    let leases = Leases::open(directory)?;
    for (ip, text) in leases.all()? {
        if holder.holds(&text) {
            let path = leases.directory.join(ip.to_string());
            fs::remove_file(&path).map_err(Error::file("remove", path))?;
        }
    }
    Ok(())
}

/// Gives back `ips` of `network`, as far as `holder` has them.
pub(crate) fn release_known(
    config: &Config,
    network: &str,
    holder: Holder<'_>,
    ips: impl Iterator<Item = IpAddr>,
) -> Result<()> {
    let directory = config.data_dir.join(network);
    if !directory.exists() {
        return Ok(());
    }
    let leases = Leases::open(directory)?;
    for ip in ips {
        let path = leases.directory.join(ip.to_string());
        if fs::read_to_string(&path).is_ok_and(|text| holder.holds(&text)) {
            fs::remove_file(&path).map_err(Error::file("remove", path))?;
        }
    }
    Ok(())
}

/// resolv.conf(5), as far as a network can say it.
fn read_resolv_conf(path: &Path) -> Result<Dns> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let words = words.map(str::to_owned);
        match keyword {
            Some("nameserver") => dns.nameservers.extend(words.take(1)),
            Some("domain") => dns.domain = words.take(1).collect(),
            Some("search") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    Ok(dns)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn config(directory: &Path, ranges: &str) -> Config {
        serde_json::from_str(&format!(
            r#"{{"type":"host-local","dataDir":{directory:?},{ranges}}}"#
        ))
        .unwrap()
    }

    const SMALL: &str = r#""subnet":"10.9.0.0/29""#;

    fn lease(config: &Config, uuid: &str, requested: &[&str]) -> Result<IpAddr> {
        let requested: Vec<IpAddr> = requested.iter().map(|ip| ip.parse().unwrap()).collect();
        let holder = Holder {
            uuid,
            if_name: "eth0",
        };
        acquire(config, "net", holder, &requested, |_| false).map(|r| r.ips[0].address.addr())
    }

    #[test]
    fn addresses_run_out_and_come_back_last_in_last_out() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), SMALL);
        let given: Vec<String> = (0..5)
            .map(|n| lease(&config, &format!("pod{n}"), &[]).unwrap().to_string())
            .collect();
        assert_eq!(
            given,
            ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"]
        );
        assert_eq!(
            lease(&config, "late", &[]).unwrap_err().to_string(),
            "no IP addresses available in network: net"
        );
        let file = directory.path().join("net/10.9.0.4");
        assert_eq!(fs::read_to_string(file).unwrap(), "pod2\r\neth0");
        release(
            &config,
            "net",
            Holder {
                uuid: "pod2",
                if_name: "eth1",
            },
        )
        .unwrap();
        assert!(
            lease(&config, "late", &[]).is_err(),
            "another interface's lease was given away"
        );
        release(
            &config,
            "net",
            Holder {
                uuid: "pod2",
                if_name: "eth0",
            },
        )
        .unwrap();
        release(
            &config,
            "net",
            Holder {
                uuid: "pod2",
                if_name: "eth0",
            },
        )
        .unwrap();
        assert_eq!(lease(&config, "late", &[]).unwrap().to_string(), "10.9.0.4");
    }

    #[test]
    fn requests() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), SMALL);
        assert_eq!(
            lease(&config, "a", &["10.9.0.5"]).unwrap().to_string(),
            "10.9.0.5"
        );
        assert_eq!(
            lease(&config, "b", &["10.9.0.5"]).unwrap_err().to_string(),
            "requested IP address 10.9.0.5 is not available in network: net; it is leased to eth0 of a"
        );
        assert_eq!(
            lease(&config, "b", &["10.9.0.1"]).unwrap_err().to_string(),
            "requested IP must differ gateway IP"
        );
        assert!(lease(&config, "b", &["10.8.0.1"]).is_err());
    }

    #[test]
    fn dead_holders_are_asked_for_their_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), r#""subnet":"10.9.0.0/30""#);
        lease(&config, "dead", &[]).unwrap();
        let holder = Holder {
            uuid: "new",
            if_name: "eth0",
        };
        let result = acquire(&config, "net", holder, &[], |uuid| {
            assert_eq!(uuid, "dead");
            release(
                &config,
                "net",
                Holder {
                    uuid,
                    if_name: "eth0",
                },
            )
            .unwrap();
            true
        })
        .unwrap();
        assert_eq!(result.ips[0].address.to_string(), "10.9.0.2/30");
    }

    #[test]
    fn an_empty_lease_is_a_crash_s_and_free() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), SMALL);
        fs::create_dir_all(directory.path().join("net")).unwrap();
        fs::write(directory.path().join("net/10.9.0.2"), "").unwrap();
        assert_eq!(lease(&config, "a", &[]).unwrap().to_string(), "10.9.0.2");
    }

    #[test]
    fn no_two_holders_ever_have_one_address() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), r#""subnet":"10.9.0.0/24""#);
        let given: Vec<IpAddr> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|t| {
                    let config = &config;
                    scope.spawn(move || {
                        (0..25)
                            .map(|n| lease(config, &format!("{t}-{n}"), &[]).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|t| t.join().unwrap())
                .collect()
        });
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 200);
    }

    #[test]
    fn resolv_conf_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        fs::write(
            &path,
            "# x\nnameserver 9.9.9.9\nsearch a b\noptions ndots:2\ndomain c\n",
        )
        .unwrap();
        let dns = read_resolv_conf(&path).unwrap();
        assert_eq!(dns.nameservers, ["9.9.9.9"]);
        assert_eq!(dns.search, ["a", "b"]);
        assert_eq!(
            (dns.domain.as_str(), dns.options[0].as_str()),
            ("c", "ndots:2")
        );
    }
}
