//! Block devices and file systems of volumes on the real kernel. Needs root, FUSE and loop devices.
//!
//! The test program starts itself again as the servers and keepers that it kills, and does everything in a mount namespace of
//! its own, which takes along what a killed test leaves.
#![allow(clippy::unwrap_used)]

mod attach_rig;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attach_rig::{Aligned, BLOCK, DEADLINE, SPEC, Volume, fill, open_direct, read_at, serve_main, wait_for};
use nix::sched::{CloneFlags, unshare};
use pan_linux::blockdev::{self, Ability, BlockDeviceError, Hung};
use pan_linux::filesystem::{self, FilesystemError, Kind, Made, MountSpec, Place};
use pan_linux::fuse::{Connection, Session, Standing};
use pan_linux::loopdev::{self, Access};
use pan_linux::mount::{self, Busy};

const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve") => return serve_main(&words[1..]),
        Some("keep") => return keep_main(Path::new(&words[1])),
        Some("bench") => return bench_main(&words[1..]),
        Some("--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIP: attach tests need root");
        return ExitCode::SUCCESS;
    }
    let found = blockdev::probe();
    for (what, ability) in [("FUSE", &found.fuse), ("loop devices", &found.loops)] {
        if let Ability::No(advice) = ability {
            eprintln!("SKIP: attach tests need {what}: {advice}");
            return ExitCode::SUCCESS;
        }
    }
    own_mounts();
    let tests: [(&str, fn()); 9] = [
        ("what_is_written_is_read_and_nothing_is_left", what_is_written_is_read_and_nothing_is_left),
        ("a_killed_server_loses_no_write", a_killed_server_loses_no_write),
        ("servers_killed_at_any_moment_lose_no_write", servers_killed_at_any_moment_lose_no_write),
        ("without_a_server_everything_ends_in_time", without_a_server_everything_ends_in_time),
        ("a_killed_keeper_is_cleaned_up_after", a_killed_keeper_is_cleaned_up_after),
        ("a_device_in_use_is_not_detached", a_device_in_use_is_not_detached),
        ("a_larger_volume_is_a_larger_file_system", a_larger_volume_is_a_larger_file_system),
        ("a_file_system_is_made_on_nothing_else", a_file_system_is_made_on_nothing_else),
        ("a_file_system_survives_its_storage", a_file_system_survives_its_storage),
    ];
    let only = words.iter().find(|word| !word.starts_with('-'));
    for (name, test) in tests {
        if only.is_none_or(|only| name.contains(only.as_str())) {
            let start = Instant::now();
            test();
            println!("test {name} ... ok ({} ms)", start.elapsed().as_millis());
        }
    }
    ExitCode::SUCCESS
}

fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount::make_private(Path::new("/")).unwrap();
}

