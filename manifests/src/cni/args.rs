//! `CNI_ARGS`: what the caller asks of one attachment, `KEY=VALUE;KEY=VALUE`.

use std::net::IpAddr;

use ipnet::IpNet;

/// The arguments of one attachment, in the order they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Args(Vec<(String, String)>);

/// Why arguments are not any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Not `KEY=VALUE`.
    #[error("{0:?} is not KEY=VALUE")]
    NotAPair(String),
    /// A built-in plugin has no such argument.
    #[error("unknown argument {0:?} (known: IP, GATEWAY, MAC)")]
    Unknown(String),
    /// Not an address.
    #[error("{key}={value} is not an address")]
    Address {
        /// The argument.
        key: &'static str,
        /// What was given.
        value: String,
    },
}

impl Args {
    /// Reads `text`, which may be empty.
    ///
    /// # Errors
    /// [`ArgsError::NotAPair`].
    pub fn parse(text: &str) -> Result<Self, ArgsError> {
        text.split(';')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(ArgsError::NotAPair(pair.to_owned())),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The last value given for `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Refuses what no built-in plugin knows, unless `IgnoreUnknown` is set.
    ///
    /// # Errors
    /// [`ArgsError::Unknown`].
    pub fn check_known(&self) -> Result<(), ArgsError> {
        if matches!(self.get("IgnoreUnknown"), Some("1" | "true")) {
            return Ok(());
        }
        let known = ["IP", "GATEWAY", "MAC", "IgnoreUnknown"];
        match self
            .0
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()))
        {
            Some((key, _)) => Err(ArgsError::Unknown(key.clone())),
            None => Ok(()),
        }
    }

    /// The addresses asked for by `IP=`, separated by commas, each with the
    /// prefix length if it was given.
    ///
    /// # Errors
    /// [`ArgsError::Address`].
    pub fn ips(&self) -> Result<Vec<(IpAddr, Option<u8>)>, ArgsError> {
        self.list("IP", |text| match text.parse::<IpNet>() {
            Ok(net) => Some((net.addr(), Some(net.prefix_len()))),
            Err(_) => text.parse().ok().map(|ip| (ip, None)),
        })
    }

    /// The gateways given by `GATEWAY=`, separated by commas.
    ///
    /// # Errors
    /// [`ArgsError::Address`].
    pub fn gateways(&self) -> Result<Vec<IpAddr>, ArgsError> {
        self.list("GATEWAY", |text| text.parse().ok())
    }

    fn list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ArgsError> {
        self.get(key)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| {
                read(text).ok_or_else(|| ArgsError::Address {
                    key,
                    value: text.to_owned(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_addresses_and_refusals() {
        let args = Args::parse("IP=10.1.2.3/24,fd00::5;GATEWAY=10.1.2.1").unwrap();
        assert_eq!(
            args.ips().unwrap(),
            [
                ("10.1.2.3".parse().unwrap(), Some(24)),
                ("fd00::5".parse().unwrap(), None)
            ]
        );
        assert_eq!(
            args.gateways().unwrap(),
            ["10.1.2.1".parse::<IpAddr>().unwrap()]
        );
        args.check_known().unwrap();
        assert_eq!(Args::parse("IP"), Err(ArgsError::NotAPair("IP".into())));
        assert_eq!(
            Args::parse("FOO=1").unwrap().check_known(),
            Err(ArgsError::Unknown("FOO".into()))
        );
        Args::parse("FOO=1;IgnoreUnknown=1")
            .unwrap()
            .check_known()
            .unwrap();
        assert!(Args::parse("IP=ten").unwrap().ips().is_err());
        assert_eq!(Args::parse("").unwrap(), Args::default());
    }
}
