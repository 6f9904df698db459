//! What every step of joining and leaving has at hand.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifests::cni::plugins::{Builtin, Ipam};
use manifests::cni::{Args, CniResult, IpConfig, NetworkConfig, Plugin, Route};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use super::error::{Error, Result};
use super::execute::{self, Call};
use super::lease::{self, Holder};
use super::namespace;
use super::netlink::link;
use super::netlink::message::Message;
use super::netlink::route::{self, Subnet};
use super::netlink::socket::{Refusal, Socket};
use super::nft::{Nft, Part};
use super::reclaim;

/// The pod whose network it is.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a> {
    /// Its UUID.
    pub uuid: &'a str,
    /// Its directory.
    pub directory: &'a Path,
    /// Where plugins' programs are.
    pub plugin_path: &'a [PathBuf],
    /// How long a plugin's program may take.
    pub deadline: Duration,
}

/// One interface of the pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attach<'a> {
    /// The network.
    pub(crate) config: &'a NetworkConfig,
    /// Name of the interface in the pod.
    pub(crate) if_name: &'a str,
    /// Arguments, as given and as read.
    pub(crate) args: (&'a str, &'a Args),
    /// Number of the interface among the pod's, from 0.
    pub(crate) number: usize,
}

/// Sockets on both sides, and what joining collects for the firewall.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) pod: Pod<'a>,
    /// Interfaces of the host.
    pub(crate) host: Socket,
    /// The pod's namespace and its interfaces; none if it is gone.
    pub(crate) inside: Option<(BorrowedFd<'a>, Socket)>,
    /// For the firewall, all at once at the end.
    pub(crate) firewall: Part,
    /// The pod's interfaces are about to end with its namespace.
    pub(crate) ending: bool,
    /// The namespace has a path.
    published: bool,
}

impl<'a> Session<'a> {
    pub(crate) fn open(pod: Pod<'a>, netns: Option<BorrowedFd<'a>>) -> Result<Self> {
        let host = Socket::open(None, 0).map_err(Error::kernel("open", "rtnetlink"))?;
        let inside = netns
            .map(|netns| {
                let socket = namespace::within(netns, || {
                    Socket::open(None, 0).map_err(Error::kernel("open", "rtnetlink of the pod"))
                })?;
                Ok::<_, Error>((netns, socket))
            })
            .transpose()?;
        Ok(Self {
            pod,
            host,
            inside,
            firewall: Part::default(),
            ending: false,
            published: false,
        })
    }

