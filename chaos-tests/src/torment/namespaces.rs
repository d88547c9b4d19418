//! A network namespace for each site, with an address of its own on a bridge of this machine (Linux, root, `ip` of iproute2).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use warifu_protocol::NodeId;

/// Networks that are tried: those of RFC 2544, which measurements have to themselves.
const NETWORKS: [(u8, u8); 2] = [(198, 18), (198, 19)];
/// The last number of this machine's own address in the network; sites have their own numbers.
const OWN: u8 = 254;
/// What everything that is made is called begins with.
const NAMESPACE: &str = "warifu-";
const BRIDGE: &str = "wfb";
const LINE: &str = "wfl";

/// The namespaces, while they are there; all is taken down on drop. What a killed program of the same kind left behind is taken down by the next one.
#[derive(Debug)]
pub(crate) struct Namespaces {
    process: u32,
    network: [u8; 3],
    sites: BTreeMap<NodeId, String>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespacesError {
    /// `ip` cannot be run.
    #[error("--netns needs the program `ip` of iproute2")]
    NoProgram {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `ip` ended badly.
    #[error("--netns needs root and network namespaces; `ip {arguments}` says: {said}")]
    Refused {
        /// What it was told.
        arguments: String,
        /// What it said.
        said: String,
    },
    /// Every network is in use.
    #[error("no network of 198.18.0.0/15 is free for --netns")]
    NoNetwork,
}

impl Namespaces {
    /// Makes one for each node, and a bridge between them and this machine.
    pub(super) fn make(nodes: &[NodeId]) -> Result<Self, NamespacesError> {
        take_down_leftovers()?;
        let process = std::process::id();
        let mut made = Self { process, network: free_network(process)?, sites: BTreeMap::new() };
        let bridge = made.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["address", "add", &format!("{}/24", made.own()), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for &node in nodes {
            let (namespace, line) = (format!("{NAMESPACE}{process}-{node}"), format!("{LINE}{process}n{node}"));
            ip(&["netns", "add", &namespace])?;
            made.sites.insert(node, namespace.clone());
            ip(&["link", "add", &line, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["link", "set", &line, "master", &bridge, "up"])?;
            ip(&["-n", &namespace, "address", "add", &format!("{}/24", made.address(node)), "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        }
        Ok(made)
    }

    /// Where the others reach this machine.
    pub(super) const fn own(&self) -> Ipv4Addr {
        let [one, two, three] = self.network;
        Ipv4Addr::new(one, two, three, OWN)
    }

    /// A node's address.
    pub(super) const fn address(&self, node: NodeId) -> Ipv4Addr {
        let [one, two, three] = self.network;
        Ipv4Addr::new(one, two, three, node.get())
    }

    /// The command that runs a program in a node's namespace.
    pub(super) fn launcher(&self, node: NodeId) -> Vec<OsString> {
        let namespace = self.sites.get(&node).into_iter();
        namespace.flat_map(|namespace| ["ip", "netns", "exec", namespace].map(OsString::from)).collect()
    }

    /// What they are called.
    pub(super) fn names(&self) -> Vec<String> {
        self.sites.values().cloned().collect()
    }

    fn bridge(&self) -> String {
        format!("{BRIDGE}{}", self.process)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // A line goes with the namespace of its other end. Whatever is not there any more needs no taking down.
        for namespace in self.sites.values() {
            let _ = ip(&["netns", "delete", namespace]);
        }
        let _ = ip(&["link", "delete", &self.bridge()]);
    }
}

/// Takes down what belongs to processes that are no more.
fn take_down_leftovers() -> Result<(), NamespacesError> {
    let is_over = |process: &str| process.parse::<u32>().is_ok_and(|id| !Path::new(&format!("/proc/{id}")).exists());
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if name.strip_prefix(NAMESPACE).and_then(|rest| rest.split_once('-')).is_some_and(|(process, _)| is_over(process)) {
            ip(&["netns", "delete", name])?;
        }
    }
    for line in ip(&["-o", "link", "show", "type", "bridge"])?.lines() {
        let name = line.split(": ").nth(1).unwrap_or_default();
        if name.strip_prefix(BRIDGE).is_some_and(is_over) {
            ip(&["link", "delete", name])?;
        }
    }
    Ok(())
}

/// A network in which this machine has no address yet; processes begin their search at different ones.
fn free_network(process: u32) -> Result<[u8; 3], NamespacesError> {
    for step in 0..=u8::MAX {
        let third = process.to_le_bytes()[0].wrapping_add(step);
        for (one, two) in NETWORKS {
            if ip(&["-o", "address", "show", "to", &format!("{one}.{two}.{third}.0/24")])?.is_empty() {
                return Ok([one, two, third]);
            }
        }
    }
    Err(NamespacesError::NoNetwork)
}

fn ip(arguments: &[&str]) -> Result<String, NamespacesError> {
    let output = Command::new("ip").args(arguments).output().map_err(|source| NamespacesError::NoProgram { source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(NamespacesError::Refused { arguments: arguments.join(" "), said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_is_left_of_namespaces_that_are_given_up() {
        let nodes: Vec<NodeId> = (1..=2).filter_map(NodeId::new).collect();
        let made = match Namespaces::make(&nodes) {
            Ok(made) => made,
            Err(error) => {
                writeln!(std::io::stderr(), "skipped: {error}").expect("somebody reads it");
                return;
            }
        };
        let (names, bridge) = (made.names(), made.bridge());
        let there = |names: &[String]| {
            ip(&["netns", "list"]).expect("a list").lines().filter(|line| names.iter().any(|name| line.starts_with(name.as_str()))).count()
        };
        assert_eq!(there(&names), 2);
        let arguments: Vec<OsString> = made.launcher(nodes[1]).split_off(1);
        let seen = Command::new("ip").args(arguments).args(["ip", "-o", "address", "show", "dev", "eth0"]).output().expect("runs");
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(seen.contains(&made.address(nodes[1]).to_string()), "{seen}");
        drop(made);
        assert_eq!(there(&names), 0);
        assert!(ip(&["link", "show", &bridge]).is_err());
    }
}
