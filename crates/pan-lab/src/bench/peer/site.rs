//! A peer's hosts: namespaces as a laboratory's, on one network, with a client.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use pan_linux::hostns::{self, HostNsSpec};
use pan_linux::netns::{NETNS_DIR, Netns};
use pan_linux::rtnl::{BridgeSpec, Rtnl};
use pan_linux::sysctl;

use super::HOSTS;
use super::setup::{CLIENT, DEVICE, FileKind, Member, NETWORK, Setup, folder, name};
use crate::bench::demo::DATA;
use crate::bench::leftovers::{self, group, remove};
use crate::bench::probing::Client;
use crate::boot::{DEATH_WAIT, REALTIME_PERIOD};
use crate::config;
use crate::error::LabError;

const BRIDGE: &str = "out";
/// A file of a host that was cut off.
const CUT: &str = "cut";
/// Processors' time for real-time scheduling, which corosync asks for, of all hosts per period: nearly all there is,
/// or what is left beside a laboratory. Of less it would be better off without: a ration that is used up stops it for
/// longer than the token timeouts that are measured, while without real time it competes like anybody else.
const REALTIME: [Duration; 2] = [Duration::from_millis(90), Duration::from_millis(50)];

/// A network with hosts that lives as long as this value.
#[derive(Debug)]
pub(super) struct Site {
    name: String,
    data: PathBuf,
    /// Of all hosts together; none where the kernel does not ration it, or has none left.
    realtime: Option<Duration>,
}

impl Site {
    /// Makes the network and the client; no host so far.
    pub(super) fn up(exe: &Path) -> Result<Self, LabError> {
        let name = leftovers::fresh_name();
        let data = Path::new(DATA).join(&name);
        // From here on it is removed, however far it comes.
        let mut site = Self { name, data, realtime: None };
        for dir in [site.data.clone(), site.switch()] {
            fs::create_dir_all(&dir).map_err(LabError::file("create", &dir))?;
        }
        config::keep_program(&site.data, exe)?;
        let group = group(&site.name)?;
        group.create().map_err(LabError::kernel("make a site's control group"))?;
        site.realtime = REALTIME.into_iter().find(|share| group.allow_realtime(*share, REALTIME_PERIOD));
        let hub = Netns::create(&site.name).map_err(LabError::kernel("make a site's network"))?;
        let rtnl = Rtnl::open_in(&hub).map_err(LabError::kernel("make a site's network"))?;
        let bridge = || -> pan_linux::rtnl::Result<()> {
            rtnl.add_bridge(BRIDGE, &BridgeSpec { mac: mac(CLIENT, 0xfe), mcast_snooping: false })?;
            rtnl.set_addrgen_none(BRIDGE)?;
            rtnl.set_up(BRIDGE)
        };
        bridge().map_err(LabError::kernel("make a site's network"))?;
        site.plug("client", CLIENT)?;
        Ok(site)
    }

    /// Where the client is.
    pub(super) fn client(&self) -> Client {
        Client { netns: self.netns("client"), exe: self.program(), label: self.name.clone(), processor: None }
    }

    /// Where fence agents and the power switch meet.
    pub(super) fn switch(&self) -> PathBuf {
        self.data.join("switch")
    }

    /// Host number `ordinal`.
    pub(super) fn member(&self, ordinal: u8) -> Member {
        Member { ordinal, dir: folder(&self.data, ordinal), switch: self.switch() }
    }

    /// Boots a host that is off and starts its programs.
    pub(super) fn boot(&self, member: &Member, setup: &Setup) -> Result<(), LabError> {
        let host = member.name();
        self.plug(&host, member.address())?;
        let _ = fs::remove_file(member.dir.join(CUT));
        write(member, setup)?;
        let group = group(&self.name)?.child(&host);
        group.create().map_err(LabError::kernel(format!("make the control group of {host}")))?;
        // As in a laboratory, best effort.
        let _ = self.realtime.is_some_and(|all| group.allow_realtime(all / u32::from(HOSTS), REALTIME_PERIOD));
        let mut binds = vec![(self.data.clone(), self.data.clone())];
        binds.extend(setup.binds.iter().map(|bind| (member.dir.join(bind.from), PathBuf::from(bind.to))));
        let started = hostns::start(&HostNsSpec {
            hostname: host.clone(),
            netns: Path::new(NETNS_DIR).join(self.netns(&host)),
            cgroup: Path::new(&self.name).join(&host),
            init: vec![self.program().display().to_string(), "host-init".to_owned()],
            env: vec![("PAN_LAB".to_owned(), self.name.clone())],
            listen_fds: Vec::new(),
            disks: Vec::new(),
            log: member.dir.join("init.log"),
            binds,
        });
        let handle = started.map_err(LabError::kernel(format!("boot {host}")))?;
        fs::write(member.dir.join("init.pid"), handle.init_pid.to_string()).map_err(LabError::file("write", &member.dir))?;
        // Not to a pipe: what goes on in the background would keep that open.
        let log = member.at("boot.log");
        let output = self.run(member, &format!("exec >{log} 2>&1\n{}", setup.boot))?;
        if output.status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        Err(LabError::kernel(format!("start the programs of {host}"))(std::io::Error::other(said)))
    }

