//! `--port NAME:[IP:]PORT[-LAST]`, and what it comes to; and the form in full
//! for pods whose apps are not known yet, `NAME:PROTOCOL:PODPORT:[IP]:HOSTPORT`.

use std::net::IpAddr;
use std::str::FromStr;

use crate::appc::{ExposedPort, Port};
use crate::engine::{ForwardedPort, Protocol};

/// One `--port` flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFlag {
    /// Name of a port that exactly one app of the pod declares.
    pub name: String,
    /// The host's address; all of them if absent.
    pub host_ip: Option<IpAddr>,
    /// The host's first port.
    pub host_port: u16,
    /// The host's last port, if a range was given.
    pub last: Option<u16>,
}

/// A port that an app declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared<'a> {
    /// Its name.
    pub name: &'a str,
    /// `tcp`, `udp` or `sctp`; empty for `tcp`.
    pub protocol: &'a str,
    /// The first port.
    pub port: u16,
    /// How many.
    pub count: u16,
}

impl<'a> From<&'a Port> for Declared<'a> {
    fn from(port: &'a Port) -> Self {
        Self {
            name: port.name.as_str(),
            protocol: &port.protocol,
            port: port.port,
            count: port.count,
        }
    }
}

/// Why a port cannot be forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not of the form.
    #[error("{0:?} is not in name:[ip:]port format")]
    Format(String),
    /// Not of the form in full.
    #[error("{0:?} is not in name:protocol:podPort:[hostIP]:hostPort format")]
    FullFormat(String),
    /// One name, two ports of the pod.
    #[error("port name {0:?} is given to two ports of the pod")]
    Twice(String),
    /// Not a name.
    #[error("{0:?} is not a valid port name")]
    Name(String),
    /// Not an address.
    #[error("{0:?} is not a valid IP")]
    Ip(String),
    /// Not a port.
    #[error("{0:?} is not a valid port number")]
    Number(String),
    /// Nobody declares it.
    #[error("port name {0:?} could not be found in any apps")]
    NotFound(String),
    /// More than one app declares it.
    #[error("port name {0:?} defined multiple apps")]
    Ambiguous(String),
    /// Not tcp, udp or sctp.
    #[error("port {name:?} has the unknown protocol {protocol:?}")]
    Protocol {
        /// The port.
        name: String,
        /// Its protocol.
        protocol: String,
    },
    /// The range on the host is not as long as the app's.
    #[error("port {name:?} has {declared} port(s), but {given} were given")]
    Count {
        /// The port.
        name: String,
        /// How many the app has.
        declared: u16,
        /// How many the flag has.
        given: u32,
    },
    /// Past 65535.
    #[error("port {0:?} goes beyond port 65535")]
    TooHigh(String),
    /// Two ports of the pod at the same place.
    #[error("port {protocol}-{ip}:{port} already mapped to pod port {pod_port}")]
    Taken {
        /// The protocol.
        protocol: Protocol,
        /// The host's address.
        ip: IpAddr,
        /// The host's port.
        port: u16,
        /// Who has it.
        pod_port: u16,
    },
}

impl FromStr for PortFlag {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let format = || PortError::Format(text.to_owned());
        let (name, rest) = text.split_once(':').ok_or_else(format)?;
        check_name(name)?;
        let (ip, port) = match rest.rsplit_once(':') {
            Some((ip, port)) => (Some(ip), port),
            None => (None, rest),
        };
        let host_ip = ip.map(|ip| address(ip, format)).transpose()?;
        let (host_port, last) = match port.split_once('-') {
            Some((first, last)) => (number(first)?, Some(number(last)?)),
            None => (number(port)?, None),
        };
        if last.is_some_and(|last| last < host_port) {
            return Err(PortError::Number(port.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            host_ip,
            host_port,
            last,
        })
    }
}

fn check_name(name: &str) -> Result<(), PortError> {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = name.starts_with('-') || name.ends_with('-');
    if name.is_empty() || edge || !name.bytes().all(valid) {
        return Err(PortError::Name(name.to_owned()));
    }
    Ok(())
}

/// An address, IPv6 also in brackets.
fn address(text: &str, format: impl Fn() -> PortError) -> Result<IpAddr, PortError> {
    let bare = match text.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(format)?,
        None => text,
    };
    bare.parse().map_err(|_| PortError::Ip(text.to_owned()))
}

fn number(digits: &str) -> Result<u16, PortError> {
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(PortError::Number(digits.to_owned())),
    }
}

