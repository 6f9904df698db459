//! What every step of joining and leaving has at hand.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use manifests::cni::plugins::{Builtin, Ipam};
use manifests::cni::{Args, CniResult, IpConfig, NetworkConfig, Plugin, Route};
use manifests::engine::ForwardedPort;
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
    /// Ports of the host that a program of the chain is to lead into the pod.
    pub(crate) ports: &'a [ForwardedPort],
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

    /// Makes sure that the host knows nobody but the pod by `address`, and that
    /// its network is not one that the host is in already.
    ///
    /// The kernel is asked for the way that a packet would take, so the answer
    /// costs the same however many pods there are.
    pub(crate) fn check_free(&mut self, address: IpNet) -> Result<()> {
        let ip = address.addr();
        let there =
            route::lookup(&mut self.host, ip).map_err(Error::kernel("ask for the route to", ip))?;
        let Some(there) = there else {
            return Ok(());
        };
        // A wider network is one that ours is a part of, which is fine.
        if there.dst.prefix_len() < address.prefix_len() {
            return Ok(());
        }
        let by = self.name_of(there.index);
        if there.dst.prefix_len() == there.dst.max_prefix_len() {
            return Err(Error::AddressTaken { ip, by });
        }
        Err(Error::Overlap {
            subnet: address.trunc(),
            other: there.dst,
            whose: format!("interface {by}"),
        })
    }

    /// Makes sure that no interface but number `index` is in `subnet`.
    pub(crate) fn check_subnet(&mut self, subnet: IpNet, index: u32) -> Result<()> {
        let all = route::all_addresses(&mut self.host, 0)
            .map_err(Error::kernel("read", "the host's addresses"))?;
        let other = all.into_iter().find(|(other, address)| {
            // Single addresses are those of gateways to pods.
            *other != index
                && address.prefix_len() < address.max_prefix_len()
                && subnet.contains(&address.trunc())
        });
        match other {
            None => Ok(()),
            Some((other, address)) => Err(Error::Overlap {
                subnet: subnet.trunc(),
                other: address.trunc(),
                whose: format!("interface {}", self.name_of(other)),
            }),
        }
    }

    /// The name of an interface of the host, for an error's text.
    fn name_of(&mut self, index: u32) -> String {
        link::get_index(&mut self.host, index)
            .map_or_else(|_| format!("number {index}"), |link| link.name)
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
        let config = attach.config;
        // From the version on that has CHECK, DEL is told, too.
        let previous = previous.filter(|_| command == "ADD" || config.cni_version.has_check());
        let mut input = input_of(config, plugin, previous);
        let runtime = runtime_config(plugin, attach)?;
        if !runtime.is_empty() {
            input.insert("runtimeConfig".into(), Value::Object(runtime));
        }
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
pub(crate) fn input_of(
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

/// What a plugin that says what it can do is told of this attachment.
///
/// Source: CNI's conventions, "Dynamic Plugin specific fields".
fn runtime_config(plugin: &Plugin, attach: Attach<'_>) -> Result<Map<String, Value>> {
    let mut told = Map::new();
    let (_, args) = attach.args;
    if plugin.has_capability("portMappings") && !attach.ports.is_empty() {
        let mappings: Vec<Value> = attach.ports.iter().flat_map(mappings).collect();
        told.insert("portMappings".into(), json!(mappings));
    }
    if plugin.has_capability("mac")
        && let Some(mac) = args.get("MAC")
    {
        told.insert("mac".into(), json!(mac));
    }
    if plugin.has_capability("ips") {
        let ips: Vec<String> = args
            .ips()?
            .into_iter()
            .map(|(ip, bits)| bits.map_or_else(|| ip.to_string(), |bits| format!("{ip}/{bits}")))
            .collect();
        if !ips.is_empty() {
            told.insert("ips".into(), json!(ips));
        }
    }
    Ok(told)
}

fn mappings(port: &ForwardedPort) -> impl Iterator<Item = Value> {
    (0..port.count).map(|offset| {
        let mut mapping = json!({
            "hostPort": port.host_port + offset,
            "containerPort": port.pod_port + offset,
            "protocol": port.protocol,
        });
        if let Some(ip) = port.host_ip {
            mapping["hostIP"] = json!(ip);
        }
        mapping
    })
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
            what: "nftables with NAT (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET); try \"modprobe -a nf_tables nft_chain_nat nft_masq nft_fib_inet\", or go without by a network that has no \"ipMasq\", such as default-restricted, and no --port",
            source: refusal,
        },
        _ => Error::kernel("change", "the nftables table \"inet rkt\"")(refusal),
    }
}

/// Whether any of `ips` is of one family.
pub(crate) fn has_family(ips: &[IpConfig], v4: bool) -> bool {
    ips.iter().any(|ip| ip.address.addr().is_ipv4() == v4)
}
