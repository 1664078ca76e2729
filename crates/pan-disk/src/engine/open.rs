//! Opening: from what is on the disk to a state that can be used, with everything that holds made durable first.

use std::collections::{BTreeMap, BTreeSet};

use pan_model::VolumeId;

use crate::format::page::{BYTES, Slot as PageSlot};
use crate::format::record::Body;
use crate::format::root::{self, Root, Slot, VolumeEntry};
use crate::format::superblock::{self, Standing, Superblock};
use crate::span::UNIT_BLOCKS;
use crate::{DiskError, Fault, Layer, Medium, Name, Place, Result, Seq, Side, Source};

use super::journal::{Half, Index, Journal, hold};
use super::maps::{Link, Maps, offset, page_of, read_own};
use super::replay::{self, Record, Replay};
use super::state::{Condition, State, Volume};
use super::units::{GivenBack, Then, Units, Until};

/// Zeros that are written at a time.
const ZEROS: u64 = 1 << 20;

/// Opens the pool on a disk.
pub fn open(medium: &impl Medium) -> Result<State> {
    let root = read_root(medium)?;
    has_whole_journal(medium, &root)?;
    remove_strays(medium, &root)?;
    let replay = replay::read(medium, &root)?;
    void_pages(medium, &root, &replay.records)?;
    let (volumes, damaged) = read_volumes(medium, &root)?;
    let mut state = assemble(&root, &replay, volumes, damaged);
    count(medium, &mut state)?;
    for record in &replay.records {
        apply(medium, &mut state, record, root.applied)?;
    }
    let given_back = if root.clean { GivenBack::Yes } else { GivenBack::Perhaps };
    state.units.counted(given_back);
    begin(medium, &mut state)?;
    Ok(state)
}

/// What is there counts from now on, whatever happens next: it is made durable, and what is not there can never come back.
fn begin(medium: &impl Medium, state: &mut State) -> Result<()> {
    let sync = |state: &mut State, name| medium.sync(name).map_err(|fault| state.fail(fault.to_string()));
    // These exist from here on, and later syncs need not think of their names. The journal has all its space from the first opening on: a record that is
    // made durable changes nothing but its own bytes, and a full disk can still be told what to give back.
    medium.write_at(Name::Data, 0, &[]).map_err(|fault| state.blame(fault, "make the data's file"))?;
    sync(state, Name::Data)?;
    for side in Side::BOTH {
        let name = Name::Journal(side);
        let length = medium.length(name).map_err(|fault| DiskError::Read { name, fault })?;
        for at in (length..state.journal.half_bytes).step_by(ZEROS as usize) {
            let zeros = vec![0; ZEROS.min(state.journal.half_bytes - at) as usize];
            medium.write_at(name, at, &zeros).map_err(|fault| state.blame(fault, "make the journal"))?;
        }
        sync(state, name)?;
    }
    state.refill(medium)?;
    medium.sync_names().map_err(|fault| state.fail(fault.to_string()))?;
    for volume in state.volumes.keys().copied().collect::<Vec<_>>() {
        let superblock = state.volume(volume)?.superblock;
        let superblock = Superblock { incarnation: superblock.incarnation + 1, standing: Standing::Open, ..superblock };
        state.write_superblock(medium, volume, superblock)?;
    }
    state.write_root(medium)?;
    if state.journal.fits(0, 0, super::journal::Purpose::Checkpoint) {
        let appended = state.journal.append(medium, &Body::Mark, &[]);
        appended.map_err(|fault| state.blame(fault, "write to the journal"))?;
        let side = state.journal.active.side;
        sync(state, Name::Journal(side))?;
    }
    state.journal.flushed = state.journal.last;
    state.journal.marked = state.journal.said;
    state.journal.dirty = [false; 2];
    Ok(())
}

fn read_file(medium: &impl Medium, name: Name, most: u64) -> Result<Vec<u8>> {
    let read = |fault| DiskError::Read { name, fault };
    let length = medium.length(name).map_err(read)?;
    if length > most {
        return Err(DiskError::Damaged { name, what: format!("{length} bytes, which is more than {most}") });
    }
    let mut bytes = vec![0; length as usize];
    medium.read_at(name, 0, &mut bytes).map_err(read)?;
    Ok(bytes)
}

fn read_root(medium: &impl Medium) -> Result<Root> {
    let slot = |side| read_file(medium, Name::Root(side), root::BYTES_MAX).map(|bytes| root::decode(&bytes));
    let roots = [slot(Side::A)?, slot(Side::B)?];
    if roots == [Slot::Empty, Slot::Empty] {
        return Err(DiskError::NoPool);
    }
    let version = roots.iter().find_map(|slot| if let Slot::Version(found) = slot { Some(*found) } else { None });
    let good = roots.into_iter().filter_map(|slot| if let Slot::Good(root) = slot { Some(*root) } else { None });
    match (good.max_by_key(|root| root.revision), version) {
        (Some(root), _) => Ok(root),
        (None, Some(found)) => Err(DiskError::Version { name: Name::Root(Side::A), found, known: crate::format::VERSION }),
        (None, None) => Err(DiskError::Damaged { name: Name::Root(Side::A), what: "nor does its twin".into() }),
    }
}