fn what_is_written_is_read_and_nothing_is_left() {
    let volume = Volume::new(64 * MIB);
    let mut served = volume.serve("threads=3", Standing::First);
    assert_eq!(fs::read(volume.home.join("served/other")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::metadata(&volume.file).unwrap().len(), volume.size);
    let truncated = File::options().write(true).open(&volume.file).unwrap().set_len(0);
    assert_eq!(truncated.unwrap_err().kind(), ErrorKind::PermissionDenied);

    let device = volume.attached();
    assert_eq!(sysfs(device.path(), "loop/dio"), "1");
    assert_eq!(sysfs(device.path(), "queue/logical_block_size"), "4096");
    let file = open_direct(device.path());
    let mut buffer = Aligned::new(4 << 20);
    fill(buffer.bytes(), 1, 1);
    file.write_all_at(buffer.bytes(), 8 * MIB).unwrap();
    file.sync_all().unwrap();
    assert!(read_at(&file, 8 * MIB, 4 << 20) == buffer.bytes());
    let stored = File::open(&volume.storage).unwrap();
    assert!(read_at(&stored, 8 * MIB, 4 << 20) == buffer.bytes(), "and it is really there");
    run(&["blkdiscard", "--offset", "9MiB", "--length", "1MiB", &device.path().to_string_lossy()]);
    run(&["blkdiscard", "--zeroout", "--offset", "11MiB", "--length", "1MiB", &device.path().to_string_lossy()]);
    for (at, zeros) in [(8, false), (9, true), (10, false), (11, true)] {
        assert_eq!(read_at(&stored, at * MIB, 1 << 20).iter().all(|byte| *byte == 0), zeros, "MiB {at}");
    }
    let largest = served.counts().0;
    file.write_all_at(&buffer.bytes()[..1 << 20], 0).unwrap();
    let requests = served.counts().0 - largest;
    assert!(requests <= 2, "1 MiB went in {requests} requests");
    drop((file, device));

    let device = volume.attach(Access::ReadOnly, DEADLINE).unwrap();
    let written = File::options().write(true).open(device.path()).and_then(|file| file.write_all_at(&[1; 4096], 0));
    assert_eq!(written.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(read_at(&open_read_only(device.path()), 8 * MIB, 4096)[..], buffer.bytes()[..4096]);
    let path = device.path().to_path_buf();
    drop(device);
    wait_for("the loop driver to let go", || !Path::new("/sys/block").join(path.file_name().unwrap()).join("loop").exists());
    volume.detach(Hung::Wait).unwrap();
    volume.assert_gone();
    volume.detach(Hung::Wait).unwrap();
    wait_for("the end of the connection", || !volume.connection.exists().unwrap());
}

fn open_read_only(device: &Path) -> File {
    File::open(device).unwrap()
}

/// The server has taken writes, and done them, and is killed before it says so.
fn a_killed_server_loses_no_write() {
    let volume = Volume::new(16 * MIB);
    let mut first = volume.serve("mute=4", Standing::First);
    let device = volume.attached();
    let path = device.path();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16_u64).map(|number| scope.spawn(move || write_block(&open_direct(path), number, 1, 4096))).collect();
        // Four were answered, the others wait; so do flushes, as those who were answered close the device. What the server has not taken
        // yet waits as well, but would be sent for the first time.
        wait_for("twelve that were done", || first.silent() >= 12);
        first.kill();
        let waiting = volume.connection.waiting().unwrap();
        assert!(waiting >= 12, "{waiting}: nothing fails without a server");
        let mut second = volume.serve("file", Standing::Successor);
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
        let (_, resent) = second.counts();
        assert!(resent >= 12, "{resent} were sent again");
        let file = open_direct(path);
        (0..16).for_each(|number| check_block(&file, number, 1, 4096));
        drop(file);
        // A kernel that was asked to send again once can be asked once more.
        second.kill();
        drop(volume.serve("file", Standing::Successor));
    });
    drop(volume.serve("file", Standing::Successor));
}

/// Writers of every size, and flushes, go on while one server after the other is killed.
fn servers_killed_at_any_moment_lose_no_write() {
    const WRITERS: u64 = 6;
    const SLOTS: u64 = 8;
    const ROUNDS: u32 = 12;
    let volume = Volume::new(WRITERS * SLOTS * MIB);
    let mut served = volume.serve("threads=3", Standing::First);
    let device = volume.attached();
    let (stop, writes, mut resent) = (AtomicBool::new(false), AtomicU64::new(0), 0);
    let (path, stop_ref, writes_ref) = (device.path(), &stop, &writes);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let bytes = [4096, 8192, 65536, 1 << 20][usize::try_from(writer).unwrap() % 4];
                    let (file, mut round) = (open_direct(path), 0);
                    while !stop_ref.load(Ordering::Relaxed) {
                        round += 1;
                        for slot in 0..SLOTS {
                            write_block(&file, writer * SLOTS + slot, round, bytes).unwrap();
                            writes_ref.fetch_add(1, Ordering::Relaxed);
                        }
                        file.sync_data().unwrap();
                        (0..SLOTS).for_each(|slot| check_block(&file, writer * SLOTS + slot, round, bytes));
                    }
                })
            })
            .collect();
        for _ in 0..ROUNDS {
            let before = writes.load(Ordering::Relaxed);
            wait_for("some writes", || writes.load(Ordering::Relaxed) > before + 50);
            resent += served.counts().1;
            served.kill();
            served = volume.serve("threads=3", Standing::Successor);
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    assert!(resent > 0, "no server was killed with something to do");
    println!("  {} writes, {ROUNDS} servers killed, {resent} requests sent again", writes.load(Ordering::Relaxed));
}

