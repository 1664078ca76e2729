//! Pools in folders: made once, and honest about what a restart may have cost.

use super::*;
use pan_api::volume::ReplicaOrder;
use pan_model::host_config::{FabricConfig, FabricsConfig, StorageConfig, TlsFiles};
use pan_model::mirror::Writer;
use pan_model::{Session, VolumeEpoch, VolumeId};
use pan_replica::{Ask, Conn, Content, Dialect, Part, Request, Sequence, Span};
use std::path::Path;

const VOLUME: VolumeId = VolumeId(3);
/// For another life of a keeper to let go of the pool.
const SOON: Duration = Duration::from_secs(20);

fn config(dir: &Path) -> HostConfig {
    let fabric = || FabricConfig { interface: "lo".into(), address: "127.0.0.1/8".parse().unwrap() };
    let absent = || dir.join("absent");
    std::fs::create_dir_all(dir.join("state")).unwrap();
    HostConfig {
        version: 1,
        name: "s1".parse().unwrap(),
        roles: Vec::new(),
        address: "127.0.0.1".parse().unwrap(),
        fabrics: FabricsConfig { a: fabric(), b: fabric() },
        controllers: Vec::new(),
        lessors: Vec::new(),
        directors: Vec::new(),
        pan_key: None,
        tls: TlsFiles { ca: absent(), cert: absent(), key: absent() },
        beat_key: absent(),
        profile: "lan".into(),
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        node: None,
        storage: Some(StorageConfig { folder: Some(dir.join("disk")), capacity: Some(ByteSize(1 << 40)), ..StorageConfig::default() }),
        director: None,
        controller: None,
        laboratory: None,
    }
}

fn order(size: u64, want: ReplicaWant) -> Desired {
    Desired {
        version: pan_api::WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        admission: pan_model::Admission::FIRST,
        generation: Generation { term: 1, step: 1 },
        host: "s1".parse().unwrap(),
        peers: pan_api::peers::Peers::default(),
        networks: Vec::new(),
        servers: Vec::new(),
        warm: Vec::new(),
        seats: Vec::new(),
        units: Vec::new(),
        snapshots: Vec::new(),
        replicas: vec![ReplicaOrder { volume: VOLUME, size: ByteSize(size), want, from: None }],
    }
}

/// A keeper during a boot, and what is open.
fn life(dir: &Path, boot: u64) -> (Keeper, watch::Receiver<Open>) {
    let (keeps, open) = watch::channel(None);
    (Keeper::new(&config(dir), Boot::now(boot), keeps), open)
}

/// The threads of an earlier life end on their own.
fn free(dir: &Path) {
    let began = Instant::now();
    while matches!(Files::open(&dir.join("disk")), Err(FilesError::InUse(_))) {
        assert!(began.elapsed() < SOON, "the pool is still in use");
        std::thread::yield_now();
    }
}

/// A write that is acknowledged and not flushed.
fn write(open: &watch::Receiver<Open>) {
    let content = Content::Data(vec![1; 4096]);
    let write = Ask::Write { span: Span { at: 0, length: 4096 }, content, durable: false, copy: false };
    head(open, 0, [Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None }, write]);
}

/// What a head asks, one after the other.
fn head(open: &watch::Receiver<Open>, settled: u64, asks: impl IntoIterator<Item = Ask<Vec<u8>>>) {
    let vault = open.borrow().clone().unwrap();
    let kept = vault.replica(VOLUME).unwrap();
    for (sequence, ask) in (1..).zip(asks) {
        let writer = Writer { epoch: VolumeEpoch(1), session: Session(1) };
        let (lineage, sequence, settled) = (Lineage(1), Sequence(sequence), Sequence(settled));
        match kept.admit(Conn(1), Request { writer, lineage, sequence, settled, reconciled: false, ask }) {
            crate::vault::Admitted::Work(work) => _ = vault.perform(&kept, work),
            crate::vault::Admitted::Answer(answer) => panic!("{answer:?}"),
        }
    }
}

fn is_lossy(open: &watch::Receiver<Open>) -> bool {
    open.borrow().as_ref().unwrap().replica(VOLUME).unwrap().is_lossy()
}

#[test]
fn orders_are_followed_and_volumes_grow() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, open) = life(dir.path(), 1);
    let seen = keeper.step(Some(&order(1 << 20, ReplicaWant::Found)));
    assert_eq!((seen.problems.as_slice(), seen.applied.step), ([].as_slice(), 1));
    assert_eq!(seen.pool.map(|pool| (pool.capacity, pool.trouble)), Some((ByteSize(1 << 40), None)));
    assert_eq!((seen.replicas[0].volume, seen.replicas[0].lineage), (VOLUME, Lineage(1)));
    write(&open);
    // Found again, it is what it was, and larger.
    let seen = keeper.step(Some(&order(1 << 21, ReplicaWant::Found)));
    assert_eq!((seen.problems.len(), seen.replicas[0].epoch), (0, VolumeEpoch(1)));
    assert_eq!(open.borrow().as_ref().unwrap().replica(VOLUME).unwrap().extents(), 16);
    let seen = keeper.step(Some(&order(1 << 20, ReplicaWant::Keep)));
    assert_eq!((seen.problems.len(), seen.replicas.len()), (0, 1), "a smaller order is of the past");
}