/// An error if a half of the journal is shorter than it was made. It had all its space, durably, before the first root that counts an opening:
/// what is cut off held records, and without them the rest would pass for a journal that ends there, or for an empty one.
fn has_whole_journal(medium: &impl Medium, root: &Root) -> Result<()> {
    for name in Side::BOTH.map(Name::Journal) {
        let length = medium.length(name).map_err(|fault| DiskError::Read { name, fault })?;
        if root.boot > 0 && length < root.half_bytes {
            let what = format!("it has {length} of its {} bytes", root.half_bytes);
            return Err(DiskError::Damaged { name, what });
        }
    }
    Ok(())
}

/// Removes files that something left behind which was not completed.
fn remove_strays(medium: &impl Medium, root: &Root) -> Result<()> {
    let failed = |fault: Fault| DiskError::Failed(fault.to_string());
    for name in medium.names().map_err(failed)? {
        let stray = match name {
            Name::Super(volume) => !root.volumes.contains_key(&volume),
            Name::Map(layer) => !root.layers.contains_key(&layer),
            Name::Root(_) | Name::Journal(_) | Name::Data | Name::Reserve => false,
        };
        if stray {
            medium.remove(name).map_err(failed)?;
        }
    }
    Ok(())
}

type Volumes = (BTreeMap<VolumeId, Volume>, BTreeMap<VolumeId, VolumeEntry>);

fn read_volumes(medium: &impl Medium, root: &Root) -> Result<Volumes> {
    let (mut volumes, mut damaged) = (BTreeMap::new(), BTreeMap::new());
    for (id, entry) in &root.volumes {
        let name = Name::Super(*id);
        let slot = |side| {
            let mut bytes = [0; superblock::BYTES];
            // What cannot be read now may be there in a moment: only what was read and makes no sense is damaged for good.
            let read = medium.read_at(name, superblock::offset(side), &mut bytes);
            read.map_err(|fault| DiskError::Read { name, fault })?;
            Ok(superblock::decode(&bytes))
        };
        match superblock::choose([slot(Side::A)?, slot(Side::B)?]) {
            superblock::Slot::Good(superblock, revision) if superblock.volume == *id => {
                let volume = Volume { layer: entry.layer, superblock, revision, marks: entry.marks.clone() };
                volumes.insert(*id, volume);
            }
            superblock::Slot::Version(found) => return Err(DiskError::Version { name, found, known: crate::format::VERSION }),
            superblock::Slot::Good(..) | superblock::Slot::Bad => _ = damaged.insert(*id, entry.clone()),
        }
    }
    Ok((volumes, damaged))
}

fn assemble(root: &Root, replay: &Replay, volumes: BTreeMap<VolumeId, Volume>, damaged: BTreeMap<VolumeId, VolumeEntry>) -> State {
    let tail = replay.tail;
    let half = |side, generation, first, offset| Half { side, generation, first, tail: offset, index: Index::new() };
    let active = half(tail.side, tail.generation, tail.first, tail.offset);
    let mut journal = Journal::new(root.salt, root.half_bytes, root.boot + 1, active, tail.last);
    if tail.side != root.start.side {
        journal.frozen = Some(half(root.start.side, root.start.generation, root.start.seq, root.half_bytes));
    }
    let owners = root.volumes.iter().map(|(id, volume)| (volume.layer, Source::Volume(*id)));
    let owners: BTreeMap<Layer, Source> =
        owners.chain(root.snapshots.iter().map(|(id, snapshot)| (snapshot.layer, Source::Snapshot(*id)))).collect();
    let nobody = Source::Snapshot(crate::SnapshotId(0));
    let link =
        |(layer, under): (&Layer, &Option<Layer>)| (*layer, Link { under: *under, owner: owners.get(layer).copied().unwrap_or(nobody) });
    State {
        revision: root.revision,
        start: root.start,
        layer_next: root.layer_next,
        journal,
        maps: Maps::new(root.layers.iter().map(link).collect(), root.generation),
        units: Units::default(),
        volumes,
        damaged,
        snapshots: root.snapshots.clone(),
        condition: Condition::Good,
        unsynced: 0,
        data_dirty: false,
        syncing: false,
        checkpointing: false,
        closing: false,
        announced: BTreeSet::new(),
        quiet: false,
        reserve: false,
    }
}

/// Wipes the slots that a checkpoint may have written which did not complete: they must not count when a later one does.
fn void_pages(medium: &impl Medium, root: &Root, records: &[Record]) -> Result<()> {
    let mut layers = BTreeSet::new();
    for record in records {
        let Body::Pages { generation, slots } = &record.body else { continue };
        if *generation <= root.generation {
            continue;
        }
        for (layer, number, side) in slots.iter().filter(|(layer, ..)| root.layers.contains_key(layer)) {
            if read_own(medium, *layer, *number)?[side.index()] != PageSlot::Empty {
                let wiped = medium.write_at(Name::Map(*layer), offset(*number, *side), &[0; BYTES]);
                wiped.map_err(|fault| DiskError::Failed(fault.to_string()))?;
                layers.insert(*layer);
            }
        }
    }
    let sync = |layer: Layer| medium.sync(Name::Map(layer)).map_err(|fault| DiskError::Failed(fault.to_string()));
    layers.into_iter().try_for_each(sync)
}

