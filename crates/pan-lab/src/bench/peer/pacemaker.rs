//! Pacemaker on corosync: two hosts, a group of the address (IPaddr2) and the web server, which move together.
//!
//! Everything that its case does not name has its default, but for what only concerns coming up: the first
//! election does not wait 20 s for hosts that are not there.

use super::setup::{ADDRESS, Bind, DEVICE, File, FileKind, Member, NETWORK, Setup, address, name, responder};

const FENCE: &str = include_str!("files/fence.sh");
const FENCE_XML: &str = include_str!("files/fence.xml");
const RESPONDER: &str = include_str!("files/responder.sh");
const RESPONDER_XML: &str = include_str!("files/responder.xml");
const OWNER: Option<(&str, &str)> = Some(("hacluster", "haclient"));

/// At the same place on every host, where each sees a folder of its own.
const RESPONDER_CONFIG: &str = "/var/lib/pacemaker/nginx.conf";

/// What its cases differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// How long corosync waits for a silent host.
    pub(super) token: Token,
    /// Whether a lost host must be known to be dead before its resources start elsewhere.
    pub(super) fencing: Fencing,
}

/// corosync's token timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// 3 s for two hosts (corosync.conf(5)).
    Default,
    /// So much.
    Millis(u32),
}

/// Whether there is a fence agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fencing {
    /// None, and it is not asked for.
    Off,
    /// One that kills the host and confirms it.
    On,
}

/// One of `hosts` hosts.
pub(super) fn setup(member: &Member, hosts: u8, settings: Settings) -> Setup {
    let file = |path, text: &str, kind| File { path, text: text.to_owned(), kind };
    let switch = member.switch.display().to_string();
    Setup {
        files: vec![
            responder(member, "pacemaker/nginx.conf"),
            file("corosync/corosync.conf", &corosync(member, hosts, settings.token), FileKind::Text),
            file("pacemaker/cib/cib.xml", &cib(hosts, settings.fencing), FileKind::Seed),
            file("sbin/fence_bench", &FENCE.replace("@SWITCH@", &switch), FileKind::Program),
            file("sbin/fence_bench.xml", FENCE_XML, FileKind::Text),
            file("ocf/panloom/responder", RESPONDER, FileKind::Program),
            file("ocf/panloom/responder.xml", RESPONDER_XML, FileKind::Text),
        ],
        binds: vec![
            Bind { from: "corosync", to: "/etc/corosync", owner: None },
            Bind { from: "ring", to: "/var/lib/corosync", owner: None },
            Bind { from: "pacemaker", to: "/var/lib/pacemaker", owner: OWNER },
            Bind { from: "log", to: "/var/log/pacemaker", owner: OWNER },
        ],
        boot: boot(member, hosts),
        ready: ready(hosts),
    }
}