/// Reads `NAME:PROTOCOL:PODPORT:[IP]:HOSTPORT`: a port that no app needs to
/// declare. Without an address it is reached by all of the host's.
///
/// # Errors
/// [`PortError`], for what is none.
pub fn parse_exposed(text: &str) -> Result<ExposedPort, PortError> {
    let format = || PortError::FullFormat(text.to_owned());
    // The address may have colons itself.
    let mut fields = text.splitn(4, ':');
    let mut field = || fields.next().ok_or_else(format);
    let (name, protocol, pod_port, rest) = (field()?, field()?, field()?, field()?);
    let (ip, host_port) = rest.rsplit_once(':').ok_or_else(format)?;
    check_name(name)?;
    let valid_name = || PortError::Name(name.to_owned());
    // Only an absent protocol may be left out, and here none is absent.
    if protocol.is_empty() || protocol.parse::<Protocol>().is_err() {
        return Err(PortError::Protocol {
            name: name.to_owned(),
            protocol: protocol.to_owned(),
        });
    }
    let host_ip = (!ip.is_empty()).then(|| address(ip, format)).transpose()?;
    Ok(ExposedPort {
        name: name.parse().map_err(|_| valid_name())?,
        host_port: number(host_port)?,
        host_ip,
        pod_port: Some(Port {
            name: name.parse().map_err(|_| valid_name())?,
            protocol: protocol.to_owned(),
            port: number(pod_port)?,
            count: 1,
            socket_activated: false,
        }),
    })
}

/// No two of `ports` lead a name to different ports of the pod.
///
/// # Errors
/// [`PortError::Twice`].
pub fn check_exposed(ports: &[ExposedPort]) -> Result<(), PortError> {
    for (index, port) in ports.iter().enumerate() {
        let other =
            |other: &&ExposedPort| other.name == port.name && other.pod_port != port.pod_port;
        if ports[..index].iter().any(|o| other(&o)) {
            return Err(PortError::Twice(port.name.to_string()));
        }
    }
    Ok(())
}

impl FromStr for Protocol {
    type Err = ();

    /// An empty text is TCP.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(()),
        }
    }
}

