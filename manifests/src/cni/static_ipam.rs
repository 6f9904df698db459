//! `static` address management: the configuration says it all.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::args::{Args, ArgsError};
use super::result::{CniResult, Dns, IpConfig, Route};

/// What `ipam` of type `static` says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The pod's addresses.
    pub addresses: Vec<Address>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// Name resolution.
    pub dns: Dns,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Address {
    /// With the length of the network's prefix.
    pub address: IpNet,
    /// The way out.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
}

/// Why there are no static addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaticError {
    /// Neither the configuration nor the caller names one.
    #[error("ipam \"static\" has no addresses, and none was asked for by IP=")]
    None,
    /// The caller named one without a prefix length.
    #[error("IP={0} needs a prefix length, as in IP={0}/24")]
    NoPrefix(IpAddr),
    /// The arguments are at fault.
    #[error(transparent)]
    Args(#[from] ArgsError),
}

impl Config {
    /// The result; what the caller asks for by `IP=` replaces the addresses,
    /// and `GATEWAY=` gives each of them the gateway of its network.
    ///
    /// # Errors
    /// [`StaticError`].
    pub fn assign(&self, args: &Args) -> Result<CniResult, StaticError> {
        let mut addresses = Vec::new();
        for (ip, prefix) in args.ips()? {
            let address = prefix
                .and_then(|prefix| IpNet::new(ip, prefix).ok())
                .ok_or(StaticError::NoPrefix(ip))?;
            addresses.push(Address {
                address,
                gateway: None,
            });
        }
        if addresses.is_empty() {
            addresses.clone_from(&self.addresses);
        }
        if addresses.is_empty() {
            return Err(StaticError::None);
        }
        for gateway in args.gateways()? {
            for address in addresses
                .iter_mut()
                .filter(|a| a.address.contains(&gateway))
            {
                address.gateway = Some(gateway);
            }
        }
        Ok(CniResult {
            ips: addresses
                .into_iter()
                .map(|a| IpConfig {
                    address: a.address,
                    gateway: a.gateway,
                    interface: None,
                })
                .collect(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
            ..CniResult::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        serde_json::from_str(
            r#"{"type":"static","addresses":[{"address":"10.5.0.7/24","gateway":"10.5.0.1"}],
                "routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["9.9.9.9"]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn the_caller_wins_over_the_file() {
        let assign = |args: &str| config().assign(&Args::parse(args).unwrap());
        assert_eq!(
            assign("").unwrap().ips[0].gateway,
            Some("10.5.0.1".parse().unwrap())
        );
        let asked = assign("IP=10.6.0.2/16,fd00::2/64;GATEWAY=10.6.0.1").unwrap();
        assert_eq!(asked.ips[0].address.to_string(), "10.6.0.2/16");
        assert_eq!(asked.ips[0].gateway, Some("10.6.0.1".parse().unwrap()));
        assert_eq!(asked.ips[1].gateway, None);
        assert_eq!(asked.routes.len(), 1);
        assert_eq!(
            assign("IP=10.6.0.2").unwrap_err(),
            StaticError::NoPrefix("10.6.0.2".parse().unwrap())
        );
        assert_eq!(
            Config::default().assign(&Args::default()).unwrap_err(),
            StaticError::None
        );
    }
}
