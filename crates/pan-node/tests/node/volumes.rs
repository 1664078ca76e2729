//! Scenes with volumes: real devices, file systems and containers, on a head that serves a file.

use std::fs;
use std::time::{Duration, Instant};

use pan_api::desired::{RunOrder, ServerOrder};
use pan_api::report::{Phase, ServerReport};
use pan_api::volume::{Claim, HeadState, VolumeOrder};
use pan_model::mirror::Record;
use pan_model::volume::Filesystem;
use pan_model::{ByteSize, Lineage, Session, VolumeEpoch, VolumeId};

use crate::bench::{Bench, order};

pub const ALL: [(&str, fn()); 8] = [
    ("a_volume_comes_and_goes_with_its_server", a_volume_comes_and_goes_with_its_server),
    ("a_host_that_loses_its_power_leaves_no_device", a_host_that_loses_its_power_leaves_no_device),
    ("a_lost_head_costs_a_restart_and_nothing_else", a_lost_head_costs_a_restart_and_nothing_else),
    ("volumes_survive_an_agent_and_nothing_survives_a_server", volumes_survive_an_agent_and_nothing_survives_a_server),
    ("what_no_file_tells_of_is_found_by_its_control_group", what_no_file_tells_of_is_found_by_its_control_group),
    ("a_volume_that_waits_for_its_head_ends_in_time", a_volume_that_waits_for_its_head_ends_in_time),
    ("a_file_system_that_stops_writing_is_mounted_anew", a_file_system_that_stops_writing_is_mounted_anew),
    ("a_file_system_that_cannot_grow_is_told_and_tried_again", a_file_system_that_cannot_grow_is_told_and_tried_again),
];

const MIB: u64 = 1 << 20;

/// No other test of this machine has it: devices are the whole machine's.
fn number() -> u64 {
    1_000_000_000 + u64::from(std::process::id())
}

fn claim(epoch: u64, changes: u64) -> Claim {
    let record = Record {
        lineage: Lineage(1),
        adopts: None,
        epoch: VolumeEpoch(epoch),
        session: Session(epoch),
        in_sync: [].into(),
        out: [].into(),
        had: [].into(),
        changes,
    };
    Claim { record, members: Vec::new(), capability: "00".into(), snapshots: Vec::new() }
}

fn volume(claim: Option<Claim>) -> VolumeOrder {
    VolumeOrder {
        volume: VolumeId(number()),
        name: "db-1.data".parse().unwrap(),
        size: ByteSize(64 * MIB),
        mount: "/var/lib/db/data".into(),
        filesystem: Filesystem::Ext4,
        read_only: false,
        claim,
    }
}

/// A server that writes which instance it is whenever it begins, and reads it again all the time.
fn database(epoch: u64, volume: VolumeOrder) -> ServerOrder {
    let program = "echo $PAN_INSTANCE >>/var/lib/db/data/lives && sync /var/lib/db/data/lives && while :; do sleep 0.05; date >/var/lib/db/data/now || exit 9; done";
    ServerOrder { volumes: vec![volume], restart_attempts: 9, ..order("db-1", 10, epoch, &["sh", "-c", program]) }
}

fn print_steps(what: &str, server: &ServerReport) {
    let after: Vec<String> = server.steps.windows(2).map(|pair| format!("{} {} ms", pair[1].0, (pair[1].1 - pair[0].1) / 1000)).collect();
    println!("  {what}: {}", after.join(", "));
}

fn device(bench: &Bench) -> String {
    bench.output(&["sh", "-c", &format!("grep ' /run/pan/volumes/{}/mnt ' /proc/mounts | cut -d' ' -f1", number())])
}

fn processes(bench: &Bench, part: &str) -> String {
    let found = bench.output(&["pgrep", "-f", &format!("head --folder [/]run/pan/volumes/{}{part}$", number())]);
    assert!(!found.is_empty());
    found
}

/// Lines of the file that each life of the server adds to.
fn lives(bench: &Bench) -> Vec<String> {
    let (code, text) = bench.outcome(&["cat", &format!("/run/pan/volumes/{}/mnt/lives", number())]);
    if code == 0 { text.lines().map(str::to_owned).collect() } else { Vec::new() }
}

fn wait_lives(bench: &Bench, count: usize) {
    bench.wait_for(&format!("{count} lives"), || (lives(bench).len() == count).then_some(()));
}

