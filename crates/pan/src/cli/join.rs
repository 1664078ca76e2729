//! `pan join`: makes this machine a host. Its private key is made here and never leaves; what the PAN gives in exchange
//! for the token goes into the state directory, the configuration last, so that no role starts before all is there.

mod place;

use super::failure::Failure;
use super::session::Session;
use clap::Args;
use ipnet::IpNet;
use pan_api::client::Client;
use pan_api::join::{Join, Joined};
use pan_api::keyfile::hex;
use pan_api::pki::Requested;
use pan_api::token::JoinToken;
use pan_model::host::Role;
use pan_model::host_config::{DirectorConfig, FabricConfig, FabricsConfig, HostConfig, ImagesConfig, NodeConfig};
use pan_model::{ByteSize, Code, Cpu, HostName};
use place::Place;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Make this machine a host of a PAN.
#[derive(Debug, Clone, Args)]
pub struct JoinArgs {
    /// Where a controller's API is.
    #[arg(value_name = "URL")]
    url: String,
    /// Holds the token that `pan token create --join HOST` printed.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The host's state directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/pan")]
    data: PathBuf,
    /// For state that a reboot empties.
    #[arg(long, value_name = "DIR", default_value = "/run/pan")]
    run: PathBuf,
    /// The host's name; the machine's own by default.
    #[arg(long, value_name = "HOST")]
    name: Option<HostName>,
    /// The host's own address, which it will hold on `lo`.
    #[arg(long, value_name = "ADDRESS")]
    address: IpAddr,
    /// The interface on fabric A and the address that it has there.
    #[arg(long, value_name = "INTERFACE=ADDRESS/LENGTH", value_parser = fabric)]
    fabric_a: FabricConfig,
    /// The same for fabric B.
    #[arg(long, value_name = "INTERFACE=ADDRESS/LENGTH", value_parser = fabric)]
    fabric_b: FabricConfig,
    /// Of a node: processor time for servers; all of the machine's by default.
    #[arg(long)]
    cpu: Option<Cpu>,
    /// Of a node: memory for servers; three quarters of the machine's by default.
    #[arg(long)]
    memory: Option<ByteSize>,
    /// Of a node: a label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Of a node: a path that no server may see, besides those none ever sees; may be repeated.
    #[arg(long, value_name = "PATH")]
    hide: Vec<PathBuf>,
    /// Of a director: the interface towards clients.
    #[arg(long, value_name = "INTERFACE")]
    outside: Option<String>,
}

fn fabric(text: &str) -> Result<FabricConfig, String> {
    let expected = || format!("{text:?}: expected an interface and its address, like eth1=10.201.0.11/16");
    let (interface, address) = text.split_once('=').ok_or_else(expected)?;
    let address: IpNet = address.parse().map_err(|_| expected())?;
    Ok(FabricConfig { interface: interface.to_owned(), address })
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    pan_model::node::label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `pan join`.
pub async fn run(args: JoinArgs, session: &Session) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.token_file).map_err(Failure::local(format!("read {}", args.token_file.display())))?;
    let token: JoinToken = text.parse().map_err(|error| Failure::new(Code::Invalid, format!("{}: {error}", args.token_file.display())))?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => own_name()?,
    };
    let place = Place::open(&args.data)?;
    let requested = place.request(&name)?;
    let client = Client::pinned(&args.url, None, token.authority)?;
    let join = Join {
        token: pan_api::token::id_text(token.id),
        secret: hex(&token.secret),
        host: name.clone(),
        request: requested.request_pem.clone(),
        address: args.address,
        a: args.fabric_a.address.addr(),
        b: args.fabric_b.address.addr(),
    };
    let joined: Joined = match client.post("/v1/join", &join).await {
        Ok(joined) => joined,
        Err(mut error) => {
            // Without `--name` that is the machine's, which may not be what the token is for.
            if error.code == Code::Unauthenticated {
                error.message.push_str(&format!(" (this machine asked to become host {name})"));
            }
            // Who was told nothing may have used the token up: asking again takes the same key.
            if !matches!(error.code, Code::Unreachable | Code::InDoubt | Code::TimedOut | Code::Internal | Code::NotLeading) {
                place.give_up();
            }
            return Err(error.into());
        }
    };
    finish(&args, name, &place, (&requested, joined), session)
}