/// Pacemaker starts when corosync has found all hosts: one that is alone at first, with timeouts this short, would begin by fencing the
/// others, which begin by fencing it. Who waits in vain starts all the same, after twenty seconds.
fn boot(member: &Member, hosts: u8) -> String {
    // The agents appear among the machine's without touching them: overlays without an upper folder.
    format!(
        "set -e
mount -t overlay overlay -o lowerdir={sbin}:/usr/sbin /usr/sbin
mount -t overlay overlay -o lowerdir={ocf}:/usr/lib/ocf/resource.d /usr/lib/ocf/resource.d
mkdir -p -m 1755 /run/resource-agents
corosync
(waited=0
until [ \"$(corosync-quorumtool -l 2>/dev/null | grep -c '^ *[0-9]')\" = {hosts} ] || [ $waited -ge 200 ]; do
  waited=$((waited + 1))
  sleep 0.1
done
exec pacemakerd) >{log} 2>&1 &
",
        sbin = member.at("sbin"),
        ocf = member.at("ocf"),
        log = member.at("pacemakerd.log"),
    )
}

/// Every host is a member, the server runs, and nothing is under way.
fn ready(hosts: u8) -> String {
    format!(
        "seen=$(crm_mon --one-shot --output-as=xml) || {{ echo pacemaker does not answer; exit 1; }}
members=$(echo \"$seen\" | grep -c '<node .*online=\"true\".*unclean=\"false\"')
[ \"$members\" = {hosts} ] || {{ echo \"$members of {hosts} hosts are members\"; exit 1; }}
echo \"$seen\" | grep -q '<resource id=\"server\".*role=\"Started\"' || {{ echo the server is not started; exit 1; }}
crm_resource --wait --timeout=30s || {{ echo the cluster is busy; exit 1; }}
"
    )
}

fn corosync(member: &Member, hosts: u8, token: Token) -> String {
    let token = match token {
        Token::Default => String::new(),
        Token::Millis(millis) => format!("    token: {millis}\n"),
    };
    let node = |ordinal| {
        let (name, address) = (name(ordinal), address(ordinal));
        format!("    node {{\n        ring0_addr: {address}\n        name: {name}\n        nodeid: {ordinal}\n    }}\n")
    };
    let nodes: String = (1..=hosts).map(node).collect();
    format!(
        "totem {{
    version: 2
    cluster_name: bench
    transport: knet
{token}    crypto_cipher: none
    crypto_hash: none
}}
logging {{
    to_logfile: yes
    logfile: {log}
    to_syslog: no
    to_stderr: no
    timestamp: hires
}}
quorum {{
    provider: corosync_votequorum
    two_node: 1
}}
nodelist {{
{nodes}}}
",
        log = member.at("corosync.log"),
    )
}

fn cib(hosts: u8, fencing: Fencing) -> String {
    let names: Vec<String> = (1..=hosts).map(name).collect();
    let (enabled, device) = match fencing {
        Fencing::Off => ("false", String::new()),
        Fencing::On => ("true", device(&names.join(" "))),
    };
    format!(
        r#"<cib validate-with="pacemaker-3.0" admin_epoch="0" epoch="1" num_updates="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="options">
        {stonith}
        {deadtime}
      </cluster_property_set>
    </crm_config>
    <nodes/>
    <resources>
      <group id="web">
        <primitive id="address" class="ocf" provider="heartbeat" type="IPaddr2">
          <instance_attributes id="address-attributes">
            {ip}
            {mask}
            {nic}
          </instance_attributes>
          <operations>
            <op id="address-monitor" name="monitor" interval="10s"/>
          </operations>
        </primitive>
        <primitive id="server" class="ocf" provider="panloom" type="responder">
          <instance_attributes id="server-attributes">
            {config}
          </instance_attributes>
          <operations>
            <op id="server-monitor" name="monitor" interval="10s"/>
          </operations>
        </primitive>
      </group>
{device}    </resources>
    <constraints/>
    <rsc_defaults>
      <meta_attributes id="defaults">
        {stickiness}
      </meta_attributes>
    </rsc_defaults>
  </configuration>
  <status/>
</cib>
"#,
        stonith = pair("options", "stonith-enabled", enabled),
        deadtime = pair("options", "dc-deadtime", "2s"),
        ip = pair("address-attributes", "ip", &ADDRESS.to_string()),
        mask = pair("address-attributes", "cidr_netmask", &NETWORK.prefix_len().to_string()),
        nic = pair("address-attributes", "nic", DEVICE),
        config = pair("server-attributes", "config", RESPONDER_CONFIG),
        stickiness = pair("defaults", "resource-stickiness", "100"),
    )
}

/// The fence device: one for all hosts, as a switched power strip is.
fn device(names: &str) -> String {
    format!(
        r#"      <primitive id="power" class="stonith" type="fence_bench">
        <instance_attributes id="power-attributes">
          {list}
          {check}
        </instance_attributes>
      </primitive>
"#,
        list = pair("power-attributes", "pcmk_host_list", names),
        check = pair("power-attributes", "pcmk_host_check", "static-list"),
    )
}

fn pair(of: &str, name: &str, value: &str) -> String {
    format!(r#"<nvpair id="{of}-{name}" name="{name}" value="{value}"/>"#)
}

#[cfg(test)]
mod tests {
    use super::super::setup::member;
    use super::*;

    fn text(settings: Settings, path: &str) -> String {
        let setup = setup(&member(2), 2, settings);
        setup.files.into_iter().find(|file| file.path == path).unwrap().text
    }

    #[test]
    fn golden_corosync() {
        let wanted = "totem {
    version: 2
    cluster_name: bench
    transport: knet
    token: 300
    crypto_cipher: none
    crypto_hash: none
}
logging {
    to_logfile: yes
    logfile: /d/hosts/n2/corosync.log
    to_syslog: no
    to_stderr: no
    timestamp: hires
}
quorum {
    provider: corosync_votequorum
    two_node: 1
}
nodelist {
    node {
        ring0_addr: 198.18.0.11
        name: n1
        nodeid: 1
    }
    node {
        ring0_addr: 198.18.0.12
        name: n2
        nodeid: 2
    }
}
";
        assert_eq!(text(Settings { token: Token::Millis(300), fencing: Fencing::Off }, "corosync/corosync.conf"), wanted);
        let default = text(Settings { token: Token::Default, fencing: Fencing::Off }, "corosync/corosync.conf");
        assert_eq!(default, wanted.replace("    token: 300\n", ""));
    }

    #[test]
    fn golden_fencing() {
        let off = text(Settings { token: Token::Default, fencing: Fencing::Off }, "pacemaker/cib/cib.xml");
        let on = text(Settings { token: Token::Default, fencing: Fencing::On }, "pacemaker/cib/cib.xml");
        let device = r#"      <primitive id="power" class="stonith" type="fence_bench">
        <instance_attributes id="power-attributes">
          <nvpair id="power-attributes-pcmk_host_list" name="pcmk_host_list" value="n1 n2"/>
          <nvpair id="power-attributes-pcmk_host_check" name="pcmk_host_check" value="static-list"/>
        </instance_attributes>
      </primitive>
"#;
        assert!(on.contains(device), "{on}");
        let other = on.replace(device, "").replace(r#"name="stonith-enabled" value="true""#, r#"name="stonith-enabled" value="false""#);
        assert_eq!(other, off);
        assert!(off.contains(r#"<nvpair id="address-attributes-ip" name="ip" value="198.18.0.10"/>"#), "{off}");
        let agent = text(Settings { token: Token::Default, fencing: Fencing::On }, "sbin/fence_bench");
        assert!(agent.contains("switch=/d/switch\n"), "{agent}");
    }
}