/// Counts which units are in use by what the maps on the disk say.
fn count(medium: &impl Medium, state: &mut State) -> Result<()> {
    let most = replay::places(medium)?;
    for layer in state.maps.layers.keys().copied().collect::<Vec<_>>() {
        for number in 0..state.maps.pages(medium, layer)? {
            let page = match state.maps.own_on_disk(medium, layer, number) {
                Ok(Some((page, _))) => page,
                Ok(None) => continue,
                Err(DiskError::MapRotten { .. }) => {
                    // Whoever reads that range is told; what it used is free. So it must not count later either, should the disk give it then.
                    state.maps.wrong.insert((layer, number));
                    continue;
                }
                // What it names must not be given to others, and may be read well in a moment.
                Err(error) => return Err(error),
            };
            let places = || page.0.iter().filter_map(|entry| entry.place);
            if places().any(|place| place.0 > most) {
                state.maps.wrong.insert((layer, number));
                continue;
            }
            for place in places() {
                state.units.count(place);
                state.maps.gained(layer);
            }
        }
    }
    for (layer, number) in state.maps.wrong.clone() {
        state.maps.judge(medium, layer, number);
    }
    Ok(())
}

/// Does again what a record says. Pages may have it already, and more.
fn apply(medium: &impl Medium, state: &mut State, record: &Record, applied: Seq) -> Result<()> {
    let news = record.seq > applied;
    match &record.body {
        Body::Write { layer, block, sums } => {
            let span = crate::Span::of_blocks(*block, sums.len() as u64);
            if owner(state, *layer).is_none() {
                return Ok(());
            }
            let half =
                if state.journal.active.side == record.side { Some(&mut state.journal.active) } else { state.journal.frozen.as_mut() };
            let index = &mut half.expect("a record is in one of the two halves").index;
            // Newer than what the other half has of it: reading looks there first, so nothing needs to be forgotten.
            hold(index, *layer, *block, sums, record.data, record.seq);
            written(state, *layer, span, news);
        }
        Body::Place { layer, unit, place, sums } => {
            let count = sums.len() as u64 / UNIT_BLOCKS;
            if ready(medium, state, *layer, *unit..unit.saturating_add(count))? {
                place_again(state, *layer, *unit, *place, sums, record.seq);
                written(state, *layer, crate::Span::of_blocks(unit * UNIT_BLOCKS, sums.len() as u64), news);
            }
        }
        Body::Zero { layer, block, count } => {
            let span = crate::Span::of_blocks(*block, *count);
            if ready(medium, state, *layer, span.units())? {
                state.zero(*layer, span.blocks(), record.seq);
                written(state, *layer, span, news);
            }
        }
        Body::Flush { volume, mark } => state.flushed(*volume, *mark),
        Body::Settle { volume, extents } => {
            if let Some(volume) = state.volumes.get_mut(volume).filter(|_| news) {
                extents.iter().for_each(|extent| _ = volume.marks.intents.remove(extent));
            }
        }
        Body::Absence { volume, member, absence } => {
            if let Some(volume) = state.volumes.get_mut(volume).filter(|_| news) {
                volume.marks.absence(*member, absence);
            }
        }
        Body::Pages { .. } | Body::Seal | Body::Mark => {}
    }
    Ok(())
}

fn owner(state: &mut State, layer: Layer) -> Option<&mut Volume> {
    state.volumes.values_mut().find(|volume| volume.layer == layer)
}

fn written(state: &mut State, layer: Layer, span: crate::Span, news: bool) {
    if let Some(volume) = owner(state, layer).filter(|_| news) {
        volume.marks.written(span);
    }
}

/// Whether a record of units can be done again; its pages are ready then.
fn ready(medium: &impl Medium, state: &mut State, layer: Layer, units: std::ops::Range<u64>) -> Result<bool> {
    if owner(state, layer).is_none() {
        return Ok(false);
    }
    match state.prepare(medium, layer, units) {
        Ok(()) => Ok(true),
        Err(DiskError::MapRotten { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn place_again(state: &mut State, layer: Layer, unit: u64, place: Place, sums: &[u32], seq: Seq) {
    for (at, sums) in (0..).zip(sums.chunks_exact(UNIT_BLOCKS as usize)) {
        let (number, index) = page_of(unit + at);
        let place = Place(place.0 + at);
        let entry = &mut state.maps.changed(layer, number).0[index];
        let before = entry.place.replace(place);
        entry.present = u16::MAX;
        entry.sums.copy_from_slice(sums);
        if before != Some(place) {
            state.units.count(place);
            match before {
                Some(before) => state.units.release(before, Until::Marked(seq), Then::Reuse),
                None => state.maps.gained(layer),
            }
        }
        state.journal.forget(layer, (unit + at) * UNIT_BLOCKS..(unit + at + 1) * UNIT_BLOCKS);
    }
}