fn finish(
    args: &JoinArgs,
    name: HostName,
    place: &Place,
    (requested, joined): (&Requested, Joined),
    session: &Session,
) -> Result<(), Failure> {
    let (tls, keys) = (place.tls(), !joined.pan_keys.is_empty());
    let config = config(args, name, &joined, |keys| place.paths(keys), keys)?;
    let text = serde_saphyr::to_string(&config)
        .map_err(|error| Failure::new(Code::Internal, format!("cannot write the configuration: {error}")))?;
    place.write(&tls.ca, &joined.ca)?;
    place.write(&tls.cert, &joined.cert)?;
    place.write(&tls.key, &requested.key_pem)?;
    place.write(&config.beat_key, &joined.keys.join("\n"))?;
    if let Some(path) = &config.pan_key {
        place.write(path, &joined.pan_keys.join("\n"))?;
    }
    place.write(&place.config(), &text)?;
    place.give_up();
    let roles: Vec<&str> = joined.roles.iter().map(|role| role.as_str()).collect();
    let file = place.config().display().to_string();
    if session.out.is_data() {
        return session.out.data(&json!({"kind": "host", "name": config.name, "result": "joined", "roles": roles, "config": file}));
    }
    session.out.say(&format!("this machine is host {} ({}) now", config.name, roles.join(", ")))?;
    let mut commands: Vec<String> = roles.iter().map(|role| format!("pan {role} --config {file}")).collect();
    commands.insert(0, format!("pan beat --config {file}"));
    session.out.say(&format!("what it has to run: {}", commands.join(", ")))
}

fn config(
    args: &JoinArgs,
    name: HostName,
    joined: &Joined,
    paths: impl FnOnce(bool) -> place::Paths,
    judges: bool,
) -> Result<HostConfig, Failure> {
    let all = |places: &[pan_api::join::Place]| places.iter().cloned().map(Into::into).collect();
    let place::Paths { tls, beat_key, pan_key } = paths(judges);
    let node = match joined.roles.contains(&Role::Node) {
        false => None,
        true => Some(NodeConfig {
            cpu: args.cpu.unwrap_or_else(processors),
            memory: args.memory.map_or_else(memory, Ok)?,
            labels: args.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            hidden: args.hide.clone(),
            gate: None,
            images: ImagesConfig::default(),
        }),
    };
    let director = match (joined.roles.contains(&Role::Director), &args.outside) {
        (false, _) => None,
        (true, Some(interface)) => Some(DirectorConfig { interface: interface.clone() }),
        (true, None) => {
            let text = "this host becomes a director: `pan join` needs --outside INTERFACE; run it again with the same token";
            return Err(Failure::Usage(text.into()));
        }
    };
    Ok(HostConfig {
        version: 1,
        name,
        roles: joined.roles.clone(),
        address: args.address,
        fabrics: FabricsConfig { a: args.fabric_a.clone(), b: args.fabric_b.clone() },
        controllers: all(&joined.controllers),
        lessors: all(&joined.lessors),
        directors: all(&joined.directors),
        tls,
        beat_key,
        pan_key,
        profile: joined.profile.clone(),
        state_dir: args.data.clone(),
        run_dir: args.run.clone(),
        node,
        director,
        controller: None,
        laboratory: None,
        storage: None,
    })
}

/// The machine's name, up to the first dot.
fn own_name() -> Result<HostName, Failure> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(Failure::local("read this machine's name"))?;
    let short = text.trim().split('.').next().unwrap_or_default();
    HostName::new(short).map_err(|error| Failure::Usage(format!("this machine's name {short:?} is no host's ({error}): give --name HOST")))
}

fn processors() -> Cpu {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Cpu(u64::try_from(count).unwrap_or(1) * 1000)
}

fn memory() -> Result<ByteSize, Failure> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(Failure::local("read /proc/meminfo"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    let total = total.ok_or_else(|| Failure::Usage("how much memory this machine has cannot be found out: give --memory".into()))?;
    Ok(ByteSize(total * 1024 / 4 * 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fabric_is_an_interface_with_its_address() {
        let read = fabric("eth1=10.201.0.11/16").unwrap();
        assert_eq!((read.interface.as_str(), read.address.to_string().as_str()), ("eth1", "10.201.0.11/16"));
        for bad in ["eth1", "eth1=10.201.0.11", "=", "eth1=x/16"] {
            assert!(fabric(bad).is_err(), "{bad}");
        }
    }
}