/// No device of it is left on the machine.
fn assert_no_device(bench: &Bench) {
    let find = format!("grep -l 'pan-{}-' /sys/block/loop*/loop/backing_file 2>/dev/null || true", number());
    bench.wait_for("no device", || bench.output(&["sh", "-c", &find]).is_empty().then_some(()));
}

fn assert_all_gone(bench: &mut Bench) {
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
    assert_no_device(bench);
    bench.wait_for("no problems", || bench.report()?.problems.is_empty().then_some(()));
}

fn restarted(times: u64) -> impl Fn(&ServerReport) -> bool {
    move |server| server.restarts == times && server.phase == Phase::Healthy
}

fn a_volume_comes_and_goes_with_its_server() {
    let mut bench = Bench::start("vol");
    bench.start_agent("agent");
    // One that grows while it is mounted also where root lacks CAP_SYS_RESOURCE.
    let volume = |claim| VolumeOrder { size: ByteSize(320 * MIB), filesystem: Filesystem::Xfs, ..volume(claim) };
    // Made ready, and then ordered, before there is the right to write the volume.
    bench.warm(vec![], vec![database(0, volume(None))]);
    bench.wait_for("a root file system", || (bench.outcome(&["test", "-e", "/run/pan-roots/acme.db-1/fs/etc"]).0 == 0).then_some(()));
    bench.desire(vec![database(1, volume(None))]);
    let waits = bench.wait_server("db-1", "waiting", |server| server.phase == Phase::Starting && server.message.is_some());
    let said = |server: &ServerReport| server.message.clone().unwrap_or_default();
    bench.wait_server("db-1", "waiting for a claim", |server| said(server).contains("waits for the right to write it"));
    assert!(waits.volumes.is_empty());
    bench.desire(vec![database(1, volume(Some(claim(1, 1))))]);
    let first = bench.wait_healthy("db-1", 1);
    let names: Vec<&str> = first.steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["made-ready", "ordered", "claimed", "opened", "attached", "mounted", "runc-started", "first-healthy"]);
    assert!(first.steps.is_sorted_by_key(|(_, at)| *at));
    print_steps("at first", &first);
    let report = bench.wait_server("db-1", "with a volume", |server| !server.volumes.is_empty()).volumes.remove(0);
    assert_eq!((report.volume, report.epoch, report.state), (VolumeId(number()), VolumeEpoch(1), HeadState::Open));
    wait_lives(&bench, 1);
    let mounted = bench.inside("db-1", &["grep", "/var/lib/db/data", "/proc/mounts"]);
    assert!(mounted.contains(" xfs rw,nosuid,nodev,"), "{mounted}");
    // Root's in the server, and root's on disk, whichever ids the server has here.
    assert_eq!(bench.inside("db-1", &["stat", "-c", "%u:%g", "/var/lib/db/data", "/var/lib/db/data/lives"]), "0:0\n0:0");
    assert_eq!(bench.output(&["stat", "-c", "%u:%g", &format!("/run/pan/volumes/{}/mnt/lives", number())]), "0:0");

    // Neither a restart on the same node nor a newer record takes it away.
    let (loop_device, keeper) = (device(&bench), processes(&bench, ""));
    let again = ServerOrder { incarnation: 2, ..database(1, volume(Some(claim(1, 2)))) };
    bench.desire(vec![again.clone()]);
    bench.wait_server("db-1", "of incarnation 2", |server| server.incarnation == 2 && server.phase == Phase::Healthy);
    wait_lives(&bench, 2);
    let order_file = format!("/run/pan/volumes/{}/order.json", number());
    bench.wait_for("the newer record", || bench.output(&["cat", &order_file]).contains("\"changes\":2").then_some(()));
    assert_eq!((device(&bench), processes(&bench, "")), (loop_device.clone(), keeper.clone()));

    // It grows while it is used.
    let blocks = |bench: &Bench| bench.inside("db-1", &["stat", "-f", "-c", "%b", "/var/lib/db/data"]).parse::<u64>().unwrap();
    let before = blocks(&bench);
    let larger = ServerOrder { volumes: vec![VolumeOrder { size: ByteSize(640 * MIB), ..again.volumes[0].clone() }], ..again };
    bench.desire(vec![larger.clone()]);
    bench.wait_for("twice the room", || (blocks(&bench) > before * 3 / 2).then_some(()));
    assert_eq!((device(&bench), processes(&bench, "")), (loop_device, keeper.clone()));

    // Another binding has another head, and finds what the first one wrote.
    let newer = |epoch, run| {
        let volumes = vec![VolumeOrder { claim: Some(claim(epoch, 3)), ..larger.volumes[0].clone() }];
        ServerOrder { volumes, run, ..database(epoch, volume(None)) }
    };
    bench.desire(vec![newer(2, RunOrder::Run)]);
    print_steps("again", &bench.wait_healthy("db-1", 2));
    wait_lives(&bench, 3);
    assert_ne!(processes(&bench, ""), keeper);
    bench.desire(vec![newer(2, RunOrder::Stop)]);
    bench.wait_server("db-1", "absent", |server| server.phase == Phase::Absent && server.volumes.is_empty());
    assert_no_device(&bench);
    assert_all_gone(&mut bench);
}