fn write_block(file: &File, number: u64, round: u64, bytes: usize) -> std::io::Result<()> {
    let mut buffer = Aligned::new(bytes);
    fill(buffer.bytes(), number, round);
    file.write_all_at(buffer.bytes(), number * MIB)
}

fn check_block(file: &File, number: u64, round: u64, bytes: usize) {
    let mut wanted = vec![0; bytes];
    fill(&mut wanted, number, round);
    assert!(read_at(file, number * MIB, bytes) == wanted, "block {number}, round {round}");
}

fn without_a_server_everything_ends_in_time() {
    let limit = Duration::from_millis(200);
    // Nobody ever served.
    let volume = Volume::new(16 * MIB);
    let start = Instant::now();
    let refused = volume.attach(Access::ReadWrite, limit).unwrap_err();
    assert!(matches!(refused, BlockDeviceError::NotServed { .. }), "{refused}");
    assert!(start.elapsed() < Duration::from_secs(5));
    volume.detach(Hung::Wait).unwrap();
    volume.assert_gone();

    // Somebody did, and is gone; a writer, and who waits for the disk to be synced, stay until it is ended.
    let volume = Volume::new(64 * MIB);
    let mut served = volume.serve("file", Standing::First);
    let device = volume.attached();
    let target = volume.home.join("mnt");
    fs::create_dir(&target).unwrap();
    filesystem::ensure(device.path(), Kind::Ext4).unwrap();
    filesystem::mount(device.path(), &target, &MountSpec { kind: Kind::Ext4, access: Access::ReadWrite }).unwrap();
    let mut written = File::create(target.join("file")).unwrap();
    written.write_all(&[7; 100_000]).unwrap();
    served.kill();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| written.sync_all());
        wait_for("a sync that waits", || volume.connection.waiting().unwrap() > 0);
        let start = Instant::now();
        volume.connection.abort().unwrap();
        assert!(sync.join().unwrap().is_err(), "what was not written is not said to be");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    });
    drop(written);
    mount::unmount(&target, Busy::Detach).unwrap();
    drop(device);
    volume.detach(Hung::Abort).unwrap();
    volume.assert_gone();

    // Alive but stalled, while somebody waits in the end of a write.
    let volume = Volume::new(16 * MIB);
    let _served = volume.serve("mute=0", Standing::First);
    let device = volume.attached();
    let file = File::options().write(true).open(device.path()).unwrap();
    file.write_all_at(&[1; 4096], 0).unwrap();
    let closing = std::thread::spawn(|| drop((file, device)));
    wait_for("a write that waits", || volume.connection.waiting().unwrap() > 0);
    let refused = blockdev::detach(&volume.file, Hung::Wait, limit).unwrap_err();
    assert!(matches!(refused, BlockDeviceError::InUse { .. }), "it is left to its user: {refused}");
    assert!(!closing.is_finished());
    let start = Instant::now();
    volume.detach(Hung::Abort).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    closing.join().unwrap();
    volume.assert_gone();
}

/// Begins everything, and is killed.
fn keep_main(home: &Path) -> ExitCode {
    let volume = Volume::in_folder(home.to_str().unwrap(), 64 * MIB);
    let _served = volume.serve("file", Standing::First);
    let device = volume.attached();
    let target = volume.home.join("mnt");
    fs::create_dir(&target).unwrap();
    filesystem::ensure(device.path(), Kind::Ext4).unwrap();
    filesystem::mount(device.path(), &target, &MountSpec { kind: Kind::Ext4, access: Access::ReadWrite }).unwrap();
    fs::write(target.join("file"), [1; 50_000]).unwrap();
    println!("{}", volume.file.display());
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
    unreachable!("it was killed");
}

fn a_killed_keeper_is_cleaned_up_after() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut keeper = Command::new(std::env::current_exe().unwrap());
    let mut keeper = keeper.arg("keep").arg(home.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    keeper.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    keeper.wait().unwrap();
    let file = PathBuf::from(said.trim());
    assert_eq!(loopdev::attached_to(&file).len(), 1, "the mount holds it");
    let target = file.parent().unwrap().parent().unwrap().join("mnt");
    mount::unmount(&target, Busy::Detach).unwrap();
    blockdev::detach(&file, Hung::Abort, DEADLINE).unwrap();
    assert!(loopdev::attached_to(&file).is_empty());
    assert_eq!(Connection::at(file.parent().unwrap()).unwrap(), None);
    assert_eq!(mount::mounts_under(home.path()).unwrap(), []);
}