#[test]
fn another_boot_may_have_cost_what_was_not_flushed_until_a_head_made_it_equal() {
    let dir = tempfile::tempdir().unwrap();
    // The boot, and whether something may be lost then.
    for (at, (boot, lossy)) in [(1, false), (1, false), (2, true), (2, true), (3, true)].into_iter().enumerate() {
        free(dir.path());
        let (mut keeper, open) = life(dir.path(), boot);
        let seen = keeper.step(Some(&order(1 << 20, ReplicaWant::Found)));
        assert_eq!(seen.problems, Vec::<String>::new());
        keeper.step(None);
        assert_eq!(is_lossy(&open), lossy, "life {at}, of boot {boot}");
        if at == 0 {
            write(&open);
        }
    }
}

#[test]
fn a_pool_is_never_made_where_one_was() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, _open) = life(dir.path(), 1);
    keeper.step(Some(&order(1 << 20, ReplicaWant::Found)));
    drop(keeper);
    free(dir.path());
    // Its disk is not mounted.
    std::fs::rename(dir.path().join("disk"), dir.path().join("elsewhere")).unwrap();
    let (mut keeper, open) = life(dir.path(), 1);
    let seen = keeper.step(Some(&order(1 << 20, ReplicaWant::Found)));
    assert!(open.borrow().is_none() && seen.applied == Generation::default());
    let trouble = seen.pool.and_then(|pool| pool.trouble).unwrap();
    assert!(trouble.contains("mount its disk") && seen.problems == [trouble.clone()], "{trouble}");
    drop(keeper);
    // It is damaged: what is there is not overwritten.
    std::fs::remove_dir_all(dir.path().join("disk")).unwrap();
    std::fs::rename(dir.path().join("elsewhere"), dir.path().join("disk")).unwrap();
    for root in ["root-0", "root-1"] {
        std::fs::write(dir.path().join("disk").join(root), "").unwrap();
    }
    std::fs::remove_file(dir.path().join("state/pool")).unwrap();
    let (mut keeper, open) = life(dir.path(), 1);
    let seen = keeper.step(None);
    assert!(open.borrow().is_none() && seen.problems[0].contains("not overwritten"), "{:?}", seen.problems);
}

fn snapshots(wants: &[(u64, SnapshotWant)]) -> Desired {
    let orders = wants.iter().map(|(id, want)| SnapshotOrder { snapshot: SnapshotId(*id), want: *want }).collect();
    Desired { snapshots: orders, ..order(1 << 20, ReplicaWant::Keep) }
}

#[test]
fn a_volume_that_nobody_has_is_kept_as_it_is_if_it_is_the_same_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, open) = life(dir.path(), 1);
    keeper.step(Some(&order(1 << 20, ReplicaWant::Found)));
    write(&open);
    let writer = Writer { epoch: VolumeEpoch(2), session: Session(9) };
    let take = SnapshotWant::Take { volume: VOLUME, writer, lineage: Lineage(1) };
    let pool = |seen: Seen| seen.pool.unwrap().snapshots;
    // Its writer did not say that the other replicas have that, and is obeyed no more.
    let seen = keeper.step(Some(&snapshots(&[(4, take)])));
    assert_eq!((seen.problems.len(), seen.applied.step), (0, 1), "other orders do not wait for it");
    assert!(pool(seen)[0].trouble.as_ref().unwrap().contains("when a server has the volume again"));
    assert_eq!(open.borrow().as_ref().unwrap().replica(VOLUME).unwrap().standing().epoch, VolumeEpoch(2));

    let (mut keeper, open) = life(&dir.path().join("other"), 1);
    keeper.step(Some(&order(1 << 20, ReplicaWant::Found)));
    write(&open);
    head(&open, 2, [Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None }, Ask::Flush { whole: false }]);
    let taken = SnapshotReport { snapshot: SnapshotId(4), taken: Some(VolumeEpoch(2)), trouble: None };
    assert_eq!(pool(keeper.step(Some(&snapshots(&[(4, take)])))), [taken]);

    // A volume begins as it, and both go their own ways.
    let mut both = snapshots(&[]);
    both.replicas.push(ReplicaOrder { volume: VolumeId(8), size: ByteSize(1 << 21), want: ReplicaWant::Found, from: Some(SnapshotId(4)) });
    let seen = keeper.step(Some(&both));
    assert_eq!((seen.problems.as_slice(), seen.replicas[1].lineage, seen.replicas[1].size), ([].as_slice(), Lineage(1), ByteSize(1 << 21)));
    both.replicas[1] = ReplicaOrder { volume: VolumeId(9), size: ByteSize(1 << 19), ..both.replicas[1].clone() };
    let seen = keeper.step(Some(&both));
    assert_eq!((seen.problems.as_slice(), seen.replicas[2].size), ([].as_slice(), ByteSize(1 << 20)), "no less than the snapshot");
    let mut read = vec![0; 8192];
    let vault = open.borrow().clone().unwrap();
    vault.pool().read(pan_disk::Source::Volume(VolumeId(8)), 0, &mut read).unwrap();
    assert_eq!((read[0], read[4095], read[4096]), (1, 1, 0));
    assert!(pool(keeper.step(Some(&snapshots(&[(4, SnapshotWant::Discard)])))).is_empty());
    vault.pool().read(pan_disk::Source::Volume(VolumeId(8)), 0, &mut read).unwrap();
    assert_eq!(read[0], 1, "it lives on without what it began as");
    drop(vault);
}
