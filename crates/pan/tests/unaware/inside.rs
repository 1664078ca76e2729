//! What a server sees of where it is: the kernel's words, who answers beside it, and the frames that come by.

use crate::story::person::Person;
use crate::story::{SOON, server, str_of};
use crate::transcript::Transcript;
use pan_lab::harness::TestLab;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

/// What is looked at. Counts of the whole machine (`/proc/stat`, `/proc/meminfo`, …) are not hidden, see docs/security.md.
const LOOKS: [(&str, &str); 22] = [
    ("addresses", "ip -o addr"),
    ("link", "ip -o link | sed 's/@if[0-9]*/@peer/'"),
    ("routes", "ip route; ip -6 route"),
    ("rules", "ip rule"),
    ("devices", "ls /sys/class/net; cut -d: -f1 /proc/net/dev"),
    ("peer", "cat /sys/class/net/eth0/ifindex /sys/class/net/eth0/iflink"),
    ("sockets", "cut -c1-60 /proc/net/packet /proc/net/unix | wc -l; ls /proc/net"),
    ("processes", "for one in /proc/[0-9]*/comm; do cat $one; done 2>/dev/null | grep -v -w -e sh -e bash -e cat -e grep -e sort"),
    ("ids", "id; cat /proc/self/uid_map /proc/self/gid_map"),
    ("groups", "cat /proc/1/cgroup; ls /sys/fs/cgroup"),
    ("name", "hostname; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname"),
    ("mounts", "cut -d' ' -f4- /proc/self/mountinfo | sort"),
    ("mount-numbers", "cut -d' ' -f1-3 /proc/self/mountinfo"),
    ("names-of-spaces", "for one in net mnt pid uts ipc user cgroup; do readlink /proc/self/ns/$one | tr -dc '0-9\n'; done"),
    ("environment", "env | sort"),
    ("rights", "grep -e ^Cap -e ^Seccomp: -e ^NoNew -e ^Groups -e ^NSpid /proc/1/status"),
    ("limits", "cat /proc/1/limits; ulimit -a"),
    ("kernel", "ls /proc | grep -v '^[0-9]'; cat /proc/keys /proc/sysvipc/* 2>&1"),
    ("disks", "ls /dev /sys/block; cat /proc/partitions /proc/swaps 2>&1"),
    ("files", "ls -a / /run /var/lib /root /home /srv /mnt 2>&1"),
    ("resolver", "cat /etc/hosts /etc/hostname /etc/resolv.conf 2>&1"),
    ("log", "dmesg 2>&1 | tail -n 3"),
];