fn a_device_in_use_is_not_detached() {
    let volume = Volume::new(64 * MIB);
    let _served = volume.serve("file", Standing::First);
    let device = volume.attached();
    let target = volume.home.join("mnt");
    fs::create_dir(&target).unwrap();
    assert_eq!(filesystem::ensure(device.path(), Kind::Ext4).unwrap(), Made::New);
    let spec = MountSpec { kind: Kind::Ext4, access: Access::ReadWrite };
    filesystem::mount(device.path(), &target, &spec).unwrap();
    drop(device);
    let refused = blockdev::detach(&volume.file, Hung::Wait, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(refused, BlockDeviceError::InUse { .. }), "{refused}");
    fs::write(target.join("file"), "still works").unwrap();
    mount::unmount(&target, Busy::Refuse).unwrap();
    volume.detach(Hung::Wait).unwrap();
    volume.assert_gone();
    wait_for("the end of the connection", || !volume.connection.exists().unwrap());
}

fn a_larger_volume_is_a_larger_file_system() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let volume = Volume::new(384 * MIB);
        let mut served = volume.serve("file", Standing::First);
        let device = volume.attached();
        let target = volume.home.join("mnt");
        fs::create_dir(&target).unwrap();
        assert_eq!(filesystem::ensure(device.path(), kind).unwrap(), Made::New);
        filesystem::mount(device.path(), &target, &MountSpec { kind, access: Access::ReadWrite }).unwrap();
        let room = || nix::sys::statvfs::statvfs(&target).map(|found| found.blocks() * found.fragment_size()).unwrap();
        let before = room();
        served.resize(640 * MIB);
        assert_eq!(device.follow_size().unwrap(), 640 * MIB);
        let place = Place::Mounted(&target);
        if kind == Kind::Ext4 && !may_resize_mounted() {
            println!("  enlarged while it is not mounted: this root has no CAP_SYS_RESOURCE");
            assert!(filesystem::grow(device.path(), kind, place).unwrap_err().to_string().contains("Permission denied"));
            mount::unmount(&target, Busy::Refuse).unwrap();
            filesystem::grow(device.path(), kind, Place::Unmounted).unwrap();
            filesystem::mount(device.path(), &target, &MountSpec { kind, access: Access::ReadWrite }).unwrap();
        } else {
            filesystem::grow(device.path(), kind, place).unwrap();
            filesystem::grow(device.path(), kind, place).unwrap();
        }
        assert!(room() > before + 200 * MIB, "{kind}: {before} -> {}", room());
        fs::write(target.join("file"), vec![1; 2_000_000]).unwrap();
        mount::unmount(&target, Busy::Refuse).unwrap();
        assert_eq!(filesystem::ensure(device.path(), kind).unwrap(), Made::Found);
        drop(device);
        volume.detach(Hung::Wait).unwrap();
    }
}

/// Machines of some providers have a root without it.
fn may_resize_mounted() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    u64::from_str_radix(held, 16).unwrap() >> CAP_SYS_RESOURCE & 1 == 1
}

fn a_file_system_is_made_on_nothing_else() {
    let volume = Volume::new(64 * MIB);
    let _served = volume.serve("file", Standing::First);
    let device = volume.attached();
    let storage = File::options().read(true).write(true).open(&volume.storage).unwrap();
    for place in [0, 700_000, volume.size - 1] {
        storage.write_all_at(&[1], place).unwrap();
        let device = again(&device);
        let refused = filesystem::ensure(&device, Kind::Ext4).unwrap_err();
        assert!(matches!(refused, FilesystemError::Taken { .. }), "{refused}");
        assert!(refused.to_string().contains("data of an unknown kind"), "{refused}");
        storage.write_all_at(&[0], place).unwrap();
    }
    let path = again(&device);
    assert_eq!(filesystem::ensure(&path, Kind::Ext4).unwrap(), Made::New);
    let refused = filesystem::ensure(&path, Kind::Xfs).unwrap_err();
    assert!(refused.to_string().contains("holds ext4 and is to hold xfs"), "{refused}");
    assert_eq!(filesystem::ensure(&path, Kind::Ext4).unwrap(), Made::Found);
    // As if the power had been cut while it was made.
    storage.write_all_at(b"panloom: a file system is made 1", volume.size - u64::from(BLOCK)).unwrap();
    let path = again(&device);
    assert_eq!(filesystem::ensure(&path, Kind::Ext4).unwrap(), Made::Anew);
    run(&["e2fsck", "-fn", &path.to_string_lossy()]);
    assert_eq!(filesystem::ensure(&path, Kind::Ext4).unwrap(), Made::Found);
}