/// Every process of a host is killed at once, in whatever order: the kernel can still end all of them, and nothing is left.
fn a_host_that_loses_its_power_leaves_no_device() {
    for round in 1..=5_u64 {
        let mut bench = Bench::start("cut");
        bench.start_agent("agent");
        bench.desire(vec![database(1, volume(Some(claim(1, 1))))]);
        if round == 1 {
            bench.wait_healthy("db-1", 1);
            wait_lives(&bench, 1);
        } else {
            std::thread::sleep(Duration::from_millis(round * 60));
        }
        bench.cut_power();
        let started = Instant::now();
        drop(bench);
        while devices_of(number()) > 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "a device is left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Devices of the whole machine behind which is a file of that volume.
fn devices_of(volume: u64) -> usize {
    let name = format!("pan-{volume}-");
    let backing = |entry: &fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
    fs::read_dir("/sys/block").unwrap().filter(|entry| entry.as_ref().is_ok_and(|entry| backing(entry).contains(&name))).count()
}

fn a_lost_head_costs_a_restart_and_nothing_else() {
    let mut bench = Bench::start("lost");
    bench.start_agent("agent");
    bench.desire(vec![database(1, volume(Some(claim(1, 1))))]);
    let first = bench.wait_healthy("db-1", 1);
    wait_lives(&bench, 1);

    // A worker is replaced under the device, and nobody notices.
    bench.output(&["kill", "-9", &processes(&bench, " --serve")]);
    let told = |server: &ServerReport| server.volumes.iter().any(|volume| volume.restarts == 1 && volume.state == HeadState::Open);
    let after = bench.wait_server("db-1", "with another worker", told);
    assert_eq!((after.instance, after.restarts), (first.instance.clone(), 0));
    bench.inside("db-1", &["sh", "-c", "echo x >/var/lib/db/data/x && sync /var/lib/db/data/x"]);

    // So is one that stands still, after a while.
    let last = processes(&bench, " --serve-again");
    bench.output(&["kill", "-STOP", &last]);
    let told = |server: &ServerReport| server.volumes.iter().any(|volume| volume.restarts == 2 && volume.state == HeadState::Open);
    let after = bench.wait_server("db-1", "with a worker that goes on", told);
    assert_eq!((after.instance, after.restarts), (first.instance.clone(), 0));
    bench.inside("db-1", &["sh", "-c", "echo y >/var/lib/db/data/y && sync /var/lib/db/data/y"]);

    // Without its keeper the volume is lost; so it is when another head writes it.
    bench.output(&["kill", "-9", &processes(&bench, "")]);
    let lost = |server: &ServerReport| server.message.as_ref().is_some_and(|text| text.starts_with("HeadLost: volume db-1.data: "));
    bench.wait_server("db-1", "said to have lost its head", lost);
    bench.wait_server("db-1", "restarted", restarted(1));
    wait_lives(&bench, 2);
    fs::write(bench.data.path().join("over"), "").unwrap();
    let fenced = |server: &ServerReport| server.message.as_ref().is_some_and(|text| text.contains("another head writes it"));
    bench.wait_server("db-1", "said to be fenced", |server| lost(server) && fenced(server));
    fs::remove_file(bench.data.path().join("over")).unwrap();
    bench.wait_server("db-1", "restarted again", |server| server.restarts >= 2 && server.phase == Phase::Healthy);
    wait_lives(&bench, 3);
    assert_all_gone(&mut bench);
}

fn volumes_survive_an_agent_and_nothing_survives_a_server() {
    let mut bench = Bench::start("adopt");
    bench.start_agent("agent");
    let wanted = || database(1, volume(Some(claim(1, 1))));
    bench.desire(vec![wanted()]);
    let first = bench.wait_healthy("db-1", 1);
    wait_lives(&bench, 1);
    let (loop_device, keeper) = (device(&bench), processes(&bench, ""));

    // The agent alone.
    bench.kill_agent();
    bench.start_agent("agent");
    let after = bench.wait_server("db-1", "with its volume", |server| server.volumes.iter().any(|volume| volume.state == HeadState::Open));
    assert_eq!((after.instance, after.restarts, after.phase), (first.instance, 0, Phase::Healthy));
    assert_eq!((device(&bench), processes(&bench, "")), (loop_device, keeper));

    // Agent and keeper together: the server cannot go on, and comes back.
    bench.kill_agent();
    bench.output(&["kill", "-9", &processes(&bench, "")]);
    bench.start_agent("agent");
    bench.wait_server("db-1", "restarted", restarted(1));
    wait_lives(&bench, 2);

    // At any point of the way up, and with a server that is gone or not wanted any more when the next one comes.
    for round in 1..=8_u64 {
        bench.desire(vec![database(1 + round, volume(Some(claim(1 + round, 1))))]);
        std::thread::sleep(Duration::from_millis(round * 12));
        bench.kill_agent();
        bench.start_agent("agent");
    }
    bench.wait_healthy("db-1", 9);
    bench.kill_agent();
    bench.output(&["sh", "-c", "kill -9 $(cat /run/pan/servers/acme.db-1/pid)"]);
    bench.start_agent("agent");
    bench.wait_server("db-1", "restarted", restarted(1));
    bench.kill_agent();
    bench.output(&["sh", "-c", "runc --root /run/pan/runc delete --force acme.db-1; rm /run/pan/servers/acme.db-1/state.json"]);
    bench.desire(vec![]);
    bench.start_agent("agent");
    assert_all_gone(&mut bench);
}

/// All that an agent noted is gone, and so is the agent. What runs is ended before anything takes its place.
fn what_no_file_tells_of_is_found_by_its_control_group() {
    let mut bench = Bench::start("amnesia");
    bench.start_agent("agent");
    let neighbour = || order("cron-1", 11, 1, &["sleep", "600"]);
    bench.desire(vec![database(1, volume(Some(claim(1, 1)))), neighbour()]);
    bench.wait_healthy("db-1", 1);
    bench.wait_healthy("cron-1", 1);
    wait_lives(&bench, 1);
    let program = |bench: &Bench| bench.outcome(&["pgrep", "-o", "-f", "echo [$]PAN_INSTANCE"]).1;
    let (first, keeper) = (program(&bench), processes(&bench, ""));

    bench.kill_agent();
    // What is mounted there stays, and nothing else.
    bench.outcome(&["find", "/run/pan", "-xdev", "-depth", "-mindepth", "1", "-delete"]);
    assert_eq!(bench.output(&["find", "/run/pan", "-xdev", "-name", "state.json"]), "");
    assert_eq!(program(&bench), first, "the server should have run on until then");
    bench.start_agent("agent");
    bench.wait_server("db-1", "healthy, and begun anew", |server| server.phase == Phase::Healthy && !server.volumes.is_empty());
    bench.wait_healthy("cron-1", 1);
    wait_lives(&bench, 2);
    let second = program(&bench);
    assert_ne!(second, first);
    assert_ne!(bench.outcome(&["kill", "-0", &first]).0, 0, "{first} runs beside {second}");
    assert_ne!(processes(&bench, ""), keeper);
    assert_eq!(bench.output(&["pgrep", "-x", "-f", "sleep 600"]).lines().count(), 1);

    // The same with nothing wanted any more.
    bench.kill_agent();
    bench.outcome(&["find", "/run/pan", "-xdev", "-depth", "-mindepth", "1", "-delete"]);
    bench.desire(vec![]);
    bench.start_agent("agent");
    assert_all_gone(&mut bench);
}

/// A head that says nothing any more holds everybody up who waits for it, and nobody else; and not for ever.
fn a_volume_that_waits_for_its_head_ends_in_time() {
    let mut bench = Bench::start("mute");
    bench.start_agent("agent");
    let neighbour = || order("cron-1", 11, 1, &["sleep", "600"]);
    bench.desire(vec![database(1, volume(Some(claim(1, 1)))), neighbour()]);
    bench.wait_healthy("db-1", 1);
    wait_lives(&bench, 1);
    // It writes that once the line above is on the disk.
    let written = format!("/run/pan/volumes/{}/mnt/now", number());
    bench.wait_for("the first line on the disk", || (bench.outcome(&["test", "-s", &written]).0 == 0).then_some(()));
    fs::write(bench.data.path().join("mute"), "").unwrap();
    bench.wait_for("somebody who waits", || {
        let waiting = bench.output(&[
            "sh",
            "-c",
            "mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null; cat /sys/fs/fuse/connections/*/waiting",
        ]);
        waiting.lines().any(|line| line.trim() != "0").then_some(())
    });
    // It belongs elsewhere by now.
    let start = Instant::now();
    bench.desire(vec![neighbour()]);
    bench.wait_for("it to be gone", || bench.server("db-1").is_none().then_some(()));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    println!("  gone {} ms after the order", start.elapsed().as_millis());
    assert_no_device(&bench);
    // A head that is mute from the beginning, while a file system is made or looked for.
    bench.desire(vec![database(2, volume(Some(claim(2, 1)))), neighbour()]);
    bench.wait_server("db-1", "being mounted", |server| server.message.as_ref().is_some_and(|text| text.contains("is being mounted")));
    bench.desire(vec![database(3, volume(Some(claim(3, 1)))), neighbour()]);
    fs::remove_file(bench.data.path().join("mute")).unwrap();
    bench.wait_healthy("db-1", 3);
    wait_lives(&bench, 2);
    assert_eq!(bench.server("cron-1").unwrap().restarts, 0);
    assert_all_gone(&mut bench);
}

/// What the kernel does at an error of the device, asked for by its own switch. The server does not notice: it only reads.
fn a_file_system_that_stops_writing_is_mounted_anew() {
    let mut bench = Bench::start("stop");
    bench.start_agent("agent");
    let program = "echo $PAN_INSTANCE >>/var/lib/db/data/lives && sync /var/lib/db/data/lives && while :; do sleep 0.1; done";
    let quiet = ServerOrder { command: ["sh", "-c", program].map(str::to_owned).to_vec(), ..database(1, volume(Some(claim(1, 1)))) };
    bench.desire(vec![quiet]);
    bench.wait_healthy("db-1", 1);
    wait_lives(&bench, 1);
    let first = device(&bench);
    fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", first.trim_start_matches("/dev/")), "1").unwrap();
    let again = bench.wait_server("db-1", "restarted", |server| server.restarts == 1);
    println!("  {again:?}");
    bench.wait_server("db-1", "restarted and well", restarted(1));
    wait_lives(&bench, 2);
    assert_eq!(bench.inside("db-1", &["sh", "-c", "echo more >>/var/lib/db/data/more && sync && echo written"]), "written");
    assert_all_gone(&mut bench);
}

/// The device is as large as the volume by then, so nothing but what is remembered tells that the file system is not.
fn a_file_system_that_cannot_grow_is_told_and_tried_again() {
    let mut bench = Bench::start("small");
    bench.start_agent("agent");
    let volume = |mebibytes| VolumeOrder { size: ByteSize(mebibytes * MIB), filesystem: Filesystem::Xfs, ..volume(Some(claim(1, 1))) };
    bench.desire(vec![database(1, volume(320))]);
    bench.wait_healthy("db-1", 1);
    let blocks = |bench: &Bench| bench.inside("db-1", &["stat", "-f", "-c", "%b", "/var/lib/db/data"]).parse::<u64>().unwrap();
    let before = blocks(&bench);
    let program = bench.output(&["sh", "-c", "realpath $(command -v xfs_growfs)"]);
    bench.output(&["mount", "--bind", "/bin/false", &program]);
    bench.desire(vec![database(1, volume(640))]);
    let why = |server: &ServerReport| server.volumes.first().and_then(|volume| volume.ungrown.clone());
    let told = bench.wait_server("db-1", "told that it is small", |server| why(server).is_some());
    assert!(why(&told).unwrap().contains("cannot grow: xfs_growfs"), "{told:?}");
    assert_eq!((blocks(&bench), told.restarts), (before, 0));
    // An agent that has seen nothing of it tries anew as well.
    bench.kill_agent();
    bench.start_agent("agent");
    bench.wait_server("db-1", "told of again", |server| why(server).is_some());
    bench.output(&["umount", &program]);
    bench.wait_for("twice the room", || (blocks(&bench) > before * 3 / 2).then_some(()));
    bench.wait_server("db-1", "large enough", |server| why(server).is_none() && server.restarts == 0);
    assert_all_gone(&mut bench);
}
