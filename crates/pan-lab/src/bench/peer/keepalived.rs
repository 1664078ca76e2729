//! keepalived: two hosts that both run the web server; the address follows VRRP (RFC 5798).
//!
//! Both have priority 200: a backup waits three intervals and (256 - priority) / 256 of one more (RFC 5798
//! section 6.1), so a higher one takes over sooner. Nobody takes the address back from whoever has it.

use std::time::Duration;

use super::setup::{ADDRESS, DEVICE, File, FileKind, Member, NETWORK, Setup, responder};

/// A host that advertises every `advert`.
pub(super) fn setup(member: &Member, advert: Duration) -> Setup {
    let log = member.at("keepalived.log");
    Setup {
        files: vec![responder(member, "nginx.conf"), File { path: "keepalived.conf", text: config(advert), kind: FileKind::Text }],
        binds: Vec::new(),
        boot: format!(
            "set -e\nnginx -c {nginx}\nkeepalived --dont-fork --log-console --log-detail --vrrp --use-file {config} >{log} 2>&1 &\n",
            nginx = member.at("nginx.conf"),
            config = member.at("keepalived.conf"),
        ),
        ready: format!("grep -q -e 'Entering BACKUP STATE' -e 'Entering MASTER STATE' {log} || {{ echo it has no state yet; exit 1; }}\n"),
    }
}

fn config(advert: Duration) -> String {
    let prefix = NETWORK.prefix_len();
    format!(
        "global_defs {{
    vrrp_version 3
}}
vrrp_instance web {{
    state BACKUP
    nopreempt
    interface {DEVICE}
    virtual_router_id 51
    priority 200
    advert_int {advert}
    virtual_ipaddress {{
        {ADDRESS}/{prefix} dev {DEVICE}
    }}
}}
",
        advert = advert.as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::setup::member;
    use super::*;

    #[test]
    fn golden() {
        let setup = setup(&member(2), Duration::from_millis(10));
        let wanted = "global_defs {
    vrrp_version 3
}
vrrp_instance web {
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority 200
    advert_int 0.01
    virtual_ipaddress {
        198.18.0.10/24 dev eth0
    }
}
";
        assert_eq!(setup.files[1].text, wanted);
        assert!(setup.files[0].text.contains("return 200 \"n2\\n\";"), "{}", setup.files[0].text);
        assert_eq!(
            setup.boot,
            "set -e\nnginx -c /d/hosts/n2/nginx.conf\nkeepalived --dont-fork --log-console --log-detail --vrrp \
             --use-file /d/hosts/n2/keepalived.conf >/d/hosts/n2/keepalived.log 2>&1 &\n"
        );
        assert!(config(Duration::from_secs(1)).contains("advert_int 1\n"));
        assert!(config(Duration::from_millis(100)).contains("advert_int 0.1\n"));
    }
}