/// The device, without what the kernel may have kept of it: its storage was changed behind its back.
fn again(device: &blockdev::BlockDevice) -> PathBuf {
    run(&["blockdev", "--flushbufs", &device.path().to_string_lossy()]);
    device.path().to_path_buf()
}

fn a_file_system_survives_its_storage() {
    let spec = MountSpec { kind: Kind::Ext4, access: Access::ReadWrite };
    let volume = Volume::new(64 * MIB);
    let target = volume.home.join("mnt");
    fs::create_dir(&target).unwrap();
    let served = volume.serve("file", Standing::First);
    let device = volume.attached();
    filesystem::ensure(device.path(), Kind::Ext4).unwrap();
    filesystem::mount(device.path(), &target, &spec).unwrap();
    fs::write(target.join("kept"), "synced").unwrap();
    File::open(target.join("kept")).unwrap().sync_all().unwrap();
    // Storage goes away: what is written from then on fails, and the file system says that it is read-only.
    volume.connection.abort().unwrap();
    let lost = File::create(target.join("lost")).and_then(|mut file| file.write_all(b"x").and_then(|()| file.sync_all()));
    assert!(lost.is_err());
    wait_for("a read-only file system", || {
        fs::write(target.join("more"), "x")
            .is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem || error.raw_os_error() == Some(libc::EIO))
    });
    mount::unmount(&target, Busy::Detach).unwrap();
    drop((device, served));
    volume.detach(Hung::Abort).unwrap();

    // Served anew it has its journal replayed, whatever its last writer saw.
    let (session, connection) = Session::mount(&volume.home.join("served"), &SPEC).unwrap();
    let mut volume = volume;
    (volume.session, volume.connection) = (session, connection);
    let _served = volume.serve("file", Standing::First);
    let device = volume.attached();
    let made = filesystem::ensure(device.path(), Kind::Ext4).unwrap();
    assert!(matches!(made, Made::Found | Made::Repaired), "{made:?}");
    filesystem::mount(device.path(), &target, &spec).unwrap();
    assert_eq!(fs::read_to_string(target.join("kept")).unwrap(), "synced");
    mount::unmount(&target, Busy::Refuse).unwrap();

    // One that says it has errors is checked first, and one beyond that is left for a person.
    run(&["tune2fs", "-E", "force_fsck", &device.path().to_string_lossy()]);
    assert_eq!(filesystem::ensure(device.path(), Kind::Ext4).unwrap(), Made::Repaired);
    assert_eq!(filesystem::ensure(device.path(), Kind::Ext4).unwrap(), Made::Found);
    let storage = File::options().read(true).write(true).open(&volume.storage).unwrap();
    storage.write_all_at(&[2], 1024 + 0x3A).unwrap();
    let refused = filesystem::ensure(&again(&device), Kind::Ext4).unwrap_err();
    assert!(matches!(refused, FilesystemError::Damaged { .. }), "its checksum is wrong: {refused}");
}

fn sysfs(device: &Path, file: &str) -> String {
    let folder = Path::new("/sys/block").join(device.file_name().unwrap());
    fs::read_to_string(folder.join(file)).unwrap().trim().to_owned()
}

fn run(argv: &[&str]) {
    let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
    assert!(output.status.success(), "{argv:?}: {output:?}");
}

/// `bench KIND FOLDER BYTES`: a device for others to measure, until its standard input ends.
fn bench_main(words: &[String]) -> ExitCode {
    let [kind, folder, bytes] = words else { panic!("{words:?}") };
    own_mounts();
    let volume = Volume::in_folder(folder, bytes.parse().unwrap());
    let served = volume.serve(kind, Standing::First);
    let device = volume.attached();
    println!("{} {}", device.path().display(), served.pid());
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    drop(device);
    ExitCode::SUCCESS
}