    /// The pod's namespace.
    ///
    /// # Errors
    /// When it is gone, which only leaving may meet.
    pub(crate) fn netns(&self) -> Result<BorrowedFd<'a>> {
        match &self.inside {
            Some((netns, _)) => Ok(*netns),
            None => Err(Error::kernel("find", "the pod's network namespace")(
                Errno::NOENT,
            )),
        }
    }

    /// The socket in the pod's namespace.
    pub(crate) fn inside(&mut self) -> Result<&mut Socket> {
        match &mut self.inside {
            Some((_, socket)) => Ok(socket),
            None => Err(Error::kernel("find", "the pod's network namespace")(
                Errno::NOENT,
            )),
        }
    }

    /// Does `requests` in the pod's namespace.
    pub(crate) fn request_inside(
        &mut self,
        doing: &'static str,
        object: &str,
        requests: Vec<Message>,
    ) -> Result<()> {
        self.inside()?
            .request(requests)
            .map_err(Error::kernel(doing, object))
    }

    /// Opens nftables of the host.
    pub(crate) fn nft() -> Result<Nft> {
        Nft::open().map_err(missing_nftables)
    }

    /// The name of an interface of ours in the host: the same every time, so
    /// that whoever undoes a start finds what a crash left.
    pub(crate) fn host_name(&self, prefix: &str, attach: Attach<'_>) -> String {
        let id: String = self
            .pod
            .uuid
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let number = char::from_digit(attach.number as u32 % 36, 36).unwrap_or('0');
        let room = link::NAME_MAX - prefix.len() - 1;
        format!("{prefix}{}{number}", &id[..id.len().min(room)])
    }

    /// Runs the program of plugin `kind` for this attachment.
    pub(crate) fn execute(
        &mut self,
        command: &'static str,
        kind: &str,
        plugin: &Plugin,
        attach: Attach<'_>,
        previous: Option<&CniResult>,
    ) -> Result<CniResult> {
        let path = if self.inside.is_some() {
            if !self.published {
                // Programs know namespaces by path only.
                namespace::publish(self.netns()?, self.pod.uuid)?;
                self.published = true;
            }
            namespace::path_of(self.pod.uuid)
        } else {
            PathBuf::new()
        };
        let call = Call {
            command,
            container: self.pod.uuid,
            netns: &path,
            if_name: attach.if_name,
            args: attach.args.0,
            path: self.pod.plugin_path,
            deadline: self.pod.deadline,
        };
        let input = input_of(attach.config, plugin, previous);
        execute::run(kind, &Value::Object(input).to_string(), call)
    }

    /// The namespace has been given a path by an earlier process.
    pub(crate) fn assume_published(&mut self) {
        self.published = namespace::path_of(self.pod.uuid).exists();
    }

    /// Gets addresses for a built-in plugin.
    pub(crate) fn assign(
        &mut self,
        ipam: &Ipam,
        plugin: &Plugin,
        attach: Attach<'_>,
    ) -> Result<CniResult> {
        let (_, args) = attach.args;
        args.check_known()?;
        match ipam {
            Ipam::None => Ok(CniResult::default()),
            Ipam::Static(config) => Ok(config.assign(args)?),
            Ipam::HostLocal(config) => {
                let requested: Vec<_> = args.ips()?.into_iter().map(|(ip, _)| ip).collect();
                let pod = self.pod;
                let holder = Holder {
                    uuid: pod.uuid,
                    if_name: attach.if_name,
                };
                lease::acquire(config, &attach.config.name, holder, &requested, |uuid| {
                    reclaim::dead_pod(pod, uuid)
                })
            }
            Ipam::Plugin(kind) => self.execute("ADD", kind, plugin, attach, None),
        }
    }

    /// Gives back what [`Session::assign`] got; `known` is what that was.
    pub(crate) fn unassign(
        &mut self,
        ipam: &Ipam,
        plugin: &Plugin,
        attach: Attach<'_>,
        known: Option<&CniResult>,
    ) -> Result<()> {
        match ipam {
            Ipam::None | Ipam::Static(_) => Ok(()),
            Ipam::HostLocal(config) => {
                let holder = Holder {
                    uuid: self.pod.uuid,
                    if_name: attach.if_name,
                };
                let network = &attach.config.name;
                match known {
                    Some(result) => {
                        let ips = result.ips.iter().map(|ip| ip.address.addr());
                        lease::release_known(config, network, holder, ips)
                    }
                    None => lease::release(config, network, holder),
                }
            }
            Ipam::Plugin(kind) => self.execute("DEL", kind, plugin, attach, None).map(|_| ()),
        }
    }

    /// The requests that give interface `index` in the pod its addresses, and
    /// the routes of `result`.
    pub(crate) fn configure(index: u32, result: &CniResult, subnet: Subnet) -> Vec<Message> {
        let mut requests: Vec<Message> = result
            .ips
            .iter()
            .map(|ip| route::add_address(index, ip.address, subnet))
            .collect();
        requests.extend(
            routes_of(result)
                .iter()
                .map(|route| route::add_route(index, route)),
        );
        requests
    }
}

/// The routes of `result`; one without a next hop goes to the gateway of the
/// first address of its family.
pub(crate) fn routes_of(result: &CniResult) -> Vec<Route> {
    let gateway = |route: &Route| {
        let v4 = route.dst.addr().is_ipv4();
        result
            .ips
            .iter()
            .filter(|ip| ip.address.addr().is_ipv4() == v4)
            .find_map(|ip| ip.gateway)
    };
    result
        .routes
        .iter()
        .map(|route| Route {
            gw: route.gw.or_else(|| gateway(route)),
            ..route.clone()
        })
        .collect()
}

/// What stands on a plugin's standard input.
fn input_of(
    config: &NetworkConfig,
    plugin: &Plugin,
    previous: Option<&CniResult>,
) -> Map<String, Value> {
    let mut input = plugin.to_object();
    input.insert("name".into(), json!(config.name));
    input.insert("cniVersion".into(), json!(config.cni_version));
    if let Some(previous) = previous {
        input.insert("prevResult".into(), previous.to_json(config.cni_version));
    }
    input
}

/// The built-in plugin that `plugin` asks for; `None` when it is a program.
pub(crate) fn builtin(plugin: &Plugin) -> Result<Option<Builtin>> {
    let json = Value::Object(plugin.keys.clone()).to_string();
    Builtin::parse(&plugin.kind, &json).map_err(|source| Error::Config {
        plugin: plugin.kind.clone(),
        source,
    })
}

/// For `map_err`: nftables is not there, or refused.
pub(crate) fn missing_nftables(refusal: Refusal) -> Error {
    match refusal.errno {
        Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT => Error::Missing {
            what: "nftables with NAT (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET); set \"ipMasq\": false and forward no ports to go without",
            source: refusal,
        },
        _ => Error::kernel("change", "the nftables table \"inet rkt\"")(refusal),
    }
}

/// Whether any of `ips` is of one family.
pub(crate) fn has_family(ips: &[IpConfig], v4: bool) -> bool {
    ips.iter().any(|ip| ip.address.addr().is_ipv4() == v4)
}
