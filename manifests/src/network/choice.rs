//! `--net[=N[:K=V;K=V…][,N…]]`.

use crate::cni::{Args, ArgsError};

/// Which networks a pod joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetChoice {
    /// The caller's network namespace.
    Host,
    /// A namespace with nothing but loopback.
    None,
    /// Every network there is.
    All,
    /// These, each with its arguments for the plugins.
    Named(Vec<(String, String)>),
}

/// Why a choice is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Nothing between two commas.
    #[error("netname must not be empty")]
    Empty,
    /// A network twice.
    #[error("found duplicate netname {0:?}")]
    Duplicate(String),
    /// The part after the colon is at fault.
    #[error("network {0:?} provided with invalid arguments: {1}")]
    Args(String, ArgsError),
    /// `host`, `none` and `all` take no arguments.
    #[error("network {0:?} provided with invalid arguments: it takes none")]
    NoArgs(String),
    /// `host` or `none` beside something else.
    #[error("--net={0} goes with no other network")]
    Alone(String),
}

impl NetChoice {
    /// Reads the values of all `--net` flags; none, or an empty one, means the
    /// network `default`.
    ///
    /// Unlike the original, `none` beside other networks is an error: what it
    /// did was to leave the others out without a word.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, NetError> {
        let mut named: Vec<(String, String)> = Vec::new();
        for value in values {
            // `--net` alone.
            let value = if value.is_empty() { "default" } else { value };
            for word in value.split(',') {
                let (name, args) = word.split_once(':').unwrap_or((word, ""));
                if name.is_empty() {
                    return Err(NetError::Empty);
                }
                if named.iter().any(|(other, _)| other == name) {
                    return Err(NetError::Duplicate(name.to_owned()));
                }
                if matches!(name, "host" | "none" | "all") && word.contains(':') {
                    return Err(NetError::NoArgs(name.to_owned()));
                }
                Args::parse(args).map_err(|e| NetError::Args(name.to_owned(), e))?;
                named.push((name.to_owned(), args.to_owned()));
            }
        }
        for (word, choice) in [("host", Self::Host), ("none", Self::None)] {
            if named.iter().any(|(name, _)| name == word) {
                return if named.len() == 1 {
                    Ok(choice)
                } else {
                    Err(NetError::Alone(word.to_owned()))
                };
            }
        }
        if named.iter().any(|(name, _)| name == "all") {
            return Ok(Self::All);
        }
        if named.is_empty() {
            named.push(("default".to_owned(), String::new()));
        }
        Ok(Self::Named(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(list: &[(&str, &str)]) -> NetChoice {
        NetChoice::Named(
            list.iter()
                .map(|(n, a)| ((*n).to_owned(), (*a).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn choices() {
        let parse = |values: &[&str]| NetChoice::parse(values.iter().copied());
        assert_eq!(parse(&[]).unwrap(), named(&[("default", "")]));
        assert_eq!(parse(&[""]).unwrap(), named(&[("default", "")]));
        assert_eq!(parse(&["host"]).unwrap(), NetChoice::Host);
        assert_eq!(parse(&["none"]).unwrap(), NetChoice::None);
        assert_eq!(parse(&["a", "all"]).unwrap(), NetChoice::All);
        assert_eq!(
            parse(&["a:IP=10.1.2.3;MAC=x,b", "c"]).unwrap(),
            named(&[("a", "IP=10.1.2.3;MAC=x"), ("b", ""), ("c", "")])
        );
        assert_eq!(parse(&["a,,b"]), Err(NetError::Empty));
        assert_eq!(
            parse(&["a", "a:IP=1"]),
            Err(NetError::Duplicate("a".into()))
        );
        assert_eq!(parse(&["host:IP=1"]), Err(NetError::NoArgs("host".into())));
        assert_eq!(parse(&["none,a"]), Err(NetError::Alone("none".into())));
        assert_eq!(
            parse(&["a:IP"]).unwrap_err().to_string(),
            "network \"a\" provided with invalid arguments: \"IP\" is not KEY=VALUE"
        );
    }
}