/// Everybody in the network, as answers, as neighbours, and as somebody who takes datagrams.
const SCAN: &str = "
for last in 1 2 3 4 5 6 7 8 9 10 11 12 254; do
  (ping -c1 -W1 10.0.0.$last >/dev/null 2>&1 && echo \"10.0.0.$last answers\"; echo hello >/dev/udp/10.0.0.$last/9 2>/dev/null; true) &
done
wait";
/// How lately a neighbour was heard is by chance.
const AROUND: &str = "ip neigh | sed 's/ [A-Z]* *$//' | sort; awk '{print $1, $2, $4}' /proc/net/arp | sort";

/// Notes what `web-1` sees.
pub fn look(day: &mut Transcript, owner: &Person, when: &str) {
    let asked = |command: &str| run(owner, &["bash", "-c", command]);
    let mut found: Vec<String> = asked(SCAN).lines().map(str::to_owned).collect();
    found.sort();
    day.note(&format!("{when}-scan"), &(found.join("\n") + "\n"));
    let looks: String = LOOKS.iter().map(|(name, command)| format!("echo '=== {name}'; {{ {command}; }} 2>&1\n")).collect();
    let said = asked(&format!("{looks}echo '=== around'; {AROUND}"));
    for part in said.split("=== ").skip(1) {
        let (name, said) = part.split_once('\n').unwrap();
        // Whose files they are on the node is told once, by the map of ids.
        let said = if name == "mounts" { by_first(said, &run(owner, &["cat", "/proc/self/uid_map"])) } else { said.to_owned() };
        day.note(&format!("{when}-{name}"), &said);
    }
}

/// Runs a program in `web-1`; what it said. Its end comes into the log after its last word, and before whatever is done next.
fn run(owner: &Person, argv: &[&str]) -> String {
    let said = owner.runs(0, &[&["exec", "web-1", "--"], argv].concat());
    let until = Instant::now() + SOON;
    loop {
        let log: Value = serde_json::from_str(&owner.runs(0, &["audit", "-o", "json"])).unwrap();
        let count = |result: &str| log.as_array().unwrap().iter().filter(|line| line["result"] == result).count();
        if count("begun") == count("ended") {
            return said;
        }
        assert!(Instant::now() < until, "the end of {argv:?} is not in the log: {log}");
    }
}

/// Owners of files that are of the partition's range, root's and the terminals' group (5), as such.
fn by_first(said: &str, map: &str) -> String {
    let first: u32 = map.split_whitespace().nth(1).unwrap().parse().unwrap();
    said.replace(&format!("id={first}"), "id=FIRST").replace(&format!("id={}", first + 5), "id=FIRST+5")
}

/// Frames at a server's port: who spoke to whom, and how.
pub struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    pub fn start(lab: &TestLab, name: &str) -> Self {
        let node = lab.host(str_of(&server(lab, "acme", name), "node")).unwrap();
        let words = ["ip", "netns", "exec", &format!("pan-acme.{name}"), "tcpdump", "-lnq", "--immediate-mode", "-i", "any", "-Z", "root"]
            .map(str::to_owned);
        let file = lab.data().join(format!("{name}.frames"));
        let mut command = lab.exec(node, &words).unwrap();
        let out = File::create(&file).unwrap();
        let child = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        let capture = Self { child, file };
        lab.wait_for("tcpdump to listen", crate::story::SOON, |_| capture.text().contains("listening on")).unwrap();
        capture
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// The kinds of frames that came. What the server sent itself, to others or to itself, tells of nobody; whether it had to ask again
    /// who has an address of its own partition is by chance, and so is whether its own neighbours' kernels say that they do not take a datagram.
    pub fn end(mut self, day: &mut Transcript, step: &str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let text = self.text();
        let own = ["Out ", "In ARP Reply 10.0.0.1 ", "In ARP Reply 10.0.0.10 ", "In ARP Reply 10.0.0.11 ", "In ARP Reply 10.0.0.12 "];
        let kinds = text.lines().filter_map(kind).filter(|kind| !own.iter().any(|own| kind.starts_with(own)));
        let unreachable =
            |kind: &String| [1, 11, 12].iter().any(|last| kind.starts_with(&format!("In IP 10.0.0.{last} > 10.0.0.10 ICMP udp")));
        let kinds: BTreeSet<String> = kinds.filter(|kind| !kind.starts_with("In IP 10.0.0.10 ") && !unreachable(kind)).collect();
        assert!(kinds.len() > 2, "nothing was captured: {text}");
        day.note(step, &kinds.into_iter().map(|kind| kind + "\n").collect::<String>());
    }
}

/// `12:00:01.5 eth0 In IP 198.18.0.2.41234 > 10.0.0.2.80: tcp 10` as `In IP 198.18.0.2 > 10.0.0.2 80 tcp`: ports that change with each
/// connection and lengths are left out; ARP as it is.
fn kind(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| ["IP", "IP6", "ARP,"].contains(word))?;
    // The direction, and B or M for what is for all.
    let way = words[..at].last()?;
    if words[at] == "ARP," {
        let told: Vec<&str> = words[at + 1..].iter().take_while(|word| **word != "length").map(|word| word.trim_end_matches(',')).collect();
        return Some(format!("{way} ARP {}", told.join(" ")));
    }
    let [from, to] = [words.get(at + 1)?, words.get(at + 3)?].map(|word| address(word.trim_end_matches(':')));
    let what = words.get(at + 4)?.trim_end_matches(',');
    let kind = words.get(at + 6).filter(|_| what.starts_with("ICMP")).copied().unwrap_or_default();
    Some(format!("{way} {} {from} > {to} {what} {kind}", words[at]))
}

/// An address, and its port if it is one that services have.
fn address(word: &str) -> String {
    let dots = word.matches('.').count();
    match word.rsplit_once('.') {
        Some((address, port)) if dots == 4 || dots == 1 && word.contains(':') => match port.parse::<u16>() {
            Ok(1024..) | Err(_) => address.to_owned(),
            Ok(port) => format!("{address} port {port}"),
        },
        _ => word.to_owned(),
    }
}

pub fn check() {
    for (line, expected) in [
        ("12:00:01.5 eth0  In  IP 198.18.0.2.41234 > 10.0.0.2.80: tcp 10", "In IP 198.18.0.2 > 10.0.0.2 port 80 tcp "),
        ("12:00:01.5 eth0  Out IP6 fe80::1.41234 > ff02::2.9: UDP, length 6", "Out IP6 fe80::1 > ff02::2 port 9 UDP "),
        (
            "12:00:01.5 eth0  In  IP 10.0.0.7 > 10.0.0.2: ICMP echo request, id 1, seq 1, length 64",
            "In IP 10.0.0.7 > 10.0.0.2 ICMP request,",
        ),
        ("12:00:01.5 eth0  B   ARP, Request who-has 10.0.0.5 tell 10.0.0.7, length 28", "B ARP Request who-has 10.0.0.5 tell 10.0.0.7"),
    ] {
        assert_eq!(kind(line).as_deref(), Some(expected), "{line}");
    }
    assert_eq!(kind("tcpdump: listening on any"), None);
}