/// Finds each flag's port among those that the pod's apps declare.
///
/// # Errors
/// [`PortError`], also when two flags claim the same place on the host.
pub fn resolve(
    flags: &[PortFlag],
    declared: &[Declared<'_>],
) -> Result<Vec<ForwardedPort>, PortError> {
    let mut ports: Vec<ForwardedPort> = Vec::new();
    for flag in flags {
        let name = || flag.name.clone();
        let mut matching = declared.iter().filter(|port| port.name == flag.name);
        let port = matching.next().ok_or_else(|| PortError::NotFound(name()))?;
        if matching.next().is_some() {
            return Err(PortError::Ambiguous(name()));
        }
        let protocol = port.protocol.parse().map_err(|()| PortError::Protocol {
            name: name(),
            protocol: port.protocol.to_owned(),
        })?;
        if let Some(last) = flag.last {
            let given = u32::from(last - flag.host_port) + 1;
            if given != u32::from(port.count) {
                return Err(PortError::Count {
                    name: name(),
                    declared: port.count,
                    given,
                });
            }
        }
        let beyond = |first: u16| u32::from(first) + u32::from(port.count) > 65536;
        if beyond(flag.host_port) || beyond(port.port) {
            return Err(PortError::TooHigh(name()));
        }
        let new = ForwardedPort {
            name: name(),
            protocol,
            host_ip: flag.host_ip,
            host_port: flag.host_port,
            pod_port: port.port,
            count: port.count,
        };
        if let Some((other, port)) = ports
            .iter()
            .find_map(|other| Some((other, overlap(other, &new)?)))
        {
            return Err(PortError::Taken {
                protocol,
                ip: other.host_ip.unwrap_or([0, 0, 0, 0].into()),
                port,
                pod_port: other.pod_port + (port - other.host_port),
            });
        }
        ports.push(new);
    }
    Ok(ports)
}

/// The first host port that both claim.
fn overlap(a: &ForwardedPort, b: &ForwardedPort) -> Option<u16> {
    let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    let same_ip = match (a.host_ip, b.host_ip) {
        _ if a.protocol != b.protocol => false,
        (Some(a), Some(b)) if a.is_ipv4() != b.is_ipv4() => false,
        (a, b) => any(a) || any(b) || a == b,
    };
    let first = a.host_port.max(b.host_port);
    let last = (u32::from(a.host_port) + u32::from(a.count))
        .min(u32::from(b.host_port) + u32::from(b.count));
    (same_ip && u32::from(first) < last).then_some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flags() {
        let flag = |text: &str| text.parse::<PortFlag>();
        assert_eq!(flag("http:8080").unwrap().host_port, 8080);
        assert_eq!(
            flag("80-tcp:127.0.0.1:80").unwrap().host_ip,
            Some("127.0.0.1".parse().unwrap())
        );
        assert_eq!(
            flag("a:[fd00::1]:80").unwrap().host_ip,
            Some("fd00::1".parse().unwrap())
        );
        assert_eq!(flag("a:7000-7009").unwrap().last, Some(7009));
        for (text, message) in [
            ("http", "\"http\" is not in name:[ip:]port format"),
            ("HTTP:80", "\"HTTP\" is not a valid port name"),
            ("a:localhost:80", "\"localhost\" is not a valid IP"),
            ("a:0", "\"0\" is not a valid port number"),
            ("a:65536", "\"65536\" is not a valid port number"),
            ("a:9-8", "\"9-8\" is not a valid port number"),
            ("a:", "\"\" is not a valid port number"),
        ] {
            assert_eq!(flag(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn ports_in_full() {
        let port = parse_exposed("web:tcp:80:127.0.0.1:8080").unwrap();
        assert_eq!((port.name.as_str(), port.host_port), ("web", 8080));
        assert_eq!(port.host_ip, Some("127.0.0.1".parse().unwrap()));
        let inner = port.pod_port.clone().unwrap();
        assert_eq!(
            (inner.port, inner.protocol.as_str(), inner.count),
            (80, "tcp", 1)
        );
        let any = parse_exposed("dns:udp:53::5353").unwrap();
        assert_eq!(any.host_ip, None);
        for text in ["web:tcp:80:[fd00::1]:8080", "web:tcp:80:fd00::1:8080"] {
            let port = parse_exposed(text).unwrap();
            assert_eq!(port.host_ip, Some("fd00::1".parse().unwrap()), "{text}");
        }
        let full = "is not in name:protocol:podPort:[hostIP]:hostPort format";
        for (text, message) in [
            ("web:8080", format!("\"web:8080\" {full}")),
            ("web:tcp:80:8080", format!("\"web:tcp:80:8080\" {full}")),
            ("Web:tcp:80::1", "\"Web\" is not a valid port name".into()),
            (
                "w:dccp:80::1",
                "port \"w\" has the unknown protocol \"dccp\"".into(),
            ),
            (
                "w::80::1",
                "port \"w\" has the unknown protocol \"\"".into(),
            ),
            ("w:tcp:0::1", "\"0\" is not a valid port number".into()),
            ("w:tcp:80:here:1", "\"here\" is not a valid IP".into()),
            (
                "w:tcp:80::70000",
                "\"70000\" is not a valid port number".into(),
            ),
        ] {
            assert_eq!(parse_exposed(text).unwrap_err().to_string(), message);
        }
        let other = parse_exposed("web:tcp:81::8081").unwrap();
        check_exposed(&[port.clone(), port.clone()]).unwrap();
        assert_eq!(
            check_exposed(&[port, other]).unwrap_err().to_string(),
            "port name \"web\" is given to two ports of the pod"
        );
    }

    fn declared<'a>(name: &'a str, protocol: &'a str, port: u16, count: u16) -> Declared<'a> {
        Declared {
            name,
            protocol,
            port,
            count,
        }
    }

    #[test]
    fn resolution_names_what_is_wrong() {
        let apps = [
            declared("http", "tcp", 80, 1),
            declared("dns", "udp", 53, 1),
            declared("rtp", "udp", 7000, 10),
            declared("twice", "tcp", 1, 1),
            declared("twice", "tcp", 2, 1),
            declared("odd", "dccp", 1, 1),
        ];
        let run = |flags: &[&str]| {
            let flags: Vec<PortFlag> = flags.iter().map(|f| f.parse().unwrap()).collect();
            resolve(&flags, &apps).map_err(|e| e.to_string())
        };
        let ports = run(&["http:8080", "rtp:9000-9009"]).unwrap();
        assert_eq!(
            (ports[1].host_port, ports[1].pod_port, ports[1].count),
            (9000, 7000, 10)
        );
        for (flags, message) in [
            (
                &["x:1"][..],
                "port name \"x\" could not be found in any apps",
            ),
            (&["twice:1"], "port name \"twice\" defined multiple apps"),
            (&["odd:1"], "port \"odd\" has the unknown protocol \"dccp\""),
            (
                &["rtp:1-2"],
                "port \"rtp\" has 10 port(s), but 2 were given",
            ),
            (&["rtp:65530"], "port \"rtp\" goes beyond port 65535"),
            (
                &["http:80", "http:10.0.0.1:80"],
                "port tcp-0.0.0.0:80 already mapped to pod port 80",
            ),
            (
                &["rtp:9000", "dns:9004"],
                "port udp-0.0.0.0:9004 already mapped to pod port 7004",
            ),
        ] {
            assert_eq!(run(flags).unwrap_err(), message);
        }
        run(&["http:80", "dns:80"]).unwrap();
        run(&["http:10.0.0.1:80", "http:10.0.0.2:80"]).unwrap();
    }

    proptest! {
        #[test]
        fn no_text_makes_the_grammar_panic(text in ".{0,40}") {
            let _ = text.parse::<PortFlag>();
            let _ = parse_exposed(&text);
        }

        /// Two ports overlap if and only if some number is in both.
        #[test]
        fn overlaps_are_found(a in 1u16..50, an in 1u16..10, b in 1u16..50, bn in 1u16..10) {
            let port = |first, count| ForwardedPort {
                name: "x".into(), protocol: Protocol::Tcp, host_ip: None,
                host_port: first, pod_port: 1, count,
            };
            let common = (a..a + an).find(|p| (b..b + bn).contains(p));
            prop_assert_eq!(overlap(&port(a, an), &port(b, bn)), common);
        }
    }
}