    /// Runs a script in a host.
    pub(super) fn run(&self, member: &Member, script: &str) -> Result<Output, LabError> {
        let step = || format!("run a script in {}", member.name());
        let pid = fs::read_to_string(member.dir.join("init.pid")).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut command = hostns::enter(pid, &["/bin/sh", "-c", script]).map_err(LabError::kernel(step()))?;
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("PAN_LAB", &self.name).stdin(std::process::Stdio::null());
        command.output().map_err(LabError::kernel(step()))
    }

    /// Takes a host's link away, both directions at once.
    pub(super) fn cut(&self, member: &Member) -> Result<(), LabError> {
        let step = || format!("cut {}", member.name());
        let hub = Netns::open(&self.name).map_err(LabError::kernel(step()))?;
        let rtnl = Rtnl::open_in(&hub).map_err(LabError::kernel(step()))?;
        let mark = member.dir.join(CUT);
        fs::write(&mark, "").map_err(LabError::file("write", &mark))?;
        rtnl.set_down(&member.name()).map_err(LabError::kernel(step()))
    }

    /// Ends every process of a host.
    pub(super) fn kill(&self, ordinal: u8) -> Result<(), LabError> {
        kill(&self.name, &name(ordinal))
    }

    /// Kills a host when another one asks for it, for a thread of its own; false for a host that resists or is none
    /// of the site, and for an asker that was cut off.
    pub(super) fn killer(&self) -> impl Fn(&str, &str) -> bool + Send + use<> {
        let (site, hosts) = (self.name.clone(), self.data.join("hosts"));
        move |host, asker| hosts.join(host).is_dir() && !hosts.join(asker).join(CUT).exists() && kill(&site, host).is_ok()
    }

    /// Whether any process of a host runs.
    pub(super) fn is_running(&self, member: &Member) -> Result<bool, LabError> {
        Ok(!group(&self.name)?.child(&member.name()).procs().is_empty())
    }

    fn program(&self) -> PathBuf {
        self.data.join("bin").join("pan")
    }

    fn netns(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// Makes a host's network anew, with the same Ethernet address as before.
    fn plug(&self, host: &str, ip: Ipv4Addr) -> Result<(), LabError> {
        let step = || format!("connect {host}");
        let hub = Netns::open(&self.name).map_err(LabError::kernel(step()))?;
        let outer = Rtnl::open_in(&hub).map_err(LabError::kernel(step()))?;
        outer.delete(host).map_err(LabError::kernel(step()))?;
        Netns::remove(&self.netns(host)).map_err(LabError::kernel(step()))?;
        let ns = Netns::create(&self.netns(host)).map_err(LabError::kernel(step()))?;
        sysctl::set(Some(&ns), "net/ipv6/conf/default/disable_ipv6", "1").map_err(LabError::kernel(step()))?;
        let inner = Rtnl::open_in(&ns).map_err(LabError::kernel(step()))?;
        let connect = || -> pan_linux::rtnl::Result<()> {
            outer.add_veth_to(host, DEVICE, &ns)?;
            outer.set_master(host, BRIDGE)?;
            outer.set_up(host)?;
            inner.set_up("lo")?;
            inner.set_mac(DEVICE, mac(ip, 0x02))?;
            inner.set_up(DEVICE)?;
            inner.replace_addr(DEVICE, IpNet::V4(Ipv4Net::new_assert(ip, NETWORK.prefix_len())))
        };
        connect().map_err(LabError::kernel(step()))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("site {}: {}", self.name, error.chain());
        }
    }
}

/// What a script said, its last words first in mind.
pub(super) fn said(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = text.trim();
    if text.is_empty() { output.status.to_string() } else { text.to_owned() }
}

fn mac(ip: Ipv4Addr, second: u8) -> pan_linux::rtnl::Mac {
    let [a, b, c, d] = ip.octets();
    [0x02, second, a, b, c, d]
}

fn write(member: &Member, setup: &Setup) -> Result<(), LabError> {
    for bind in &setup.binds {
        let dir = member.dir.join(bind.from);
        fs::create_dir_all(&dir).map_err(LabError::file("create", &dir))?;
    }
    for file in &setup.files {
        let path = member.dir.join(file.path);
        if file.kind == FileKind::Seed && path.exists() {
            continue;
        }
        let dir = path.parent().expect("a file of a host is in its folder");
        fs::create_dir_all(dir).map_err(LabError::file("create", dir))?;
        fs::write(&path, &file.text).map_err(LabError::file("write", &path))?;
        let mode = if file.kind == FileKind::Program { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(LabError::file("make runnable", &path))?;
    }
    for bind in &setup.binds {
        if let Some((user, group)) = bind.owner {
            own(&member.dir.join(bind.from), user, group)?;
        }
    }
    Ok(())
}

/// Gives a folder with everything in it to a user of the machine.
fn own(path: &Path, user: &str, group: &str) -> Result<(), LabError> {
    let failed = |source: nix::Error| LabError::file("change the owner of", path)(source.into());
    let uid = nix::unistd::User::from_name(user).map_err(failed)?.map(|user| user.uid);
    let gid = nix::unistd::Group::from_name(group).map_err(failed)?.map(|group| group.gid);
    nix::unistd::fchownat(nix::fcntl::AT_FDCWD, path, uid, gid, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
    if !path.is_dir() || path.is_symlink() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(LabError::file("list", path))?;
    entries.flatten().try_for_each(|entry| own(&entry.path(), user, group))
}

fn kill(site: &str, host: &str) -> Result<(), LabError> {
    group(site)?.child(host).kill_all(DEATH_WAIT).map_err(LabError::kernel(format!("kill {host}")))
}
